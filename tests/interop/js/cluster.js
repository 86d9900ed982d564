"use strict";
// Autobahn|JS and MQTT.js at the entries of a cluster: `--entries MQTT:HTTP,…`, `--victim PID` is the process of the first of them. What
// is below `crash/` is durable. Everybody hears everything, in one order; who loses its entry goes on at the next.

const autobahn = require("autobahn");
const mqtt = require("mqtt");
const { assert, fresh, options, Queue, run, scenario, within } = require("./tap.js");

const COUNT = 20;
const BEGINNING = "2000-01-01T00:00:00Z";
const args = options();
const entries = args.entries.split(",").map((entry) => {
  const [mqtt, http] = entry.split(":");
  return { mqtt, http };
});

/** A WAMP session that has joined at an entry; `ends` tells when its connection is gone. */
function join(entry) {
  const url = `ws://127.0.0.1:${entry.http}/ws`;
  const connection = new autobahn.Connection({ url, realm: "realm1", max_retries: 0, on_user_error: () => {} });
  const ends = new Queue("the end");
  const joined = new Promise((resolve, reject) => {
    connection.onopen = (session) => resolve(Object.assign(session, { connection, ends }));
    connection.onclose = (reason) => {
      ends.push(reason);
      reject(new Error(reason));
      return true;
    };
  });
  connection.open();
  return within(joined, "the WELCOME");
}

/** Events below a topic, behind `after`; each a text and the id of its publication. */
async function listen(session, topic, after) {
  const events = new Queue("an event");
  const heard = ([text], _kwargs, details) => events.push({ text: `${details.topic} ${text}`, id: details.publication });
  await within(session.subscribe(topic, heard, { match: "prefix", _after: after }), "the SUBSCRIBED");
  return events;
}

/** An MQTT client that has connected to an entry. */
async function connect(entry, more = {}) {
  const url = `mqtt://127.0.0.1:${entry.mqtt}`;
  const client = mqtt.connect(url, { protocolVersion: 5, clientId: fresh("js"), reconnectPeriod: 0, ...more });
  client.packets = new Queue("a message");
  client.ends = new Queue("the end");
  client.on("message", (topic, payload) => client.packets.push(`${topic.replaceAll("/", ".")} ${payload}`));
  client.on("close", () => client.ends.push("close"));
  client.on("error", () => {});
  client.connack = await within(new Promise((resolve) => client.once("connect", resolve)), "the CONNACK");
  return client;
}

/** One whose session is kept. */
const lasting = (entry, clientId) => connect(entry, { clientId, clean: false, properties: { sessionExpiryInterval: 600 } });

/** Has a session and a client at an entry publish; all of it is acknowledged. */
async function publish(entry, topic, round) {
  const [session, client] = [await join(entry), await connect(entry)];
  for (let number = 0; number < COUNT; number += 1) {
    const text = `${round}-${entry.http}-${number}`;
    await within(session.publish(`${topic}.wamp`, [text], {}, { acknowledge: true }), "the PUBLISHED");
    await within(client.publishAsync(`${topic.replaceAll(".", "/")}/mqtt`, text, { qos: 1 }), "the PUBACK");
  }
  session.connection.close();
  await within(client.endAsync(), "the end");
}

scenario("all entries tell one order, and a killed one is left without a gap", async () => {
  const topic = `crash.${fresh("order")}`;
  const filter = `${topic.replaceAll(".", "/")}/#`;
  const sessions = await Promise.all(entries.map(join));
  const listeners = await Promise.all(sessions.map((session) => listen(session, topic, BEGINNING)));
  const ids = entries.map(() => fresh("kept"));
  const clients = await Promise.all(entries.map((entry, at) => lasting(entry, ids[at])));
  for (const client of clients) await within(client.subscribeAsync(filter, { qos: 1 }), "the SUBACK");

  /** What each hears next is the same; the publication of the last of each session. */
  async function heard(count) {
    const told = await Promise.all(listeners.map((events) => events.take(count)));
    const texts = told.map((events) => events.map(({ text }) => text));
    texts.push(...(await Promise.all(clients.map((client) => client.packets.take(count)))));
    for (const other of texts) assert.deepEqual(other, texts[0]);
    assert.equal(new Set(texts[0]).size, count);
    return told.map((events) => events.at(-1).id);
  }

  await Promise.all(entries.map((entry) => publish(entry, topic, "before")));
  const last = await heard(2 * COUNT * entries.length);
  process.kill(Number(args.victim), "SIGKILL");
  await Promise.all([sessions[0].ends.next(), clients[0].ends.next()]);
  await Promise.all(entries.slice(1).map((entry) => publish(entry, topic, "after")));
  sessions[0] = await join(entries[1]);
  listeners[0] = await listen(sessions[0], topic, last[0]);
  clients[0] = await lasting(entries[1], ids[0]);
  assert.equal(clients[0].connack.sessionPresent, true);
  await heard(2 * COUNT * (entries.length - 1));
});

run();
