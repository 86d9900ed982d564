"use strict";
// TLS by MQTT.js, Autobahn|JS and Wampy.js. Node.js is started with the broker's certificate among those it trusts.

const autobahn = require("autobahn");
const mqtt = require("mqtt");
const { Wampy } = require("wampy");
const WebSocket = require("ws");
const { assert, options, Queue, run, scenario, within } = require("./tap.js");

const args = options();

for (const url of [`mqtts://127.0.0.1:${args.mqtts}`, `wss://127.0.0.1:${args.https}/mqtt`]) {
  scenario(`MQTT.js speaks over ${url.split(":")[0]}`, async () => {
    const client = mqtt.connect(url, { protocolVersion: 5, reconnectPeriod: 0 });
    await within(new Promise((resolve) => client.once("connect", resolve)), "the CONNACK");
    const packets = new Queue("a message");
    client.on("message", (_topic, payload) => packets.push(payload.toString()));
    await client.subscribeAsync("tls/js", { qos: 2 });
    await within(client.publishAsync("tls/js", "text", { qos: 2 }), "the acknowledgement");
    assert.equal(await packets.next(), "text");
    await client.endAsync();
  });
}

scenario("Autobahn|JS and Wampy.js speak over wss", async () => {
  const url = `wss://127.0.0.1:${args.https}/ws`;
  const connection = new autobahn.Connection({ url, realm: "realm1", max_retries: 0 });
  const opened = new Promise((resolve) => (connection.onopen = resolve));
  connection.open();
  const session = await within(opened, "the WELCOME");
  await session.register("tls.add", ([a, b]) => a + b);
  const wampy = new Wampy(url, { realm: "realm1", ws: WebSocket, autoReconnect: false });
  await within(wampy.connect(), "the WELCOME");
  assert.deepEqual((await within(wampy.call("tls.add", [40, 2]), "the result")).argsList, [42]);
  await wampy.disconnect();
  connection.close();
});

run();
