'use strict';
// azure-iot-provisioning-device over every transport with every attestation; then azure-iot-device connects to the
// assigned hub over the same transport.

const assert = require('node:assert/strict');
const { describe, it } = require('node:test');

const { Message } = require('azure-iot-device');

const conversation = require('./conversation');
const transports = require('./transports');
const world = require('./world');

for (const [transport, { Provisioning, Hub, options, connected, abandons }] of Object.entries(transports)) {
  describe(`a device over ${transport}`, () => {
    for (const [name, attest] of Object.entries(world.attestations)) {
      it(`with ${name} reaches its hub and exchanges messages with it`, async () => {
        const registrationId = `node-${transport.toLowerCase()}-${name.replace(/[^a-z]+/g, '-')}`;
        const device = await attest(registrationId);

        const state = await world.register(device, Provisioning);

        assert.equal(state.status, 'assigned');
        assert.equal(state.deviceId, registrationId);
        assert.equal(state.substatus, 'initialAssignment');
        const { responseBody: identity } = await world.registryOf(state.assignedHub).get(registrationId);
        assert.equal(identity.authentication.type, device.credentials ? 'selfSigned' : 'sas');
        if (device.credentials) {
          assert.equal(identity.authentication.x509Thumbprint.primaryThumbprint, device.credentials.thumbprint);
        }
        const client = await world.connect(device, state, Hub, options);
        await conversation.telemetry(client);
        await conversation.cloudToDevice(client, state, { abandons });
        if (connected) {
          await conversation.twins(client, state);
          await conversation.methods(client, state);
        }
        await client.close();
      });
    }

    it('keeps device and hub when it registers again', async () => {
      const device = await world.attestations['derived group key'](`node-${transport.toLowerCase()}-again`);
      const first = await world.register(device, Provisioning);
      const second = await world.register(device, Provisioning);
      assert.deepEqual([second.assignedHub, second.deviceId], [first.assignedHub, first.deviceId]);
    });

    it('may send a payload', async () => {
      const device = await world.attestations['individual symmetric key'](`node-${transport.toLowerCase()}-payload`);
      assert.equal((await world.register(device, Provisioning, { model: 'thermometer' })).status, 'assigned');
    });

    it('with a wrong key is refused, by the service and by its hub', async () => {
      const registrationId = `node-${transport.toLowerCase()}-wrong-key`;
      const device = await world.attestations['individual symmetric key'](registrationId);
      const stranger = world.keyDevice(registrationId, world.newKey());
      await assert.rejects(world.register(stranger, Provisioning), world.unauthorized);
      await assert.rejects(world.service.getDeviceRegistrationState(registrationId), world.status(404));
      const state = await world.register(device, Provisioning);
      await assert.rejects(sendOnce(stranger, state, Hub), world.unauthorized);
    });

    it('is refused when its enrollment is disabled', async () => {
      const registrationId = `node-${transport.toLowerCase()}-disabled`;
      const key = world.newKey();
      const attestation = world.symmetricKey(key, world.newKey());
      await world.enroll(registrationId, attestation, { provisioningStatus: 'disabled' });
      await assert.rejects(world.register(world.keyDevice(registrationId, key), Provisioning), /status is disabled/);
    });
  });
}

/** Connects and sends one message; over HTTP the credentials are looked at only then. */
async function sendOnce(device, state, Hub) {
  const client = await world.connect(device, state, Hub);
  await client.sendEvent(new Message('x'));
}
