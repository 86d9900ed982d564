"use strict";
// mosquitto_sub and mosquitto_pub on one side, Autobahn|JS on the other.

const autobahn = require("autobahn");
const { spawn } = require("node:child_process");
const readline = require("node:readline");
const { assert, options, Queue, run, scenario, within } = require("./tap.js");

const args = options();

async function page() {
  const connection = new autobahn.Connection({
    url: `ws://127.0.0.1:${args.http}/ws`,
    realm: "realm1",
    max_retries: 0,
  });
  const opened = new Promise((resolve) => (connection.onopen = resolve));
  connection.open();
  return Object.assign(await within(opened, "the WELCOME"), { connection });
}

scenario("mosquitto_sub -t 'app/#' sees what Autobahn|JS publishes to app.topic", async () => {
  const words = ["-p", args.mqtt, "-d", "-t", "app/#", "-F", "> %t %p"];
  const tool = spawn("stdbuf", ["-oL", "mosquitto_sub", ...words], { stdio: ["ignore", "pipe", "inherit"] });
  const lines = new Queue("a line");
  readline.createInterface({ input: tool.stdout }).on("line", (line) => lines.push(line));
  while (!(await lines.next()).includes("Subscribed (mid"));
  const session = await page();
  session.publish("app.topic", ["hello"]);
  session.publish("app.topic.deeper", [], { temperature: 21.5 });
  const message = async () => {
    for (let line; ; ) if ((line = await lines.next()).startsWith("> ")) return line;
  };
  assert.equal(await message(), '> app/topic "hello"');
  assert.equal(await message(), '> app/topic/deeper {"temperature":21.5}');
  session.connection.close();
  tool.kill();
});

scenario("Autobahn|JS sees what mosquitto_pub publishes to app/topic", async () => {
  const session = await page();
  const events = new Queue("an event");
  await session.subscribe("app.topic", (args_, kwargs) => events.push({ args: args_, kwargs }));
  const publish = (payload) =>
    new Promise((resolve) => {
      const words = ["-p", args.mqtt, "-t", "app/topic", "-m", payload];
      spawn("mosquitto_pub", words, { stdio: "inherit" }).on("close", resolve);
    });
  assert.equal(await within(publish("hello"), "the end of mosquitto_pub"), 0);
  assert.equal(await within(publish('{"kwargs":{"temperature":21.5}}'), "the end of mosquitto_pub"), 0);
  assert.deepEqual(await events.next(), { args: ["hello"], kwargs: {} });
  assert.deepEqual(await events.next(), { args: [], kwargs: { temperature: 21.5 } });
  session.connection.close();
});

run();
