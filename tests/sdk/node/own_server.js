'use strict';
// A `muster dev` that a test may restart. It listens on the high ports. The SDKs dial only the standard ports, so relays
// forward those of its third hub, whose address the shared `muster dev` does not use.

const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');

const world = require('./world');

const HUB = '127.0.0.13';
const CA_FILES = ['ca.pem', 'ca.key', 'ca-rsa.pem', 'ca-rsa.key'];

/** Starts the server; its hub is known to `world` from then on. Call `stop` at the end. */
async function start() {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'muster-node-'));
  // Node reads its trusted CAs at the start, so this server must use the CA of the shared one.
  for (const file of CA_FILES) {
    fs.copyFileSync(path.join(path.dirname(process.env.MUSTER_DEV_JSON), file), path.join(directory, file));
  }
  let server = await run(directory);
  const { ports, hubs } = readFacts(directory);
  const relays = await Promise.all([[443, ports.https], [8883, ports.mqtts], [5671, ports.amqps]].map(relay));
  const { name, connectionString } = hubs.find((hub) => hub.hostName.startsWith(HUB));
  world.dev.hubs.push({ name, hostName: HUB, connectionString: connectionString.replace(`${HUB}:${ports.https}`, HUB) });
  return {
    hostName: HUB,
    /** Ends the server by the signal and starts it again. */
    async restart(signal) {
      await end(server, signal);
      server = await run(directory);
    },
    async stop() {
      relays.forEach((listener) => listener.close());
      await end(server, 'SIGTERM');
      fs.rmSync(directory, { recursive: true });
    },
  };
}

const readFacts = (directory) => JSON.parse(fs.readFileSync(path.join(directory, 'dev.json'), 'utf8'));

async function run(directory) {
  const facts = path.join(directory, 'dev.json');
  fs.rmSync(facts, { force: true });
  const log = fs.openSync(path.join(directory, 'dev.log'), 'a');
  const server = spawn(process.env.MUSTER_BIN, ['dev', '--dir', directory, '--ports', 'high', '--hubs', '3'], {
    stdio: ['ignore', log, log],
  });
  fs.closeSync(log);
  for (let waits = 0; !fs.existsSync(facts); waits += 1) {
    if (server.exitCode !== null || waits > 600) {
      throw new Error(`muster dev did not start:\n${fs.readFileSync(path.join(directory, 'dev.log'), 'utf8')}`);
    }
    await sleep(50);
  }
  return server;
}

async function end(server, signal) {
  const ended = once(server, 'exit');
  server.kill(signal);
  const [code] = await ended;
  if (signal === 'SIGTERM' && code !== 0) throw new Error(`muster dev ended with ${code}`);
}

/** Passes connections to a standard port on; while no server is there, they are closed at once. */
async function relay([port, target]) {
  const listener = net.createServer((client) => {
    const server = net.connect(target, HUB);
    for (const [source, sink] of [[client, server], [server, client]]) {
      source.pipe(sink);
      source.on('error', () => sink.destroy());
      source.on('close', () => sink.destroy());
    }
  });
  listener.listen(port, HUB);
  await once(listener, 'listening');
  return listener;
}

module.exports = { start };
