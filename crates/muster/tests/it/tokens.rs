//! SAS tokens: the device endpoint, the service endpoint and hubs apply the same rules.

use std::time::Duration;

use ::fleet::Trust;
use http::{Method, StatusCode};
use model::SymmetricKey;
use net::client::{Call, Deadlines, HttpsConnection};
use provisioning::ports::Clock;
use server::SystemClock;
use wire::sas::{ConnectionString, sign};

use crate::program::World;

/// One endpoint, and the parts of a token for one of its resources.
struct Endpoint {
    name: &'static str,
    host: String,
    request: (Method, String),
    /// The service part of the token's resource.
    service: String,
    /// The resource below the service.
    resource: String,
    policy: Option<String>,
    key: SymmetricKey,
}

/// A token, and whether it is accepted.
struct Case<'a> {
    what: &'a str,
    token: String,
    accepted: bool,
}

impl Endpoint {
    fn of_connection_string(name: &'static str, text: &str, resource: &str) -> Endpoint {
        let parsed = ConnectionString::parse(text).unwrap();
        let host = model::without_port(&parsed.host).to_owned();
        Endpoint {
            name,
            service: parsed.host,
            host,
            request: (Method::GET, format!("/{resource}?api-version=2021-10-01")),
            resource: resource.to_owned(),
            policy: Some(parsed.key_name),
            key: SymmetricKey::parse(&parsed.key).unwrap(),
        }
    }

    fn cases(&self, now: u64) -> Vec<Case<'static>> {
        let Endpoint { service, resource, policy, key, .. } = self;
        let policy = policy.as_deref();
        let is_policy = policy.is_some();
        let other_case = policy.map(str::to_ascii_uppercase);
        let token = |what, resource: String, expiry: u64, accepted| Case {
            what,
            token: sign(&resource, key.as_bytes(), expiry, policy),
            accepted,
        };
        let good = format!("{service}/{resource}");
        let later = now + 600;
        let signed = sign(&good, key.as_bytes(), later, policy);
        let by = |key: &[u8], name: Option<&str>| sign(&good, key, later, name);
        vec![
            token("the resource", good.clone(), later, true),
            token("in capitals", good.to_uppercase(), later, true),
            token("with a trailing slash", format!("{good}/"), later, true),
            token("with a scheme", format!("https://{good}"), later, true),
            token("with a version", format!("{good}/api-version=2016-11-14"), later, true),
            token("the whole service", service.clone(), later, is_policy),
            token("something below", format!("{good}/x"), later, false),
            token("a sibling", format!("{good}x"), later, false),
            token("another service", format!("other.example/{resource}"), later, false),
            token("expired four minutes ago", good.clone(), now - 240, true),
            token("expired six minutes ago", good.clone(), now - 360, false),
            Case {
                what: "the policy in capitals",
                token: by(key.as_bytes(), other_case.as_deref()),
                accepted: true,
            },
            Case { what: "no such policy", token: by(key.as_bytes(), Some("no-such")), accepted: !is_policy },
            Case { what: "another key", token: by(&[9; 32], policy), accepted: false },
            Case {
                what: "a later expiry",
                token: signed.replace(&later.to_string(), "4102444800"),
                accepted: false,
            },
            Case { what: "no token", token: "nonsense".to_owned(), accepted: false },
        ]
    }

    async fn accepts(&self, world: &World, token: &str) -> bool {
        let info = world.emulator.info();
        let trust = Trust::from_pem(&std::fs::read(&info.ca_file).unwrap()).unwrap();
        let deadlines = Deadlines { connect: Duration::from_secs(10), exchange: Duration::from_secs(30) };
        let mut connection =
            HttpsConnection::open(&self.host, info.ports.https, trust.anonymous(), deadlines).await.unwrap();
        let (method, path_and_query) = self.request.clone();
        let call = Call { method, path_and_query, authorization: Some(token), ..Call::default() };
        connection.call(call).await.unwrap().status() != StatusCode::UNAUTHORIZED
    }
}

#[tokio::test]
async fn all_endpoints_apply_the_same_rules_to_tokens() {
    let world = World::start().await;
    let info = world.emulator.info();
    let group = SymmetricKey::parse(&info.sample_enrollment_group.primary_key).unwrap();
    let device = Endpoint {
        name: "device",
        host: "127.0.0.1".to_owned(),
        request: (
            Method::PUT,
            format!("/{}/registrations/dev-1/register?api-version=2021-06-01", info.id_scope),
        ),
        service: info.id_scope.clone(),
        resource: "registrations/dev-1".to_owned(),
        policy: None,
        key: group.derive("dev-1"),
    };
    let service =
        Endpoint::of_connection_string("service", &info.service_connection_string, "enrollments/none");
    let hub = Endpoint::of_connection_string("hub", &info.hubs[0].connection_string, "devices/none");
    let now = u64::try_from(SystemClock.now().unix_seconds()).unwrap();
    for endpoint in [device, service, hub] {
        for Case { what, token, accepted } in endpoint.cases(now) {
            assert_eq!(endpoint.accepts(&world, &token).await, accepted, "{} {what}", endpoint.name);
        }
    }
    world.stop().await;
}
