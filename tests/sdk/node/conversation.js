'use strict';
// Messages, twins and methods between a device and the operators of its hub.

const assert = require('node:assert/strict');
const { on } = require('node:events');

const { Message } = require('azure-iot-device');

const world = require('./world');

/** Sends messages with properties, and one of nearly the largest size. */
async function telemetry(client) {
  const message = new Message(JSON.stringify({ temperature: 21.5 }));
  message.contentType = 'application/json';
  message.properties.add('unit', 'degrees/celsius');
  for (let count = 0; count < 5; count += 1) await client.sendEvent(message);
  await client.sendEvent(new Message('x'.repeat(200_000)));
}

/** Receives messages, returns the first once if the transport can, and settles them. */
async function cloudToDevice(client, state, { abandons }) {
  const messages = on(client, 'message', { signal: AbortSignal.timeout(30_000) });
  const next = async () => (await messages.next()).value[0];
  await world.sendToDevice(state, 'open the valve', { level: 'high' });
  if (abandons) await client.abandon(await next());
  const first = await next();
  assert.equal(first.data.toString(), 'open the valve');
  // Node's HTTP transport keeps the name of the header.
  assert.equal(first.properties.getValue('level') ?? first.properties.getValue('iothub-app-level'), 'high');
  await client.complete(first);
  await world.sendToDevice(state, 'close it', {});
  const second = await next();
  assert.equal(second.data.toString(), 'close it');
  if (abandons) await client.reject(second);
  else await client.complete(second);
  await messages.return();
  await eventually(async () => {
    const { responseBody: identity } = await world.registryOf(state.assignedHub).get(state.deviceId);
    return identity.cloudToDeviceMessageCount === 0;
  });
}

/** Reads the initial twin, reports, and hears of a desired change. */
async function twins(client, state) {
  const registry = world.registryOf(state.assignedHub);
  const twin = await client.getTwin();
  assert.deepEqual(world.own(twin.properties.desired), world.initialTwin.properties.desired);
  await report(twin, { firmware: '1.2.3', old: 1 });
  await report(twin, { firmware: '1.2.4', old: null });
  const { responseBody: seen } = await registry.getTwin(state.deviceId);
  assert.equal(seen.properties.reported.firmware, '1.2.4');
  assert.ok(!('old' in seen.properties.reported));
  const delta = await world.changeDesired(twin, registry, state.deviceId, { interval: 5 });
  const { responseBody: changed } = await registry.getTwin(state.deviceId);
  assert.equal(changed.properties.desired.interval, 5);
  assert.ok(delta.$version <= changed.properties.desired.$version);
}

/** Answers a direct method. */
async function methods(client, state) {
  const answered = new Promise((resolve, reject) => {
    client.onDeviceMethod('reboot', (request, response) => {
      response.send(200, { echo: request.payload }).then(resolve, reject);
    });
  });
  const call = { methodName: 'reboot', payload: { delay: 3 }, responseTimeoutInSeconds: 15 };
  const { result } = await invokeWhenReady(state, call);
  assert.deepEqual([result.status, result.payload], [200, { echo: { delay: 3 } }]);
  await answered;
}

/** Patches reported properties and waits for the hub's acknowledgement. */
function report(twin, patch) {
  return new Promise((resolve, reject) => {
    twin.properties.reported.update(patch, (error) => (error ? reject(error) : resolve()));
  });
}

/** Invokes a method; the SDK subscribes to methods in its own time after `onDeviceMethod`. */
async function invokeWhenReady(state, call) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return { result: (await world.methodsOf(state.assignedHub).invokeDeviceMethod(state.deviceId, call)).result };
    } catch (error) {
      if (attempt === 20) throw error;
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }
}

/** Waits for what MQTT does not confirm to the device. */
async function eventually(condition) {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail('it did not come to be');
}

module.exports = { cloudToDevice, methods, telemetry, twins };
