'use strict';
// azure-iot-provisioning-device-mqtt and azure-iot-device-mqtt over WebSockets, port 443.

const assert = require('node:assert/strict');
const { describe, it } = require('node:test');

const { Client, Message } = require('azure-iot-device');
const { MqttWs: HubMqttWs } = require('azure-iot-device-mqtt');
const { MqttWs } = require('azure-iot-provisioning-device-mqtt');

const world = require('./world');

describe('provisioning and hub over WebSockets', () => {
  for (const [name, attest] of Object.entries(world.attestations)) {
    it(`${name} reaches its hub and talks to it`, async () => {
      const device = await attest(`node-ws-${name.replace(/[^a-z]+/g, '-')}`);

      const state = await world.register(device, MqttWs, { model: 'thermometer' });

      assert.equal(state.status, 'assigned');
      assert.equal(state.deviceId, device.registrationId);
      const client = await connect(device, state);
      const registry = world.registryOf(state.assignedHub);
      const twin = await client.getTwin();
      assert.deepEqual(world.own(twin.properties.desired), world.initialTwin.properties.desired);
      await new Promise((resolve, reject) => {
        twin.properties.reported.update({ firmware: '1.2.3' }, (error) => (error ? reject(error) : resolve()));
      });
      const { responseBody: seen } = await registry.getTwin(state.deviceId);
      assert.equal(seen.properties.reported.firmware, '1.2.3');

      await world.changeDesired(twin, registry, state.deviceId, { interval: 5 });

      await client.sendEvent(new Message('x'.repeat(200_000)));
      await client.close();
    });
  }

  it('a wrong key is refused', async () => {
    await world.attestations['individual symmetric key']('node-ws-wrong-key');
    const stranger = world.keyDevice('node-ws-wrong-key', world.newKey());
    await assert.rejects(world.register(stranger, MqttWs), { name: 'UnauthorizedError' });
  });
});

/** Connects over WebSockets to the hub that the registration assigned. */
async function connect(device, state) {
  const client = Client.fromConnectionString(device.connectionString(state), HubMqttWs);
  if (device.credentials) {
    await client.setOptions({ cert: device.credentials.certificate, key: device.credentials.key });
  }
  await client.open();
  return client;
}
