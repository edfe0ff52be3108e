//! MQTT 3.1.1 packets, for both sides, without IO.
//!
//! Section numbers in this module refer to the OASIS standard of 29 October 2014. The decoder is strict:
//! every protocol violation is an error, because both ends then disagree about the rest of the stream. Two
//! deliberate deviations: a remaining length in more bytes than needed is refused although §2.2.3 does not forbid
//! it, and protocols other than MQTT 3.1.1 are an error of their own ([`DecodeError::UnsupportedProtocol`]) so that a server
//! can answer CONNACK 1.

mod decode;
mod encode;
mod packet;
mod subscriptions;
mod topic;

#[cfg(test)]
mod malformed;
#[cfg(test)]
mod tests;

pub use decode::{DecodeError, decode};
pub use encode::{EncodeError, encode};
pub use packet::{
    ConnAck, Connect, ConnectReturnCode, Packet, Publish, QoS, SubAck, Subscribe, SubscribeReturn,
    Unsubscribe, Will,
};
pub use subscriptions::{MAX_FILTER_BYTES, MAX_FILTERS, Subscriptions};
pub use topic::{filter_matches, filters_overlap, is_filter, is_topic};
