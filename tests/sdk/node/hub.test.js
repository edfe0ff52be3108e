'use strict';
// azure-iothub against an embedded hub: registry, twins, queries, methods.

const assert = require('node:assert/strict');
const { describe, it } = require('node:test');

const { Registry } = require('azure-iothub');

const world = require('./world');

const registry = world.registryOf();
const keys = { primaryKey: world.newKey(), secondaryKey: world.newKey() };

/** Creates a device and returns its identity. */
const create = async (deviceId) =>
  (await registry.create({ deviceId, status: 'enabled', authentication: { type: 'sas', symmetricKey: keys } })).responseBody;

describe('device identities', () => {
  it('are created, read, changed and deleted', async () => {
    const created = await create('node-crud');
    const { responseBody: read } = await registry.get('node-crud');
    assert.deepEqual(read.authentication.symmetricKey, keys);
    assert.equal(read.etag, created.etag);

    await registry.update({ ...plain(read), status: 'disabled', statusReason: 'broken' });
    assert.equal((await registry.get('node-crud')).responseBody.statusReason, 'broken');

    await registry.delete('node-crud');
    await assert.rejects(registry.get('node-crud'), { name: 'DeviceNotFoundError' });
    await assert.rejects(registry.delete('node-crud'), { name: 'DeviceNotFoundError' });
    await assert.rejects(registry.update(plain(read)), { name: 'DeviceNotFoundError' });
  });

  it('are created once', async () => {
    await create('node-twice');
    await assert.rejects(create('node-twice'), { name: 'DeviceAlreadyExistsError' });
  });

  it('get keys when none are given', async () => {
    const { responseBody } = await registry.create({ deviceId: 'node-generated' });
    assert.equal(responseBody.authentication.type, 'sas');
    assert.ok(responseBody.authentication.symmetricKey.primaryKey.length >= 24);
  });

  it('may have any allowed character in their id', async () => {
    const deviceId = "node-:.+%_#*?!(),=@;$'";
    await create(deviceId);
    assert.equal((await registry.get(deviceId)).responseBody.deviceId, deviceId);
    await registry.delete(deviceId);
  });

  it('are listed and counted', async () => {
    await create('node-listed');
    const { responseBody: devices } = await registry.list();
    assert.ok(devices.some((device) => device.deviceId === 'node-listed'));
    const { responseBody: statistics } = await registry.getRegistryStatistics();
    assert.ok(statistics.totalDeviceCount >= 1);
  });

  it('are handled in bulk', async () => {
    const devices = Array.from({ length: 5 }, (_, number) => ({ deviceId: `node-bulk-${number}` }));
    assert.equal((await registry.addDevices(devices)).responseBody.isSuccessful, true);
    const stored = (await registry.get('node-bulk-0')).responseBody;
    const changed = [{ ...plain(stored), status: 'disabled' }];
    assert.equal((await registry.updateDevices(changed, false)).responseBody.isSuccessful, true);
    assert.equal((await registry.get('node-bulk-0')).responseBody.status, 'disabled');
    assert.equal((await registry.removeDevices(devices, true)).responseBody.isSuccessful, true);
    await assert.rejects(registry.get('node-bulk-4'), { name: 'DeviceNotFoundError' });
  });
});

describe('twins', () => {
  it('are patched by etag', async () => {
    await create('node-twin');
    const { responseBody: before } = await registry.getTwin('node-twin');
    const patch = { tags: { site: 'A' }, properties: { desired: { a: { b: 1, c: [1, 2] } } } };
    const { responseBody: after } = await registry.updateTwin('node-twin', patch, before.etag);
    assert.deepEqual(after.tags, { site: 'A' });
    assert.deepEqual(world.own(after.properties.desired), { a: { b: 1, c: [1, 2] } });
    assert.equal(after.properties.desired.$version, before.properties.desired.$version + 1);

    await assert.rejects(registry.updateTwin('node-twin', patch, before.etag), { name: 'InvalidEtagError' });
    const { responseBody: forced } = await registry.updateTwin('node-twin', { tags: { site: null } }, '*');
    assert.deepEqual(forced.tags, {});
  });

  it('update themselves', async () => {
    await create('node-twin-self');
    const { responseBody: twin } = await registry.getTwin('node-twin-self');
    await twin.update({ properties: { desired: { n: 1 } } });
    assert.equal((await registry.getTwin('node-twin-self')).responseBody.properties.desired.n, 1);
  });

  it('are queried in pages', async () => {
    for (let number = 0; number < 5; number += 1) await create(`node-query-${number}`);
    const query = registry.createQuery('SELECT * FROM devices', 2);
    const found = [];
    let pages = 0;
    for (; query.hasMoreResults; pages += 1) {
      const { result } = await query.nextAsTwin();
      found.push(...result.map((twin) => twin.deviceId));
    }
    assert.ok(pages >= 3);
    assert.equal(new Set(found).size, found.length);
    for (let number = 0; number < 5; number += 1) assert.ok(found.includes(`node-query-${number}`));
  });
});

it('a method on an offline device is not found', async () => {
  await create('node-offline');
  const methods = world.methodsOf(world.dev.hubs[0].hostName);
  const call = { methodName: 'x', payload: {}, responseTimeoutInSeconds: 5 };
  await assert.rejects(methods.invokeDeviceMethod('node-offline', call), (error) => {
    assert.equal(error.response.statusCode, 404);
    assert.match(error.responseBody, /404103/);
    return true;
  });
});

it('a wrong policy key is refused', async () => {
  const hub = world.dev.hubs[0];
  const text = `HostName=${hub.hostName};SharedAccessKeyName=iothubowner;SharedAccessKey=${world.newKey()}`;
  await assert.rejects(Registry.fromConnectionString(text).get('anything'), { name: 'UnauthorizedError' });
});

/** The identity as plain JSON: the SDK's Device carries methods. */
function plain(device) {
  return JSON.parse(JSON.stringify(device));
}
