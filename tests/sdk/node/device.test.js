'use strict';
// azure-iot-provisioning-device over HTTPS and MQTT, then azure-iot-device-mqtt on the assigned hub.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const { after, before, describe, it } = require('node:test');

const { Message } = require('azure-iot-device');
const { Http } = require('azure-iot-provisioning-device-http');
const { Mqtt } = require('azure-iot-provisioning-device-mqtt');

const world = require('./world');

const TRANSPORTS = { http: Http, mqtt: Mqtt };

for (const [transport, Transport] of Object.entries(TRANSPORTS)) {
  describe(`provisioning over ${transport}`, () => {
    for (const [name, attest] of Object.entries(world.attestations)) {
      it(`${name} reaches its hub`, async () => {
        const registrationId = `node-${transport}-${name.replace(/[^a-z]+/g, '-')}`;
        const device = await attest(registrationId);

        const state = await world.register(device, Transport);

        assert.equal(state.status, 'assigned');
        assert.equal(state.deviceId, registrationId);
        assert.equal(state.substatus, 'initialAssignment');
        const { responseBody: identity } = await world.registryOf(state.assignedHub).get(registrationId);
        assert.equal(identity.authentication.type, device.credentials ? 'selfSigned' : 'sas');
        if (device.credentials) {
          assert.equal(identity.authentication.x509Thumbprint.primaryThumbprint, device.credentials.thumbprint);
        }
        const client = await world.connect(device, state);
        const twin = await client.getTwin();
        await client.close();
        assert.deepEqual(world.own(twin.properties.desired), world.initialTwin.properties.desired);
      });
    }

    it('registering again keeps device and hub', async () => {
      const device = await world.attestations['derived group key'](`node-${transport}-again`);
      const first = await world.register(device, Transport);
      const second = await world.register(device, Transport);
      assert.deepEqual([second.assignedHub, second.deviceId], [first.assignedHub, first.deviceId]);
    });

    it('a payload is accepted', async () => {
      const device = await world.attestations['individual symmetric key'](`node-${transport}-payload`);
      assert.equal((await world.register(device, Transport, { model: 'thermometer' })).status, 'assigned');
    });

    it('a wrong key is refused', async () => {
      const registrationId = `node-${transport}-wrong-key`;
      await world.attestations['individual symmetric key'](registrationId);
      const stranger = world.keyDevice(registrationId, world.newKey());
      await assert.rejects(world.register(stranger, Transport), { name: 'UnauthorizedError' });
      await assert.rejects(world.service.getDeviceRegistrationState(registrationId), world.status(404));
    });

    it('a disabled enrollment is refused', async () => {
      const registrationId = `node-${transport}-disabled`;
      const key = world.newKey();
      const attestation = world.symmetricKey(key, world.newKey());
      await world.enroll(registrationId, attestation, { provisioningStatus: 'disabled' });
      await assert.rejects(world.register(world.keyDevice(registrationId, key), Transport), /status is disabled/);
    });
  });
}

for (const name of ['derived group key', 'group certificate, intermediate enrolled']) {
  describe(`a device with a ${name} and its hub`, () => {
    let client, registry, state;

    before(async () => {
      const device = await world.attestations[name](`node-hub-${name.replace(/[^a-z]+/g, '-')}`);
      state = await world.register(device, Mqtt);
      client = await world.connect(device, state);
      registry = world.registryOf(state.assignedHub);
    });
    after(() => client.close());

    it('reports properties', async () => {
      const twin = await client.getTwin();
      await report(twin, { firmware: '1.2.3', old: 1 });
      await report(twin, { firmware: '1.2.4', old: null });
      const { responseBody } = await registry.getTwin(state.deviceId);
      assert.equal(responseBody.properties.reported.firmware, '1.2.4');
      assert.ok(!('old' in responseBody.properties.reported));
    });

    it('receives a desired change', async () => {
      const delta = await world.changeDesired(await client.getTwin(), registry, state.deviceId, { interval: 5 });
      const { responseBody } = await registry.getTwin(state.deviceId);
      assert.equal(responseBody.properties.desired.interval, 5);
      assert.ok(delta.$version <= responseBody.properties.desired.$version);
    });

    it('answers a direct method', async () => {
      const answered = new Promise((resolve) => {
        client.onDeviceMethod('reboot', (request, response) => {
          response.send(200, { echo: request.payload }).then(resolve);
        });
      });
      const { result } = await invokeWhenReady(state, { methodName: 'reboot', payload: { delay: 3 }, responseTimeoutInSeconds: 15 });
      assert.deepEqual([result.status, result.payload], [200, { echo: { delay: 3 } }]);
      await answered;
    });

    it('sends telemetry', async () => {
      const message = new Message(JSON.stringify({ temperature: 21.5 }));
      message.contentType = 'application/json';
      message.properties.add('a b', 'c/d');
      for (let count = 0; count < 10; count += 1) await client.sendEvent(message);
    });

    it('receives a cloud-to-device message', async () => {
      const received = once(client, 'message');
      await world.sendToDevice(state, 'open the valve', { level: 'high' });
      const [message] = await received;
      assert.equal(message.data.toString(), 'open the valve');
      assert.equal(message.properties.getValue('level'), 'high');
      await client.complete(message);
    });
  });
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
