//! Every kind of refusal before a service judges a device has a reason that an operator finds: a line in the log, a number in
//! the metrics, and an attempt, where the registration ID and the instance are known.

use std::{any::Any, collections::BTreeSet, pin::Pin, time::Duration};

use codec::mqtt::{Connect, Packet, QoS, Will};
use model::{Admission, Attempt};
use net::{
    Limits, Refused, UnprovenLimits,
    client::{AmqpClient, AmqpClientError, Login},
};
use testkit::{
    ca::{Authority, Identity, Profile},
    log::LogEvents,
    sample,
};
use tokio::io::AsyncWriteExt;
use tracing::Level;

use crate::{
    http::register_path,
    lines::amqp_client,
    mqtt_client::{Mqtt, connect, publish},
    tls::ByteStream,
    world::{Device, SCOPE, World},
};

/// What a client holds open after it was refused.
type Held = Box<dyn Any>;
type Act = for<'w> fn(&'w World) -> Pin<Box<dyn Future<Output = Held> + 'w>>;

struct Row {
    case: &'static str,
    reason: Refused,
    limits: fn(&mut Limits),
    /// Whether the registration ID and the instance are known: then there is an attempt.
    is_known: bool,
    act: Act,
}

macro_rules! row {
    ($case:literal, $reason:ident, $known:literal, $act:expr) => {
        row!($case, $reason, $known, |_| {}, $act)
    };
    ($case:literal, $reason:ident, $known:literal, $limits:expr, $act:expr) => {
        Row {
            case: $case,
            reason: Refused::$reason,
            limits: $limits,
            is_known: $known,
            act: |world| Box::pin(async move { Box::new($act(world).await) as Held }),
        }
    };
}

/// The device of each case, enrolled with a key of which it has another one.
fn device() -> Device {
    Device::new(SCOPE, "dev-1", sample::key(99))
}

const SECRET: &str = "SharedAccessSignature+sr=secret";

/// The CONNECT of the device, changed.
async fn connecting(world: &World, change: impl FnOnce(&mut Connect)) -> Mqtt {
    let mut mqtt = Mqtt::new(world.dial_mqtts(None).await);
    let mut packet = connect(&device());
    change(&mut packet);
    mqtt.send(&[Packet::Connect(packet)]).await;
    mqtt
}

/// The same, and then these bytes.
async fn sending(world: &World, bytes: &[u8]) -> Mqtt {
    let mut mqtt = connecting(world, |_| {}).await;
    mqtt.receive().await;
    mqtt.send_bytes(bytes).await;
    mqtt
}

async fn logging_in(world: &World, name: &str, password: &str) -> Option<AmqpClientError> {
    let login = Login::Plain { name, password };
    let link = (name, codec::amqp::Entries::new());
    let stream = world.dial_amqps(None).await;
    AmqpClient::open(stream, "localhost", login, link, Duration::from_secs(5)).await.err()
}

async fn over_https(world: &World, text: String) -> ByteStream {
    let mut stream = world.dial_https(None).await;
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

fn chain(length: usize) -> (Vec<Vec<u8>>, Identity) {
    let root = Authority::root("Root");
    let leaf = root.device("dev-1");
    let others = std::iter::repeat_n(root.identity().der().to_vec(), length - 1);
    (std::iter::once(leaf.der().to_vec()).chain(others).collect(), leaf)
}

fn soon(limits: &mut Limits) {
    let soon = Duration::from_millis(300);
    limits.packet_timeout = soon;
    limits.mqtt.connect_timeout = soon;
    limits.amqp.login_timeout = soon;
}

fn brief(limits: &mut Limits) {
    limits.unproven = UnprovenLimits { lifetime: Duration::from_millis(500), ..limits.unproven.clone() };
}

fn few(limits: &mut Limits) {
    limits.max_connections = 2;
    limits.max_unproven_per_address = Some(10);
}

fn rows() -> Vec<Row> {
    [handshakes(), logins(), violations(), deadlines_and_bounds()].into_iter().flatten().collect()
}

fn handshakes() -> Vec<Row> {
    vec![
        row!("too many certificates", ChainTooLong, true, async |world: &World| {
            let (chain, leaf) = chain(11);
            world.dial_mqtts_with(chain, &leaf).await
        }),
        row!("the key of another certificate", BadSignature, true, async |world: &World| {
            let other = Identity::self_signed(&Profile::device("other"));
            world.dial_mqtts_with(chain(1).0, &other).await
        }),
        row!("a certificate that is none", BadCertificate, false, async |world: &World| {
            world.dial_mqtts_with(vec![b"certificate".to_vec()], &chain(1).1).await
        }),
        row!("a handshake that is none", NotTls, false, async |world: &World| {
            let mut stream = world.dial_mqtts_in_clear().await;
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            stream
        }),
        row!(
            "silence instead of a CONNECT, with a certificate",
            LoginTimeout,
            true,
            soon,
            async |world: &World| {
                let (chain, leaf) = chain(1);
                world.dial_mqtts_with(chain, &leaf).await
            }
        ),
    ]
}

fn logins() -> Vec<Row> {
    vec![
        row!("a CONNECT with a will", Login, true, async |world: &World| {
            let will = Will { topic: "t".into(), payload: "p".into(), qos: QoS::AtMostOnce, retain: false };
            connecting(world, |connect| connect.will = Some(will)).await
        }),
        row!("another client ID", Login, true, async |world: &World| {
            connecting(world, |connect| connect.client_id = "dev-2".into()).await
        }),
        row!("a CONNECT without password", Login, true, async |world: &World| {
            connecting(world, |connect| connect.password = None).await
        }),
        row!("a user name of another form", Login, false, async |world: &World| {
            connecting(world, |connect| connect.username = Some("dev-1".into())).await
        }),
        row!("a rubbish token over AMQP", Login, true, async |world: &World| {
            logging_in(world, &device().resource(), SECRET).await
        }),
        row!("an empty token over AMQP", Login, true, async |world: &World| {
            logging_in(world, &device().resource(), "").await
        }),
        row!("no registration over AMQP", Login, false, async |world: &World| {
            logging_in(world, "dev-1", SECRET).await
        }),
        row!("neither SASL nor a certificate", Login, false, async |world: &World| {
            amqp_client(world.dial_amqps(None).await, &device(), None, &device().resource()).await.err()
        }),
    ]
}

fn violations() -> Vec<Row> {
    vec![
        row!("a second CONNECT", Protocol, true, async |world: &World| {
            let mut mqtt = connecting(world, |_| {}).await;
            mqtt.receive().await;
            mqtt.send(&[Packet::Connect(connect(&device()))]).await;
            mqtt
        }),
        row!("a packet of no kind", Protocol, true, async |world: &World| sending(world, &[0xFF, 0]).await),
        row!("a topic of another API", Protocol, true, async |world: &World| {
            let mut mqtt = connecting(world, |_| {}).await;
            mqtt.receive().await;
            mqtt.send(&[publish("devices/dev-1/messages/events/", None, "x")]).await;
            mqtt
        }),
        row!("HTTP that is none", Protocol, false, async |world: &World| {
            over_https(world, "\u{1}\r\n\r\n".into()).await
        }),
    ]
}

fn deadlines_and_bounds() -> Vec<Row> {
    vec![
        row!("half a packet", PacketTimeout, true, soon, async |world: &World| sending(world, &[0x30, 9])
            .await),
        row!("half a body", PacketTimeout, true, soon, async |world: &World| {
            let path = register_path(&device(), "2019-03-31");
            let head = format!("PUT {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: {SECRET}\r\n");
            let token = device().token();
            over_https(world, head.replace(SECRET, &token) + "content-length: 20\r\n\r\n{").await
        }),
        row!("more than an unproven client may send", TooLarge, true, async |world: &World| {
            let mut mqtt = connecting(world, |_| {}).await;
            mqtt.receive().await;
            mqtt.send(&[publish("$dps/registrations/PUT/iotdps-register/?$rid=1", None, "x".repeat(9000))])
                .await;
            mqtt
        }),
        row!("two tokens in one request", BadRequest, true, async |world: &World| {
            let path = register_path(&device(), "2019-03-31");
            let token = format!("authorization: {SECRET}\r\n");
            over_https(world, format!("PUT {path} HTTP/1.1\r\nhost: localhost\r\n{token}{token}\r\n")).await
        }),
        row!("no accepted request in time", Unproven, true, brief, async |world: &World| {
            connecting(world, |_| {}).await
        }),
        row!("a place for a new connection", Evicted, true, few, async |world: &World| {
            let mut first = connecting(world, |_| {}).await;
            first.receive().await;
            let second = world.dial_mqtts_in_clear().await;
            // Younger ones stay.
            tokio::time::sleep(Duration::from_millis(5_200)).await;
            (first, second, world.dial_mqtts_in_clear().await)
        }),
    ]
}

/// Made before a client can have named a registration, so that there is no attempt to keep. Tested where they are made.
const NAMELESS: [Refused; 9] = [
    Refused::AddressLimit,
    Refused::NoPermit,
    Refused::ProxyHeader,
    Refused::HandshakeTimeout,
    Refused::Left,
    Refused::ClientAlert,
    Refused::NoCommonVersion,
    Refused::NoCommonSuite,
    Refused::NoCommonSignature,
];

/// Refused where the chain is that is too long, but no client here signs with so short a key.
const WEAK: [Refused; 1] = [Refused::WeakKey];

#[test]
fn every_reason_has_a_row() {
    let rows: BTreeSet<&str> = rows().iter().map(|row| row.reason.name()).collect();
    let named = rows.into_iter().chain(NAMELESS.into_iter().chain(WEAK).map(Refused::name));
    assert_eq!(named.collect::<BTreeSet<_>>(), Refused::ALL.map(Refused::name).into());
}

#[tokio::test]
async fn refusals_reach_log_metrics_and_attempts() {
    for row in rows() {
        let case = row.case;
        let (log, _guard) = LogEvents::collect(Level::INFO);
        let mut limits = Limits::default();
        (row.limits)(&mut limits);
        let world = World::limited(limits).await;
        world.device("dev-1").await;
        let _held = (row.act)(&world).await;
        let name = row.reason.name();
        let attempts = attempts(&world, |attempts| {
            let has_attempt = attempts.iter().any(|attempt| reason(attempt).starts_with(name));
            has(&log, "connection refused", name) && has_attempt == row.is_known
        });
        let attempts = attempts.await.unwrap_or_else(|found| panic!("{case}: {found:?} {:?}", log.all()));
        assert!(world.limiter.refused(row.reason) >= 1, "{case}");
        for attempt in attempts.iter().filter(|attempt| reason(attempt).starts_with(name)) {
            assert_eq!(attempt.address.map(|it| it.is_loopback()), Some(true), "{case}");
            assert!(attempt.known, "{case}");
        }
        let told = format!("{attempts:?} {:?}", log.all());
        assert!(!told.contains("secret") && !told.contains("sig="), "{case}: {told}");
    }
}

/// Requests that name a registration and are refused before the core judges them, with the code and the reason.
#[tokio::test]
async fn refused_requests_are_attempts() {
    let world = World::new(crate::world::IN_TIME).await;
    let device = world.device("dev-1").await;
    let path = device.path();
    let register = register_path(&device, "2019-03-31");
    for (method, target, token, body, reason) in [
        ("PUT", format!("{path}/register"), device.token(), "{}", "api-version"),
        ("PUT", register.clone(), "secret".to_owned(), "{}", "token"),
        ("PUT", register.clone(), device.token(), "{", "body"),
        ("PUT", register.clone(), device.token(), r#"{"csr": "x"}"#, "issues no certificates"),
        ("DELETE", register.clone(), device.token(), "{}", "the method is not allowed"),
        (
            "PUT",
            format!("{path}/regster?api-version=2019-03-31"),
            device.token(),
            "{}",
            "nothing at this path",
        ),
    ] {
        let before = attempts(&world, |_| true).await.unwrap().len();
        let reply = world.http(None).await.call(method, target).token(token).body(body).send().await;
        assert!(reply.status.is_client_error(), "{reason}: {}", reply.text);
        let found = attempts(&world, |attempts| attempts.len() > before || before == 5).await.unwrap();
        assert!(self::reason(&found[0]).contains(reason), "{reason}: {found:?}");
        assert!(!format!("{found:?}").contains("secret"), "{found:?}");
    }
}

/// The attempts under the device's name as soon as they are as wanted; those of last when they do not become so.
async fn attempts(world: &World, wanted: impl Fn(&[Attempt]) -> bool) -> Result<Vec<Attempt>, Vec<Attempt>> {
    let instance = world.provisioning.instance(&sample::scope(SCOPE)).await.unwrap().unwrap();
    let mut found = Vec::new();
    for _ in 0..300 {
        let id = sample::registration_id("dev-1");
        found = world.provisioning.attempts(&instance, &id).await.unwrap().items;
        if wanted(&found) {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(found)
}

fn reason(attempt: &Attempt) -> &str {
    match &attempt.explanation.outcome {
        Admission::Refused { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

/// Whether an event has this message and this reason.
fn has(log: &LogEvents, message: &str, reason: &str) -> bool {
    let reason = format!("reason={reason:?}");
    log.all().iter().any(|event| event.contains(message) && event.contains(&reason))
}
