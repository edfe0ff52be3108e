//! A device over AMQP, in memory.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use codec::amqp::{
    Attach, Begin, Body, DeliveryState, Detach, Disposition, Entries, Flow, Frame, LinkFlow, Message,
    MessageId, Open, Performative, Properties, Protocol, Role, SaslCode, SaslFrame, SaslInit, SettleMode,
    Terminus, Transfer, Value, decode_frame, decode_protocol, decode_sasl, encode_frame, encode_protocol,
    encode_sasl,
};
use net::{CancellationToken, Limits, ListenerContext, Peer, amqp::drive};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::timeout,
};

use crate::world::{HOST, World};

/// One connection.
pub struct AmqpDevice {
    stream: DuplexStream,
    input: BytesMut,
    /// Frames that arrived while another one was awaited.
    pending: VecDeque<Performative>,
    links: u32,
    deliveries: u32,
    /// The properties of every link.
    pub link_properties: Entries,
}

impl AmqpDevice {
    /// Connects without SASL, with a certificate if there is one.
    pub async fn bare(world: &World, leaf: Option<&[u8]>) -> AmqpDevice {
        let mut device = AmqpDevice::dial(world, leaf);
        device.enter().await;
        device
    }

    /// Connects by SASL.
    pub async fn log_in(
        world: &World,
        mechanism: &str,
        response: &str,
        leaf: Option<&[u8]>,
    ) -> Result<AmqpDevice, SaslCode> {
        let mut device = AmqpDevice::dial(world, leaf);
        let mut bytes = BytesMut::new();
        encode_protocol(Protocol::Sasl, &mut bytes);
        let init = SaslInit {
            mechanism: mechanism.to_owned(),
            initial_response: Some(Bytes::from(response.to_owned())),
            hostname: None,
        };
        encode_sasl(&SaslFrame::Init(init), usize::MAX, &mut bytes).unwrap();
        device.stream.write_all(&bytes).await.unwrap();
        device.next(|input| decode_protocol(input).unwrap()).await.expect("a protocol header");
        loop {
            match device.next(|input| decode_sasl(input, 512).unwrap()).await.expect("a SASL frame") {
                SaslFrame::Outcome(SaslCode::Ok) => break,
                SaslFrame::Outcome(code) => return Err(code),
                _ => {}
            }
        }
        device.enter().await;
        Ok(device)
    }

    /// Connects and puts the token of the device, whose key is 7.
    pub async fn with_token(world: &World, id: &str) -> AmqpDevice {
        AmqpDevice::bare(world, None).await.let_in(world, id).await
    }

    /// Does the same over a server that shuts down when `shutdown` is canceled.
    pub async fn with_token_until(world: &World, id: &str, shutdown: CancellationToken) -> AmqpDevice {
        let mut device = AmqpDevice::dial_until(world, None, shutdown);
        device.enter().await;
        device.let_in(world, id).await
    }

    async fn let_in(mut self, world: &World, id: &str) -> AmqpDevice {
        let device = &mut self;
        let resource = format!("{HOST}/devices/{id}");
        assert_eq!(device.put_token(&resource, &world.token(&resource, 7, None)).await, 200);
        self
    }

    fn dial(world: &World, leaf: Option<&[u8]>) -> AmqpDevice {
        AmqpDevice::dial_until(world, leaf, CancellationToken::new())
    }

    fn dial_until(world: &World, leaf: Option<&[u8]>, shutdown: CancellationToken) -> AmqpDevice {
        let certificates = leaf.iter().map(|der| der.to_vec().into()).collect();
        let peer = Peer::new("127.0.0.1:1".parse().unwrap(), certificates);
        let (stream, far) = tokio::io::duplex(64 * 1024);
        let limits = Arc::new(embedded_hub::limits(&Limits::default()));
        let entrance = ListenerContext { endpoint: world.hub.amqp(), limits, shutdown };
        tokio::spawn(drive(far, peer, entrance));
        let (input, pending) = (BytesMut::new(), VecDeque::new());
        let link_properties = Entries::new();
        AmqpDevice { stream, input, pending, links: 0, deliveries: 0, link_properties }
    }

    async fn enter(&mut self) {
        let mut bytes = BytesMut::new();
        encode_protocol(Protocol::Amqp, &mut bytes);
        self.stream.write_all(&bytes).await.unwrap();
        let open = Open {
            container_id: "device".into(),
            hostname: Some(HOST.into()),
            max_frame_size: 65_536,
            channel_max: 0,
            idle_timeout_ms: None,
        };
        let begin = Begin {
            remote_channel: None,
            next_outgoing_id: 0,
            incoming_window: 1000,
            outgoing_window: 1000,
            handle_max: 100,
        };
        self.send_frame(Performative::Open(open)).await;
        self.send_frame(Performative::Begin(begin)).await;
        self.next(|input| decode_protocol(input).unwrap()).await.expect("a protocol header");
        self.wait(|said| matches!(said, Performative::Begin(_)).then_some(())).await;
    }

    /// Puts a token for a resource; the status of the answer.
    pub async fn put_token(&mut self, name: &str, token: &str) -> i64 {
        if self.links == 0 {
            self.attach("$cbs", Role::Sender).await.unwrap();
            self.attach("$cbs", Role::Receiver).await.unwrap();
        }
        let request = Message {
            properties: Properties {
                message_id: Some(MessageId::String("put-1".into())),
                ..Properties::default()
            },
            application: Entries::new()
                .with("operation", "put-token")
                .with("type", "servicebus.windows.net:sastoken")
                .with("name", name),
            body: Body::Value(Value::String(token.to_owned())),
            ..Message::default()
        };
        self.ask_cbs(request).await
    }

    /// Sends a request to `$cbs`, whose links must be there; the status of the answer.
    pub async fn ask_cbs(&mut self, request: Message) -> i64 {
        assert_eq!(self.send(0, request).await, DeliveryState::Accepted);
        let (delivery, answer) = self.receive(1).await;
        self.settle(delivery, DeliveryState::Accepted).await;
        assert_eq!(answer.properties.correlation_id, Some(MessageId::String("put-1".into())));
        assert!(answer.application.text("status-description").is_some());
        answer.application.get("status-code").and_then(Value::as_integer).unwrap()
    }

    /// Attaches a link, with credit if it is to this client; its handle, or the condition of the refusal.
    pub async fn attach(&mut self, address: &str, role: Role) -> Result<u32, String> {
        let mode = if address.ends_with("/twin") { SettleMode::Settled } else { SettleMode::Mixed };
        self.attach_with(address, role, mode, 50).await
    }

    pub async fn attach_with(
        &mut self,
        address: &str,
        role: Role,
        settle_mode: SettleMode,
        credit: u32,
    ) -> Result<u32, String> {
        let handle = self.ask_for(address, role, settle_mode).await;
        self.answered(handle, role, credit).await
    }

    /// Sends an attach and does not wait for the answer.
    pub async fn try_attach(&mut self, address: &str, role: Role) {
        self.ask_for(address, role, SettleMode::Mixed).await;
    }

    async fn ask_for(&mut self, address: &str, role: Role, settle_mode: SettleMode) -> u32 {
        let handle = self.links;
        self.links += 1;
        let far = Some(Terminus { address: Some(address.to_owned()) });
        let near = Some(Terminus::default());
        let (source, target) = if role == Role::Sender { (near, far) } else { (far, near) };
        self.send_frame(Performative::Attach(Attach {
            name: format!("link-{handle}"),
            handle,
            role,
            settle_mode,
            source,
            target,
            initial_delivery_count: (role == Role::Sender).then_some(0),
            max_message_size: None,
            properties: self.link_properties.clone(),
        }))
        .await;
        handle
    }

    async fn answered(&mut self, handle: u32, role: Role, credit: u32) -> Result<u32, String> {
        let refused = self
            .wait(|said| match said {
                Performative::Attach(answer) if answer.handle == handle => {
                    let far = if role == Role::Sender { &answer.target } else { &answer.source };
                    Some(far.is_none())
                }
                _ => None,
            })
            .await;
        if refused {
            let (gone, condition) = self.detached().await;
            assert_eq!(gone, handle);
            return Err(condition);
        }
        if role == Role::Receiver {
            self.give_credit(handle, credit).await;
        }
        Ok(handle)
    }

    async fn give_credit(&mut self, handle: u32, credit: u32) {
        let link =
            LinkFlow { handle, delivery_count: Some(0), link_credit: Some(credit), ..LinkFlow::default() };
        self.flow(Some(link), false).await;
    }

    async fn flow(&mut self, link: Option<LinkFlow>, echo: bool) {
        let (next_incoming_id, incoming_window) = (Some(0), 1_000_000);
        let flow = Flow {
            next_incoming_id,
            incoming_window,
            next_outgoing_id: 0,
            outgoing_window: 1000,
            link,
            echo,
        };
        self.send_frame(Performative::Flow(flow)).await;
    }

    /// Sends a message unsettled and waits for its state.
    pub async fn send(&mut self, handle: u32, message: Message) -> DeliveryState {
        self.send_formatted(handle, message, 0).await
    }

    pub async fn send_formatted(&mut self, handle: u32, message: Message, format: u32) -> DeliveryState {
        let id = self.transfer(handle, &message, format, false).await;
        self.wait(|said| match said {
            Performative::Disposition(Disposition { first, last, state, .. })
                if (*first..=last.unwrap_or(*first)).contains(&id) =>
            {
                state.clone()
            }
            _ => None,
        })
        .await
    }

    /// Sends a message that is settled already.
    pub async fn send_settled(&mut self, handle: u32, message: &Message) {
        self.transfer(handle, message, 0, true).await;
    }

    async fn transfer(&mut self, handle: u32, message: &Message, format: u32, settled: bool) -> u32 {
        let delivery_id = self.deliveries;
        self.deliveries += 1;
        let payload = message.encode().unwrap();
        let mut parts = payload.chunks(8_000).peekable();
        let mut first = true;
        while let Some(part) = parts.next() {
            let transfer = Transfer {
                handle,
                delivery_id: first.then_some(delivery_id),
                delivery_tag: first.then(|| Bytes::from_static(b"t")),
                message_format: first.then_some(format),
                settled: Some(settled),
                more: parts.peek().is_some(),
                state: None,
                resume: false,
                aborted: false,
                payload: Bytes::copy_from_slice(part),
            };
            first = false;
            self.send_frame(Performative::Transfer(transfer)).await;
        }
        delivery_id
    }

    /// Receives the next message over a link; returns its delivery ID, too.
    pub async fn receive(&mut self, handle: u32) -> (u32, Message) {
        let mut payload = BytesMut::new();
        let mut delivery = None;
        loop {
            let transfer = self
                .wait(|said| match said {
                    Performative::Transfer(transfer) if transfer.handle == handle => Some(transfer.clone()),
                    _ => None,
                })
                .await;
            delivery = delivery.or(transfer.delivery_id);
            payload.extend_from_slice(&transfer.payload);
            if !transfer.more {
                return (delivery.unwrap(), Message::decode(&payload).unwrap());
            }
        }
    }

    pub async fn settle(&mut self, delivery: u32, state: DeliveryState) {
        self.send_frame(Performative::Disposition(Disposition {
            role: Role::Receiver,
            first: delivery,
            last: None,
            settled: true,
            state: Some(state),
        }))
        .await;
    }

    /// Detaches a link and waits until the hub has done the same.
    pub async fn detach(&mut self, handle: u32) {
        self.send_frame(Performative::Detach(Detach { handle, closed: true, error: None })).await;
        self.wait(|said| matches!(said, Performative::Detach(it) if it.handle == handle).then_some(())).await;
    }

    /// Waits until the hub detaches a link; returns the link and the condition.
    pub async fn detached(&mut self) -> (u32, String) {
        let (handle, error) = self
            .wait(|said| match said {
                Performative::Detach(detach) => Some((detach.handle, detach.error.clone())),
                _ => None,
            })
            .await;
        self.send_frame(Performative::Detach(Detach { handle, closed: true, error: None })).await;
        (handle, error.expect("an error").condition)
    }

    /// Waits until the hub ends the session and closes the connection; returns the condition of each.
    pub async fn ended(&mut self) -> (String, Option<String>) {
        let end = self.wait(|said| match said {
            Performative::End(end) => Some(end.clone()),
            _ => None,
        });
        let ended = end.await.error.expect("an error").condition;
        let close = self.wait(|said| match said {
            Performative::Close(close) => Some(close.clone()),
            _ => None,
        });
        (ended, close.await.error.map(|error| error.condition))
    }

    /// Waits until the hub closes the connection; returns the condition.
    pub async fn closed(&mut self) -> String {
        let close = self.wait(|said| match said {
            Performative::Close(close) => Some(close.clone()),
            _ => None,
        });
        close.await.error.expect("an error").condition
    }

    /// Returns whether the connection is open, without messages and detached links.
    pub async fn is_silent(&mut self) -> bool {
        self.flow(None, true).await;
        loop {
            match self.read().await {
                Some(Performative::Flow(flow)) if flow.link.is_none() => break,
                Some(said) => self.pending.push_back(said),
                None => return false,
            }
        }
        let concerns =
            |said: &Performative| matches!(said, Performative::Transfer(_) | Performative::Detach(_));
        !self.pending.iter().any(concerns)
    }

    /// Receives frames up to the first that `found` accepts, and returns that; keeps the others for later, except flows.
    async fn wait<T>(&mut self, found: impl Fn(&Performative) -> Option<T>) -> T {
        for index in 0..self.pending.len() {
            if let Some(result) = found(&self.pending[index]) {
                self.pending.remove(index);
                return result;
            }
        }
        loop {
            let said = self.read().await.expect("the connection ends");
            if let Some(result) = found(&said) {
                return result;
            }
            if !matches!(said, Performative::Flow(_)) {
                self.pending.push_back(said);
            }
        }
    }

    async fn read(&mut self) -> Option<Performative> {
        let frame = self.next(|input| decode_frame(input, 1 << 20).unwrap()).await?;
        Some(frame.performative.expect("no heartbeat"))
    }

    async fn send_frame(&mut self, performative: Performative) {
        let mut bytes = BytesMut::new();
        let frame = Frame { channel: 0, performative: Some(performative) };
        encode_frame(&frame, usize::MAX, &mut bytes).unwrap();
        // The hub may have closed already; its last frames are still to be read.
        let _ = self.stream.write_all(&bytes).await;
    }

    async fn next<T>(&mut self, decode: impl Fn(&mut BytesMut) -> Option<T>) -> Option<T> {
        loop {
            if let Some(decoded) = decode(&mut self.input) {
                return Some(decoded);
            }
            let read = timeout(Duration::from_secs(10), self.stream.read_buf(&mut self.input));
            if read.await.expect("an answer in time").unwrap_or(0) == 0 {
                return None;
            }
        }
    }
}

/// Returns a message of bytes.
pub fn data(body: &str) -> Message {
    Message { body: Body::of(body.to_owned()), ..Message::default() }
}
