'use strict';
// azure-iot-provisioning-device over AMQP, with TLS and WebSockets: registration alone.

const assert = require('node:assert/strict');
const { describe, it } = require('node:test');

const { Amqp, AmqpWs } = require('azure-iot-provisioning-device-amqp');

const world = require('./world');

for (const Transport of [Amqp, AmqpWs]) {
  const prefix = `node-dps-${Transport.name.toLowerCase()}`;

  describe(`registration over ${Transport.name}`, () => {
    for (const [name, attest] of Object.entries(world.attestations)) {
      it(`with ${name}`, async () => {
        const registrationId = `${prefix}-${name.replace(/[^a-z]+/g, '-')}`;
        const device = await attest(registrationId);
        const first = await world.register(device, Transport, { model: 'thermometer' });
        assert.deepEqual([first.status, first.deviceId, first.substatus], ['assigned', registrationId, 'initialAssignment']);
        const again = await world.register(device, Transport);
        assert.deepEqual([again.assignedHub, again.deviceId], [first.assignedHub, first.deviceId]);
      });
    }

    it('with a wrong key is refused', async () => {
      const registrationId = `${prefix}-wrong-key`;
      await world.attestations['individual symmetric key'](registrationId);
      const stranger = world.keyDevice(registrationId, world.newKey());
      await assert.rejects(world.register(stranger, Transport), { condition: 'amqp:unauthorized-access' });
      await assert.rejects(world.service.getDeviceRegistrationState(registrationId), world.status(404));
    });

    it('is refused when its enrollment is disabled', async () => {
      const registrationId = `${prefix}-disabled`;
      const key = world.newKey();
      const attestation = world.symmetricKey(key, world.newKey());
      await world.enroll(registrationId, attestation, { provisioningStatus: 'disabled' });
      await assert.rejects(world.register(world.keyDevice(registrationId, key), Transport), /status is disabled/);
    });
  });
}
