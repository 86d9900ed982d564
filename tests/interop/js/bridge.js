"use strict";
// MQTT.js, Autobahn|JS and Wampy.js meet: the properties of a message, in both directions.
//
// Autobahn|JS hands on the options of a publish that it does not know, but drops such details of an event; Wampy.js
// does the reverse. So one publishes and the other subscribes.

const autobahn = require("autobahn");
const mqtt = require("mqtt");
const { Wampy } = require("wampy");
const WebSocket = require("ws");
const { assert, fresh, options, Queue, run, scenario, within } = require("./tap.js");

const args = options();
const wampUrl = `ws://127.0.0.1:${args.http}/ws`;

async function device() {
  const client = mqtt.connect(`mqtt://127.0.0.1:${args.mqtt}`, { protocolVersion: 5, reconnectPeriod: 0 });
  client.packets = new Queue("a message");
  client.on("message", (_topic, _payload, packet) => client.packets.push(packet));
  await within(new Promise((resolve) => client.once("connect", resolve)), "the CONNACK");
  return client;
}

async function page() {
  const connection = new autobahn.Connection({ url: wampUrl, realm: "realm1", max_retries: 0 });
  const opened = new Promise((resolve) => (connection.onopen = resolve));
  connection.open();
  return Object.assign(await within(opened, "the WELCOME"), { connection });
}

async function watcher() {
  const client = new Wampy(wampUrl, { realm: "realm1", ws: WebSocket, autoReconnect: false, uriValidation: "loose" });
  await within(client.connect(), "the WELCOME");
  client.events = new Queue("an event");
  return client;
}

scenario("properties of MQTT 5 are details of the event", async () => {
  const name = fresh("app");
  const [sender, receiver] = [await device(), await watcher()];
  await within(receiver.subscribe(`${name}.topic`, (event) => receiver.events.push(event)), "SUBSCRIBED");
  const properties = {
    payloadFormatIndicator: true,
    contentType: "application/json",
    responseTopic: "answers/here",
    correlationData: Buffer.from("id"),
    userProperties: { a: ["1", "2"], b: "3" },
  };
  await sender.publishAsync(`${name}/topic`, '{"t":21}', { qos: 1, properties });
  const { argsList, details } = await receiver.events.next();
  assert.deepEqual(argsList, [{ t: 21 }]);
  assert.equal(details.content_type, "application/json");
  assert.equal(details.response_topic, "answers.here");
  // JSON has no bytes: a text that begins with NUL, then base64 (WAMP, Binary support in JSON).
  assert.equal(details.correlation_data, `\0${Buffer.from("id").toString("base64")}`);
  assert.deepEqual(details.user_properties, [["a", "1"], ["a", "2"], ["b", "3"]]);
  await sender.endAsync();
  await receiver.disconnect();
});

scenario("options of a publish are properties of MQTT 5", async () => {
  const name = fresh("app");
  const [sender, receiver] = [await page(), await device()];
  await receiver.subscribeAsync(`${name}/topic`, { qos: 1 });
  await sender.publish(`${name}.topic`, ["text"], {}, {
    acknowledge: true,
    content_type: "application/json",
    response_topic: "answers.here",
    correlation_data: "\0/wE=",
    user_properties: [["a", "1"], ["a", "2"], ["b", "3"]],
  });
  const packet = await receiver.packets.next();
  assert.equal(packet.payload.toString(), '"text"');
  const { contentType, responseTopic, correlationData, userProperties } = packet.properties;
  assert.deepEqual([contentType, responseTopic, [...correlationData]], ["application/json", "answers/here", [0xff, 1]]);
  assert.deepEqual({ ...userProperties }, { a: ["1", "2"], b: "3" });
  sender.connection.close();
  await receiver.endAsync();
});

scenario("a pattern with # of WAMP sees a tree as it does in MQTT", async () => {
  const name = fresh("app");
  const [sender, receiver] = [await device(), await page()];
  const events = new Queue("an event");
  await receiver.subscribe(`${name}.*.c.#`, (args_, _kwargs, details) => events.push([details.topic, args_]));
  for (const topic of ["a/c", "a/b/c", "b/c/d/e", "c"]) await sender.publishAsync(`${name}/${topic}`, "1", { qos: 1 });
  assert.deepEqual(await events.take(2), [[`${name}.a.c`, [1]], [`${name}.b.c.d.e`, [1]]]);
  receiver.connection.close();
  await sender.endAsync();
});

scenario("a question of a device is answered by a page", async () => {
  const name = fresh("app");
  const [asking, listening, answering] = [await device(), await watcher(), await page()];
  await within(listening.subscribe(`${name}.questions`, (event) => listening.events.push(event)), "SUBSCRIBED");
  await asking.subscribeAsync(`${name}/answers`, { qos: 1 });
  const properties = { responseTopic: `${name}/answers`, correlationData: Buffer.from([1]) };
  await asking.publishAsync(`${name}/questions`, '"why?"', { qos: 1, properties });
  const { details } = await listening.events.next();
  const { correlation_data } = details;
  await answering.publish(details.response_topic, ["therefore"], {}, { acknowledge: true, correlation_data });
  const answer = await asking.packets.next();
  assert.equal(answer.payload.toString(), '"therefore"');
  assert.deepEqual([...answer.properties.correlationData], [1]);
  await asking.endAsync();
  await listening.disconnect();
  answering.connection.close();
});

run();
