//! The purposes of links.

use codec::amqp::{AmqpError, SettleMode, condition};
use model::DeviceId;
use net::amqp::{Direction, LinkRequest};
use wire::hub::{LinkAddress, LinkNode};

use crate::hub::Hub;

/// The purpose of a link. A connection has one link of each at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkRole {
    /// Replies to put tokens.
    TokenReplies,
    /// Requests that put tokens.
    Tokens,
    /// Messages of a device.
    Device(DeviceId, LinkNode, Direction),
}

impl LinkRole {
    /// Returns the purpose of a client's link, or why the link is refused.
    pub fn of(hub: &Hub, link: &LinkRequest) -> Result<LinkRole, AmqpError> {
        let address = link.address.as_deref().unwrap_or_default();
        if address == TOKENS {
            return Ok(match link.direction {
                Direction::FromClient => LinkRole::Tokens,
                Direction::ToClient => LinkRole::TokenReplies,
            });
        }
        let refused = |condition, text: &str| AmqpError::new(condition, format!("{text}: {address}"));
        if is_of_services(address) {
            return Err(refused(condition::NOT_IMPLEMENTED, "this hub does not serve services over AMQP"));
        }
        let parsed = LinkAddress::parse(address);
        let parsed = parsed.ok_or_else(|| refused(condition::NOT_FOUND, "nothing has this address"))?;
        if parsed.module_id.is_some() {
            return Err(refused(condition::NOT_IMPLEMENTED, "this hub has no modules"));
        }
        if parsed.host.is_some_and(|host| !hub.core.authorizer.is_own_name(host)) {
            return Err(refused(condition::NOT_FOUND, "this is another hub"));
        }
        let id = DeviceId::parse(parsed.device_id);
        let id = id.map_err(|error| refused(condition::INVALID_FIELD, &error.to_string()))?;
        match (parsed.node, link.direction) {
            (LinkNode::Devicebound, Direction::FromClient) | (LinkNode::Events, Direction::ToClient) => {
                Err(refused(condition::NOT_ALLOWED, "messages go the other way"))
            }
            // A message that is settled when it is sent would be lost if it did not arrive.
            (LinkNode::Devicebound, Direction::ToClient) if link.settle_mode == SettleMode::Settled => {
                Err(refused(condition::NOT_ALLOWED, "messages must be settled by the device"))
            }
            (node, direction) => Ok(LinkRole::Device(id, node, direction)),
        }
    }
}

/// Returns whether an address is one of services at the hosted hub: messages to any device, feedback, notifications of files, and
/// telemetry.
fn is_of_services(address: &str) -> bool {
    let path =
        address.split_once("://").map_or(address, |(_, rest)| rest.split_once('/').map_or("", |it| it.1));
    let path = path.trim_start_matches('/').to_ascii_lowercase();
    path.starts_with("messages/")
}

/// The address of requests that put tokens, and of their replies.
const TOKENS: &str = "$cbs";
