//! One AMQP connection: the devices on it, and their links.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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
    admission::{NotAdmitted, Proof},
    connections::Live,
    device_link::{DeviceLink, Parting},
    digital_twin::ModelId,
    hub::Hub,
    messages::Settlement,
    telemetry::MAX_TELEMETRY_BYTES,
};

use super::{
    MAX_DEVICES,
    device_link::AmqpDeviceLink,
    link_role::LinkRole,
    message,
    tokens::{self, Put, Refused},
    twin,
};

/// One client's connection.
pub struct DeviceConnection {
    hub: Hub,
    leaf: Option<CertificateDer<'static>>,
    /// Good when they came; looked at again when their devices come.
    tokens: HashMap<DeviceId, String>,
    devices: HashMap<DeviceId, Present>,
    links: HashMap<LinkId, LinkRole>,
    /// There is one as soon as the client has opened the connection.
    outbox: Option<Outbox>,
    /// Whether anybody has proved who they are.
    proved: Arc<AtomicBool>,
    standing: Standing,
}

/// A device that has links.
#[derive(Clone)]
struct Present {
    live: Arc<Live>,
    line: AmqpDeviceLink,
}

impl DeviceConnection {
    /// For a client that is let in, with what it showed.
    pub fn new(hub: Hub, peer: &Peer, tokens: HashMap<DeviceId, String>) -> DeviceConnection {
        let (devices, links, proved) = (HashMap::new(), HashMap::new(), Arc::default());
        let (leaf, standing) = (peer.certificates.first().cloned(), peer.standing.clone());
        DeviceConnection { hub, leaf, tokens, devices, links, outbox: None, proved, standing }
    }

    /// A device on the connection has proved who it is.
    fn mark_proven(&self) {
        self.proved.store(true, Ordering::Relaxed);
        self.standing.mark_proven(Purpose::Hub);
    }

    /// The device, connecting it if need be.
    async fn present(&mut self, id: &DeviceId) -> Result<Present, AmqpError> {
        if let Some(present) = self.devices.get(id).filter(|present| !present.line.is_parted()) {
            return Ok(present.clone());
        }
        if !self.devices.contains_key(id) && self.devices.len() >= MAX_DEVICES {
            let text = format!("one connection carries at most {MAX_DEVICES} devices");
            return Err(AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text));
        }
        let closed = || AmqpError::new(condition::NOT_ALLOWED, "the connection is not open");
        let line = AmqpDeviceLink::new(self.outbox.clone().ok_or_else(closed)?);
        let token = self.tokens.get(id).map(String::as_str);
        let proof = Proof::shown(token, self.leaf.as_ref().map(AsRef::as_ref));
        let live = self.hub.connect(id.clone(), proof, line.clone()).await.map_err(|refusal| {
            tracing::debug!(device.id = %id, %refusal, "refused");
            unauthorized(&refusal)
        })?;
        self.mark_proven();
        let present = Present { live, line };
        if let Some(older) = self.devices.insert(id.clone(), present.clone()) {
            // Its links are being detached.
            self.links.retain(|link, _| !older.line.has(*link));
            self.hub.disconnected(&older.live).await;
        }
        Ok(present)
    }

    /// Stores the model that a link announces: Java's SDK puts it on every link, .NET's on the sending ones.
    async fn note_model(&self, id: &DeviceId, link: &LinkRequest) -> Result<(), AmqpError> {
        let model = link.properties.text(MODEL_ID).and_then(ModelId::parse);
        let noted = self.hub.note_model(id, model).await;
        noted.map_err(|failure| AmqpError::new(condition::INTERNAL_ERROR, failure.told()))
    }

    async fn put_token(&mut self, request: &Message) -> Result<(), Refused> {
        let Put { id, token, expires } = Put::read(&self.hub, request)?;
        self.mark_proven();
        if !self.tokens.contains_key(&id) && self.tokens.len() >= MAX_DEVICES {
            return Err(Refused(403, "too many devices on one connection"));
        }
        if let Some(present) = self.devices.get(&id) {
            self.hub.core.connections.renew(&present.live, expires);
        }
        self.tokens.insert(id, token);
        Ok(())
    }

    fn answer_token(&self, answer: Message) -> DeliveryState {
        let mut links = self.links.iter().filter(|(_, place)| **place == LinkRole::TokenReplies);
        let sent = links
            .next()
            .zip(self.outbox.as_ref())
            .map(|((link, _), outbox)| outbox.try_send(*link, answer, 0));
        match sent {
            Some(Ok(())) => DeliveryState::Accepted,
            Some(Err(_)) => rejected(condition::RESOURCE_LIMIT_EXCEEDED, "the answers are not read"),
            None => no_way_back(),
        }
    }

    async fn take(&self, id: &DeviceId, node: LinkNode, delivery: &Delivery) -> DeliveryState {
        let Some(Present { live, line }) = self.devices.get(id).filter(|it| !it.line.is_parted()) else {
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
            LinkNode::Twin if !line.hears(LinkNode::Twin) => no_way_back(),
            LinkNode::Twin => {
                let answer = twin::answer(&self.hub, live, &delivery.message).await;
                // A device that asks faster than it reads the answers is disconnected.
                if line.answer(answer).is_err() {
                    line.part(Parting::Stuck);
                }
                DeliveryState::Accepted
            }
        }
    }

    fn telemetry(&self, live: &Arc<Live>, delivery: &Delivery) -> DeliveryState {
        let body = &delivery.message.body;
        if body.bytes().is_some_and(|bytes| bytes.len() > MAX_TELEMETRY_BYTES) {
            return rejected(condition::MESSAGE_SIZE_EXCEEDED, "the message is too large");
        }
        match body {
            Body::Data(messages) if delivery.format == BATCH => {
                messages.iter().for_each(|_| self.hub.take_telemetry(live));
            }
            Body::Absent | Body::Data(_) | Body::Value(_) => self.hub.take_telemetry(live),
        }
        DeliveryState::Accepted
    }
}

#[async_trait]
impl AmqpConnection for DeviceConnection {
    async fn open(&mut self, _open: &Open, outbox: Outbox) -> Result<(), AmqpError> {
        let proved = Arc::clone(&self.proved);
        self.outbox = Some(outbox.clone());
        tokio::spawn(async move {
            tokio::time::sleep(PROOF_TIMEOUT).await;
            if !proved.load(Ordering::Relaxed) {
                outbox.close(AmqpError::new(condition::UNAUTHORIZED_ACCESS, "there was no proof in time"));
            }
        });
        Ok(())
    }

    fn farewell(&self) -> Farewell {
        Farewell::EndSessions
    }

    async fn attach(&mut self, link: &LinkRequest) -> Result<(), AmqpError> {
        let place = LinkRole::of(&self.hub, link)?;
        if self.links.values().any(|taken| *taken == place) {
            return Err(AmqpError::new(condition::NOT_ALLOWED, "there is such a link already"));
        }
        if let LinkRole::Device(id, node, direction) = &place {
            let Present { live, line } = self.present(id).await?;
            self.note_model(id, link).await?;
            line.attach(*node, *direction, link.id);
            let filter = listening(*node, *direction).filter(|filter| *filter != DeviceFilter::Desired);
            if let Some(filter) = filter {
                self.hub.listen(&live, filter).await;
            }
        }
        self.links.insert(link.id, place);
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
        let present = self.devices.get(&id).filter(|present| present.line.has(link)).cloned();
        let Some(Present { live, line }) = present else { return };
        let turn = self.hub.turn(&id).await;
        if let Some(filter) = listening(node, direction) {
            live.unsubscribe(filter);
        }
        let was_last = line.detach(link);
        drop(turn);
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

/// What a device can hear over a link.
fn listening(node: LinkNode, direction: Direction) -> Option<DeviceFilter> {
    match (node, direction) {
        (LinkNode::Devicebound, Direction::ToClient) => Some(DeviceFilter::Devicebound),
        (LinkNode::Methods, Direction::ToClient) => Some(DeviceFilter::Methods),
        (LinkNode::Twin, Direction::ToClient) => Some(DeviceFilter::Desired),
        _ => None,
    }
}

fn unauthorized(refusal: &NotAdmitted) -> AmqpError {
    match refusal {
        NotAdmitted::Denied(_) => AmqpError::new(condition::UNAUTHORIZED_ACCESS, "Unauthorized"),
        NotAdmitted::Hub(failure) => AmqpError::new(condition::INTERNAL_ERROR, failure.told()),
    }
}

fn no_way_back() -> DeliveryState {
    rejected(condition::PRECONDITION_FAILED, "there is no link for the answer")
}

fn rejected(condition: &str, text: &str) -> DeliveryState {
    DeliveryState::Rejected(Some(AmqpError::new(condition, text)))
}

/// From opening a connection to the first token or link that is good: SDKs put their tokens at once, and whoever has
/// none shall not hold a connection.
const PROOF_TIMEOUT: Duration = Duration::from_secs(30);
/// The link property with the device's digital twin model.
const MODEL_ID: &str = "com.microsoft:model-id";
/// The format of a message whose every data section is a message (Event Hubs).
const BATCH: u32 = 0x8001_3700;
