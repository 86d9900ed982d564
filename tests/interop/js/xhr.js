"use strict";
// As much of XMLHttpRequest as Autobahn|JS asks of a browser for long-polling.

const http = require("http");

// Messages are not numbered, so those of one client must not overtake each other: one connection for all that is sent, others
// for what is waited for.
const sends = new http.Agent({ keepAlive: true, maxSockets: 1 });
const receives = new http.Agent({ keepAlive: true });

class Request {
  open(method, url) {
    this.method = method;
    this.url = url;
    this.headers = {};
    this.readyState = 1;
  }

  setRequestHeader(name, value) {
    this.headers[name] = value;
  }

  send(body) {
    const agent = this.url.endsWith("/receive") ? receives : sends;
    const headers = { ...this.headers, "content-length": Buffer.byteLength(body || "") };
    const request = http.request(this.url, { method: this.method, headers, agent }, (response) => {
      response.setEncoding("utf8");
      let text = "";
      response.on("data", (part) => (text += part));
      response.on("end", () => this.done(response.statusCode, response.statusMessage, text));
    });
    request.on("error", (error) => this.done(0, error.message, ""));
    if (this.timeout) request.setTimeout(this.timeout, () => request.destroy(new Error("timeout")));
    request.end(body || "");
  }

  done(status, statusText, responseText) {
    if (this.readyState === 4) return;
    Object.assign(this, { readyState: 4, status, statusText, responseText });
    this.onreadystatechange();
  }
}

/** Puts it where a browser has it. */
function install() {
  global.XMLHttpRequest = Request;
}

module.exports = { install };
