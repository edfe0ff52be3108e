//! Encodes performatives.

use bytes::BytesMut;

use crate::amqp::{
    encode::{EncodeError, FieldsOut, Names},
    state::AmqpError,
};

use super::{Attach, Begin, Disposition, Flow, Open, Performative, Role, SettleMode, Transfer, descriptor};

impl Performative {
    pub(in crate::amqp) fn put(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
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
                put_error(detach.error.as_ref(), fields, descriptor::DETACH, out)
            }
            Performative::End(end) => put_error(end.error.as_ref(), FieldsOut::new(), descriptor::END, out),
            Performative::Close(close) => {
                put_error(close.error.as_ref(), FieldsOut::new(), descriptor::CLOSE, out)
            }
        }
    }
}

fn put_open(open: &Open, out: &mut BytesMut) -> Result<(), EncodeError> {
    let mut fields = FieldsOut::new();
    fields.put(Some(open.container_id.as_str()))?.put(open.hostname.as_deref())?;
    fields.put(Some(open.max_frame_size))?.put(Some(open.channel_max))?.put(open.idle_timeout_ms)?;
    fields.finish(descriptor::OPEN, out)
}

fn put_begin(begin: &Begin, out: &mut BytesMut) -> Result<(), EncodeError> {
    let mut fields = FieldsOut::new();
    fields.put(begin.remote_channel)?.put(Some(begin.next_outgoing_id))?;
    fields.put(Some(begin.incoming_window))?.put(Some(begin.outgoing_window))?.put(Some(begin.handle_max))?;
    fields.finish(descriptor::BEGIN, out)
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
    for (terminus, descriptor) in [(&attach.source, descriptor::SOURCE), (&attach.target, descriptor::TARGET)]
    {
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
    fields.finish(descriptor::ATTACH, out)
}

fn put_flow(flow: &Flow, out: &mut BytesMut) -> Result<(), EncodeError> {
    let mut fields = FieldsOut::new();
    fields.put(flow.next_incoming_id)?.put(Some(flow.incoming_window))?;
    fields.put(Some(flow.next_outgoing_id))?.put(Some(flow.outgoing_window))?;
    let link = flow.link.as_ref();
    fields.put(link.map(|link| link.handle))?.put(link.and_then(|link| link.delivery_count))?;
    fields.put(link.and_then(|link| link.link_credit))?.put(link.and_then(|link| link.available))?;
    fields.put(link.map(|link| link.drain))?.put(flow.echo.then_some(true))?;
    fields.finish(descriptor::FLOW, out)
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
    fields.finish(descriptor::TRANSFER, out)?;
    out.extend_from_slice(&transfer.payload);
    Ok(())
}

fn put_disposition(disposition: &Disposition, out: &mut BytesMut) -> Result<(), EncodeError> {
    let mut fields = FieldsOut::new();
    fields.put(Some(disposition.role == Role::Receiver))?;
    fields.put(Some(disposition.first))?.put(disposition.last)?.put(Some(disposition.settled))?;
    if let Some(state) = &disposition.state {
        state.put(fields.present())?;
    }
    fields.finish(descriptor::DISPOSITION, out)
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
