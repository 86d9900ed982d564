"use strict";
// Subscribers that go on where they were: Autobahn|JS, Wampy.js, MQTT.js, and what `fetch` reads of server-sent events.
// Topics below `log/` are durable.

const mqtt = require("mqtt");
const { assert, fresh, options, Queue, run, scenario, within } = require("./tap.js");
const { told, withSessions, withWampy } = require("./wamp.js");

const args = options();
const BEGINNING = "2000-01-01T00:00:00Z";

/** A handler that keeps the first argument of the events it gets. */
function events() {
  const queue = new Queue("an event");
  return { handler: ([first]) => queue.push(first), take: (count) => queue.take(count) };
}

/** The publication ids of the events `0`, `1`, … */
async function published(session, topic, count) {
  const ids = [];
  for (let number = 0; number < count; number += 1) {
    ids.push((await within(session.publish(topic, [number], {}, told), "PUBLISHED")).id);
  }
  return ids;
}

/** What the broker says of a subscription. */
const status = (session, { id }) => within(session.call("fennec.subscription.status", [id]), "the result");

/** The entries of the past of a subscription, and whether there are more. */
async function past(session, { id }, asked = {}) {
  const { args: entries, kwargs } = await within(session.call("wamp.subscription.get_events", [id, asked]), "the result");
  return { entries, more: kwargs.is_limit_reached };
}

scenario("a subscription of Autobahn|JS goes on where it says, and then live", () =>
  withSessions(2, async (session, publisher) => {
    const topic = `log.${fresh("after")}`;
    const ids = await published(publisher, topic, 5);
    const { entries } = await past(session, await session.subscribe(topic, () => {}));
    const eventIds = entries.map(({ details }) => details.event_id);
    for (const [asked, expected] of [
      [{ after: ids[1] }, [2, 3, 4]],
      [{ _after: eventIds[2] }, [3, 4]],
      [{ after: BEGINNING }, [0, 1, 2, 3, 4]],
      [{ rewind: 2 }, [3, 4]],
      [{ _rewind: 1 }, [4]],
    ]) {
      await withSessions(1, async (other) => {
        const seen = events();
        const held = await other.subscribe(topic, seen.handler, asked);
        assert.deepEqual(await seen.take(expected.length), expected);
        const { recovered, first_available } = await status(other, held);
        assert.ok(recovered && first_available <= eventIds[0]);
      });
    }
    const seen = events();
    await session.subscribe(topic, seen.handler, { after: ids[3] });
    await publisher.publish(topic, ["live"], {}, told);
    assert.deepEqual(await seen.take(2), [4, "live"]);
  }),
);

scenario("a named subscription of Autobahn|JS goes on behind what was acknowledged, or sent", () =>
  withSessions(1, async (publisher) => {
    for (const [asked, done, expected] of [
      [{ durable: fresh("named"), acknowledge: "client" }, 2, [3, 4, "away"]],
      [{ _durable: fresh("named"), _acknowledge: "auto" }, undefined, ["away"]],
    ]) {
      const topic = `app.${fresh("named")}`;
      await withSessions(1, async (session) => {
        const seen = events();
        const held = await session.subscribe(topic, seen.handler, asked);
        const ids = await published(publisher, topic, 5);
        assert.deepEqual(await seen.take(5), [0, 1, 2, 3, 4]);
        if (done === undefined) return;
        await within(session.call("fennec.subscription.ack", [held.id, ids[done]]), "the result");
      });
      await publisher.publish(topic, ["away"], {}, told);
      await withSessions(1, async (session) => {
        const seen = events();
        await session.subscribe(topic, seen.handler, asked);
        assert.deepEqual(await seen.take(expected.length), expected);
      });
    }
  }),
);

scenario("a snapshot of Autobahn|JS ends, and it is told why", () =>
  withSessions(2, async (session, publisher) => {
    const topic = `log.${fresh("snapshot")}`;
    await published(publisher, topic, 5);
    for (const asked of [{ snapshot: true, rewind: 3 }, { _snapshot: true, _rewind: 3 }]) {
      const seen = events();
      const held = await session.subscribe(topic, seen.handler, asked);
      assert.equal(await within(held.on_unsubscribe, "the end"), "fennec.close.snapshot_end");
      assert.deepEqual(await seen.take(3), [2, 3, 4]);
      assert.equal(held.active, false);
    }
  }),
);

scenario("Autobahn|JS has a subscription replayed, and asks for the past", () =>
  withSessions(2, async (session, publisher) => {
    const topic = `log.${fresh("past")}`;
    const ids = await published(publisher, topic, 5);
    const seen = events();
    const held = await session.subscribe(topic, seen.handler);
    const replay = (asked) => within(session.call("fennec.subscription.replay", [held.id, asked]), "the result");
    assert.equal((await replay({ after: ids[2] })).recovered, true);
    assert.deepEqual(await seen.take(2), [3, 4]);
    await replay({ since: BEGINNING });
    assert.deepEqual(await seen.take(5), [0, 1, 2, 3, 4]);
    const numbers = async (asked) => {
      const { entries, more } = await past(session, held, asked);
      return [entries.map((entry) => entry.args[0]), more];
    };
    assert.deepEqual(await numbers({ limit: 2 }), [[0, 1], true]);
    assert.deepEqual(await numbers({ limit: 2, reverse: true }), [[4, 3], true]);
    assert.deepEqual(await numbers({ after_publication: ids[0], before_publication: ids[3] }), [[1, 2], false]);
    assert.deepEqual(await numbers({ from_publication: ids[0], until_publication: ids[1] }), [[0, 1], false]);
    assert.deepEqual(await numbers({ after_time: BEGINNING, topic }), [[0, 1, 2, 3, 4], false]);
    assert.deepEqual(await numbers({ until_time: BEGINNING }), [[], false]);
  }),
);

scenario("Wampy.js says options with an underscore, and is told all details", () =>
  withSessions(1, async (publisher) => {
    const topic = `log.${fresh("wampy")}`;
    const ids = await published(publisher, topic, 5);
    await withWampy(async (client) => {
      const queue = new Queue("an event");
      await within(client.subscribe(topic, (event) => queue.push(event), { _after: ids[2] }), "SUBSCRIBED");
      const [first, second] = await queue.take(2);
      assert.deepEqual([first.argsList, second.argsList], [[3], [4]]);
      assert.equal(first.details.recovered, true);
      assert.equal(second.details.recovered, undefined);
      assert.ok(first.details.event_id < second.details.event_id);
      const ending = new Queue("an event");
      const asked = { _after: first.details.event_id, _snapshot: true };
      await within(client.subscribe(topic, (event) => ending.push(event), { ...asked, match: "prefix" }), "SUBSCRIBED");
      assert.deepEqual((await ending.next()).argsList, [4]);
      // It does not announce that it understands when a subscription is ended for it.
      assert.equal((await ending.next()).details.snapshot_end, true);
    });
  }),
);

/** A client of MQTT 5; what comes is in its `packets`. */
async function connect() {
  const client = mqtt.connect(`mqtt://127.0.0.1:${args.mqtt}`, { protocolVersion: 5, clientId: fresh("js"), reconnectPeriod: 0 });
  client.packets = new Queue("a message");
  client.on("message", (_topic, _payload, packet) => client.packets.push(packet));
  await within(new Promise((resolve) => client.once("connect", resolve)), "the CONNACK");
  return client;
}

/** Subscribes, and gives the user properties of SUBACK and its code. */
function subscribe(client, filter, userProperties) {
  const answered = new Promise((resolve) => {
    const options = { qos: 1, properties: { userProperties } };
    client.subscribe(filter, options, (_error, _granted, packet) => resolve(packet));
  });
  return within(answered, "the SUBACK").then(({ granted, properties }) => [granted[0], properties?.userProperties ?? {}]);
}

scenario("MQTT.js asks for older events by user properties", async () => {
  const [publisher, topic] = [await connect(), `log/${fresh("mqtt")}`];
  for (let number = 0; number < 5; number += 1) {
    await publisher.publishAsync(topic, JSON.stringify({ number, odd: number % 2 === 1 }), { qos: 1 });
  }
  const numbers = (packets) => packets.map(({ payload }) => JSON.parse(payload).number);
  let eventIds;
  for (const [asked, expected] of [
    [() => ({ after: BEGINNING }), [0, 1, 2, 3, 4]],
    [() => ({ after: eventIds[1] }), [2, 3, 4]],
    [() => ({ rewind: "2" }), [3, 4]],
    [() => ({ rewind: "2", filter: '{"odd":true}' }), [1, 3]],
    [() => ({ rewind: "2", snapshot: "true" }), [3, 4]],
  ]) {
    const client = await connect();
    const [code, { recovered, first_available }] = await subscribe(client, topic, asked());
    assert.deepEqual([code, recovered], [1, "true"]);
    const packets = await client.packets.take(expected.length);
    assert.deepEqual(numbers(packets), expected);
    eventIds ??= packets.map(({ properties }) => properties.userProperties.event_id);
    assert.ok(first_available <= eventIds[0]);
    if (asked().snapshot) assert.equal((await client.packets.next()).topic, "fennec/close/snapshot_end");
    await client.endAsync();
  }
  assert.deepEqual(eventIds, [...eventIds].sort());
  assert.equal((await subscribe(publisher, topic, { after: "soon" }))[0], 0x83);
  await publisher.endAsync();
});

/** Reads events as a browser does that has seen the one of this id; `last` is undefined for none. */
async function* eventSource(query, last) {
  const headers = last ? { "Last-Event-ID": last } : {};
  const answer = await fetch(`http://127.0.0.1:${args.http}/subscribe?${new URLSearchParams(query)}`, { headers });
  assert.equal(answer.status, 200);
  let text = "";
  for await (const bytes of answer.body) {
    text += Buffer.from(bytes).toString();
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const lines = text.slice(0, end).split("\n").map((line) => line.split(/: (.*)/));
      text = text.slice(end + 2);
      const { id, event, data } = Object.fromEntries(lines);
      if (data) yield { id, event, data: JSON.parse(data) };
    }
  }
}

scenario("server-sent events go on behind the last one while others publish", () =>
  withSessions(1, async (publisher) => {
    const [topic, count] = [`log.${fresh("sse")}`, 400];
    const publishing = published(publisher, topic, count);
    const seen = [];
    let last;
    for (let piece = 1; seen.length < count; piece *= 3) {
      let left = piece;
      for await (const { id, event, data } of eventSource({ topic, after: BEGINNING }, last)) {
        if (event === "resume") {
          assert.equal(data.recovered, true);
          continue;
        }
        seen.push(data.args[0]);
        last = id;
        left -= 1;
        if (left === 0 || seen.length === count) break;
      }
    }
    assert.deepEqual(seen, [...Array(count).keys()]);
    await publishing;
  }),
);

run();
