//! The nine performatives (§2.7).
//!
//! Locales, capabilities, resumption, and properties other than a link's are skipped: nobody here reads them.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::decode::{DecodeError, Reader};
use super::encode::{EncodeError, FieldsOut, Names};
use super::fields::{Field, Fields};
use super::state::{AmqpError, DeliveryState};
use super::value::{Entries, Value};

/// What a frame says.
#[derive(Debug, Clone, PartialEq)]
pub enum Performative {
    /// A link begins.
    Attach(Attach),
    /// A session begins.
    Begin(Begin),
    /// The connection ends.
    Close(Close),
    /// A link ends.
    Detach(Detach),
    /// Deliveries change their state.
    Disposition(Disposition),
    /// A session ends.
    End(End),
    /// More may be sent.
    Flow(Flow),
    /// The connection begins.
    Open(Open),
    /// A message, or a part of one.
    Transfer(Transfer),
}

/// The connection begins (§2.7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// What the sender calls itself.
    pub container_id: String,
    /// Whom a client means to speak to.
    pub hostname: Option<String>,
    /// The longest frame that the sender takes.
    pub max_frame_size: u32,
    /// The highest channel that the sender takes.
    pub channel_max: u16,
    /// After so much silence the sender gives up, in milliseconds.
    pub idle_timeout_ms: Option<u32>,
}

/// A session begins (§2.7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// The channel of the begin that this one answers.
    pub remote_channel: Option<u16>,
    /// The number of the first transfer.
    pub next_outgoing_id: u32,
    /// How many transfers the sender takes.
    pub incoming_window: u32,
    /// How many transfers the sender may send.
    pub outgoing_window: u32,
    /// The highest handle that the sender takes.
    pub handle_max: u32,
}

/// On which side of a link its sender stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It receives messages.
    Receiver,
    /// It sends messages.
    Sender,
}

/// When a link's deliveries are settled (§2.8.2). The receiver's mode is not kept: settling at once is always allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettleMode {
    /// As the sender likes.
    Mixed,
    /// By the sender when it sends.
    Settled,
    /// By the receiver.
    Unsettled,
}

/// Where a link's messages come from or go to; absent when there is no such place, as when a link is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terminus {
    /// Its name.
    pub address: Option<String>,
}

/// A link begins (§2.7.3).
#[derive(Debug, Clone, PartialEq)]
pub struct Attach {
    /// Unique among the links of its direction.
    pub name: String,
    /// Stands for the link in the sender's frames.
    pub handle: u32,
    /// What the sender of this frame is.
    pub role: Role,
    /// When the link's sender settles.
    pub settle_mode: SettleMode,
    /// Where messages come from.
    pub source: Option<Terminus>,
    /// Where messages go to.
    pub target: Option<Terminus>,
    /// The number of the first delivery; said by the link's sender.
    pub initial_delivery_count: Option<u32>,
    /// The longest message that the sender of this frame takes.
    pub max_message_size: Option<u64>,
    /// More about the link.
    pub properties: Entries,
}

/// More may be sent (§2.7.4).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flow {
    /// The number of the next transfer that the sender expects.
    pub next_incoming_id: Option<u32>,
    /// How many it takes.
    pub incoming_window: u32,
    /// The number of its own next transfer.
    pub next_outgoing_id: u32,
    /// How many it may send.
    pub outgoing_window: u32,
    /// What concerns one link.
    pub link: Option<LinkFlow>,
    /// Whether the receiver shall tell how it stands.
    pub echo: bool,
}

/// The part of a flow that concerns one link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkFlow {
    /// The link.
    pub handle: u32,
    /// The number of the next delivery.
    pub delivery_count: Option<u32>,
    /// How many deliveries the link's receiver takes from there.
    pub link_credit: Option<u32>,
    /// How many messages wait at the link's sender.
    pub available: Option<u32>,
    /// Whether credit that cannot be used now is to be given back.
    pub drain: bool,
}

/// A message, or a part of one (§2.7.5).
#[derive(Clone, PartialEq)]
pub struct Transfer {
    /// The link.
    pub handle: u32,
    /// The number of the delivery in its session; in its first part.
    pub delivery_id: Option<u32>,
    /// The name of the delivery on its link; in its first part.
    pub delivery_tag: Option<Bytes>,
    /// Which kind of message this is; 0 is the usual one.
    pub message_format: Option<u32>,
    /// Whether the sender has forgotten it.
    pub settled: Option<bool>,
    /// Whether more parts follow.
    pub more: bool,
    /// How it stands.
    pub state: Option<DeliveryState>,
    /// Whether this resumes a delivery of an earlier link.
    pub resume: bool,
    /// Whether the sender thinks better of it.
    pub aborted: bool,
    /// The part.
    pub payload: Bytes,
}

/// Deliveries change their state (§2.7.6).
#[derive(Debug, Clone, PartialEq)]
pub struct Disposition {
    /// What the sender of this frame is to them.
    pub role: Role,
    /// The first of them.
    pub first: u32,
    /// The last of them; the first when absent.
    pub last: Option<u32>,
    /// Whether the sender of this frame has forgotten them.
    pub settled: bool,
    /// Their state.
    pub state: Option<DeliveryState>,
}

/// A link ends (§2.7.7).
#[derive(Debug, Clone, PartialEq)]
pub struct Detach {
    /// The link.
    pub handle: u32,
    /// Whether it is forgotten, too.
    pub closed: bool,
    /// Why.
    pub error: Option<AmqpError>,
}

/// A session ends (§2.7.8).
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// Why.
    pub error: Option<AmqpError>,
}

/// The connection ends (§2.7.9).
#[derive(Debug, Clone, PartialEq)]
pub struct Close {
    /// Why.
    pub error: Option<AmqpError>,
}

impl Performative {
    /// Reads a performative. A transfer's payload is what is left.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Performative, DecodeError> {
        let descriptor = reader.descriptor()?;
        let mut fields = reader.list()?;
        let mut performative = match u8::try_from(descriptor) {
            Ok(OPEN) => Performative::Open(open(&mut fields)?),
            Ok(BEGIN) => Performative::Begin(begin(&mut fields)?),
            Ok(ATTACH) => Performative::Attach(attach(&mut fields)?),
            Ok(FLOW) => Performative::Flow(flow(&mut fields)?),
            Ok(TRANSFER) => Performative::Transfer(transfer(&mut fields)?),
            Ok(DISPOSITION) => Performative::Disposition(disposition(&mut fields)?),
            Ok(DETACH) => Performative::Detach(Detach {
                handle: fields.required("handle")?,
                closed: fields.or(false)?,
                error: fields.next()?,
            }),
            Ok(END) => Performative::End(End { error: fields.next()? }),
            Ok(CLOSE) => Performative::Close(Close { error: fields.next()? }),
            _ => return Err(DecodeError::Descriptor),
        };
        fields.end()?;
        if let Performative::Transfer(transfer) = &mut performative {
            transfer.payload = Bytes::copy_from_slice(reader.rest()); // a slice would pin the whole read buffer
        }
        Ok(performative)
    }

    pub(super) fn put(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        match self {
            Performative::Open(open) => put_open(open, out),
            Performative::Begin(begin) => put_begin(begin, out),
            Performative::Attach(attach) => put_attach(attach, out),
            Performative::Flow(flow) => put_flow(flow, out),
            Performative::Transfer(transfer) => put_transfer(transfer, out),
            Performative::Disposition(disposition) => put_disposition(disposition, out),
            Performative::Detach(detach) => {
                let mut fields = FieldsOut::new();
                fields.put(Some(detach.handle))?.put(Some(detach.closed))?;
                put_error(detach.error.as_ref(), fields, DETACH, out)
            }
            Performative::End(end) => put_error(end.error.as_ref(), FieldsOut::new(), END, out),
            Performative::Close(close) => put_error(close.error.as_ref(), FieldsOut::new(), CLOSE, out),
        }
    }
}

fn open(fields: &mut Fields<'_>) -> Result<Open, DecodeError> {
    let open = Open {
        container_id: fields.required("container-id")?,
        hostname: fields.next()?,
        max_frame_size: fields.or(u32::MAX)?,
        channel_max: fields.or(u16::MAX)?,
        idle_timeout_ms: fields.next()?,
    };
    fields.skip(5)?; // outgoing-locales, incoming-locales, offered- and desired-capabilities, properties
    Ok(open)
}

fn put_open(open: &Open, out: &mut BytesMut) -> Result<(), EncodeError> {
    let mut fields = FieldsOut::new();
    fields.put(Some(open.container_id.as_str()))?.put(open.hostname.as_deref())?;
    fields.put(Some(open.max_frame_size))?.put(Some(open.channel_max))?.put(open.idle_timeout_ms)?;
    fields.finish(OPEN, out)
}

fn begin(fields: &mut Fields<'_>) -> Result<Begin, DecodeError> {
    let begin = Begin {
        remote_channel: fields.next()?,
        next_outgoing_id: fields.required("next-outgoing-id")?,
        incoming_window: fields.required("incoming-window")?,
        outgoing_window: fields.required("outgoing-window")?,
        handle_max: fields.or(u32::MAX)?,
    };
    fields.skip(3)?; // offered- and desired-capabilities, properties
    Ok(begin)
}

fn put_begin(begin: &Begin, out: &mut BytesMut) -> Result<(), EncodeError> {
    let mut fields = FieldsOut::new();
    fields.put(begin.remote_channel)?.put(Some(begin.next_outgoing_id))?;
    fields.put(Some(begin.incoming_window))?.put(Some(begin.outgoing_window))?.put(Some(begin.handle_max))?;
    fields.finish(BEGIN, out)
}

fn attach(fields: &mut Fields<'_>) -> Result<Attach, DecodeError> {
    let (name, handle) = (fields.required("name")?, fields.required("handle")?);
    let role = role(fields)?;
    let settle_mode = match fields.or(2u8)? {
        0 => SettleMode::Unsettled,
        1 => SettleMode::Settled,
        2 => SettleMode::Mixed,
        _ => return Err(DecodeError::Range("snd-settle-mode")),
    };
    fields.skip(1)?; // rcv-settle-mode
    let (source, target) = (terminus(fields, SOURCE)?, terminus(fields, TARGET)?);
    fields.skip(2)?; // unsettled, incomplete-unsettled
    let (initial_delivery_count, max_message_size) = (fields.next()?, fields.next()?);
    fields.skip(2)?; // offered- and desired-capabilities
    let properties = fields.or(Entries::new())?;
    Ok(Attach {
        name,
        handle,
        role,
        settle_mode,
        source,
        target,
        initial_delivery_count,
        max_message_size,
        properties,
    })
}

fn put_attach(attach: &Attach, out: &mut BytesMut) -> Result<(), EncodeError> {
    let mut fields = FieldsOut::new();
    fields.put(Some(attach.name.as_str()))?.put(Some(attach.handle))?;
    fields.put(Some(attach.role == Role::Receiver))?;
    let settle_mode = match attach.settle_mode {
        SettleMode::Unsettled => 0u8,
        SettleMode::Settled => 1,
        SettleMode::Mixed => 2,
    };
    fields.put(Some(settle_mode))?.skip(1);
    for (terminus, descriptor) in [(&attach.source, SOURCE), (&attach.target, TARGET)] {
        match terminus {
            None => drop(fields.skip(1)),
            Some(terminus) => {
                let mut inner = FieldsOut::new();
                inner.put(terminus.address.as_deref())?;
                inner.finish(descriptor, fields.present())?;
            }
        }
    }
    fields.skip(2).put(attach.initial_delivery_count)?.put(attach.max_message_size)?.skip(2);
    fields.put((!attach.properties.is_empty()).then(|| Names::Symbols.map(&attach.properties)))?;
    fields.finish(ATTACH, out)
}

/// The source or target of a link.
fn terminus(fields: &mut Fields<'_>, descriptor: u8) -> Result<Option<Terminus>, DecodeError> {
    match fields.next()? {
        Some(DescribedTerminus(found, terminus)) if found == u64::from(descriptor) => Ok(Some(terminus)),
        Some(_) => Err(DecodeError::Descriptor),
        None => Ok(None),
    }
}

struct DescribedTerminus(u64, Terminus);

impl Field for DescribedTerminus {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let descriptor = reader.descriptor()?;
        let mut fields = reader.list()?;
        let address = fields.next::<Value>()?.and_then(|address| address.as_text().map(str::to_owned));
        fields.skip(TERMINUS_FIELDS_BUT_ADDRESS)?;
        fields.end()?;
        Ok(DescribedTerminus(descriptor, Terminus { address }))
    }
}

fn flow(fields: &mut Fields<'_>) -> Result<Flow, DecodeError> {
    let next_incoming_id = fields.next()?;
    let incoming_window = fields.required("incoming-window")?;
    let next_outgoing_id = fields.required("next-outgoing-id")?;
    let outgoing_window = fields.required("outgoing-window")?;
    let handle: Option<u32> = fields.next()?;
    let (delivery_count, link_credit, available) = (fields.next()?, fields.next()?, fields.next()?);
    let (drain, echo) = (fields.or(false)?, fields.or(false)?);
    fields.skip(1)?; // properties
    let link = handle.map(|handle| LinkFlow { handle, delivery_count, link_credit, available, drain });
    Ok(Flow { next_incoming_id, incoming_window, next_outgoing_id, outgoing_window, link, echo })
}

fn put_flow(flow: &Flow, out: &mut BytesMut) -> Result<(), EncodeError> {
    let mut fields = FieldsOut::new();
    fields.put(flow.next_incoming_id)?.put(Some(flow.incoming_window))?;
    fields.put(Some(flow.next_outgoing_id))?.put(Some(flow.outgoing_window))?;
    let link = flow.link.as_ref();
    fields.put(link.map(|link| link.handle))?.put(link.and_then(|link| link.delivery_count))?;
    fields.put(link.and_then(|link| link.link_credit))?.put(link.and_then(|link| link.available))?;
    fields.put(link.map(|link| link.drain))?.put(flow.echo.then_some(true))?;
    fields.finish(FLOW, out)
}

/// All but the payload.
fn transfer(fields: &mut Fields<'_>) -> Result<Transfer, DecodeError> {
    let handle = fields.required("handle")?;
    let (delivery_id, delivery_tag, message_format) = (fields.next()?, fields.next()?, fields.next()?);
    let (settled, more) = (fields.next()?, fields.or(false)?);
    fields.skip(1)?; // rcv-settle-mode
    let (state, resume, aborted) = (fields.next()?, fields.or(false)?, fields.or(false)?);
    fields.skip(1)?; // batchable
    Ok(Transfer {
        handle,
        delivery_id,
        delivery_tag,
        message_format,
        settled,
        more,
        state,
        resume,
        aborted,
        payload: Bytes::new(),
    })
}

fn put_transfer(transfer: &Transfer, out: &mut BytesMut) -> Result<(), EncodeError> {
    let mut fields = FieldsOut::new();
    fields.put(Some(transfer.handle))?.put(transfer.delivery_id)?.put(transfer.delivery_tag.clone())?;
    fields.put(transfer.message_format)?.put(transfer.settled)?;
    fields.put(transfer.more.then_some(true))?.skip(1);
    match &transfer.state {
        Some(state) => state.put(fields.present())?,
        None => drop(fields.skip(1)),
    }
    fields.put(transfer.resume.then_some(true))?.put(transfer.aborted.then_some(true))?;
    fields.finish(TRANSFER, out)?;
    out.extend_from_slice(&transfer.payload);
    Ok(())
}

fn disposition(fields: &mut Fields<'_>) -> Result<Disposition, DecodeError> {
    let role = role(fields)?;
    let (first, last) = (fields.required("first")?, fields.next()?);
    let (settled, state) = (fields.or(false)?, fields.next()?);
    fields.skip(1)?; // batchable
    Ok(Disposition { role, first, last, settled, state })
}

fn put_disposition(disposition: &Disposition, out: &mut BytesMut) -> Result<(), EncodeError> {
    let mut fields = FieldsOut::new();
    fields.put(Some(disposition.role == Role::Receiver))?;
    fields.put(Some(disposition.first))?.put(disposition.last)?.put(Some(disposition.settled))?;
    if let Some(state) = &disposition.state {
        state.put(fields.present())?;
    }
    fields.finish(DISPOSITION, out)
}

fn role(fields: &mut Fields<'_>) -> Result<Role, DecodeError> {
    Ok(if fields.required("role")? { Role::Receiver } else { Role::Sender })
}

fn put_error(
    error: Option<&AmqpError>,
    mut fields: FieldsOut,
    descriptor: u8,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    if let Some(error) = error {
        error.put(fields.present())?;
    }
    fields.finish(descriptor, out)
}

/// Shows the payload's length only: it may carry keys.
impl fmt::Debug for Transfer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Transfer")
            .field("handle", &self.handle)
            .field("delivery_id", &self.delivery_id)
            .field("settled", &self.settled)
            .field("more", &self.more)
            .field("state", &self.state)
            .field("aborted", &self.aborted)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// A source has eleven fields and a target seven; what a target does not have is absent in it.
const TERMINUS_FIELDS_BUT_ADDRESS: usize = 10;

const OPEN: u8 = 0x10;
const BEGIN: u8 = 0x11;
const ATTACH: u8 = 0x12;
const FLOW: u8 = 0x13;
const TRANSFER: u8 = 0x14;
const DISPOSITION: u8 = 0x15;
const DETACH: u8 = 0x16;
const END: u8 = 0x17;
const CLOSE: u8 = 0x18;
const SOURCE: u8 = 0x28;
const TARGET: u8 = 0x29;
