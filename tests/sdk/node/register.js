'use strict';
// Registers a device with a key several times, one after the other, and prints its registration states as JSON:
//
//     node sdk/node/register.js TRANSPORT REGISTRATION_ID KEY TIMES

const transports = require('./transports');
const world = require('./world');

async function main([transport, registrationId, key, times]) {
  const states = [];
  while (states.length < Number(times)) {
    states.push(await world.register(world.keyDevice(registrationId, key), transports[transport].Provisioning));
  }
  console.log(JSON.stringify(states));
}

main(process.argv.slice(2)).then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
