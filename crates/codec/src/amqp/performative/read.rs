//! Decodes performatives.

use bytes::Bytes;

use crate::amqp::{
    decode::{DecodeError, Reader},
    fields::{Field, Fields},
    value::{Entries, Value},
};

use super::{
    Attach, Begin, Close, Detach, Disposition, End, Flow, LinkFlow, Open, Performative, Role, SettleMode,
    Terminus, Transfer, descriptor,
};

impl Performative {
    /// Reads a performative. The rest of the frame is the payload of a transfer.
    pub(in crate::amqp) fn read(reader: &mut Reader<'_>) -> Result<Performative, DecodeError> {
        let found = reader.descriptor()?;
        let mut fields = reader.list()?;
        let mut performative = match u8::try_from(found) {
            Ok(descriptor::OPEN) => Performative::Open(open(&mut fields)?),
            Ok(descriptor::BEGIN) => Performative::Begin(begin(&mut fields)?),
            Ok(descriptor::ATTACH) => Performative::Attach(attach(&mut fields)?),
            Ok(descriptor::FLOW) => Performative::Flow(flow(&mut fields)?),
            Ok(descriptor::TRANSFER) => Performative::Transfer(transfer(&mut fields)?),
            Ok(descriptor::DISPOSITION) => Performative::Disposition(disposition(&mut fields)?),
            Ok(descriptor::DETACH) => Performative::Detach(Detach {
                handle: fields.required("handle")?,
                closed: fields.or(false)?,
                error: fields.next()?,
            }),
            Ok(descriptor::END) => Performative::End(End { error: fields.next()? }),
            Ok(descriptor::CLOSE) => Performative::Close(Close { error: fields.next()? }),
            _ => return Err(DecodeError::Descriptor),
        };
        fields.end()?;
        if let Performative::Transfer(transfer) = &mut performative {
            transfer.payload = Bytes::copy_from_slice(reader.rest()); // a slice would pin the whole read buffer
        }
        Ok(performative)
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
    let (source, target) = (terminus(fields, descriptor::SOURCE)?, terminus(fields, descriptor::TARGET)?);
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

/// Reads the source or target of a link.
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

/// Reads all fields of a transfer; the payload follows them.
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

fn disposition(fields: &mut Fields<'_>) -> Result<Disposition, DecodeError> {
    let role = role(fields)?;
    let (first, last) = (fields.required("first")?, fields.next()?);
    let (settled, state) = (fields.or(false)?, fields.next()?);
    fields.skip(1)?; // batchable
    Ok(Disposition { role, first, last, settled, state })
}

fn role(fields: &mut Fields<'_>) -> Result<Role, DecodeError> {
    Ok(if fields.required("role")? { Role::Receiver } else { Role::Sender })
}

/// The number of fields of a source. A target has seven; the others count as absent.
const TERMINUS_FIELDS_BUT_ADDRESS: usize = 10;
