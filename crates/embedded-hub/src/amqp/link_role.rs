//! Where a link leads.

use codec::amqp::{AmqpError, SettleMode, condition};
use model::DeviceId;
use net::amqp::{Direction, LinkRequest};
use wire::hub::{LinkAddress, LinkNode};

use crate::hub::Hub;

/// What a link is for. At the same place there is one link at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkRole {
    /// Answers to requests about tokens.
    TokenReplies,
    /// Requests about tokens.
    Tokens,
    /// Something of a device.
    Device(DeviceId, LinkNode, Direction),
}

impl LinkRole {
    /// Reads it from what the client asks for.
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
            // What is settled when it is sent is lost when it does not arrive.
            (LinkNode::Devicebound, Direction::ToClient) if link.settle_mode == SettleMode::Settled => {
                Err(refused(condition::NOT_ALLOWED, "messages must be settled by the device"))
            }
            (node, direction) => Ok(LinkRole::Device(id, node, direction)),
        }
    }
}

/// Whether services use an address at the hosted hub: messages to any device, feedback, notifications of files, and the
/// telemetry of all.
fn is_of_services(address: &str) -> bool {
    let path =
        address.split_once("://").map_or(address, |(_, rest)| rest.split_once('/').map_or("", |it| it.1));
    let path = path.trim_start_matches('/').to_ascii_lowercase();
    path.starts_with("messages/")
}

/// The address of requests about tokens, and of the answers.
const TOKENS: &str = "$cbs";
