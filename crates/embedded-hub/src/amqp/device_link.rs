//! Sends to a device over AMQP, over its own links of the connection.

use std::sync::{Arc, Mutex};

use codec::amqp::{AmqpError, Message, condition};
use net::amqp::{Direction, LinkId, Outbox, OutboxError};
use wire::hub::LinkNode;

use crate::{
    connections::{DeviceLink, DisconnectReason, SendError, Sent, locked},
    storage::QueuedMessage,
    twins::twin::DesiredChange,
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
    is_disconnected: bool,
}

impl AmqpDeviceLink {
    /// Creates it without links.
    pub fn new(outbox: Outbox) -> AmqpDeviceLink {
        AmqpDeviceLink { outbox, links: Arc::default() }
    }

    /// Adds a link.
    pub fn attach(&self, node: LinkNode, direction: Direction, link: LinkId) {
        locked(&self.links).attached.push((node, direction, link));
    }

    /// Returns whether a link is one of the device.
    pub fn has(&self, wanted: LinkId) -> bool {
        locked(&self.links).attached.iter().any(|(_, _, link)| *link == wanted)
    }

    /// Removes a link; returns whether none is left.
    pub fn detach(&self, detached: LinkId) -> bool {
        let attached = &mut locked(&self.links).attached;
        attached.retain(|(_, _, link)| *link != detached);
        attached.is_empty()
    }

    /// Sends an answer to a twin request.
    pub fn answer(&self, message: Message) -> Result<(), OutboxError> {
        self.send(LinkNode::Twin, message, 0)
    }

    /// Returns whether the device has a link of this kind on which it receives.
    pub fn has_link_to_client(&self, node: LinkNode) -> bool {
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
    fn message(&self, message: QueuedMessage) -> Result<Sent, SendError> {
        let token = message.sequence.unsigned_abs();
        self.send(LinkNode::Devicebound, message::of(message), token)?;
        Ok(Sent::Unsettled)
    }

    fn desired(&self, change: &DesiredChange) -> Result<(), SendError> {
        Ok(self.send(LinkNode::Twin, message::desired(change), 0)?)
    }

    fn call(&self, request: u64, name: &str, payload: Vec<u8>) -> Result<(), SendError> {
        Ok(self.send(LinkNode::Methods, message::call(request, name, payload), 0)?)
    }

    fn disconnect(&self, reason: DisconnectReason) {
        let mut links = locked(&self.links);
        if !std::mem::replace(&mut links.is_disconnected, true) {
            links.attached.iter().for_each(|(_, _, link)| self.outbox.detach(*link, error(reason)));
        }
    }

    fn is_disconnected(&self) -> bool {
        locked(&self.links).is_disconnected || self.outbox.is_closed()
    }
}

fn error(reason: DisconnectReason) -> AmqpError {
    let condition = match reason {
        DisconnectReason::Replaced => LINK_STOLEN,
        DisconnectReason::Deleted => condition::NOT_FOUND,
        DisconnectReason::Disabled
        | DisconnectReason::TokenExpired
        | DisconnectReason::CredentialsChanged => condition::UNAUTHORIZED_ACCESS,
        DisconnectReason::NotReading => condition::RESOURCE_LIMIT_EXCEEDED,
    };
    AmqpError::new(condition, reason.to_string())
}

/// The client attached the link elsewhere (AMQP 1.0 §2.8.18).
const LINK_STOLEN: &str = "amqp:link:stolen";
