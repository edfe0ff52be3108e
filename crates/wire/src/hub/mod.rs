//! The protocols of IoT Hub: the JSON of devices, twins and errors, MQTT user names, and AMQP addresses. Topics are in [`crate::topics`].
//!
//! Both ends use this module: the embedded hub decodes requests of service SDKs and devices; connectors and the
//! simulator encode them. The types follow service API version `2021-04-12`; the other versions that SDKs send do not
//! differ in the supported subset.

mod bulk;
mod connect;
mod device;
mod error;
mod etag;
mod keys;
mod link;
mod message;
mod method;
mod query;
mod refusal;
mod twin;

pub use bulk::{BulkDevice, BulkDeviceError, BulkMode, BulkProperties, BulkResult};
pub use connect::{UserName, UserNameError, user_name};
pub use device::{
    Authentication, AuthenticationType, Capabilities, ConnectionState, Device, Status, SymmetricKeyPair,
    ThumbprintPair,
};
pub use error::{ErrorBody, ErrorCode, ErrorDetail};
pub use etag::{IfMatch, quoted};
pub use keys::{DeviceOrModule, KeyError, PolicyKey, RegenerateKeys, RegeneratedKeys, RotatedKeys};
pub use link::{LinkAddress, LinkNode, TokenAudience, TwinOperation};
pub use message::{APPLICATION_HEADER, PropertyBag, SYSTEM_HEADERS};
pub use method::{MethodCall, MethodReply};
pub use query::{Condition, Member, Query, QueryError, Selection, Test};
pub use refusal::{BulkReply, BulkReplyError, HubRefusal};
pub use twin::{Part, PropertiesChange, Twin, TwinChange, TwinProperties};
