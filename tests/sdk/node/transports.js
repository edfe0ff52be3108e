'use strict';
// The transports of the Node SDK for provisioning and for the hub, and what each supports.

const hub = {
  ...require('azure-iot-device-amqp'),
  ...require('azure-iot-device-http'),
  ...require('azure-iot-device-mqtt'),
};
const provisioning = {
  ...require('azure-iot-provisioning-device-amqp'),
  ...require('azure-iot-provisioning-device-http'),
  ...require('azure-iot-provisioning-device-mqtt'),
};

/** By name: the two classes, the options of the hub's, and whether the hub's keeps a connection and can abandon messages. */
module.exports = {
  // HTTP polls for messages; the SDK's default is every 25 minutes.
  http: { Provisioning: provisioning.Http, Hub: hub.Http, options: { http: { receivePolicy: { interval: 1 } } }, abandons: true },
  mqtt: { Provisioning: provisioning.Mqtt, Hub: hub.Mqtt, connected: true },
  mqttWs: { Provisioning: provisioning.MqttWs, Hub: hub.MqttWs, connected: true },
  amqp: { Provisioning: provisioning.Amqp, Hub: hub.Amqp, connected: true, abandons: true },
  amqpWs: { Provisioning: provisioning.AmqpWs, Hub: hub.AmqpWs, connected: true, abandons: true },
};
