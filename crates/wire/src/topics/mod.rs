//! MQTT topics, of the device API and of hubs: every one is parsed and written here, for both ends.

mod hub;
mod registration;

pub use hub::{
    DeviceFilter, DevicePublish, HubPublish, TopicError, desired_topic, devicebound_topic, method_topic,
    twin_reply_topic,
};
pub use registration::{RegistrationReplies, RegistrationReply, RegistrationRequest};
