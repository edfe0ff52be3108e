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
    error::{CallError, Concerning},
    messages::Waiting,
};

/// What a client has shown when it is let in.
pub(super) struct Shown {
    /// The registration that its login named; a certificate names none.
    pub(super) address: Option<DeviceAddress>,
    pub(super) evidence: Evidence,
    pub(super) peer: Peer,
    pub(super) over: Transport,
}

impl Shown {
    pub(super) fn new(
        address: Option<DeviceAddress>,
        evidence: Evidence,
        peer: &Peer,
        over: Transport,
    ) -> Self {
        Shown { address, evidence, peer: peer.clone(), over }
    }
}

pub(super) struct Connection {
    api: DeviceApi,
    /// All links of a connection are for one registration: that of the login, or else of the first link.
    shown: Shown,
    outbox: Option<Outbox>,
    /// The links over which the client sends requests.
    requests: Vec<(LinkId, Arc<Asking>)>,
    replies: Replies,
    waiting: Waiting,
}

/// The link over which the client wants its replies: the latest that it attached. Clones share it.
#[derive(Clone, Default)]
struct Replies(Arc<Mutex<Option<LinkId>>>);

/// What the tasks that answer the requests of one link share.
struct Asking {
    api: DeviceApi,
    transport: Transport,
    /// Who calls, or what every request is answered with.
    caller: Result<Caller, CallError>,
    concerning: Concerning,
    outbox: Outbox,
    replies: Replies,
    delay: Duration,
}

/// A request that is to be answered.
struct Asked {
    operation: RegistrationOperation,
    body: Bytes,
    delivery: DeliveryRef,
    link: LinkId,
    correlation_id: Option<MessageId>,
}

impl Connection {
    pub(super) fn new(api: DeviceApi, shown: Shown) -> Self {
        let (requests, replies) = (Vec::new(), Replies::default());
        Connection { api, shown, outbox: None, requests, replies, waiting: Waiting::default() }
    }

    /// A refusal before there is a caller; the log gets the reason.
    async fn refusal(&self, error: &CallError) -> AmqpError {
        let concerning = Concerning::new(&self.shown.peer, self.shown.address.as_ref());
        let body = self.api.refusal(self.shown.over, error, &concerning).await;
        reply::rejection(&body, self.api.timing.retry_after_secs)
    }

    fn asking(&self, address: &DeviceAddress, properties: &Entries, outbox: Outbox) -> Asking {
        let version = properties.text("com.microsoft:api-version").unwrap_or_default();
        let agent = properties.text("com.microsoft:client-version").unwrap_or_default();
        let client = Client::of(agent, version);
        let caller = api_version(version).map(|api_version| Caller {
            scope: address.id_scope.clone(),
            registration_id: address.registration_id.clone(),
            api_version,
            client,
            evidence: self.shown.evidence.clone(),
            address: self.shown.peer.addr.ip(),
            transport: self.shown.over,
            standing: self.shown.peer.standing.clone(),
        });
        let delay = client.delay(self.api.timing.java_delay);
        Asking {
            api: self.api.clone(),
            transport: self.shown.over,
            caller,
            concerning: Concerning::new(&self.shown.peer, Some(address)),
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
        if self.shown.address.get_or_insert_with(|| address.clone()) != &address {
            let error = CallError::OtherDevice(address.registration_id.to_string());
            return Err(self.refusal(&error).await);
        }
        self.shown.peer.standing.note_login(&address.to_string());
        match (link.direction, &self.outbox) {
            (Direction::ToClient, _) => self.replies.go_over(link.id),
            (Direction::FromClient, Some(outbox)) => {
                let asking = self.asking(&address, &link.properties, outbox.clone());
                self.requests.push((link.id, Arc::new(asking)));
            }
            (Direction::FromClient, None) => {} // links come after the open
        }
        Ok(())
    }

    async fn message(&mut self, delivery: Delivery) -> Result<Verdict, AmqpError> {
        let asking = self.requests.iter().find(|(link, _)| *link == delivery.link);
        let Some((_, asking)) = asking else { return Ok(rejected(condition::NOT_FOUND, "an unknown link")) };
        if asking.replies.link().is_none() {
            let text = "attach a receiving link first: the reply goes over it";
            return Ok(rejected(condition::PRECONDITION_FAILED, text));
        }
        let Some(place) = self.waiting.place() else {
            let text = "more requests at once than a device sends";
            return Ok(rejected(condition::RESOURCE_LIMIT_EXCEEDED, text));
        };
        let (asking, link) = (Arc::clone(asking), delivery.link);
        let (operation, body) = match request::parse(&delivery.message) {
            Ok(parsed) => parsed,
            Err(error) => return Ok(Verdict::Settled(asking.rejected(&error).await)),
        };
        let correlation_id = delivery.message.properties.correlation_id;
        let asked = Asked { operation, body, delivery: delivery.id, link, correlation_id };
        tokio::spawn(async move {
            asking.answer(asked).await;
            drop(place);
        });
        Ok(Verdict::Later)
    }

    async fn detached(&mut self, link: LinkId) {
        self.requests.retain(|(other, _)| *other != link);
        self.replies.not_over(link);
    }

    async fn prove(&mut self) -> bool {
        let Some((_, asking)) = self.requests.first() else { return false };
        let proof = match &asking.caller {
            Ok(caller) => asking.api.prove(caller).await,
            Err(error) => Err(error.clone()),
        };
        match proof {
            Ok(()) => true,
            Err(error) => {
                asking.rejection(&error).await;
                false
            }
        }
    }

    fn busy(&self) -> bool {
        self.waiting.any()
    }
}

fn rejected(condition: &str, text: &str) -> Verdict {
    Verdict::Settled(DeliveryState::Rejected(Some(AmqpError::new(condition, text))))
}

impl Asking {
    async fn answer(&self, asked: Asked) {
        let answer = self.api.call(&self.caller, asked.operation, &asked.body).await;
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        match answer {
            Ok(answer) => self.reply(&answer, asked.delivery, asked.correlation_id).await,
            Err(error) => self.refuse(asked.link, asked.delivery, &self.rejection(&error).await),
        }
    }

    /// First the verdict on the request, then the reply: some SDKs insist.
    async fn reply(&self, answer: &Answer, delivery: DeliveryRef, correlation_id: Option<MessageId>) {
        if let Some(error) = reply::unanswerable(&answer.reply) {
            return self.outbox.settle(delivery, DeliveryState::Rejected(Some(error)));
        }
        self.outbox.settle(delivery, DeliveryState::Accepted);
        if let Some(link) = self.replies.link() {
            // An error means that the device is gone; it will ask again.
            let _ = self.outbox.send(link, reply::message(answer, correlation_id), 0).await;
        }
    }

    /// Who is not authorized loses the link, too: what it showed will not become better.
    fn refuse(&self, link: LinkId, delivery: DeliveryRef, error: &AmqpError) {
        self.outbox.settle(delivery, DeliveryState::Rejected(Some(error.clone())));
        if error.condition == condition::UNAUTHORIZED_ACCESS {
            self.outbox.detach(link, error.clone());
        }
    }

    async fn rejection(&self, error: &CallError) -> AmqpError {
        let body = self.api.refusal(self.transport, error, &self.concerning).await;
        reply::rejection(&body, self.api.timing.retry_after_secs)
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
