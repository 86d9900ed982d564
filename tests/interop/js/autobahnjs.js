"use strict";
// Autobahn|JS: `--transport ws`, `rs` or `lp` (long-poll), which speak JSON only, `--serializer json`, `msgpack` or `cbor`.

const autobahn = require("autobahn");
const { assert, counted, Queue, options, run, scenario, within } = require("./tap.js");

const args = options();
const serializers = {
  json: autobahn.serializer.JSONSerializer,
  msgpack: autobahn.serializer.MsgpackSerializer,
  cbor: autobahn.serializer.CBORSerializer,
};

function transport() {
  const serializer = new serializers[args.serializer]();
  if (args.transport === "rs") {
    return { type: "rawsocket", host: "127.0.0.1", port: Number(args.rawsocket) };
  }
  if (args.transport === "lp") {
    require("./xhr.js").install();
    return { type: "longpoll", url: `http://127.0.0.1:${args.http}/lp` };
  }
  return { type: "websocket", url: `ws://127.0.0.1:${args.http}/ws`, serializers: [serializer] };
}

/** The promise of the end of each connection. */
const ends = new WeakMap();

/** A session that has joined; `ended` waits for its end. */
function join(more = {}) {
  const connection = new autobahn.Connection({
    transports: [transport()],
    realm: "realm1",
    max_retries: 0,
    on_user_error: () => {},
    ...more,
  });
  const joined = new Promise((resolve, reject) => {
    connection.onopen = (session, details) => resolve(Object.assign(session, { connection, details }));
    const closed = new Promise((end) => {
      connection.onclose = (reason, details) => {
        reject(Object.assign(new Error(`closed: ${reason}`), { details }));
        end(details.reason);
        return true;
      };
    });
    ends.set(connection, closed);
  });
  connection.open();
  return within(joined, "the WELCOME");
}

const ended = (session) => within(ends.get(session.connection), "the end");

/** Gives `use` sessions and closes them afterwards. */
async function withSessions(count, use) {
  const sessions = await Promise.all([...Array(count)].map(() => join()));
  try {
    return await use(...sessions);
  } finally {
    for (const session of sessions) {
      if (!session.isOpen) continue;
      session.connection.close();
      await ended(session);
    }
  }
}

/** A handler that keeps the events it gets. */
function events() {
  const queue = new Queue("an event");
  const handler = (args_, kwargs, details) => queue.push({ args: args_, kwargs, details });
  return { handler, next: () => queue.next(), firsts: async (n) => (await queue.take(n)).map((one) => one.args[0]) };
}

const told = { acknowledge: true };

/** The URI of the error that must come. */
async function refusal(promise) {
  const found = await within(promise, "an answer").then(
    (value) => ({ value }),
    (error) => ({ error }),
  );
  assert.ok(found.error, `no error but ${JSON.stringify(found.value)}`);
  return found.error.error ?? found.error.message;
}

scenario("a session joins its realm and leaves it", async () => {
  const session = await join();
  assert.ok(session.id > 0);
  // What the library can do and the broker says it can do too.
  const { publisher, subscriber, caller, callee } = session.features;
  assert.ok(publisher.publisher_identification && publisher.publisher_exclusion);
  assert.ok(publisher.subscriber_blackwhite_listing && subscriber.pattern_based_subscription);
  assert.ok(caller.caller_identification && caller.call_canceling && caller.progressive_call_results);
  assert.ok(callee.pattern_based_registration && callee.shared_registration);
  session.connection.close();
  assert.equal(await ended(session), "wamp.close.goodbye_and_out");
});

scenario("an unknown realm is refused", async () => {
  const error = await join({ realm: "no.such.realm.here" }).then(assert.fail, (found) => found);
  assert.equal(error.details.reason, "wamp.error.no_such_realm");
});

scenario("events reach exact, prefix and wildcard subscriptions", () =>
  withSessions(2, async (subscriber, publisher) => {
    const [exact, prefix, wildcard] = [events(), events(), events()];
    await subscriber.subscribe("com.app.topic.a", exact.handler);
    await subscriber.subscribe("com.app", prefix.handler, { match: "prefix" });
    await subscriber.subscribe("com..topic.", wildcard.handler, { match: "wildcard" });
    for (const topic of ["com.app.topic.a", "com.app.b", "com.other.topic.c"]) {
      await publisher.publish(topic, [topic], { of: topic }, told);
    }
    assert.deepEqual(await exact.firsts(1), ["com.app.topic.a"]);
    const found = [await prefix.next(), await prefix.next()];
    assert.deepEqual(found.map((event) => event.details.topic), ["com.app.topic.a", "com.app.b"]);
    assert.deepEqual(found[1].kwargs, { of: "com.app.b" });
    assert.deepEqual(await wildcard.firsts(2), ["com.app.topic.a", "com.other.topic.c"]);
  }),
);

scenario("an acknowledged publish has the id of its event, and the publisher is left out unless it asks", () =>
  withSessions(1, async (session) => {
    const mine = events();
    await session.subscribe("com.me", mine.handler);
    await session.publish("com.me", ["left out"], {}, told);
    const publication = await session.publish("com.me", ["asked"], {}, { ...told, exclude_me: false });
    const event = await mine.next();
    assert.deepEqual(event.args, ["asked"]);
    assert.equal(event.details.publication, publication.id);
  }),
);

scenario("black and white lists choose the receivers", () =>
  withSessions(3, async (one, other, publisher) => {
    const [first, second] = [events(), events()];
    await one.subscribe("com.lists", first.handler);
    await other.subscribe("com.lists", second.handler);
    await publisher.publish("com.lists", ["second"], {}, { ...told, exclude: [one.id] });
    await publisher.publish("com.lists", ["first"], {}, { ...told, eligible: [one.id] });
    await publisher.publish("com.lists", ["both"], {}, told);
    assert.deepEqual(await first.firsts(2), ["first", "both"]);
    assert.deepEqual(await second.firsts(2), ["second", "both"]);
  }),
);

scenario("a publisher and a caller are disclosed when they ask for it", () =>
  withSessions(2, async (one, other) => {
    const seen = events();
    await one.subscribe("com.who", seen.handler);
    await other.publish("com.who", [1], {}, { disclose_me: true });
    assert.equal((await seen.next()).details.publisher, other.id);
    await other.publish("com.who", [1]);
    assert.equal((await seen.next()).details.publisher, undefined);
    await one.register("com.caller", (_args, _kwargs, details) => [details.caller ?? null]);
    assert.deepEqual(await within(other.call("com.caller", [], {}, { disclose_me: true }), "the result"), [other.id]);
    assert.deepEqual(await within(other.call("com.caller"), "the result"), [null]);
  }),
);

scenario("a retained event comes to those who ask for it", () =>
  withSessions(2, async (publisher, subscriber) => {
    await publisher.publish("com.kept", ["value"], {}, { ...told, retain: true });
    const kept = events();
    await subscriber.subscribe("com.kept", kept.handler, { get_retained: true });
    const event = await kept.next();
    assert.deepEqual([event.args[0], event.details.retained], ["value", true]);
  }),
);

scenario("a call brings back the result", () =>
  withSessions(2, async (callee, caller) => {
    await callee.register("com.add", ([a, b]) => a + b);
    await callee.register("com.many", () => new autobahn.Result([1, 2], { three: 3 }));
    await callee.register("com.echo", ([value]) => value);
    assert.equal(await within(caller.call("com.add", [2, 3]), "the result"), 5);
    const many = await within(caller.call("com.many"), "the result");
    assert.deepEqual([many.args, many.kwargs], [[1, 2], { three: 3 }]);
    const structures = [[[], {}], { a: { b: [1] } }, "x".repeat(300_000)];
    for (const value of ["ünï \u{1f98a}", 2 ** 53 - 1, -1.5, null, true, ...structures]) {
      assert.deepEqual(await within(caller.call("com.echo", [value]), "the result"), value);
    }
  }),
);

scenario("errors of the callee reach the caller whole", () =>
  withSessions(2, async (callee, caller) => {
    await callee.register("com.fail", () => {
      throw new autobahn.Error("com.app.error", [1, "two"], { three: 3 });
    });
    const error = await within(caller.call("com.fail"), "the error").then(assert.fail, (found) => found);
    assert.deepEqual([error.error, error.args, error.kwargs], ["com.app.error", [1, "two"], { three: 3 }]);
    assert.equal(await refusal(caller.call("com.absent")), "wamp.error.no_such_procedure");
    assert.equal(await refusal(caller.register("com.fail", () => 1)), "wamp.error.procedure_already_exists");
  }),
);

scenario("progressive results come before the last one", () =>
  // This callee announces progressive_call_results but not call_canceling.
  withSessions(2, async (callee, caller) => {
    await callee.register("com.count", ([number], _kwargs, details) => {
      for (let step = 0; step < number; step += 1) details.progress([step]);
      return "done";
    });
    const steps = [];
    const call = caller.call("com.count", [20], {}, { receive_progress: true });
    // The promises of this library tell progress by a third handler.
    call.then(null, null, (step) => steps.push(step));
    assert.equal(await within(call, "the result"), "done");
    assert.deepEqual(steps, [...Array(20).keys()]);
  }),
);

scenario("a call ends when it is cancelled or its timeout has passed", () =>
  withSessions(2, async (callee, caller) => {
    const started = new Queue("an invocation");
    await callee.register("com.slow", () => {
      started.push(1);
      return new Promise(() => {});
    });
    const call = caller.call("com.slow");
    await started.next();
    // The callee cannot be interrupted, so the broker answers for it. (After any other mode this library takes the
    // answer to a cancelled call for a violation of the protocol.)
    call.cancel({ mode: "kill" });
    assert.equal(await refusal(call), "wamp.error.canceled");
    assert.equal(await refusal(caller.call("com.slow", [], {}, { timeout: 100 })), "wamp.error.timeout");
  }),
);

scenario("shared registrations take turns, and patterns are told the procedure", () =>
  withSessions(3, async (one, other, caller) => {
    await one.register("com.turns", () => 1, { invoke: "roundrobin" });
    await other.register("com.turns", () => 2, { invoke: "roundrobin" });
    const found = [];
    for (let turn = 0; turn < 4; turn += 1) found.push(await within(caller.call("com.turns"), "the result"));
    assert.deepEqual(found, [1, 2, 1, 2]);
    await one.register("com.tree", (_args, _kwargs, details) => details.procedure, { match: "prefix" });
    assert.equal(await within(caller.call("com.tree.leaf"), "the result"), "com.tree.leaf");
  }),
);

scenario("subscriptions and registrations can be ended", () =>
  withSessions(2, async (one, other) => {
    const [gone, end] = [events(), events()];
    const subscription = await one.subscribe("com.gone", gone.handler);
    await one.subscribe("com.end", end.handler);
    await within(one.unsubscribe(subscription), "UNSUBSCRIBED");
    await other.publish("com.gone", ["lost"], {}, told);
    await other.publish("com.end", ["end"], {}, told);
    assert.deepEqual(await end.firsts(1), ["end"]);
    const registration = await one.register("com.once", () => 1);
    await within(one.unregister(registration), "UNREGISTERED");
    assert.equal(await refusal(other.call("com.once")), "wamp.error.no_such_procedure");
  }),
);

scenario("testaments are published when the session is over", () =>
  withSessions(1, async (heir) => {
    const seen = events();
    await heir.subscribe("com.testament", seen.handler);
    const add = (session, args, more) => within(session.call("wamp.session.add_testament", args, more), "the result");
    await withSessions(2, async (one, other) => {
      await add(one, ["com.testament", ["last"], {}]);
      await add(one, ["com.testament", ["first"], {}], { scope: "detached" });
      await add(other, ["com.testament", ["never"], {}]);
      await within(other.call("wamp.session.flush_testaments"), "the result");
    });
    assert.deepEqual(await seen.firsts(2), ["first", "last"]);
  }),
);

scenario("many events keep their order", () =>
  withSessions(2, async (subscriber, publisher) => {
    const seen = events();
    await subscriber.subscribe("com.order", seen.handler);
    for (const text of counted(500)) publisher.publish("com.order", [text]);
    const found = await seen.firsts(500);
    // Its CBOR serializer is asynchronous and may overtake itself.
    if (args.serializer === "cbor") found.sort((a, b) => a - b);
    assert.deepEqual(found, counted(500));
  }),
);

run();
