"use strict";
// WAMP sessions of Autobahn|JS and Wampy.js over WebSocket and JSON, for programs that are about something else.

const autobahn = require("autobahn");
const { Wampy } = require("wampy");
const WebSocket = require("ws");
const { options, within } = require("./tap.js");

const url = `ws://127.0.0.1:${options().http}/ws`;

/** Options of a publication that is acknowledged. */
const told = { acknowledge: true };

/** A WAMP session that has joined. */
function join() {
  const connection = new autobahn.Connection({ url, realm: "realm1", max_retries: 0, on_user_error: () => {} });
  const joined = new Promise((resolve, reject) => {
    connection.onopen = (session) => resolve(Object.assign(session, { connection }));
    connection.onclose = (reason) => {
      reject(new Error(reason));
      return true;
    };
  });
  connection.open();
  return within(joined, "the WELCOME");
}

/** Gives `use` sessions and closes them afterwards. */
async function withSessions(count, use) {
  const sessions = await Promise.all([...Array(count)].map(() => join()));
  try {
    return await use(...sessions);
  } finally {
    sessions.filter((session) => session.isOpen).forEach((session) => session.connection.close());
  }
}

/** Gives `use` a Wampy client and ends it afterwards. */
async function withWampy(use) {
  const client = new Wampy(url, { realm: "realm1", ws: WebSocket, autoReconnect: false, uriValidation: "loose" });
  await within(client.connect(), "the WELCOME");
  try {
    return await use(client);
  } finally {
    await within(client.disconnect(), "the GOODBYE");
  }
}

module.exports = { join, told, withSessions, withWampy };
