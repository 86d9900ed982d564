"use strict";
// SCRAM-SHA-256 and a token by MQTT.js. The broker knows `alice` (`--alice`, her password), and believes tokens that are signed with
// `--secret`.

const crypto = require("crypto");
const mqtt = require("mqtt");
const { assert, options, run, scenario, within } = require("./tap.js");

const args = options();
const hmac = (key, text) => crypto.createHmac("sha256", key).update(text).digest();

/** Connects by SCRAM-SHA-256; what the broker proved itself by is compared. */
function connectByScram(name, password) {
  const nonce = crypto.randomBytes(18).toString("base64");
  const bare = `n=${name},r=${nonce}`;
  const client = mqtt.connect(`mqtt://127.0.0.1:${args.mqtt}`, {
    protocolVersion: 5,
    reconnectPeriod: 0,
    properties: { authenticationMethod: "SCRAM-SHA-256", authenticationData: Buffer.from(`n,,${bare}`) },
  });
  let expected;
  client.handleAuth = (packet, callback) => {
    const first = packet.properties.authenticationData.toString();
    const said = Object.fromEntries(first.split(",").map((part) => [part[0], part.slice(2)]));
    const salted = crypto.pbkdf2Sync(password, Buffer.from(said.s, "base64"), Number(said.i), 32, "sha256");
    const last = `c=biws,r=${said.r}`;
    const message = `${bare},${first},${last}`;
    const key = hmac(salted, "Client Key");
    const signature = hmac(crypto.createHash("sha256").update(key).digest(), message);
    const proof = Buffer.from(key.map((byte, at) => byte ^ signature[at])).toString("base64");
    expected = `v=${hmac(hmac(salted, "Server Key"), message).toString("base64")}`;
    const properties = { authenticationMethod: "SCRAM-SHA-256", authenticationData: Buffer.from(`${last},p=${proof}`) };
    callback(undefined, { cmd: "auth", reasonCode: 24, properties });
  };
  const answer = new Promise((resolve) => {
    client.once("connect", (connack) => resolve(connack.properties.authenticationData.toString()));
    client.once("error", (error) => resolve(error.code));
  });
  return within(answer, "the CONNACK").then(async (told) => {
    await client.endAsync(true);
    return told === expected ? "proved" : told;
  });
}

scenario("MQTT.js connects by SCRAM-SHA-256, and the broker proves itself", async () => {
  assert.equal(await connectByScram("alice", args.alice), "proved");
  assert.equal(await connectByScram("alice", "wrong"), 0x87);
  assert.equal(await connectByScram("nobody", args.alice), 0x87);
});

/** A token signed by HS256. */
function token(claims) {
  const parts = [{ alg: "HS256" }, { sub: "eve", role: "owner", exp: Math.floor(Date.now() / 1000) + 600, ...claims }];
  const message = parts.map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
  return `${message}.${crypto.createHmac("sha256", args.secret).update(message).digest("base64url")}`;
}

scenario("MQTT.js connects by token", async () => {
  const connect = (password) =>
    mqtt.connect(`mqtt://127.0.0.1:${args.mqtt}`, { username: "eve", password, protocolVersion: 5, reconnectPeriod: 0 });
  const client = connect(token({}));
  await within(new Promise((resolve) => client.once("connect", resolve)), "the CONNACK");
  await client.endAsync();
  const refused = connect(token({ exp: 1 }));
  const error = await within(new Promise((resolve) => refused.once("error", resolve)), "the refusal");
  assert.equal(error.code, 0x86);
  await refused.endAsync(true);
});

scenario("a token of a web page is a Bearer", async () => {
  const ask = async (authorization) => {
    const headers = { "content-type": "application/json", authorization };
    const body = JSON.stringify({ mqtt_topic: "a", payload: 1 });
    return (await fetch(`http://127.0.0.1:${args.http}/publish`, { method: "POST", headers, body })).status;
  };
  assert.equal(await ask(`Bearer ${token({})}`), 200);
  assert.equal(await ask(`Bearer ${token({ exp: 1 })}`), 401);
  assert.equal(await ask("Bearer x"), 401);
});

run();
