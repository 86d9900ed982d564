"use strict";
// Wampy.js: `--serializer json`, `msgpack` or `cbor`. It looks at the features in WELCOME before it uses one, and its
// MessagePack and CBOR encoders write ids above 2^32 as floating-point numbers.

const autobahn = require("autobahn");
const { Wampy } = require("wampy");
const { JsonSerializer } = require("wampy/JsonSerializer.js");
const { MsgpackSerializer } = require("wampy/MsgpackSerializer.js");
const { CborSerializer } = require("wampy/CborSerializer.js");
const WebSocket = require("ws");
const { assert, counted, options, Queue, run, scenario, within } = require("./tap.js");

const args = options();
const serializers = { json: JsonSerializer, msgpack: MsgpackSerializer, cbor: CborSerializer };

/** A client that has joined; `client.welcome` holds the details. */
async function join(more = {}) {
  const client = new Wampy(`ws://127.0.0.1:${args.http}/ws`, {
    realm: "realm1",
    ws: WebSocket,
    autoReconnect: false,
    uriValidation: "loose",
    serializer: new serializers[args.serializer](),
    payloadSerializers: { cbor: new CborSerializer() },
    ...more,
  });
  client.welcome = await within(client.connect(), "the WELCOME");
  return client;
}

/** Gives `use` clients and ends them afterwards. */
async function withClients(count, use) {
  const clients = await Promise.all([...Array(count)].map(() => join()));
  try {
    return await use(...clients);
  } finally {
    for (const client of clients) await within(client.disconnect(), "the GOODBYE");
  }
}

/** Its MessagePack decoder makes a BigInt of the id, which the library then does not take for a number. */
const sessionId = (client) => Number(client.getSessionId());

/** A handler that keeps the events it gets. */
function events() {
  const queue = new Queue("an event");
  return {
    handler: (event) => queue.push(event),
    next: () => queue.next(),
    firsts: async (count) => (await queue.take(count)).map(({ argsList }) => argsList[0]),
  };
}

/** The URI of the error that must come. */
async function refusal(promise) {
  const found = await within(promise, "an answer").then(
    (value) => ({ value }),
    (error) => ({ error }),
  );
  assert.ok(found.error, `no error but ${JSON.stringify(found.value)}`);
  return found.error.errorUri ?? found.error.message;
}

const result = (promise) => within(promise, "the result");

scenario("a session joins its realm and leaves it", () =>
  withClients(1, async (client) => {
    assert.ok(sessionId(client) > 0);
    assert.equal(client.welcome.realm ?? "realm1", "realm1");
    const { broker, dealer } = client.welcome.roles;
    assert.ok(broker.features && dealer.features);
  }),
);

scenario("events reach exact, prefix and wildcard subscriptions", () =>
  withClients(2, async (subscriber, publisher) => {
    const [exact, prefix, wildcard] = [events(), events(), events()];
    await within(subscriber.subscribe("com.app.topic.a", exact.handler), "SUBSCRIBED");
    await within(subscriber.subscribe("com.app", prefix.handler, { match: "prefix" }), "SUBSCRIBED");
    await within(subscriber.subscribe("com..topic.c", wildcard.handler, { match: "wildcard" }), "SUBSCRIBED");
    for (const topic of ["com.app.topic.a", "com.app.b", "com.other.topic.c"]) {
      await within(publisher.publish(topic, { argsList: [topic], argsDict: { of: topic } }), "PUBLISHED");
    }
    assert.deepEqual(await exact.firsts(1), ["com.app.topic.a"]);
    const found = [await prefix.next(), await prefix.next()];
    assert.deepEqual(found.map(({ details }) => details.topic), ["com.app.topic.a", "com.app.b"]);
    assert.deepEqual(found[1].argsDict, { of: "com.app.b" });
    assert.deepEqual(await wildcard.firsts(1), ["com.other.topic.c"]);
  }),
);

scenario("black and white lists and the exclusion of the publisher choose the receivers", () =>
  // This library leaves out `exclude_me: false`, so the publisher never gets its own events.
  withClients(3, async (publisher, one, other) => {
    const [own, first, second] = [events(), events(), events()];
    await within(publisher.subscribe("com.lists", own.handler), "SUBSCRIBED");
    await within(one.subscribe("com.lists", first.handler), "SUBSCRIBED");
    await within(other.subscribe("com.lists", second.handler), "SUBSCRIBED");
    const send = (from, text, more) => within(from.publish("com.lists", [text], more), "PUBLISHED");
    await send(publisher, "first", { exclude: [sessionId(other)] });
    await send(publisher, "second", { eligible: sessionId(other) });
    await send(one, "both");
    await send(publisher, "end");
    assert.deepEqual(await own.firsts(1), ["both"]);
    assert.deepEqual(await first.firsts(2), ["first", "end"]);
    assert.deepEqual(await second.firsts(3), ["second", "both", "end"]);
  }),
);

scenario("a publisher and a caller are disclosed when they ask for it", () =>
  withClients(2, async (one, other) => {
    const seen = events();
    await within(one.subscribe("com.who", seen.handler), "SUBSCRIBED");
    await within(other.publish("com.who", [1], { disclose_me: true }), "PUBLISHED");
    assert.equal(Number((await seen.next()).details.publisher), sessionId(other));
    await within(one.register("com.caller", ({ details }) => ({ argsList: [Number(details.caller)] })), "REGISTERED");
    const found = await result(other.call("com.caller", null, { disclose_me: true }));
    assert.deepEqual(found.argsList, [sessionId(other)]);
  }),
);

scenario("a retained event comes to those who ask for it", async () => {
  // This library checks the option `retain` of a publish and then leaves it out, so another one publishes.
  const connection = new autobahn.Connection({ url: `ws://127.0.0.1:${args.http}/ws`, realm: "realm1", max_retries: 0 });
  const opened = new Promise((resolve) => (connection.onopen = resolve));
  connection.open();
  const publisher = await within(opened, "the WELCOME");
  await publisher.publish("com.wampy.kept", ["value"], { key: 1 }, { acknowledge: true, retain: true });
  connection.close();
  await withClients(1, async (subscriber) => {
    const kept = events();
    await within(subscriber.subscribe("com.wampy.kept", kept.handler, { get_retained: true }), "SUBSCRIBED");
    const event = await kept.next();
    assert.deepEqual([event.argsList, event.argsDict, event.details.retained], [["value"], { key: 1 }, true]);
  });
});

scenario("a call brings back the result", () =>
  withClients(2, async (callee, caller) => {
    const echo = ({ argsList, argsDict }) => ({ argsList, argsDict });
    await within(callee.register("com.echo", echo), "REGISTERED");
    for (const value of ["ünï \u{1f98a}", 2 ** 53 - 1, -1.5, null, true, { a: { b: [1] } }, "x".repeat(300_000)]) {
      const found = await result(caller.call("com.echo", { argsList: [value], argsDict: { key: value } }));
      assert.deepEqual([found.argsList, found.argsDict], [[value], { key: value }]);
    }
  }),
);

scenario("errors reach the caller whole", () =>
  withClients(2, async (callee, caller) => {
    const fail = () => {
      throw { error: "com.app.error", argsList: [1, "two"], argsDict: { three: 3 } };
    };
    await within(callee.register("com.fail", fail), "REGISTERED");
    const error = await result(caller.call("com.fail")).then(assert.fail, (found) => found);
    assert.deepEqual([error.errorUri, error.argsList, error.argsDict], ["com.app.error", [1, "two"], { three: 3 }]);
    assert.equal(await refusal(caller.call("com.absent")), "wamp.error.no_such_procedure");
    assert.equal(await refusal(caller.register("com.fail", () => {})), "wamp.error.procedure_already_exists");
  }),
);

scenario("progressive results come before the last one", () =>
  withClients(2, async (callee, caller) => {
    const count = ({ argsList, result_handler }) => {
      for (let step = 0; step < argsList[0]; step += 1) {
        result_handler({ argsList: [step], options: { progress: true } });
      }
      return { argsList: ["done"] };
    };
    await within(callee.register("com.count", count), "REGISTERED");
    const steps = [];
    const progress_callback = ({ argsList }) => steps.push(argsList[0]);
    const last = await result(caller.call("com.count", [20], { progress_callback }));
    assert.deepEqual(last.argsList, ["done"]);
    assert.deepEqual(steps, [...Array(20).keys()]);
  }),
);

scenario("a call ends when it is cancelled or its timeout has passed", () =>
  withClients(2, async (callee, caller) => {
    const started = new Queue("an invocation");
    const slow = () => {
      started.push(1);
      return new Promise(() => {});
    };
    await within(callee.register("com.slow", slow), "REGISTERED");
    const call = caller.call("com.slow");
    await started.next();
    caller.cancel(caller.getOpStatus().reqId, { mode: "killnowait" });
    assert.equal(await refusal(call), "wamp.error.canceled");
    assert.equal(await refusal(caller.call("com.slow", null, { timeout: 100 })), "wamp.error.timeout");
  }),
);

scenario("shared registrations take turns, and patterns are told the procedure", () =>
  withClients(3, async (one, other, caller) => {
    await within(one.register("com.turns", () => ({ argsList: [1] }), { invoke: "roundrobin" }), "REGISTERED");
    await within(other.register("com.turns", () => ({ argsList: [2] }), { invoke: "roundrobin" }), "REGISTERED");
    const found = [];
    for (let turn = 0; turn < 4; turn += 1) found.push((await result(caller.call("com.turns"))).argsList[0]);
    assert.deepEqual(found, [1, 2, 1, 2]);
    const told = ({ details }) => ({ argsList: [details.procedure] });
    await within(one.register("com.tree", told, { match: "prefix" }), "REGISTERED");
    assert.deepEqual((await result(caller.call("com.tree.leaf"))).argsList, ["com.tree.leaf"]);
  }),
);

scenario("subscriptions and registrations can be ended", () =>
  withClients(2, async (one, other) => {
    const [gone, end] = [events(), events()];
    const { subscriptionKey } = await within(one.subscribe("com.gone", gone.handler), "SUBSCRIBED");
    await within(one.subscribe("com.end", end.handler), "SUBSCRIBED");
    await within(one.unsubscribe(subscriptionKey), "UNSUBSCRIBED");
    await within(other.publish("com.gone", ["lost"]), "PUBLISHED");
    await within(other.publish("com.end", ["end"]), "PUBLISHED");
    assert.deepEqual(await end.firsts(1), ["end"]);
    await within(one.register("com.once", () => {}), "REGISTERED");
    await within(one.unregister("com.once"), "UNREGISTERED");
    assert.equal(await refusal(other.call("com.once")), "wamp.error.no_such_procedure");
  }),
);

scenario("payloads in passthru mode arrive as they were packed", () =>
  withClients(2, async (one, other) => {
    // This library writes no binary in JSON.
    const binary = args.serializer !== "json";
    const mode = binary
      ? { ppt_scheme: "x_own", ppt_serializer: "cbor", ppt_keyid: "key1" }
      : { ppt_scheme: "mqtt", ppt_serializer: "native" };
    const packed = { argsList: [1, "two", [3]], argsDict: { four: 4 } };
    const seen = events();
    await within(one.subscribe("com.ppt", seen.handler), "SUBSCRIBED");
    await within(other.publish("com.ppt", packed, mode), "PUBLISHED");
    const event = await seen.next();
    assert.deepEqual([event.argsList, event.argsDict], [packed.argsList, packed.argsDict]);
    for (const [name, value] of Object.entries(mode)) assert.equal(event.details[name], value);
    const echo = ({ argsList, argsDict }) => ({ argsList, argsDict, options: mode });
    await within(one.register("com.ppt.echo", echo), "REGISTERED");
    const answer = await result(other.call("com.ppt.echo", packed, mode));
    assert.deepEqual([answer.argsList, answer.argsDict], [packed.argsList, packed.argsDict]);
    assert.equal(answer.details.ppt_scheme, mode.ppt_scheme);
  }),
);

scenario("testaments are published when the session is over", () =>
  withClients(1, async (heir) => {
    const seen = events();
    await within(heir.subscribe("com.testament", seen.handler), "SUBSCRIBED");
    await withClients(1, async (client) => {
      const testament = { argsList: ["com.testament", ["last"], {}], argsDict: { scope: "destroyed" } };
      await result(client.call("wamp.session.add_testament", testament));
    });
    assert.deepEqual(await seen.firsts(1), ["last"]);
  }),
);

scenario("many events keep their order", () =>
  withClients(2, async (subscriber, publisher) => {
    const seen = events();
    await within(subscriber.subscribe("com.order", seen.handler), "SUBSCRIBED");
    const sent = counted(500).map((text) => publisher.publish("com.order", [text]));
    assert.deepEqual(await seen.firsts(500), counted(500));
    await within(Promise.all(sent), "PUBLISHED");
  }),
);

run();
