"use strict";
// Consumer groups: shared subscriptions of MQTT.js, groups of Autobahn|JS and Wampy.js.

const mqtt = require("mqtt");
const { assert, counted, fresh, options, Queue, run, scenario, within } = require("./tap.js");
const { told, withSessions, withWampy } = require("./wamp.js");

const args = options();

/** A client of MQTT 5 whose session outlives the connection; what comes is in its `packets`, and acknowledged when `done` is called. */
async function kept(clientId = fresh("js")) {
  const client = mqtt.connect(`mqtt://127.0.0.1:${args.mqtt}`, {
    protocolVersion: 5,
    clientId,
    clean: false,
    reconnectPeriod: 0,
    properties: { sessionExpiryInterval: 600 },
    // The packet is acknowledged when it calls back.
    customHandleAcks: (topic, _payload, packet, done) => client.packets.push({ ...packet, topic, done: () => done(0) }),
  });
  client.packets = new Queue("a message");
  client.closed = new Promise((resolve) => client.on("close", resolve));
  client.on("error", () => {});
  await within(new Promise((resolve) => client.once("connect", resolve)), "the CONNACK");
  return client;
}

/** Joins a group, and says how it is to work. */
async function share(client, filter, userProperties) {
  const properties = userProperties && { properties: { userProperties } };
  const [{ qos }] = await within(client.subscribeAsync(filter, { qos: 1, ...properties }), "the SUBACK");
  assert.equal(qos, 1);
}

/** Gives `use` connected clients and ends them afterwards. */
async function withClients(count, use) {
  const clients = await Promise.all([...Array(count)].map(() => kept()));
  try {
    return await use(...clients);
  } finally {
    await Promise.all(clients.map((client) => client.endAsync(true)));
  }
}

/** A handler that keeps the first argument and the publication of the events it gets. */
function events() {
  const queue = new Queue("an event");
  return { handler: ([first], _kwargs, { publication }) => queue.push({ first, publication }), take: (n) => queue.take(n) };
}

const text = ({ payload }) => payload.toString();

scenario("each event goes to one member of an MQTT group", () =>
  withClients(3, async (one, other, publisher) => {
    const topic = fresh("shared");
    const all = new Queue("a message of either");
    one.packets = { push: (packet) => all.push({ ...packet, who: "one" }) };
    other.packets = { push: (packet) => all.push({ ...packet, who: "other" }) };
    await share(one, `$share/g/${topic}`);
    await share(other, `$share/g/${topic}`);
    for (const number of counted(20)) await publisher.publishAsync(topic, number, { qos: 1 });
    const found = [];
    for (let count = 0; count < 20; count += 1) {
      const packet = await all.next();
      packet.done();
      found.push(packet);
    }
    assert.deepEqual(found.map(text).sort(), counted(20).sort());
    assert.deepEqual([...new Set(found.map(({ who }) => who))].sort(), ["one", "other"]);
  }),
);

scenario("what a member leaves behind that is cut off goes to another", () =>
  withClients(3, async (one, other, publisher) => {
    const topic = fresh("shared");
    await share(one, `$share/g/${topic}`);
    for (const number of counted(4)) await publisher.publishAsync(topic, number, { qos: 1 });
    (await one.packets.next()).done();
    // This library reads no further than what is acknowledged.
    assert.equal(text(await one.packets.next()), "1");
    await share(other, `$share/g/${topic}`);
    one.stream.destroy();
    await within(one.closed, "the end");
    for (const number of ["1", "2", "3"]) {
      const packet = await other.packets.next();
      assert.equal(text(packet), number);
      packet.done();
    }
  }),
);

scenario("an event that takes too long goes to another, and in the end to the dead letters", () =>
  withClients(3, async (member, watcher, publisher) => {
    const [topic, dead] = [fresh("shared"), fresh("dead")];
    await share(watcher, dead);
    const asked = { ack_timeout: "200", deliveries_max: "2", dead_letter_topic: dead, order_by: "key" };
    await share(member, `$share/g/${topic}`, asked);
    const properties = { userProperties: { mine: "1" }, contentType: "application/json" };
    await publisher.publishAsync(topic, '{"key":1}', { qos: 1, properties });
    const delivery = await member.packets.next();
    assert.equal(text(delivery), '{"key":1}');
    const letter = await watcher.packets.next();
    const { event_id, ...rest } = letter.properties.userProperties;
    assert.deepEqual({ ...rest }, {
      mine: "1",
      "fennec-dead-topic": topic,
      "fennec-dead-event-id": delivery.properties.userProperties.event_id,
      "fennec-dead-attempts": "2",
      "fennec-dead-group": `$share/g/${topic}`,
    });
    assert.ok(event_id > rest["fennec-dead-event-id"]);
    assert.equal(letter.properties.contentType, "application/json");
  }),
);

scenario("each event goes to one member of a WAMP group, and to another if that is gone", () =>
  withSessions(3, async (one, other, publisher) => {
    const name = fresh("shared");
    const [mine, others] = [events(), events()];
    const asked = { durable: name, group: true, acknowledge: "client" };
    const held = [
      await one.subscribe(`app.${name}`, mine.handler, asked),
      await other.subscribe(`app.${name}`, others.handler, asked),
    ];
    for (let number = 0; number < 6; number += 1) await publisher.publish(`app.${name}`, [number], {}, told);
    const [first, second] = [await mine.take(3), await others.take(3)];
    assert.deepEqual([...first, ...second].map((event) => event.first).sort(), [0, 1, 2, 3, 4, 5]);
    await within(one.call("fennec.subscription.ack", [held[0].id, first[1].publication]), "the result");
    for (const { publication } of second) {
      await within(other.call("fennec.subscription.ack", [held[1].id, publication]), "the result");
    }
    const status = await within(other.call("fennec.subscription.status", [held[1].id]), "the result");
    assert.deepEqual([status.group, status.acknowledge], [name, "client"]);
    one.connection._transport.close(1000);
    assert.deepEqual(await others.take(2), [first[0], first[2]]);
  }),
);

scenario("a client that lets only options with an underscore through can be a member", () =>
  withSessions(1, (publisher) =>
    withWampy(async (client) => {
      const name = fresh("shared");
      const queue = new Queue("an event");
      // It has a rule for the names of such options, too.
      const asked = { _group: name, _acknowledge: "client", _ack_timeout: 200, _deliveries_max: 2 };
      const handler = ({ argsList, details }) => queue.push({ first: argsList[0], details });
      const held = await client.subscribe(`app.${name}`, handler, asked);
      await publisher.publish(`app.${name}`, ["work"], {}, told);
      // Its handlers are not told the publication, but all details.
      const [first, again] = await queue.take(2);
      assert.equal(first.details.event_id, again.details.event_id);
      assert.equal(again.first, "work");
      const acknowledge = [held.subscriptionId, again.details.event_id];
      const done = await within(client.call("fennec.subscription.ack", acknowledge), "the result");
      assert.deepEqual(done.argsList, [true]);
    }),
  ),
);

run();
