"use strict";
// Runs scenarios one after the other and says how each went, a TAP line each. A scenario is an async function that
// waits for events only, each for at most `PATIENCE`; that nothing comes is shown by a later event that does come.

const assert = require("node:assert/strict");

// Milliseconds. Long, for a machine under load; only a failure ever takes so long.
const PATIENCE = 20_000;

const scenarios = [];

/** Adds what `run` runs; the name says the rule. */
function scenario(name, body) {
  scenarios.push({ name, body });
}

/** The options `--name value` of the command line. */
function options() {
  const words = process.argv.slice(2);
  const found = {};
  for (let at = 0; at < words.length; at += 2) found[words[at].replace(/^--/, "")] = words[at + 1];
  return found;
}

/** Runs all scenarios and ends the program. */
async function run() {
  const { only = "" } = options();
  const chosen = scenarios.filter(({ name }) => name.includes(only));
  console.log(`1..${chosen.length}`);
  let failed = 0;
  for (const [index, { name, body }] of chosen.entries()) {
    try {
      await within(body(), `the scenario`, 3 * PATIENCE);
      console.log(`ok ${index + 1} - ${name}`);
    } catch (error) {
      failed += 1;
      const text = (error && error.stack) || JSON.stringify(error);
      console.log(`not ok ${index + 1} - ${name}\n${text.replace(/^/gm, "# ")}`);
    }
  }
  process.exit(failed ? 1 : 0);
}

/** The promise, or an error when it takes too long. */
function within(promise, what, patience = PATIENCE) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come in ${patience} ms`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** What comes, in order; `next` waits for it. */
class Queue {
  constructor(what) {
    this.what = what;
    this.items = [];
    this.waiting = [];
  }

  push(item) {
    const waiting = this.waiting.shift();
    if (waiting) waiting(item);
    else this.items.push(item);
  }

  next() {
    if (this.items.length) return Promise.resolve(this.items.shift());
    return within(new Promise((resolve) => this.waiting.push(resolve)), this.what);
  }

  async take(count) {
    const taken = [];
    while (taken.length < count) taken.push(await this.next());
    return taken;
  }
}

let number = 0;

/** A name that nobody else uses. */
const fresh = (name) => `${name}-${process.pid}-${(number += 1)}`;

/** The numbers from 0 up to `count`, as texts. */
const counted = (count) => [...Array(count).keys()].map(String);

module.exports = { assert, counted, fresh, options, Queue, run, scenario, within };
