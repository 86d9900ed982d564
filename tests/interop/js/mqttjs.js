"use strict";
// MQTT.js: `--version 3`, `4` or `5`, `--transport tcp` or `ws`.

const mqtt = require("mqtt");
const { assert, counted, fresh, options, Queue, run, scenario, within } = require("./tap.js");

const args = options();
const version = Number(args.version);
const url = args.transport === "ws" ? `ws://127.0.0.1:${args.http}/mqtt` : `mqtt://127.0.0.1:${args.mqtt}`;

/** A connected client; what comes is in its `packets`. */
async function connect(more = {}) {
  const client = mqtt.connect(url, {
    protocolVersion: version,
    protocolId: version === 3 ? "MQIsdp" : "MQTT",
    clientId: fresh("js"),
    reconnectPeriod: 0,
    ...more,
  });
  client.packets = new Queue("a message");
  client.ends = new Queue("the end");
  // Where the broker sent an alias alone, the topic is not in the packet.
  client.on("message", (topic, _payload, packet) => client.packets.push({ ...packet, topic }));
  client.on("disconnect", (packet) => client.ends.push(packet.reasonCode));
  client.on("close", () => client.ends.push("close"));
  client.on("error", () => {});
  client.connack = await within(new Promise((resolve) => client.once("connect", resolve)), "the CONNACK");
  return client;
}

/** A client whose session outlives the connection. */
function lasting(clientId, more = {}) {
  const kept = version === 5 ? { properties: { sessionExpiryInterval: 600 } } : {};
  return connect({ clientId, clean: false, ...kept, ...more });
}

/** Gives `use` connected clients and ends them afterwards. */
async function withClients(makers, use) {
  const clients = await Promise.all(makers.map((maker) => maker()));
  try {
    return await use(...clients);
  } finally {
    await Promise.all(clients.map((client) => client.endAsync(true)));
  }
}

/** Cuts the connection without a DISCONNECT. */
async function drop(client) {
  client.stream.destroy();
  while ((await client.ends.next()) !== "close");
}

const texts = async (client, count) => (await client.packets.take(count)).map(({ payload }) => payload.toString());

scenario("every pair of QoS is delivered with the lower one", () =>
  withClients([connect, connect], async (subscriber, publisher) => {
    for (const granted of [0, 1, 2]) {
      const topic = fresh("qos");
      const [{ qos }] = await within(subscriber.subscribeAsync(topic, { qos: granted }), "the SUBACK");
      assert.equal(qos, granted);
      for (const published of [0, 1, 2]) {
        await within(publisher.publishAsync(topic, `${published}`, { qos: published }), "the acknowledgement");
        const packet = await subscriber.packets.next();
        assert.deepEqual([packet.topic, packet.payload.toString()], [topic, `${published}`]);
        assert.equal(packet.qos, Math.min(granted, published));
      }
    }
  }),
);

scenario("a burst of every QoS arrives in order", () =>
  withClients([connect, connect], async (subscriber, publisher) => {
    for (const qos of [0, 1, 2]) {
      const topic = fresh("burst");
      await subscriber.subscribeAsync(topic, { qos });
      for (let wave = 0; wave < 20; wave += 1) {
        // MQTT.js does not look at the broker's receive maximum.
        const sent = Promise.all(counted(15).map((text) => publisher.publishAsync(topic, text, { qos })));
        await within(sent, "the acknowledgements");
        assert.deepEqual(await texts(subscriber, 15), counted(15));
      }
    }
  }),
);

scenario("a retained message comes to those who subscribe later, until it is cleared", () =>
  withClients([connect, connect], async (subscriber, publisher) => {
    const topic = fresh("kept");
    await publisher.publishAsync(topic, "value", { qos: 1, retain: true });
    await subscriber.subscribeAsync(topic, { qos: 1 });
    const packet = await subscriber.packets.next();
    assert.deepEqual([packet.payload.toString(), packet.retain], ["value", true]);
    await subscriber.unsubscribeAsync(topic);
    await publisher.publishAsync(topic, "", { qos: 1, retain: true });
    await subscriber.subscribeAsync(topic, { qos: 1 });
    await publisher.publishAsync(topic, "live", { qos: 1 });
    assert.deepEqual(await texts(subscriber, 1), ["live"]);
  }),
);

scenario("a will is published when the connection is cut", () =>
  withClients([connect], async (watcher) => {
    const topic = fresh("will");
    await watcher.subscribeAsync(topic, { qos: 1 });
    await drop(await connect({ will: { topic, payload: Buffer.from("gone"), qos: 1, retain: false } }));
    assert.deepEqual(await texts(watcher, 1), ["gone"]);
  }),
);

scenario("a lasting session is found again with what came meanwhile", () =>
  withClients([connect], async (publisher) => {
    const [topic, clientId] = [fresh("queue"), fresh("lasting")];
    await withClients([() => lasting(clientId)], async (sleeper) => {
      assert.equal(sleeper.connack.sessionPresent, false);
      await sleeper.subscribeAsync(topic, { qos: 2 });
    });
    for (const text of counted(10)) await publisher.publishAsync(topic, text, { qos: 1 });
    await withClients([() => lasting(clientId)], async (sleeper) => {
      assert.equal(sleeper.connack.sessionPresent, version !== 3);
      assert.deepEqual(await texts(sleeper, 10), counted(10));
    });
    await withClients([() => connect({ clientId, clean: true })], async (again) => {
      assert.equal(again.connack.sessionPresent, false);
    });
  }),
);

scenario("a second client of the same id takes over", async () => {
  const clientId = fresh("twin");
  await withClients([connect], async (publisher) => {
    const first = await lasting(clientId);
    await withClients([() => lasting(clientId)], async (second) => {
      if (version === 5) assert.equal(await first.ends.next(), 0x8e);
      while ((await first.ends.next()) !== "close");
      const topic = fresh("take");
      await second.subscribeAsync(topic, { qos: 1 });
      await publisher.publishAsync(topic, "to the second", { qos: 1 });
      assert.deepEqual(await texts(second, 1), ["to the second"]);
    });
  });
});

scenario("large payloads arrive whole", () =>
  withClients([connect, connect], async (subscriber, publisher) => {
    const topic = fresh("large");
    await subscriber.subscribeAsync(topic, { qos: 1 });
    const payload = Buffer.alloc(1_500_000, "0123456789abcdef");
    await within(publisher.publishAsync(topic, payload, { qos: 1 }), "the acknowledgement");
    assert.ok((await subscriber.packets.next()).payload.equals(payload));
  }),
);

if (version === 5) {
  scenario("properties pass through", () =>
    withClients([connect, connect], async (subscriber, publisher) => {
      const topic = fresh("properties");
      const properties = {
        payloadFormatIndicator: true,
        contentType: "application/json",
        responseTopic: "answers/here",
        correlationData: Buffer.from([0, 255]),
        userProperties: { a: ["1", "2"], b: "3" },
      };
      await subscriber.subscribeAsync(topic, { qos: 1 });
      await publisher.publishAsync(topic, "{}", { qos: 1, properties: { ...properties, messageExpiryInterval: 60 } });
      const { messageExpiryInterval, ...found } = (await subscriber.packets.next()).properties;
      assert.ok(messageExpiryInterval > 50 && messageExpiryInterval <= 60);
      assert.deepEqual({ ...found, userProperties: { ...found.userProperties } }, properties);
    }),
  );

  scenario("topic aliases are used in both directions", () => {
    const aliasing = () => connect({ autoAssignTopicAlias: true, properties: { topicAliasMaximum: 5 } });
    return withClients([aliasing, aliasing], async (subscriber, publisher) => {
      const topics = counted(8).map((text) => fresh(`alias${text}`));
      for (const topic of topics) await subscriber.subscribeAsync(topic, { qos: 1 });
      const sent = [...topics, ...topics, ...topics];
      for (const topic of sent) await publisher.publishAsync(topic, topic, { qos: 1 });
      const found = await subscriber.packets.take(sent.length);
      assert.deepEqual(found.map(({ payload }) => payload.toString()), sent);
      assert.deepEqual(found.map(({ topic }) => topic), sent);
    });
  });

  scenario("subscription identifiers and options are kept", () =>
    withClients([connect, connect], async (one, other) => {
      const topic = fresh("options");
      const subscriptionIdentifier = 42;
      await one.subscribeAsync(topic, { qos: 1, nl: true, rap: true, properties: { subscriptionIdentifier } });
      await one.publishAsync(topic, "own", { qos: 1 });
      await other.publishAsync(topic, "foreign", { qos: 1, retain: true });
      const packet = await one.packets.next();
      assert.deepEqual([packet.payload.toString(), packet.retain], ["foreign", true]);
      assert.deepEqual(packet.properties.subscriptionIdentifier, 42);
    }),
  );

  scenario("a shared subscription gives each message to one member", () =>
    withClients([connect, connect, connect], async (publisher, ...members) => {
      const topic = fresh("work");
      for (const member of members) {
        await member.subscribeAsync([`$share/group/${topic}`, `${topic}/end`], { qos: 1 });
      }
      for (const text of counted(20)) await publisher.publishAsync(topic, text, { qos: 1 });
      await publisher.publishAsync(`${topic}/end`, "end", { qos: 1 });
      const shares = [];
      for (const member of members) {
        for (let text; (text = (await texts(member, 1))[0]) !== "end"; ) shares.push(text);
      }
      assert.deepEqual(shares.map(Number).sort((a, b) => a - b).map(String), counted(20));
    }),
  );

  scenario("a publish over the maximum packet size ends the connection with the reason 0x95", () =>
    withClients([connect], async (publisher) => {
      // The broker says its limit; MQTT.js does not look at it before it sends.
      const { maximumPacketSize } = publisher.connack.properties;
      assert.ok(maximumPacketSize > 0);
      publisher.publish(fresh("large"), Buffer.alloc(maximumPacketSize), () => {});
      assert.equal(await publisher.ends.next(), 0x95);
    }),
  );
}

run();
