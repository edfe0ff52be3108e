//! One AMQP connection: the devices on it, and their links.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use codec::amqp::{AmqpError, Body, DeliveryState, Message, Open, condition};
use model::DeviceId;
use net::{
    Peer, Purpose, Standing,
    amqp::{AmqpConnection, Delivery, Direction, Farewell, LinkId, LinkRequest, Outbox, Verdict},
};
use rustls::pki_types::CertificateDer;
use wire::{hub::LinkNode, topics::DeviceFilter};

use crate::{
    auth::{AdmissionError, Proof},
    connections::{DeviceLink, DisconnectReason, LiveConnection},
    hub::Hub,
    messages::{MAX_TELEMETRY_BYTES, Settlement},
    twins::ModelId,
};

use super::{
    MAX_DEVICES,
    device_link::AmqpDeviceLink,
    link_role::LinkRole,
    message,
    tokens::{self, PutToken, TokenRefusal},
    twin,
};

/// One client's connection.
pub struct DeviceConnection {
    hub: Hub,
    leaf: Option<CertificateDer<'static>>,
    /// Were valid when they were put; checked again when their devices attach links.
    tokens: HashMap<DeviceId, String>,
    devices: HashMap<DeviceId, ConnectedDevice>,
    links: HashMap<LinkId, LinkRole>,
    /// Set when the client has opened the connection.
    outbox: Option<Outbox>,
    /// Whether a device was authenticated.
    is_authenticated: Arc<AtomicBool>,
    standing: Standing,
}

/// A device that has links.
#[derive(Clone)]
struct ConnectedDevice {
    live: Arc<LiveConnection>,
    device_link: AmqpDeviceLink,
}

impl DeviceConnection {
    /// Creates the connection of a client, with the tokens from its login.
    pub fn new(hub: Hub, peer: &Peer, tokens: HashMap<DeviceId, String>) -> DeviceConnection {
        let (devices, links, is_authenticated) = (HashMap::new(), HashMap::new(), Arc::default());
        let (leaf, standing) = (peer.certificates.first().cloned(), peer.standing.clone());
        DeviceConnection { hub, leaf, tokens, devices, links, outbox: None, is_authenticated, standing }
    }

    /// Notes that a device was authenticated.
    fn mark_proven(&self) {
        self.is_authenticated.store(true, Ordering::Relaxed);
        self.standing.mark_proven(Purpose::Hub);
    }

    /// Returns a device; connects it if it is not connected.
    async fn connected(&mut self, id: &DeviceId) -> Result<ConnectedDevice, AmqpError> {
        if let Some(present) = self.devices.get(id).filter(|present| !present.device_link.is_disconnected()) {
            return Ok(present.clone());
        }
        if !self.devices.contains_key(id) && self.devices.len() >= MAX_DEVICES {
            let text = format!("one connection carries at most {MAX_DEVICES} devices");
            return Err(AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text));
        }
        let closed = || AmqpError::new(condition::NOT_ALLOWED, "the connection is not open");
        let device_link = AmqpDeviceLink::new(self.outbox.clone().ok_or_else(closed)?);
        let token = self.tokens.get(id).map(String::as_str);
        let proof = Proof::new(token, self.leaf.as_ref().map(AsRef::as_ref));
        let live = self.hub.connect(id.clone(), proof, device_link.clone()).await.map_err(|refusal| {
            tracing::debug!(device.id = %id, %refusal, "refused");
            unauthorized(&refusal)
        })?;
        self.mark_proven();
        let present = ConnectedDevice { live, device_link };
        if let Some(older) = self.devices.insert(id.clone(), present.clone()) {
            // The links of the older one are being detached.
            self.links.retain(|link, _| !older.device_link.has(*link));
            self.hub.disconnected(&older.live).await;
        }
        Ok(present)
    }

    /// Stores the model that a link announces: the SDK for Java puts it on every link, that for .NET on the sending ones.
    async fn store_model(&self, id: &DeviceId, link: &LinkRequest) -> Result<(), AmqpError> {
        let model = link.properties.text(MODEL_ID).and_then(ModelId::parse);
        let stored = self.hub.store_model(id, model).await;
        stored.map_err(|failure| AmqpError::new(condition::INTERNAL_ERROR, failure.message_for_caller()))
    }

    async fn put_token(&mut self, request: &Message) -> Result<(), TokenRefusal> {
        let PutToken { id, token, expires } = PutToken::read(&self.hub, request)?;
        self.mark_proven();
        if !self.tokens.contains_key(&id) && self.tokens.len() >= MAX_DEVICES {
            return Err(TokenRefusal(403, "too many devices on one connection"));
        }
        if let Some(present) = self.devices.get(&id) {
            self.hub.core.connections.renew(&present.live, expires);
        }
        self.tokens.insert(id, token);
        Ok(())
    }

    fn answer_token(&self, answer: Message) -> DeliveryState {
        let mut links = self.links.iter().filter(|(_, role)| **role == LinkRole::TokenReplies);
        let sent = links
            .next()
            .zip(self.outbox.as_ref())
            .map(|((link, _), outbox)| outbox.try_send(*link, answer, 0));
        match sent {
            Some(Ok(())) => DeliveryState::Accepted,
            Some(Err(_)) => rejected(condition::RESOURCE_LIMIT_EXCEEDED, "the answers are not read"),
            None => no_reply_link(),
        }
    }

    async fn take(&self, id: &DeviceId, node: LinkNode, delivery: &Delivery) -> DeliveryState {
        let Some(ConnectedDevice { live, device_link }) =
            self.devices.get(id).filter(|it| !it.device_link.is_disconnected())
        else {
            return DeliveryState::Released;
        };
        self.hub.core.connections.touch(live, self.hub.now());
        match node {
            LinkNode::Devicebound => DeliveryState::Released,
            LinkNode::Events => self.telemetry(live, delivery),
            LinkNode::Methods => match message::reply(&delivery.message) {
                Some((request, status)) => {
                    live.reply(request, status, &delivery.message.body.bytes().unwrap_or_default());
                    DeliveryState::Accepted
                }
                None => rejected(condition::INVALID_FIELD, "a reply needs a correlation ID and a status"),
            },
            LinkNode::Twin if !device_link.has_link_to_client(LinkNode::Twin) => no_reply_link(),
            LinkNode::Twin => {
                let answer = twin::answer(&self.hub, live, &delivery.message).await;
                // A device that sends requests faster than it reads the answers is disconnected.
                if device_link.answer(answer).is_err() {
                    device_link.disconnect(DisconnectReason::NotReading);
                }
                DeliveryState::Accepted
            }
        }
    }

    fn telemetry(&self, live: &Arc<LiveConnection>, delivery: &Delivery) -> DeliveryState {
        let body = &delivery.message.body;
        if body.bytes().is_some_and(|bytes| bytes.len() > MAX_TELEMETRY_BYTES) {
            return rejected(condition::MESSAGE_SIZE_EXCEEDED, "the message is too large");
        }
        match body {
            Body::Data(messages) if delivery.format == BATCH => {
                messages.iter().for_each(|_| self.hub.count_telemetry(live));
            }
            Body::Absent | Body::Data(_) | Body::Value(_) => self.hub.count_telemetry(live),
        }
        DeliveryState::Accepted
    }
}

#[async_trait]
impl AmqpConnection for DeviceConnection {
    async fn open(&mut self, _open: &Open, outbox: Outbox) -> Result<(), AmqpError> {
        let is_authenticated = Arc::clone(&self.is_authenticated);
        self.outbox = Some(outbox.clone());
        tokio::spawn(async move {
            tokio::time::sleep(PROOF_TIMEOUT).await;
            if !is_authenticated.load(Ordering::Relaxed) {
                outbox.close(AmqpError::new(condition::UNAUTHORIZED_ACCESS, "there was no proof in time"));
            }
        });
        Ok(())
    }

    fn farewell(&self) -> Farewell {
        Farewell::EndSessions
    }

    async fn attach(&mut self, link: &LinkRequest) -> Result<(), AmqpError> {
        let role = LinkRole::of(&self.hub, link)?;
        if self.links.values().any(|taken| *taken == role) {
            return Err(AmqpError::new(condition::NOT_ALLOWED, "there is such a link already"));
        }
        if let LinkRole::Device(id, node, direction) = &role {
            let ConnectedDevice { live, device_link } = self.connected(id).await?;
            self.store_model(id, link).await?;
            device_link.attach(*node, *direction, link.id);
            let filter = filter_of(*node, *direction).filter(|filter| *filter != DeviceFilter::Desired);
            if let Some(filter) = filter {
                self.hub.subscribe_device(&live, filter).await;
            }
        }
        self.links.insert(link.id, role);
        Ok(())
    }

    async fn message(&mut self, delivery: Delivery) -> Result<Verdict, AmqpError> {
        let state = match self.links.get(&delivery.link).cloned() {
            Some(LinkRole::Tokens) => {
                let outcome = self.put_token(&delivery.message).await;
                self.answer_token(tokens::answer(&delivery.message, outcome))
            }
            Some(LinkRole::Device(id, node, _)) => self.take(&id, node, &delivery).await,
            Some(LinkRole::TokenReplies) | None => DeliveryState::Released,
        };
        Ok(Verdict::Settled(state))
    }

    async fn settled(&mut self, link: LinkId, token: u64, state: DeliveryState) {
        let Some(LinkRole::Device(id, LinkNode::Devicebound, _)) = self.links.get(&link) else { return };
        let Some(present) = self.devices.get(id) else { return };
        let settlement = match state {
            DeliveryState::Accepted => Settlement::Completed,
            DeliveryState::Rejected(_) => Settlement::Rejected,
            DeliveryState::Modified { .. } | DeliveryState::Received { .. } | DeliveryState::Released => {
                Settlement::Abandoned
            }
        };
        // Tokens are sequence numbers of messages, which SQLite keeps below 2^63.
        self.hub.settle_delivered(&present.live, token.cast_signed(), settlement).await;
    }

    async fn detached(&mut self, link: LinkId) {
        let Some(LinkRole::Device(id, node, direction)) = self.links.remove(&link) else { return };
        let present = self.devices.get(&id).filter(|present| present.device_link.has(link)).cloned();
        let Some(ConnectedDevice { live, device_link }) = present else { return };
        let device_lock = self.hub.lock_device(&id).await;
        if let Some(filter) = filter_of(node, direction) {
            live.unsubscribe(filter);
        }
        let was_last = device_link.detach(link);
        drop(device_lock);
        if was_last {
            self.devices.remove(&id);
            self.hub.disconnected(&live).await;
        } else if node == LinkNode::Devicebound {
            self.hub.return_messages(&live).await;
        }
    }

    async fn closed(&mut self) {
        for (_, present) in std::mem::take(&mut self.devices) {
            self.hub.disconnected(&present.live).await;
        }
    }
}

/// Returns the kind of messages that a device receives over a link.
fn filter_of(node: LinkNode, direction: Direction) -> Option<DeviceFilter> {
    match (node, direction) {
        (LinkNode::Devicebound, Direction::ToClient) => Some(DeviceFilter::Devicebound),
        (LinkNode::Methods, Direction::ToClient) => Some(DeviceFilter::Methods),
        (LinkNode::Twin, Direction::ToClient) => Some(DeviceFilter::Desired),
        _ => None,
    }
}

fn unauthorized(refusal: &AdmissionError) -> AmqpError {
    match refusal {
        AdmissionError::Denied(_) => AmqpError::new(condition::UNAUTHORIZED_ACCESS, "Unauthorized"),
        AdmissionError::Hub(failure) => {
            AmqpError::new(condition::INTERNAL_ERROR, failure.message_for_caller())
        }
    }
}

fn no_reply_link() -> DeliveryState {
    rejected(condition::PRECONDITION_FAILED, "there is no link for the answer")
}

fn rejected(condition: &str, text: &str) -> DeliveryState {
    DeliveryState::Rejected(Some(AmqpError::new(condition, text)))
}

/// The time from the open of a connection to the first authenticated device: SDKs put their tokens at once, and clients without any
/// must not keep a connection.
const PROOF_TIMEOUT: Duration = Duration::from_secs(30);
/// The link property with the device's digital twin model.
const MODEL_ID: &str = "com.microsoft:model-id";
/// The format of a message whose every data section is a message (Event Hubs).
const BATCH: u32 = 0x8001_3700;
