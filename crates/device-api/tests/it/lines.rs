//! A device's line to the endpoint over any transport, for tests that are the same over all of them.

use std::time::Duration;

use codec::{
    amqp::{AmqpError, Body, Entries, Message},
    mqtt::{Connect, ConnectReturnCode},
};
use net::{
    Transport,
    client::{AmqpClient, AmqpClientError, Login, websocket},
};
use serde_json::Value;

use crate::{
    http::{Http, VERSION, poll_path, register_path},
    mqtt_client::{Mqtt, POLL, REGISTER, connect},
    tls::{ByteStream, Presented},
    world::{Device, World},
};

/// A stream on which the transport's protocol is spoken, up to its first byte.
pub async fn dial(transport: Transport, world: &World, presented: Option<&Presented>) -> ByteStream {
    match transport {
        Transport::Https => world.dial_https(presented).await,
        Transport::Mqtt => world.dial_mqtts(presented).await,
        Transport::MqttWs => upgraded(world, presented, "mqtt").await,
        Transport::Amqp => world.dial_amqps(presented).await,
        Transport::AmqpWs => upgraded(world, presented, "AMQPWSB10").await,
    }
}

/// An open line of one device.
pub struct Line {
    device: Device,
    /// A device without a token is one with a certificate.
    token: Option<String>,
    wire: Wire,
}

/// A small reader of one protocol for each.
enum Wire {
    Https(Http),
    Mqtt(Box<Mqtt>),
    Amqp(Box<AmqpClient<ByteStream>>),
}

/// What a device is told, whatever the transport.
#[derive(Debug)]
pub struct Said {
    /// An HTTP status, or its counterpart.
    pub status: u64,
    pub retry_after_secs: Option<i64>,
    pub json: Value,
}

impl Line {
    /// Opens a line; `presented` stands for a token where there is one.
    pub async fn open(
        world: &World,
        transport: Transport,
        device: &Device,
        presented: Option<&Presented>,
    ) -> Line {
        let token = presented.is_none().then(|| device.token());
        let stream = dial(transport, world, presented).await;
        let wire = match transport {
            Transport::Https => Wire::Https(Http::new(stream).await),
            Transport::Mqtt | Transport::MqttWs => mqtt(stream, device, token.clone()).await,
            Transport::Amqp | Transport::AmqpWs => amqp(stream, device, token.as_deref()).await,
        };
        Line { device: device.clone(), token, wire }
    }

    /// Over an AMQP stream whose SASL layer let the device in already.
    pub async fn let_in(stream: ByteStream, device: &Device) -> Line {
        Line { device: device.clone(), token: None, wire: amqp(stream, device, None).await }
    }

    pub async fn register(&mut self) -> Said {
        self.register_with("null").await
    }

    /// Registers with a payload, as JSON.
    pub async fn register_with(&mut self, payload: &str) -> Said {
        let body = format!(r#"{{"registrationId":"{}","payload":{payload}}}"#, self.device.id);
        match &mut self.wire {
            Wire::Https(http) => {
                let call = http.call("PUT", register_path(&self.device, VERSION)).body(body);
                https_said(call.header("user-agent", self.device.agent), self.token.clone()).await
            }
            Wire::Mqtt(mqtt) => mqtt_said(mqtt, format!("{REGISTER}1"), body).await,
            Wire::Amqp(amqp) => amqp_said(amqp, &register(&body)).await,
        }
    }

    pub async fn poll(&mut self, operation_id: &str) -> Said {
        match &mut self.wire {
            Wire::Https(http) => {
                let call = http.call("GET", poll_path(&self.device, operation_id));
                https_said(call.header("user-agent", self.device.agent), self.token.clone()).await
            }
            Wire::Mqtt(mqtt) => {
                mqtt_said(mqtt, format!("{POLL}1&operationId={operation_id}"), String::new()).await
            }
            Wire::Amqp(amqp) => amqp_said(amqp, &poll(operation_id)).await,
        }
    }

    /// Polls as often as it is told to, without the pauses.
    pub async fn poll_to_the_end(&mut self, operation_id: &str) -> Said {
        for _ in 0..1000 {
            let said = self.poll(operation_id).await;
            if said.json["status"] != "assigning" {
                return said;
            }
            assert_eq!(said.retry_after_secs, Some(3));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{operation_id} does not end");
    }
}

impl Said {
    pub fn status_word(&self) -> &str {
        self.json["status"].as_str().unwrap_or_default()
    }

    pub fn operation_id(&self) -> &str {
        self.json["operationId"].as_str().unwrap_or_else(|| panic!("no operation in {self:?}"))
    }

    pub fn error_code(&self) -> Option<u64> {
        self.json["errorCode"].as_u64()
    }

    /// The hub and the device's name there.
    pub fn assigned(&self) -> (&str, &str) {
        assert_eq!(self.status_word(), "assigned", "{self:?}");
        let text = |name: &str| self.json["registrationState"][name].as_str().unwrap();
        (text("assignedHub"), text("deviceId"))
    }
}

async fn upgraded(world: &World, presented: Option<&Presented>, subprotocol: &'static str) -> ByteStream {
    let stream = world.dial_https(presented).await;
    Box::new(websocket(stream, "localhost", subprotocol, 300_000).await.unwrap())
}

async fn mqtt(stream: ByteStream, device: &Device, token: Option<String>) -> Wire {
    let mut mqtt = Mqtt::new(stream);
    let greeting = Connect { password: token.map(Into::into), ..connect(device) };
    assert_eq!(mqtt.enter(greeting).await, ConnectReturnCode::Accepted);
    Wire::Mqtt(Box::new(mqtt))
}

async fn amqp(stream: ByteStream, device: &Device, token: Option<&str>) -> Wire {
    let client = amqp_client(stream, device, token, &device.resource()).await;
    Wire::Amqp(Box::new(client.unwrap()))
}

/// A client as SDKs are: PLAIN with a token, bare without one.
pub async fn amqp_client(
    stream: ByteStream,
    device: &Device,
    token: Option<&str>,
    address: &str,
) -> Result<AmqpClient<ByteStream>, AmqpClientError> {
    let name = device.resource();
    let login = token.map_or(Login::Bare, |password| Login::Plain { name: &name, password });
    let properties = Entries::new()
        .with("com.microsoft:api-version", "2019-03-31")
        .with("com.microsoft:client-version", device.agent);
    AmqpClient::open(stream, "localhost", login, (address, properties), Duration::from_secs(30)).await
}

/// A request to register.
pub fn register(body: &str) -> Message {
    let application = Entries::new().with("iotdps-operation-type", "iotdps-register");
    Message { application, body: Body::of(body.to_owned()), ..Message::default() }
}

/// A request to poll.
pub fn poll(operation_id: &str) -> Message {
    let application = Entries::new()
        .with("iotdps-operation-type", "iotdps-get-operationstatus")
        .with("iotdps-operation-id", operation_id);
    Message { application, body: Body::Value("".into()), ..Message::default() }
}

async fn https_said(call: crate::http::Call<'_>, token: Option<String>) -> Said {
    let call = match token {
        Some(token) => call.token(token),
        None => call,
    };
    let reply = call.send().await;
    let retry_after_secs = reply.header("retry-after").map(|seconds| seconds.parse().unwrap());
    Said { status: reply.status.as_u16().into(), retry_after_secs, json: reply.json() }
}

async fn mqtt_said(mqtt: &mut Mqtt, topic: String, body: String) -> Said {
    let response = mqtt.request(topic, body).await;
    let (status, query) = response.topic.split_once("/?").unwrap();
    let retry_after = query.split_once("&retry-after=").map(|(_, seconds)| seconds.parse().unwrap());
    Said { status: status.parse().unwrap(), retry_after_secs: retry_after, json: response.json }
}

/// What the service says to one request.
pub async fn amqp_said(amqp: &mut AmqpClient<ByteStream>, request: &Message) -> Said {
    match amqp.request(request).await {
        Ok(reply) => {
            let json: Value = serde_json::from_slice(&reply.body.bytes().unwrap()).unwrap();
            let status = if json["status"] == "assigning" { 202 } else { 200 };
            Said { status, retry_after_secs: seconds(&reply.application), json }
        }
        Err(AmqpClientError::Rejected(Some(error))) => refused(&error),
        Err(error) => panic!("{error}"),
    }
}

/// An error as C# reads it: the description is that of HTTPS.
pub fn refused(error: &AmqpError) -> Said {
    let json: Value = serde_json::from_str(error.description.as_deref().unwrap()).unwrap();
    let status = json["errorCode"].as_u64().unwrap_or_default() / 1000;
    Said { status, retry_after_secs: seconds(&error.details), json }
}

/// Under both spellings, as `int`.
fn seconds(entries: &Entries) -> Option<i64> {
    let value = entries.get("retry-after");
    assert_eq!(value, entries.get("Retry-After"));
    value.map(|value| {
        assert!(matches!(value, codec::amqp::Value::Int(_)), "the C SDK reads no other");
        value.as_integer().unwrap()
    })
}
