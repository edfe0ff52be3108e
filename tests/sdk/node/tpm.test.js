'use strict';
// azure-iot-security-tpm with tss.js, over a TPM that swtpm emulates: the device registers over every transport that the
// SDK offers for a TPM, and then signs for its hub inside the TPM.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const path = require('node:path');
const { after, describe, it } = require('node:test');
const { promisify } = require('node:util');

const { Client, Message } = require('azure-iot-device');
const { TpmAuthenticationProvider, TpmSecurityClient } = require('azure-iot-security-tpm');
const { Tpm } = require('tss.js');

const transports = require('./transports');
const world = require('./world');

const bridges = [];
after(() => bridges.forEach((bridge) => bridge.stdin.end()));

/** A new TPM, as the SDK sees it: `(registrationId) => security client`. */
async function newTpm() {
  const bridge = spawn(process.env.MUSTER_TEST_PYTHON, [path.join(__dirname, '../../lib/mssim_bridge.py')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  bridges.push(bridge);
  const [line] = await once(bridge.stdout, 'data');
  return (registrationId) => new TpmSecurityClient(registrationId, new Tpm(true, '127.0.0.1', Number(line)));
}

/** Calls a method of the SDK's client, of which only the form with a callback works. */
const ask = (security, method) => promisify(security[method]).call(security);

/** Enrolls the TPM under the name that the client has or makes of the endorsement key. */
async function enroll(security) {
  const registrationId = await ask(security, 'getRegistrationId');
  const endorsementKey = (await ask(security, 'getEndorsementKey')).toString('base64');
  await world.enroll(registrationId, { type: 'tpm', tpm: { endorsementKey } });
  return registrationId;
}

/** Registers and returns the registration state; with a TPM, and only then, the SDK returns the operation around it. */
const register = async (security, Provisioning) =>
  (await world.register({ security: () => security }, Provisioning)).registrationState;

/** Connects to the hub that was assigned, and sends a message. */
async function visitHub(security, state, Hub) {
  const provider = TpmAuthenticationProvider.fromTpmSecurityClient(state.deviceId, state.assignedHub, security);
  const client = Client.fromAuthenticationProvider(provider, Hub);
  await client.open();
  await client.sendEvent(new Message('21.5'));
  await client.close();
}

// The SDK offers no TPM over MQTT.
for (const transport of ['http', 'amqp', 'amqpWs']) {
  const { Provisioning, Hub } = transports[transport];
  describe(`a device with a TPM over ${transport}`, () => {
    it('registers, connects to its hub, and registers again', async () => {
      const tpm = await newTpm();
      const security = tpm();
      const registrationId = await enroll(security);
      assert.match(registrationId, /^[a-z2-7]{52}$/);

      const state = await register(security, Provisioning);

      assert.deepEqual([state.status, state.deviceId], ['assigned', registrationId]);
      await visitHub(security, state, Hub);
      const { responseBody: enrollment } = await world.service.getIndividualEnrollment(registrationId);
      assert.equal(enrollment.attestation.tpm.storageRootKey, (await ask(security, 'getStorageRootKey')).toString('base64'));

      const again = await register(security, Provisioning);
      assert.equal(again.deviceId, state.deviceId);
      await visitHub(security, again, transports.mqtt.Hub);
    });
  });
}

// Not over AMQP: the SDK does not notice that SASL is refused halfway, and waits forever.
it('a device with another TPM than the enrolled one is refused', async () => {
  const registrationId = 'node-wrong-tpm';
  const [tpm, other] = [await newTpm(), await newTpm()];
  await enroll(tpm(registrationId));
  await assert.rejects(register(other(registrationId), transports.http.Provisioning));
  await assert.rejects(world.service.getDeviceRegistrationState(registrationId), world.status(404));
});
