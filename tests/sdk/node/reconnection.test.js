'use strict';
// azure-iot-device still receives messages, calls and changes after its token was renewed, and after the server restarted.

const assert = require('node:assert/strict');
const { after, before, describe, it } = require('node:test');
const { setTimeout: sleep } = require('node:timers/promises');

const { Client: DeviceClient, SharedAccessKeyAuthenticationProvider } = require('azure-iot-device');

const ownServer = require('./own_server');
const transports = require('./transports');
const world = require('./world');

const CONNECTED = Object.entries(transports).filter(([, { connected }]) => connected);
// The back-off of the SDK between attempts to connect grows to some seconds.
const PATIENCE_MS = 60_000;
/** How long a token is valid, and how long before its end the SDK renews it, in seconds. */
const TOKENS = { renewed: { valid: 4, margin: 2 }, lasting: { valid: 3600, margin: 900 } };
const RENEWALS = 3;

/** A device at a hub, and what it has heard so far. */
class Device {
  constructor(transport, token, hostName) {
    const deviceId = `node-goes-on-${transport}-${token}`;
    Object.assign(this, { deviceId, transport, token, hostName, messages: [], desired: [], renewals: 0 });
  }

  /** Creates it at its hub, connects and listens for everything. */
  async join() {
    const key = world.newKey();
    const symmetricKey = { primaryKey: key, secondaryKey: world.newKey() };
    await world.registryOf(this.hostName).create({ deviceId: this.deviceId, authentication: { type: 'sas', symmetricKey } });
    const text = `HostName=${this.hostName};DeviceId=${this.deviceId};SharedAccessKey=${key}`;
    const { valid, margin } = TOKENS[this.token];
    const provider = SharedAccessKeyAuthenticationProvider.fromConnectionString(text, valid, margin);
    provider.on('newTokenAvailable', () => { this.renewals += 1; });
    this.client = DeviceClient.fromAuthenticationProvider(provider, transports[this.transport].Hub);
    // Without a listener, an error that the SDK recovers from would end the process.
    this.client.on('error', () => {});
    this.client.on('message', (message) => {
      this.messages.push(message.data.toString());
      this.client.complete(message, () => {});
    });
    this.client.onDeviceMethod('echo', (request, response) => response.send(200, request.payload, () => {}));
    await this.client.open();
    const twin = await this.client.getTwin();
    twin.on('properties.desired', (delta) => this.desired.push(delta.value));
  }

  /** Sends it a message, calls its method and changes its twin; all of it must arrive. */
  async hears(value) {
    await world.sendToDevice({ assignedHub: this.hostName, deviceId: this.deviceId }, value, {});
    await this.until('the message', () => this.messages.includes(value));
    await this.until('the method call', () => this.echoes(value));
    // A hub pushes changes only to connected devices, so several may be necessary.
    await this.until('the desired properties', async () => {
      await world.registryOf(this.hostName).updateTwin(this.deviceId, { properties: { desired: { value } } }, '*');
      await sleep(200);
      return this.desired.includes(value);
    });
  }

  async echoes(payload) {
    const call = { methodName: 'echo', payload, responseTimeoutInSeconds: 5 };
    const answered = await world.methodsOf(this.hostName).invokeDeviceMethod(this.deviceId, call).catch(() => undefined);
    return answered?.result.payload === payload;
  }

  async until(what, condition) {
    const deadline = Date.now() + PATIENCE_MS;
    while (!(await condition())) {
      if (Date.now() > deadline) assert.fail(`${this.deviceId} did not get ${what}`);
      await sleep(100);
    }
  }
}

describe('a device at a hub goes on hearing', () => {
  const devices = [];
  let server;

  /** Connects one device over each transport. */
  async function join(token) {
    const joining = CONNECTED.map(([transport]) => new Device(transport, token, server.hostName));
    devices.push(...joining);
    await each(joining, (device) => device.join());
    await each(joining, (device) => device.hears('at first'));
    return joining;
  }

  const each = (some, action) => Promise.all(some.map(action));

  before(async () => { server = await ownServer.start(); });

  after(async () => {
    await each(devices, (device) => device.client.close().catch(() => {}));
    await server?.stop();
  });

  it('when its token is renewed', async () => {
    const renewed = await join('renewed');
    await each(renewed, (device) => device.until('a new token', () => device.renewals >= RENEWALS));
    await each(renewed, (device) => device.hears('after renewals'));
    await each(renewed, (device) => device.client.close());
  });

  it('when the server is restarted', async () => {
    const lasting = await join('lasting');
    for (const signal of ['SIGTERM', 'SIGKILL']) {
      await server.restart(signal);
      await each(lasting, (device) => device.hears(`after ${signal}`));
    }
  });
});
