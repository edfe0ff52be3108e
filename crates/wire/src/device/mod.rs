//! The device API: addresses and user names of devices, and the JSON of requests and replies.

mod address;
mod failure;
mod operation;
mod reply;
mod request;
mod user_name;

pub use address::DeviceAddress;
pub use failure::{failure_code, failures_with_code};
pub use operation::RegistrationOperation;
pub use reply::{
    ChallengeReply, ErrorBody, OperationReply, disabled_reply, registration_result, registration_state,
};
pub use request::{DeviceRegistration, RequestError, TpmKeys};
pub use user_name::MqttUserName;
