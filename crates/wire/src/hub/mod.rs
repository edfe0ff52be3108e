//! What an IoT hub says on the wire: device and twin JSON, errors, MQTT user names and topics,
//! AMQP addresses.
//!
//! Both ends use it: the embedded hub decodes what service SDKs and devices send, connectors and
//! the simulator encode it. Shapes follow service api-version `2021-04-12`; every other version that
//! SDKs send is the same subset.

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
mod topic;
mod twin;

pub use bulk::{BulkDevice, BulkDeviceError, BulkMode, BulkProperties, BulkResult};
pub use connect::{UserName, UserNameError, user_name};
pub use device::{
    Authentication, AuthenticationType, Capabilities, ConnectionState, Device, Status, SymmetricKeyPair,
    ThumbprintPair,
};
pub use error::{ErrorBody, ErrorCode, ErrorDetail};
pub use etag::{IfMatch, quoted};
pub use keys::{KeyError, KeyHolder, PolicyKey, RegenerateKeys, RegeneratedKeys, RotatedKeys};
pub use link::{LinkAddress, LinkNode, TokenAudience, TwinOperation};
pub use message::{APPLICATION_HEADER, PropertyBag, SYSTEM_HEADERS, devicebound_topic};
pub use method::{MethodCall, MethodReply};
pub use query::{Condition, Member, Query, QueryError, Selection, Test};
pub use refusal::{BulkReply, BulkReplyError, HubRefusal};
pub use topic::{
    DeviceFilter, DevicePublish, HubPublish, TopicError, desired_topic, method_topic, twin_reply_topic,
};
pub use twin::{Part, PropertiesChange, Twin, TwinChange, TwinProperties};
