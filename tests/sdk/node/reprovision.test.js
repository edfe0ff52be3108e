'use strict';
// Devices that register again, with azure-iot-provisioning-device and azure-iothub.

const assert = require('node:assert/strict');
const { describe, it } = require('node:test');

const { Http } = require('azure-iot-provisioning-device-http');

const world = require('./world');

const hubs = world.dev.hubs.slice(0, 2).map((hub) => hub.hostName);

/** Enrolls a device that is wanted at one of the hubs, or changes where it is wanted. */
async function wantedAt(registrationId, keys, number, reprovisionPolicy) {
  const found = await world.service.getIndividualEnrollment(registrationId).catch(() => undefined);
  const etag = found?.responseBody.etag;
  await world.enroll(registrationId, world.symmetricKey(...keys), { iotHubs: [hubs[number]], reprovisionPolicy, ...(etag && { etag }) });
}

const has = async (number, id) => world.registryOf(hubs[number]).get(id).then(() => true, () => false);

/** Waits until the hub does not have the device. */
async function leaves(number, id) {
  for (let tries = 0; tries < 100; tries += 1) {
    if (!await has(number, id)) return true;
    await new Promise((resolve) => { setTimeout(resolve, 200); });
  }
  return false;
}

describe('a device that comes back', () => {
  for (const [name, policy, expected] of [
    ['migrates', { updateHubAssignment: true, migrateDeviceData: true }, { hub: 1, substatus: 'deviceDataMigrated', by: 'hand' }],
    ['is reset', { updateHubAssignment: true, migrateDeviceData: false }, { hub: 1, substatus: 'deviceDataReset', by: undefined }],
    ['stays', { updateHubAssignment: false, migrateDeviceData: true }, { hub: 0, substatus: 'initialAssignment', by: 'hand' }],
  ]) {
    it(name, async () => {
      const id = `node-back-${name.replace(' ', '-')}`;
      const keys = [world.newKey(), world.newKey()];
      await wantedAt(id, keys, 0, policy);
      const device = world.keyDevice(id, keys[0]);
      const first = await world.register(device, Http);
      assert.deepEqual([first.assignedHub, first.substatus], [hubs[0], 'initialAssignment']);
      await world.registryOf(hubs[0]).updateTwin(id, { tags: { by: 'hand' } }, '*');

      await wantedAt(id, keys, 1, policy);
      const second = await world.register(device, Http);

      assert.deepEqual([second.assignedHub, second.substatus], [hubs[expected.hub], expected.substatus]);
      const { responseBody: twin } = await world.registryOf(second.assignedHub).getTwin(id);
      assert.deepEqual([twin.tags.site, twin.tags.by], ['plant 7', expected.by]);
      assert.ok(await leaves(1 - expected.hub, id));
    });
  }
});
