// Workers share a resource that only one of them may use at a time: the same as resource_lock.rs, with Autobahn|JS.
//
//   npm install && node resource_lock.js NAME [URL] [SECONDS]

const autobahn = require('autobahn')

const RESOURCE = 'myapp.resource'
const name = process.argv[2] || `worker-${process.pid}`
const url = process.argv[3] || 'ws://127.0.0.1:9780/ws'
const usedForMs = Number(process.argv[4] || 5) * 1000
const restMs = 1000

// Retries for ever, soon.
const retry = { max_retries: -1, initial_retry_delay: 0.5, max_retry_delay: 5 }
const connection = new autobahn.Connection({ url, realm: 'realm1', ...retry })

const say = what => console.log(`${name.padEnd(8)}| ${what}`)

connection.onopen = session => {
  say(`connected to ${url}`)
  const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

  // Set only when there is no value, wait until then, and clear it when this session goes.
  const lock = { acknowledge: true, retain: true, when: null, will: null, watch: true }
  const takeATurn = async () => {
    say(`waits for ${RESOURCE}`)
    await session.publish(RESOURCE, [{ worker: name, pid: process.pid }], {}, lock)
    say(`holds ${RESOURCE}`)
    await sleep(usedForMs)
    // The lock went with the session, if that is gone.
    if (!session.isOpen) return
    say(`releases ${RESOURCE}`)
    await session.publish(RESOURCE, [], {}, { acknowledge: true, retain: true })
    await sleep(restMs)
  }
  const work = async () => {
    while (session.isOpen) await takeATurn()
  }
  // What is refused because the connection is lost is tried again on the next one.
  work().catch(error => session.isOpen && fail(error))
}

connection.onclose = reason => {
  say(`${reason}; trying again`)
}

function fail (error) {
  console.error(error)
  process.exit(1)
}

connection.open()
