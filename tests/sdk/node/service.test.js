'use strict';
// azure-iot-provisioning-service: enrollments, groups and registrations.

const assert = require('node:assert/strict');
const { describe, it } = require('node:test');

const { ProvisioningServiceClient } = require('azure-iot-provisioning-service');
const { Http } = require('azure-iot-provisioning-device-http');

const world = require('./world');

const { service, status } = world;
// Far below the number of records, so that there are several pages.
const PAGE = 3;

/** The routes of both kinds of enrollment under one set of names. */
const KINDS = {
  individual: {
    id: 'registrationId',
    put: (record) => service.createOrUpdateIndividualEnrollment(record),
    read: (id) => service.getIndividualEnrollment(id),
    remove: (...target) => service.deleteIndividualEnrollment(...target),
    query: (size) => service.createIndividualEnrollmentQuery({ query: 'SELECT * FROM enrollments' }, size),
    mechanism: (id) => service.getIndividualEnrollmentAttestationMechanism(id),
  },
  group: {
    id: 'enrollmentGroupId',
    put: (record) => service.createOrUpdateEnrollmentGroup(record),
    read: (id) => service.getEnrollmentGroup(id),
    remove: (...target) => service.deleteEnrollmentGroup(...target),
    query: (size) => service.createEnrollmentGroupQuery({ query: 'SELECT * FROM enrollmentGroups' }, size),
    mechanism: (id) => service.getEnrollmentGroupAttestationMechanism(id),
  },
};

for (const [name, kind] of Object.entries(KINDS)) {
  describe(`${name} enrollments`, () => {
    const record = (id, more = {}) => ({ [kind.id]: id, attestation: world.symmetricKey('', ''), ...more });
    const create = async (id, more) => (await kind.put(record(id, more))).responseBody;

    it('are returned as stored', async () => {
      const more = {
        initialTwin: world.initialTwin,
        capabilities: { iotEdge: true },
        reprovisionPolicy: { updateHubAssignment: false, migrateDeviceData: false },
        iotHubs: world.dev.hubs.map((hub) => hub.hostName),
        provisioningStatus: 'disabled',
      };
      await create(`node-Stored-${name}`, more);
      const { responseBody: read } = await kind.read(`node-stored-${name}`);
      assert.equal(read[kind.id], `node-Stored-${name}`);
      for (const member of Object.keys(more)) assert.deepEqual(read[member], more[member]);
    });

    it('are created once', async () => {
      await create(`node-twice-${name}`);
      await assert.rejects(create(`node-twice-${name}`), status(409));
    });

    it('are updated by etag', async () => {
      const first = await create(`node-update-${name}`);
      const { responseBody: second } = await kind.put({ ...first, provisioningStatus: 'disabled' });
      assert.equal(second.provisioningStatus, 'disabled');
      assert.notEqual(second.etag, first.etag);
      await assert.rejects(kind.put({ ...first, provisioningStatus: 'enabled' }), status(412));
      assert.equal((await kind.read(`node-update-${name}`)).responseBody.etag, second.etag);
    });

    it('are deleted by etag', async () => {
      const stored = await create(`node-delete-${name}`);
      await assert.rejects(kind.remove(`node-delete-${name}`, '"stale"'), status(412));
      await kind.remove(stored);
      await assert.rejects(kind.read(`node-delete-${name}`), status(404));
      await assert.rejects(kind.remove(`node-delete-${name}`), status(404));
    });

    it('show their generated keys only when asked', async () => {
      await create(`node-keys-${name}`);
      const { responseBody: shown } = await kind.mechanism(`node-keys-${name}`);
      assert.equal(Buffer.from(shown.symmetricKey.primaryKey, 'base64').length, 64);
      const { responseBody: read } = await kind.read(`node-keys-${name}`);
      assert.equal(read.attestation.type, 'symmetricKey');
      assert.ok(!JSON.stringify(read).includes(shown.symmetricKey.primaryKey));
    });

    it('are found in pages', async () => {
      const ids = Array.from({ length: 3 * PAGE + 1 }, (_, number) => `node-paged-${name}-${number}`);
      for (const id of ids) await create(id);
      const pages = await allPages(kind.query(PAGE));
      assert.ok(pages.length >= 4 && pages.every((page) => page.length <= PAGE));
      const found = pages.flat().map((one) => one[kind.id]);
      assert.equal(new Set(found).size, found.length);
      assert.deepEqual(ids.filter((id) => !found.includes(id)), []);
    });
  });
}

describe('bulk operations', () => {
  const ids = Array.from({ length: 10 }, (_, number) => `node-bulk-${number}`);
  const records = ids.map((registrationId) => ({ registrationId, attestation: world.symmetricKey('', '') }));

  it('create, update and delete ten at once', async () => {
    assert.equal((await bulk('create', records)).isSuccessful, true);
    const again = await bulk('create', records.slice(0, 2));
    assert.equal(again.isSuccessful, false);
    assert.deepEqual(again.errors.map((error) => error.registrationId).sort(), ids.slice(0, 2));

    const blind = await bulk('update', records.slice(0, 2));
    assert.equal(blind.isSuccessful, false);
    const stored = await Promise.all(ids.map((id) => service.getIndividualEnrollment(id)));
    const disabled = records.map((record, at) =>
      ({ ...record, provisioningStatus: 'disabled', etag: stored[at].responseBody.etag }));
    assert.equal((await bulk('update', disabled)).isSuccessful, true);
    assert.equal((await service.getIndividualEnrollment(ids[9])).responseBody.provisioningStatus, 'disabled');

    assert.equal((await bulk('delete', records)).isSuccessful, true);
    await assert.rejects(service.getIndividualEnrollment(ids[0]), status(404));
  });

  it('of eleven are refused', async () => {
    await assert.rejects(bulk('create', [...records, { ...records[0], registrationId: 'node-bulk-10' }]), status(400));
  });
});

describe('registrations', () => {
  it('of a group are listed, read and deleted', async () => {
    const device = await world.attestations['derived group key']('node-registered');
    const registered = await world.register(device, Http);

    const query = service.createEnrollmentGroupDeviceRegistrationStateQuery(
      { query: 'SELECT * FROM deviceRegistrations' }, 'node-registered-group', PAGE);
    const found = (await allPages(query)).flat();
    assert.deepEqual(found.map((state) => [state.registrationId, state.assignedHub]),
      [['node-registered', registered.assignedHub]]);

    const { responseBody: state } = await service.getDeviceRegistrationState('node-registered');
    assert.equal(state.status, 'assigned');
    await assert.rejects(service.deleteDeviceRegistrationState('node-registered', '"stale"'), status(412));
    await service.deleteDeviceRegistrationState(state);
    await assert.rejects(service.getDeviceRegistrationState('node-registered'), status(404));
  });
});

it('a wrong policy key is refused', async () => {
  const text = world.dev.serviceConnectionString.replace(/SharedAccessKey=.*/, `SharedAccessKey=${world.newKey()}`);
  const stranger = ProvisioningServiceClient.fromConnectionString(text);
  await assert.rejects(stranger.getIndividualEnrollment('anything'), status(401));
});

/** Every page of a query. */
async function allPages(query) {
  const pages = [];
  while (query.hasMoreResults) pages.push((await query.next(query.continuationToken)).responseBody);
  return pages;
}

/** Runs a bulk operation; the SDK's promise form never settles, so this takes its callback form. */
function bulk(mode, enrollments) {
  return new Promise((resolve, reject) => {
    service.runBulkEnrollmentOperation({ mode, enrollments }, (error, result) => (error ? reject(error) : resolve(result)));
  });
}
