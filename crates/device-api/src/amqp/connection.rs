//! One device connected over AMQP.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use codec::amqp::{AmqpError, DeliveryState, Entries, MessageId, Open, condition};
use net::{
    Peer, Transport,
    amqp::{AmqpConnection, Delivery, DeliveryRef, Direction, LinkId, LinkRequest, Outbox, Verdict},
};
use provisioning::attest::Evidence;
use wire::device::{DeviceAddress, RegistrationOperation};

use super::{reply, request};
use crate::{
    DeviceApi,
    call::{Answer, Caller, api_version},
    client::Client,
    error::{CallError, ErrorContext},
    messages::RequestLimiter,
};

/// The identity that a client claims by its login, with the evidence.
pub(super) struct ClaimedIdentity {
    /// The registration in the login; a client certificate names none.
    pub(super) address: Option<DeviceAddress>,
    pub(super) evidence: Evidence,
    pub(super) peer: Peer,
    pub(super) over: Transport,
}

impl ClaimedIdentity {
    pub(super) fn new(
        address: Option<DeviceAddress>,
        evidence: Evidence,
        peer: &Peer,
        over: Transport,
    ) -> Self {
        ClaimedIdentity { address, evidence, peer: peer.clone(), over }
    }
}

pub(super) struct Connection {
    api: DeviceApi,
    /// All links of a connection are for one registration: that of the login, or otherwise of the first link.
    identity: ClaimedIdentity,
    outbox: Option<Outbox>,
    /// The links over which the client sends requests.
    requests: Vec<(LinkId, Arc<RequestLink>)>,
    replies: Replies,
    limiter: RequestLimiter,
}

/// The link for replies: the latest that the client attached. Clones share it.
#[derive(Clone, Default)]
struct Replies(Arc<Mutex<Option<LinkId>>>);

/// The state that the tasks of one link's requests share.
struct RequestLink {
    api: DeviceApi,
    transport: Transport,
    /// The caller, or the error that every request gets.
    caller: Result<Caller, CallError>,
    context: ErrorContext,
    outbox: Outbox,
    replies: Replies,
    delay: Duration,
}

/// A request in progress.
struct Request {
    operation: RegistrationOperation,
    body: Bytes,
    delivery: DeliveryRef,
    link: LinkId,
    correlation_id: Option<MessageId>,
}

impl Connection {
    pub(super) fn new(api: DeviceApi, identity: ClaimedIdentity) -> Self {
        let (requests, replies) = (Vec::new(), Replies::default());
        Connection { api, identity, outbox: None, requests, replies, limiter: RequestLimiter::default() }
    }

    /// Returns the error for a link that is refused.
    async fn refusal(&self, error: &CallError) -> AmqpError {
        let context = ErrorContext::new(&self.identity.peer, self.identity.address.as_ref());
        let body = self.api.refusal(self.identity.over, error, &context).await;
        reply::rejection(&body, error.retry_after_secs(self.api.timing.retry_after_secs))
    }

    fn request_link(&self, address: &DeviceAddress, properties: &Entries, outbox: Outbox) -> RequestLink {
        let version = properties.text("com.microsoft:api-version").unwrap_or_default();
        let agent = properties.text("com.microsoft:client-version").unwrap_or_default();
        let client = Client::of(agent, version);
        let caller = api_version(version).map(|api_version| Caller {
            scope: address.id_scope.clone(),
            registration_id: address.registration_id.clone(),
            api_version,
            client,
            evidence: self.identity.evidence.clone(),
            address: self.identity.peer.addr.ip(),
            transport: self.identity.over,
            standing: self.identity.peer.standing.clone(),
        });
        let delay = client.delay(self.api.timing.java_delay);
        RequestLink {
            api: self.api.clone(),
            transport: self.identity.over,
            caller,
            context: ErrorContext::new(&self.identity.peer, Some(address)),
            outbox,
            replies: self.replies.clone(),
            delay,
        }
    }
}

#[async_trait]
impl AmqpConnection for Connection {
    async fn open(&mut self, _: &Open, outbox: Outbox) -> Result<(), AmqpError> {
        self.outbox = Some(outbox);
        Ok(())
    }

    async fn attach(&mut self, link: &LinkRequest) -> Result<(), AmqpError> {
        let Some(address) = link.address.as_deref().and_then(DeviceAddress::parse) else {
            return Err(self.refusal(&CallError::NoRoute).await);
        };
        if self.identity.address.get_or_insert_with(|| address.clone()) != &address {
            let error = CallError::OtherDevice(address.registration_id.to_string());
            return Err(self.refusal(&error).await);
        }
        self.identity.peer.standing.note_login(&address.to_string());
        match (link.direction, &self.outbox) {
            (Direction::ToClient, _) => self.replies.go_over(link.id),
            (Direction::FromClient, Some(outbox)) => {
                let request_link = self.request_link(&address, &link.properties, outbox.clone());
                self.requests.push((link.id, Arc::new(request_link)));
            }
            (Direction::FromClient, None) => {} // not before the open
        }
        Ok(())
    }

    async fn message(&mut self, delivery: Delivery) -> Result<Verdict, AmqpError> {
        let request_link = self.requests.iter().find(|(link, _)| *link == delivery.link);
        let Some((_, request_link)) = request_link else {
            return Ok(rejected(condition::NOT_FOUND, "an unknown link"));
        };
        if request_link.replies.link().is_none() {
            let text = "attach a receiving link first: the reply goes over it";
            return Ok(rejected(condition::PRECONDITION_FAILED, text));
        }
        let Some(permit) = self.limiter.try_acquire() else {
            let text = "more requests at once than a device sends";
            return Ok(rejected(condition::RESOURCE_LIMIT_EXCEEDED, text));
        };
        let (request_link, link) = (Arc::clone(request_link), delivery.link);
        let (operation, body) = match request::parse(&delivery.message) {
            Ok(parsed) => parsed,
            Err(error) => return Ok(Verdict::Settled(request_link.rejected(&error).await)),
        };
        let correlation_id = delivery.message.properties.correlation_id;
        let request = Request { operation, body, delivery: delivery.id, link, correlation_id };
        tokio::spawn(async move {
            request_link.answer(request).await;
            drop(permit);
        });
        Ok(Verdict::Later)
    }

    async fn detached(&mut self, link: LinkId) {
        self.requests.retain(|(other, _)| *other != link);
        self.replies.not_over(link);
    }

    async fn prove(&mut self) -> bool {
        let Some((_, request_link)) = self.requests.first() else { return false };
        let proof = match &request_link.caller {
            Ok(caller) => request_link.api.prove(caller).await,
            Err(error) => Err(error.clone()),
        };
        match proof {
            Ok(()) => true,
            Err(error) => {
                request_link.rejection(&error).await;
                false
            }
        }
    }

    fn busy(&self) -> bool {
        self.limiter.is_busy()
    }
}

fn rejected(condition: &str, text: &str) -> Verdict {
    Verdict::Settled(DeliveryState::Rejected(Some(AmqpError::new(condition, text))))
}

impl RequestLink {
    async fn answer(&self, request: Request) {
        let answer = self.api.call(&self.caller, request.operation, &request.body).await;
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        match answer {
            Ok(answer) => self.reply(&answer, request.delivery, request.correlation_id).await,
            Err(error) => self.refuse(request.link, request.delivery, &self.rejection(&error).await),
        }
    }

    /// Settles the request, then sends the reply: some SDKs require this order.
    async fn reply(&self, answer: &Answer, delivery: DeliveryRef, correlation_id: Option<MessageId>) {
        if let Some(error) = reply::unanswerable(&answer.reply) {
            return self.outbox.settle(delivery, DeliveryState::Rejected(Some(error)));
        }
        self.outbox.settle(delivery, DeliveryState::Accepted);
        if let Some(link) = self.replies.link() {
            // An error means that the device has disconnected; it will ask again.
            let _ = self.outbox.send(link, reply::message(answer, correlation_id), 0).await;
        }
    }

    /// Rejects a request. An unauthorized client also loses the link: its evidence will not become valid.
    fn refuse(&self, link: LinkId, delivery: DeliveryRef, error: &AmqpError) {
        self.outbox.settle(delivery, DeliveryState::Rejected(Some(error.clone())));
        if error.condition == condition::UNAUTHORIZED_ACCESS {
            self.outbox.detach(link, error.clone());
        }
    }

    async fn rejection(&self, error: &CallError) -> AmqpError {
        let body = self.api.refusal(self.transport, error, &self.context).await;
        reply::rejection(&body, error.retry_after_secs(self.api.timing.retry_after_secs))
    }

    async fn rejected(&self, error: &CallError) -> DeliveryState {
        DeliveryState::Rejected(Some(self.rejection(error).await))
    }
}

impl Replies {
    fn link(&self) -> Option<LinkId> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn go_over(&self, link: LinkId) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(link);
    }

    fn not_over(&self, link: LinkId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take_if(|current| *current == link);
    }
}
