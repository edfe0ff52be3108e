'use strict';
// Enrollments that name CA certificates (caReferences), written by azure-iot-provisioning-service and used by
// azure-iot-provisioning-device with chains of every length. The CA certificates are uploaded by hand: the SDK has no
// calls for them.

const assert = require('node:assert/strict');
const https = require('node:https');
const { describe, it } = require('node:test');

const { ConnectionString, SharedAccessSignature } = require('azure-iot-common');

const transports = require('./transports');
const world = require('./world');

const policy = ConnectionString.parse(world.dev.serviceConnectionString);

/** A call of the resource manager's API for CA certificates; resolves with the parsed answer of a 200. */
function call(method, path, body) {
  const inAnHour = Math.floor(Date.now() / 1000) + 3600;
  const token = SharedAccessSignature.create(policy.HostName, policy.SharedAccessKeyName, policy.SharedAccessKey, inAnHour);
  const [host, port = 443] = policy.HostName.split(':');
  const options = {
    method,
    host,
    port,
    path: `${path}?api-version=2022-02-05`,
    headers: { authorization: token.toString(), 'content-type': 'application/json', 'if-match': '*' },
  };
  return new Promise((resolve, reject) => {
    const request = https.request(options, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => {
        const text = Buffer.concat(parts).toString();
        if (response.statusCode === 200) resolve(JSON.parse(text));
        else reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`));
      });
    });
    request.on('error', reject);
    request.end(JSON.stringify(body));
  });
}

const upload = (name, certificate, isVerified) => call('PUT', `/certificates/${name}`, { certificate, isVerified });

const named = (primary, secondary) => ({ type: 'x509', x509: { caReferences: { primary, secondary } } });

describe('enrollments that name CA certificates', () => {
  for (const [transport, { Provisioning }] of Object.entries(transports)) {
    it(`admit chains of every length over ${transport}`, async () => {
      const registrationId = `node-named-${transport.toLowerCase()}`;
      const { leaf, ...chain } = world.certificate('chain', registrationId);
      await upload(`${registrationId}-root`, chain.root, true);
      const group = await world.enrollGroup(`${registrationId}-group`, named(`${registrationId}-root`));
      assert.equal(group.attestation.x509.caReferences.primary, `${registrationId}-root`);

      const whole = world.certificateDevice(registrationId, chain);
      assert.equal((await world.register(whole, Provisioning)).status, 'assigned');
      const alone = world.certificateDevice(registrationId, { ...chain, certificate: leaf });
      await assert.rejects(world.register(alone, Provisioning), world.unauthorized);
      await upload(`${registrationId}-inner`, chain.inner, false);
      await upload(`${registrationId}-outer`, chain.outer, false);
      assert.equal((await world.register(alone, Provisioning)).status, 'assigned');
    });
  }

  it('are returned as stored, and admit no device while the CA is not verified', async () => {
    const registrationId = 'node-named-individual';
    const chain = world.certificate('chain', registrationId);
    await upload('node-unproved', chain.root, false);
    await world.enroll(registrationId, named('node-unproved', 'node-unproved'));
    const { responseBody: read } = await world.service.getIndividualEnrollment(registrationId);
    assert.deepEqual(read.attestation.x509.caReferences, { primary: 'node-unproved', secondary: 'node-unproved' });
    const device = world.certificateDevice(registrationId, chain);
    const { Provisioning } = Object.values(transports)[0];
    await assert.rejects(world.register(device, Provisioning), world.unauthorized);
    await upload('node-unproved', chain.root, true);
    assert.equal((await world.register(device, Provisioning)).status, 'assigned');
  });
});
