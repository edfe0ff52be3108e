'use strict';
// The parts that every test file uses: the running `muster dev`, its service client, devices and certificates.

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const { createHmac, randomBytes } = require('node:crypto');
const { readFileSync } = require('node:fs');
const https = require('node:https');
const path = require('node:path');

const { ConnectionString, SharedAccessSignature } = require('azure-iot-common');
const { Client: DeviceClient } = require('azure-iot-device');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { ProvisioningServiceClient } = require('azure-iot-provisioning-service');
const { SymmetricKeySecurityClient } = require('azure-iot-security-symmetric-key');
const { X509Security } = require('azure-iot-security-x509');
const { Client, Registry } = require('azure-iothub');

if (!process.env.MUSTER_DEV_JSON) {
  throw new Error('run through tests/lib/muster_dev.py, which starts `muster dev` and says where it is');
}

/** dev.json of the running `muster dev`. */
const dev = JSON.parse(readFileSync(process.env.MUSTER_DEV_JSON, 'utf8'));

/** The provisioning service client. */
const service = ProvisioningServiceClient.fromConnectionString(dev.serviceConnectionString);

/** What every enrollment of these tests seeds the twin with. */
const initialTwin = { tags: { site: 'plant 7' }, properties: { desired: { interval: 30, sensors: { names: ['t1', 't2'] } } } };

/** 64 random bytes in base64, as the service itself makes keys. */
const newKey = () => randomBytes(64).toString('base64');

/** The key of one device of a symmetric-key enrollment group. */
const deriveDeviceKey = (groupKey, registrationId) =>
  createHmac('sha256', Buffer.from(groupKey, 'base64')).update(registrationId, 'utf8').digest('base64');

/**
 * `{certificate, leaf, key, thumbprint}` in PEM, `certificate` with the chain below the root; `kind` is `self-signed`, or
 * `chain`, which has `inner`, `outer` and `root` too.
 */
function certificate(kind, commonName) {
  const program = path.join(__dirname, '../../lib/pki.py');
  return JSON.parse(execFileSync(process.env.MUSTER_TEST_PYTHON, [program, kind, commonName]));
}

const symmetricKey = (primaryKey, secondaryKey) => ({ type: 'symmetricKey', symmetricKey: { primaryKey, secondaryKey } });
const clientCertificate = (pem) => ({ type: 'x509', x509: { clientCertificates: { primary: { certificate: pem } } } });
const signingCertificate = (pem) => ({ type: 'x509', x509: { signingCertificates: { primary: { certificate: pem } } } });

/** Creates an individual enrollment. */
const enroll = async (registrationId, attestation, more = {}) =>
  (await service.createOrUpdateIndividualEnrollment({ registrationId, attestation, initialTwin, ...more })).responseBody;

/** Creates an enrollment group. */
const enrollGroup = async (enrollmentGroupId, attestation, more = {}) =>
  (await service.createOrUpdateEnrollmentGroup({ enrollmentGroupId, attestation, initialTwin, ...more })).responseBody;

/** A device that proves itself with a symmetric key. */
const keyDevice = (registrationId, key) => ({
  registrationId,
  security: () => new SymmetricKeySecurityClient(registrationId, key),
  connectionString: (state) => `HostName=${state.assignedHub};DeviceId=${state.deviceId};SharedAccessKey=${key}`,
});

/** A device that proves itself with a certificate: `{certificate, key}` in PEM. */
const certificateDevice = (registrationId, credentials) => ({
  registrationId,
  credentials,
  security: () => new X509Security(registrationId, { cert: credentials.certificate, key: credentials.key }),
  connectionString: (state) => `HostName=${state.assignedHub};DeviceId=${state.deviceId};x509=true`,
});

/** By name, how each attestation gets a device in: `async (registrationId) => device`. */
const attestations = {
  'individual symmetric key': async (registrationId) => {
    const key = newKey();
    await enroll(registrationId, symmetricKey(key, newKey()));
    return keyDevice(registrationId, key);
  },
  'derived group key': async (registrationId) => {
    const key = newKey();
    await enrollGroup(`${registrationId}-group`, symmetricKey(key, newKey()));
    return keyDevice(registrationId, deriveDeviceKey(key, registrationId));
  },
  'individual certificate': async (registrationId) => {
    const leaf = certificate('self-signed', registrationId);
    await enroll(registrationId, clientCertificate(leaf.certificate));
    return certificateDevice(registrationId, leaf);
  },
  'group certificate, leaf alone': async (registrationId) => {
    const { leaf, ...chain } = certificate('chain', registrationId);
    await enrollGroup(`${registrationId}-group`, signingCertificate(chain.inner));
    return certificateDevice(registrationId, { ...chain, certificate: leaf });
  },
  'group certificate, intermediate enrolled': async (registrationId) => {
    const chain = certificate('chain', registrationId);
    await enrollGroup(`${registrationId}-group`, signingCertificate(chain.inner));
    return certificateDevice(registrationId, chain);
  },
  'group certificate, two intermediates': async (registrationId) => {
    const chain = certificate('chain', registrationId);
    await enrollGroup(`${registrationId}-group`, signingCertificate(chain.root));
    return certificateDevice(registrationId, chain);
  },
};

/** Registers with the given transport class and returns the registration state. */
function register(device, Transport, payload) {
  const client = ProvisioningDeviceClient.create(dev.deviceEndpoint, dev.idScope, new Transport(), device.security());
  if (payload !== undefined) client.setProvisioningPayload(payload);
  return client.register();
}

/** Connects to the hub that the registration assigned, with the given transport class. */
async function connect(device, state, Transport, options = {}) {
  const client = DeviceClient.fromConnectionString(device.connectionString(state), Transport);
  const { certificate: cert, key } = device.credentials ?? {};
  // The HTTP transport never settles this promise unless `options` hold a receive policy.
  if (cert || Object.keys(options).length > 0) await client.setOptions({ ...(cert && { cert, key }), ...options });
  await client.open();
  return client;
}

const hubNamed = (hostName) => dev.hubs.find((hub) => hub.hostName === hostName);

/** The registry client of a hub; the first one by default. */
const registryOf = (hostName = dev.hubs[0].hostName) => Registry.fromConnectionString(hubNamed(hostName).connectionString);

/** The client that invokes methods on devices of a hub. */
const methodsOf = (hostName) => Client.fromConnectionString(hubNamed(hostName).connectionString);

/** Sends through the hub's own route: the service SDK speaks AMQP for this. */
function sendToDevice(state, text, properties) {
  const named = Object.fromEntries(Object.entries(properties).map(([name, value]) => [`iothub-app-${name}`, value]));
  const policy = ConnectionString.parse(hubNamed(state.assignedHub).connectionString);
  const inAnHour = Math.floor(Date.now() / 1000) + 3600;
  const headers = {
    Authorization: SharedAccessSignature
      .create(policy.HostName, policy.SharedAccessKeyName, policy.SharedAccessKey, inAnHour).toString(),
    'iothub-to': `/devices/${state.deviceId}/messages/devicebound`,
    ...named,
  };
  return new Promise((resolve, reject) => {
    const request = https.request(`https://${policy.HostName}/messages/devicebound?api-version=2021-04-12`,
      { method: 'POST', headers }, (response) => {
        response.resume();
        if (response.statusCode === 201) resolve();
        else reject(new Error(`the hub answered ${response.statusCode}`));
      });
    request.on('error', reject);
    request.end(text);
  });
}

/**
 * Changes a desired property until the device sees it, and returns what it saw. The SDK subscribes in its own time after
 * a listener is added and does not say when; a hub pushes changes to subscribers only.
 */
async function changeDesired(twin, registry, deviceId, desired) {
  const [[name, value]] = Object.entries(desired);
  let seen;
  const before = twin.properties.desired.$version;
  twin.on('properties.desired', (delta) => { if (delta[name] === value && delta.$version > before) seen = delta; });
  for (let attempt = 0; !seen && attempt < 30; attempt += 1) {
    await registry.updateTwin(deviceId, { properties: { desired } }, '*');
    for (let wait = 0; !seen && wait < 25; wait += 1) await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.ok(seen, 'the device saw no desired change');
  return seen;
}

/** The members of a twin section without the hub's own `$` members. */
const own = (section) => Object.fromEntries(Object.entries(section).filter(([name]) => !name.startsWith('$')));

/** Matches an SDK error that came from this HTTP status. */
const status = (code) => (error) => {
  assert.equal(error.response?.statusCode, code, error);
  return true;
};

/** Matches what says that the credentials are wrong; AMQP provisioning hands on the AMQP library's own error. */
const unauthorized = (error) => {
  assert.ok(error.name === 'UnauthorizedError' || error.condition === 'amqp:unauthorized-access', error);
  return true;
};

module.exports = {
  attestations, certificate, certificateDevice, changeDesired, clientCertificate, connect, dev, enroll, enrollGroup,
  initialTwin, keyDevice, methodsOf, newKey, own, register, registryOf, sendToDevice, service, status, symmetricKey,
  unauthorized,
};
