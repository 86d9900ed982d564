"use strict";
// Tickets and challenges by Autobahn|JS and Wampy.js, a password by MQTT.js. The broker knows `alice`.

const autobahn = require("autobahn");
const mqtt = require("mqtt");
const { Wampy } = require("wampy");
const WebSocket = require("ws");
const { assert, options, run, scenario, within } = require("./tap.js");

const args = options();
const url = `ws://127.0.0.1:${args.http}/ws`;

/** Answers a challenge by a ticket or a signature. */
function answer(secret, method, { challenge, salt, iterations, keylen }) {
  if (method === "ticket") return secret;
  const { derive_key, sign } = autobahn.auth_cra;
  return sign(salt ? derive_key(secret, salt, iterations, keylen) : secret, challenge);
}

/** The details of joining by Autobahn|JS, or the reason of the refusal. */
function joinByAutobahn(method, secret) {
  const connection = new autobahn.Connection({
    url,
    realm: "realm1",
    max_retries: 0,
    authid: "alice",
    authmethods: [method],
    onchallenge: (_session, asked, extra) => answer(secret, asked, extra),
  });
  const joined = new Promise((resolve) => {
    connection.onopen = (_session, details) => {
      resolve(details);
      connection.close();
    };
    connection.onclose = (_reason, details) => {
      resolve(details.reason);
      return true;
    };
  });
  connection.open();
  return within(joined, "the WELCOME");
}

/** The same by Wampy.js. */
async function joinByWampy(method, secret) {
  const client = new Wampy(url, {
    realm: "realm1",
    ws: WebSocket,
    autoReconnect: false,
    authid: "alice",
    authmethods: [method],
    onChallenge: (asked, extra) => answer(secret, asked, extra),
  });
  const details = await within(client.connect(), "the WELCOME").catch((error) => error.errorUri);
  if (typeof details === "object") await client.disconnect();
  return details;
}

for (const [library, join] of Object.entries({ "Autobahn|JS": joinByAutobahn, "Wampy.js": joinByWampy })) {
  for (const method of ["ticket", "wampcra"]) {
    scenario(`${library} joins by ${method}`, async () => {
      const details = await join(method, args.alice);
      assert.deepEqual([details.authid, details.authmethod, details.authrole], ["alice", method, "owner"]);
      assert.equal(await join(method, "wrong"), "wamp.error.authentication_failed");
    });
  }
}

scenario("MQTT.js connects by password, over WebSocket too", async () => {
  for (const where of [`mqtt://127.0.0.1:${args.mqtt}`, `ws://127.0.0.1:${args.http}/mqtt`]) {
    const connect = (password) => mqtt.connect(where, { username: "alice", password, reconnectPeriod: 0 });
    const client = connect(args.alice);
    await within(new Promise((resolve) => client.once("connect", resolve)), "the CONNACK");
    await client.endAsync();
    const refused = connect("wrong");
    const error = await within(new Promise((resolve) => refused.once("error", resolve)), "the refusal");
    // MQTT 3.1.1: bad user name or password.
    assert.equal(error.code, 4);
    await refused.endAsync(true);
  }
});

run();
