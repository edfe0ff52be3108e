//! What a device is sent over AMQP: which of the connection's links are its own.

use std::sync::{Arc, Mutex};

use codec::amqp::{AmqpError, Message, condition};
use net::amqp::{Direction, LinkId, Outbox, OutboxError};
use wire::hub::LinkNode;

use crate::{
    connections::locked,
    device_link::{DeviceLink, Parting, Sent, Unsent},
    storage::Waiting,
    twin::DesiredChange,
};

use super::message;

/// A device's links on one connection. Clones share them.
#[derive(Clone)]
pub struct AmqpDeviceLink {
    outbox: Outbox,
    links: Arc<Mutex<Links>>,
}

#[derive(Default)]
struct Links {
    attached: Vec<(LinkNode, Direction, LinkId)>,
    parted: bool,
}

impl AmqpDeviceLink {
    /// Without links.
    pub fn new(outbox: Outbox) -> AmqpDeviceLink {
        AmqpDeviceLink { outbox, links: Arc::default() }
    }

    /// Adds a link.
    pub fn attach(&self, node: LinkNode, direction: Direction, link: LinkId) {
        locked(&self.links).attached.push((node, direction, link));
    }

    /// Whether a link is one of these.
    pub fn has(&self, wanted: LinkId) -> bool {
        locked(&self.links).attached.iter().any(|(_, _, link)| *link == wanted)
    }

    /// Removes a link; `true` when none is left.
    pub fn detach(&self, gone: LinkId) -> bool {
        let attached = &mut locked(&self.links).attached;
        attached.retain(|(_, _, link)| *link != gone);
        attached.is_empty()
    }

    /// Sends an answer about the twin.
    pub fn answer(&self, message: Message) -> Result<(), OutboxError> {
        self.send(LinkNode::Twin, message, 0)
    }

    /// Whether the device can be told about this.
    pub fn hears(&self, node: LinkNode) -> bool {
        self.link_to_client(node).is_some()
    }

    fn link_to_client(&self, node: LinkNode) -> Option<LinkId> {
        let links = locked(&self.links);
        let wanted = |(own, direction, _): &&(LinkNode, Direction, LinkId)| {
            (*own, *direction) == (node, Direction::ToClient)
        };
        links.attached.iter().find(wanted).map(|(_, _, link)| *link)
    }

    fn send(&self, node: LinkNode, message: Message, token: u64) -> Result<(), OutboxError> {
        self.outbox.try_send(self.link_to_client(node).ok_or(OutboxError::Closed)?, message, token)
    }
}

impl DeviceLink for AmqpDeviceLink {
    fn message(&self, message: Waiting) -> Result<Sent, Unsent> {
        let token = message.sequence.unsigned_abs();
        self.send(LinkNode::Devicebound, message::of(message), token)?;
        Ok(Sent::Unsettled)
    }

    fn desired(&self, change: &DesiredChange) -> Result<(), Unsent> {
        Ok(self.send(LinkNode::Twin, message::desired(change), 0)?)
    }

    fn call(&self, request: u64, name: &str, payload: Vec<u8>) -> Result<(), Unsent> {
        Ok(self.send(LinkNode::Methods, message::call(request, name, payload), 0)?)
    }

    fn part(&self, parting: Parting) {
        let mut links = locked(&self.links);
        if !std::mem::replace(&mut links.parted, true) {
            links.attached.iter().for_each(|(_, _, link)| self.outbox.detach(*link, error(parting)));
        }
    }

    fn is_parted(&self) -> bool {
        locked(&self.links).parted || self.outbox.is_closed()
    }
}

fn error(parting: Parting) -> AmqpError {
    let condition = match parting {
        Parting::Anew => LINK_STOLEN,
        Parting::Deleted => condition::NOT_FOUND,
        Parting::Disabled | Parting::Expired | Parting::OtherCredentials => condition::UNAUTHORIZED_ACCESS,
        Parting::Stuck => condition::RESOURCE_LIMIT_EXCEEDED,
    };
    AmqpError::new(condition, parting.to_string())
}

/// The client attached elsewhere (§2.8.18).
const LINK_STOLEN: &str = "amqp:link:stolen";
