//! AMQP 1.0 frames and messages, for both sides, and the state of a connection at the server, without IO.
//!
//! Part and section numbers in this module refer to the OASIS standard of 29 October 2012: §1 types, §2 transport,
//! §3 messaging, §5 security. Decoding is strict and bounded: a length is compared with what has arrived before
//! anything is allocated, values nest at most 8 deep, one frame or message section holds at most 4,096 values, and unused
//! fields are skipped without being built. Three deliberate deviations: arrays hold simple values of at least
//! one byte each (no SDK sends others, and a count of values without bytes would have no bound); of a link's source and
//! target only the address is kept; bodies of AMQP sequences are refused.

mod code;
mod decode;
mod encode;
mod fields;
mod frame;
mod message;
mod performative;
mod sasl;
pub mod server;
mod state;
mod value;

#[cfg(test)]
mod malformed;
#[cfg(test)]
mod tests;

pub use decode::DecodeError;
pub use encode::EncodeError;
pub use frame::{
    Frame, MIN_MAX_FRAME, Protocol, decode_frame, decode_protocol, decode_sasl, encode_frame,
    encode_protocol, encode_sasl, transfer_overhead,
};
pub use message::{Body, Message, MessageId, Properties};
pub use performative::{
    Attach, Begin, Close, Detach, Disposition, End, Flow, LinkFlow, Open, Performative, Role, SettleMode,
    Terminus, Transfer,
};
pub use sasl::{SaslCode, SaslFrame, SaslInit};
pub use state::{AmqpError, DeliveryState, condition};
pub use value::{Entries, Value};
