"use strict";
// Every proof of identity that Autobahn|JS, Wampy.js and MQTT.js know, over every transport and serializer. The broker and the folder
// `--pki` are those of `logins.py`.

const autobahn = require("autobahn");
const fs = require("fs");
const mqtt = require("mqtt");
const nacl = require("tweetnacl");
const path = require("path");
const { pathToFileURL } = require("url");
const wampyKey = require("wampy/cryptosign.js");
const { Wampy } = require("wampy");
const { CborSerializer } = require("wampy/CborSerializer.js");
const { JsonSerializer } = require("wampy/JsonSerializer.js");
const { MsgpackSerializer } = require("wampy/MsgpackSerializer.js");
const { w3cwebsocket } = require("websocket");
const WebSocket = require("ws");
const { assert, options, run, scenario, within } = require("./tap.js");

require("./xhr.js").install();

const args = options();
const FAILED = "wamp.error.authentication_failed";
const NO_METHOD = "wamp.error.no_matching_auth_method";

const pair = (byte) => nacl.sign.keyPair.fromSeed(new Uint8Array(32).fill(byte));
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const pem = (name) => fs.readFileSync(path.join(args.pki, `${name}.pem`));

const url = `ws://127.0.0.1:${args.http}/ws`;
const { JSONSerializer, MsgpackSerializer: Msgpack, CBORSerializer } = autobahn.serializer;
const transports = { "long-poll": () => ({ type: "longpoll", url: `http://127.0.0.1:${args.http}/lp` }) };
for (const [name, Serializer] of Object.entries({ json: JSONSerializer, msgpack: Msgpack, cbor: CBORSerializer })) {
  transports[`${name} over WebSocket`] = () => ({ type: "websocket", url, serializers: [new Serializer()] });
}
// It knows no other serializer there.
transports["json over RawSocket"] = () => ({ type: "rawsocket", host: "127.0.0.1", port: Number(args.rawsocket) });

/** What WELCOME tells by Autobahn|JS, or the reason of the refusal. */
function byAutobahn(connection) {
  const joined = new Promise((resolve) => {
    connection.onopen = (_session, { authid, authmethod, authrole }) => {
      resolve([authid, authmethod, authrole]);
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

/** Answers as the documentation of Autobahn|JS has it. */
function answering(secret, key) {
  return (_session, method, extra) => {
    if (method === "ticket") return secret;
    if (method === "cryptosign") return autobahn.auth_cryptosign.sign_challenge(key, extra);
    const { derive_key, sign } = autobahn.auth_cra;
    const salted = extra.salt ? derive_key(secret, extra.salt, extra.iterations, extra.keylen) : secret;
    return sign(salted, extra.challenge);
  };
}

for (const [name, transport] of Object.entries(transports)) {
  scenario(`Autobahn|JS logs in by all it knows, ${name}`, async () => {
    const join = (authmethods, authid, secret = args.alice, key = pair(7), more = {}) => {
      const proof = { authmethods, authid, onchallenge: answering(secret, key), ...more };
      if (authmethods && authmethods.includes("cryptosign")) proof.authextra = { pubkey: hex(key.publicKey) };
      const base = { transports: [transport()], realm: "realm1", max_retries: 0 };
      return byAutobahn(new autobahn.Connection({ ...base, ...proof }));
    };
    assert.deepEqual(await join(), ["anonymous", "anonymous", "anonymous"]);
    assert.deepEqual(await join(["anonymous"]), ["anonymous", "anonymous", "anonymous"]);
    assert.deepEqual(await join(["ticket"], "alice"), ["alice", "ticket", "owner"]);
    for (const authid of ["alice", "plain"]) {
      assert.deepEqual(await join(["wampcra"], authid), [authid, "wampcra", "owner"]);
      assert.equal(await join(["wampcra"], authid, "wrong"), FAILED);
    }
    for (const authid of ["alice", undefined]) {
      assert.deepEqual(await join(["cryptosign"], authid), ["alice", "cryptosign", "owner"]);
      assert.equal(await join(["cryptosign"], authid, "", pair(8)), FAILED);
    }
    assert.deepEqual(await join(["ticket", "wampcra"], "plain"), ["plain", "wampcra", "owner"]);
    assert.deepEqual(await join(["ticket", "wampcra"], "double"), ["double", "ticket", "owner"]);
    assert.equal(await join(["wampcra"], "double"), NO_METHOD);
  });
}

scenario("the connection that Autobahn|JS makes for a key needs nothing else", async () => {
  const config = { url, realm: "realm1", serializers: [new JSONSerializer()] };
  const join = (byte) => byAutobahn(autobahn.auth_cryptosign.create_connection({ ...config, pkey: pair(byte) }));
  assert.deepEqual(await join(7), ["alice", "cryptosign", "owner"]);
  assert.equal(await join(8), FAILED);
});

const shown = (name) => ({ ca: pem("ca"), cert: pem(name), key: pem(name) });

scenario("Autobahn|JS and Wampy.js show a certificate, and Autobahn|JS a key behind it", async () => {
  const secure = `wss://127.0.0.1:${args.https}/ws`;
  const join = (name, authmethods, more = {}) => {
    const options = { url: secure, realm: "realm1", max_retries: 0, authmethods, tlsConfiguration: shown(name), ...more };
    return byAutobahn(new autobahn.Connection(options));
  };
  assert.deepEqual(await join("press", ["tls"]), ["press", "tls", "owner"]);
  assert.equal(await join("press", ["tls"], { authid: "alice" }), FAILED);
  assert.equal(await join("stranger", ["tls"]), FAILED);
  assert.equal(await join("guarded", ["tls"]), NO_METHOD);
  const key = { authextra: { pubkey: hex(pair(7).publicKey) }, onchallenge: answering("", pair(7)) };
  assert.deepEqual(await join("guarded", ["cryptosign", "tls"], { ...key, authid: "guarded" }), [
    "guarded",
    "cryptosign",
    "owner",
  ]);
  // By the library that the documentation of Wampy.js names for this.
  const wampy = { authmethods: ["tls"], authid: "press", wsRequestOptions: shown("press"), ws: w3cwebsocket, at: secure };
  assert.deepEqual(await byWampy(wampy), ["press", "tls", "owner"]);
});

// This helper of Wampy.js is a module that cannot be required.
const wampyChallenge = import(pathToFileURL(require.resolve("wampy/wampcra.js")));

/** What WELCOME tells by Wampy.js, which picks the proof itself, or the error of the refusal. */
async function byWampy({ secret = args.alice, key = pair(7), at = url, ...more }) {
  const proofs = {
    authMode: "auto",
    authPlugins: {
      ticket: () => secret,
      wampcra: (await wampyChallenge).sign(secret),
      cryptosign: wampyKey.sign(hex(key.secretKey.slice(0, 32))),
    },
    authextra: { pubkey: hex(key.publicKey) },
  };
  const named = more.authid ? proofs : {};
  const client = new Wampy(at, { realm: "realm1", ws: WebSocket, autoReconnect: false, ...named, ...more });
  const welcome = await within(client.connect(), "the WELCOME").catch((error) => error.errorUri);
  if (typeof welcome === "string") return welcome;
  await within(client.disconnect(), "the GOODBYE");
  return [welcome.authid, welcome.authmethod, welcome.authrole];
}

for (const Serializer of [JsonSerializer, MsgpackSerializer, CborSerializer]) {
  scenario(`Wampy.js logs in by all it knows, ${Serializer.name}`, async () => {
    const join = (authmethods, authid, more = {}) =>
      byWampy({ serializer: new Serializer(), authmethods, authid, ...more });
    const nobody = await byWampy({ serializer: new Serializer() });
    assert.deepEqual(nobody, ["anonymous", "anonymous", "anonymous"]);
    assert.deepEqual(await join(["ticket"], "alice"), ["alice", "ticket", "owner"]);
    for (const authid of ["alice", "plain"]) {
      assert.deepEqual(await join(["wampcra"], authid), [authid, "wampcra", "owner"]);
      assert.equal(await join(["wampcra"], authid, { secret: "wrong" }), FAILED);
    }
    assert.deepEqual(await join(["cryptosign"], "alice"), ["alice", "cryptosign", "owner"]);
    assert.equal(await join(["cryptosign"], "alice", { key: pair(8) }), FAILED);
    assert.deepEqual(await join(["ticket", "wampcra", "cryptosign"], "plain"), ["plain", "wampcra", "owner"]);
    assert.deepEqual(await join(["ticket", "wampcra"], "double"), ["double", "ticket", "owner"]);
    assert.equal(await join(["wampcra"], "double"), NO_METHOD);
  });
}

scenario("a ticket that is wrong is refused", async () => {
  assert.equal(await byWampy({ authmethods: ["ticket"], authid: "alice", secret: "wrong" }), FAILED);
});

/** The client once it has its CONNACK, or the error. */
async function connected(where, more) {
  const client = mqtt.connect(where, { protocolVersion: 5, reconnectPeriod: 0, ca: pem("ca"), ...more });
  const came = new Promise((resolve, reject) => {
    client.once("connect", () => resolve(client));
    client.once("error", reject);
  });
  return within(came, "the CONNACK");
}

scenario("MQTT.js logs in by password, over WebSocket too", async () => {
  for (const where of [`mqtt://127.0.0.1:${args.mqtt}`, `ws://127.0.0.1:${args.http}/mqtt`]) {
    // MQTT 3.1.1 and 5: bad user name or password.
    for (const [protocolVersion, code] of [[4, 4], [5, 0x86]]) {
      const login = (password) => connected(where, { username: "alice", password, protocolVersion });
      await (await login(args.alice)).endAsync();
      const error = await login("wrong").catch((refused) => refused);
      assert.equal(error.code, code);
    }
  }
});

for (const where of [`mqtts://127.0.0.1:${args.mqtts}`, `wss://127.0.0.1:${args.https}/mqtt`]) {
  scenario(`MQTT.js logs in by password and by certificate over ${where.split(":")[0]}`, async () => {
    await (await connected(where, { username: "alice", password: args.alice })).endAsync();
    for (const protocolVersion of [4, 5]) {
      const client = await connected(where, { ...shown("press"), protocolVersion });
      const came = new Promise((resolve) => client.once("message", (_topic, payload) => resolve(payload.toString())));
      assert.equal((await client.subscribeAsync("own/press/#", { qos: 1 }))[0].qos, 1);
      await client.publishAsync("own/press/x", "mine", { qos: 1 });
      assert.equal(await within(came, "the message"), "mine");
      await client.endAsync();
    }
    // It is no user's, though it is believed: the client is nobody, who may not have this.
    const stranger = await connected(where, shown("stranger"));
    const refused = await stranger.subscribeAsync("own/press/#", { qos: 1 }).catch((error) => error);
    assert.match(refused.message, /Not authorized/);
    await stranger.endAsync();
  });
}

run();
