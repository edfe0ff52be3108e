//! Hubs that throttle or fail, whose answers are late or not valid, or that do not answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hub::{RestConnector, RestLink};
use model::{Carried, DeviceId, DeviceSpec, InitialTwin, Properties, TwinSpec};
use net::client::Deadlines;
use provisioning::ports::{Delay, HubConnector, HubError, HubVersion};
use serde_json::{Value, json};
use testkit::sample;

use crate::{
    script::{Script, Step},
    world,
};

const EXISTS: &str = r#"{"Message":"ErrorCode:DeviceAlreadyExists;there"}"#;
const GONE: &str = r#"{"Message":"ErrorCode:DeviceNotFound;no"}"#;
const THROTTLED: &str = r#"{"Message":"ErrorCode:ThrottlingException;Wait 10 seconds and try again."}"#;

/// Returns a new device without a twin.
fn spec() -> DeviceSpec {
    DeviceSpec {
        twin: TwinSpec::Initialize(InitialTwin::default()),
        iot_edge: false,
        ..sample::device_spec("d")
    }
}

fn kept() -> DeviceSpec {
    DeviceSpec { twin: TwinSpec::Keep { initial: InitialTwin::default() }, ..spec() }
}

/// Returns the JSON of a device with the keys of the spec, or with others.
fn device(etag: &str, key_byte: u8) -> String {
    let keys = sample::keys(key_byte);
    json!({
        "deviceId": "d",
        "etag": etag,
        "authentication": {
            "symmetricKey": {"primaryKey": keys.primary.to_base64(), "secondaryKey": keys.secondary.to_base64()},
            "type": "sas",
        },
    })
    .to_string()
}

fn connector(script: &Script) -> RestConnector {
    over(script.site.link("p", 1))
}

fn impatient(script: &Script, exchange: Duration) -> RestConnector {
    let link = script.site.link("p", 1);
    over(RestLink { deadlines: Deadlines { exchange, ..link.deadlines }, ..link })
}

fn over(link: RestLink) -> RestConnector {
    world::connector(link, &Arc::default())
}

/// Sends a spec to a hub with these answers, and checks the outcome.
async fn check(steps: Vec<Step>, spec: &DeviceSpec, expected: Result<(), HubError>) -> Vec<String> {
    let script = Script::start(steps.clone()).await;
    let outcome = connector(&script).ensure_device(spec).await.map(drop);
    match (&expected, &outcome) {
        (
            Err(HubError::Unavailable(Delay { reason: part, .. })),
            Err(HubError::Unavailable(Delay { reason, .. })),
        )
        | (Err(HubError::Full(part)), Err(HubError::Full(reason)))
        | (Err(HubError::Refused(part)), Err(HubError::Refused(reason))) => {
            assert!(reason.starts_with("127.0.0.1: ") && reason.contains(part), "{steps:?}: {reason}");
        }
        _ => assert_eq!(outcome, expected, "{steps:?}"),
    }
    assert_eq!(script.steps_left(), 0, "{steps:?}");
    script.requests()
}

fn unavailable(part: &str) -> Result<(), HubError> {
    Err(HubError::Unavailable(part.into()))
}

#[tokio::test]
async fn the_answer_decides_whether_to_try_again() {
    for (step, expected) in [
        (Step::reply(429, THROTTLED), unavailable("429 ThrottlingException: Wait 10 seconds")),
        (Step::reply(408, ""), unavailable("408")),
        (Step::reply(500, "<html>"), unavailable("500 <html>")),
        (Step::reply(503, r#"{"errorCode":503001,"message":"soon"}"#), unavailable("503 503001: soon")),
        (
            Step::reply(401, r#"{"Message":"ErrorCode:IotHubUnauthorizedAccess;no"}"#),
            unavailable("policy \"p\""),
        ),
        (
            Step::reply(403, r#"{"errorCode":403002,"message":"full"}"#),
            Err(HubError::Full("no more devices (403 403002: full)".to_owned())),
        ),
        (Step::reply(200, "<html>log in"), unavailable("200 <html>log in")),
        (Step::reply(302, ""), unavailable("302")),
        (Step::reply(404, "<html>nothing here"), unavailable("404")),
        (Step::reply(404, GONE), unavailable("is not valid")),
        (
            Step::reply(400, r#"{"Message":"ErrorCode:ArgumentInvalid;bad id"}"#),
            Err(HubError::Refused("400 ArgumentInvalid: bad id".to_owned())),
        ),
        (Step::reply(413, ""), Err(HubError::Refused("413".to_owned()))),
        (Step::Raw("SSH-2.0-OpenSSH\r\n"), unavailable("HTTP")),
        (Step::Raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"deviceId\""), unavailable("HTTP")),
        (Step::Cut, unavailable("")),
    ] {
        check(vec![step], &spec(), expected).await;
    }
}

#[tokio::test]
async fn an_answer_that_is_not_valid_is_unavailable() {
    let exists = || Step::reply(409, EXISTS);
    for body in [r#"{"deviceId":"d","authentication":7}"#, r#"{"deviceId":"d"}"#] {
        check(vec![exists(), Step::reply(200, body)], &spec(), unavailable("device that it returned")).await;
    }
    for body in ["", "null", "[]", "<html>"] {
        check(vec![exists(), Step::reply(200, body)], &spec(), unavailable("200")).await;
    }
    for body in ["{}", r#"{"properties":{"desired":7}}"#] {
        let shown = Step::reply(200, &device("MQ==", 30));
        let steps = vec![exists(), shown, Step::reply(200, "{}"), Step::reply(200, body)];
        check(steps, &spec(), unavailable("twin that it returned")).await;
    }
    let twinned = DeviceSpec { twin: TwinSpec::Initialize(sample::twin()), ..spec() };
    check(vec![Step::reply(200, "<html>")], &twinned, unavailable("200 <html>")).await;
}

#[tokio::test]
async fn an_unchanged_device_costs_one_request() {
    let requests = check(vec![Step::reply(200, &device("MQ==", 30))], &kept(), Ok(())).await;
    assert_eq!(requests, ["GET /devices/d?api-version=2021-04-12"]);
}

#[tokio::test]
async fn another_version_is_read_again_three_times() {
    let shown = |etag: &str| Step::reply(200, &device(etag, 50));
    let stale = || Step::reply(412, r#"{"Message":"ErrorCode:PreconditionFailed;ETag may be invalid."}"#);
    let steps = vec![shown("MQ=="), stale(), shown("Mg=="), Step::reply(200, &device("Mw==", 30))];
    let requests = check(steps, &kept(), Ok(())).await;
    let [get, first, second] = [
        "GET /devices/d?api-version=2021-04-12",
        "PUT /devices/d?api-version=2021-04-12 If-Match:\"MQ==\"",
        "PUT /devices/d?api-version=2021-04-12 If-Match:\"Mg==\"",
    ];
    assert_eq!(requests, [get, first, get, second]);
    let storm: Vec<Step> = (0..4).flat_map(|_| [shown("MQ=="), stale()]).collect();
    check(storm, &kept(), unavailable("keep changing")).await;
}

#[tokio::test]
async fn a_device_that_appears_and_disappears_is_created_or_updated() {
    let come = vec![Step::reply(409, EXISTS), Step::reply(404, GONE), Step::reply(200, "{}")];
    check(come, &spec(), Ok(())).await;
    let lost = vec![Step::reply(404, GONE), Step::reply(409, EXISTS), Step::reply(200, &device("MQ==", 30))];
    check(lost, &kept(), Ok(())).await;
}

#[tokio::test]
async fn a_twin_that_was_left_out_is_written() {
    let twinned = DeviceSpec { twin: TwinSpec::Initialize(sample::twin()), ..spec() };
    let partly = r#"{"isSuccessful":true,"errors":[],"warnings":[{"deviceId":"d","warningCode":"DeviceRegisteredWithoutTwin"}]}"#;
    let steps = [partly, "{}", &device("MQ==", 30)].map(|body| Step::reply(200, body));
    let requests = check(steps.to_vec(), &twinned, Ok(())).await;
    let asked = ["POST /devices", "PUT /twins/d", "GET /devices/d"];
    assert_eq!(requests, asked.map(|asked| format!("{asked}?api-version=2021-04-12")));
    let exists =
        json!({"isSuccessful": false, "errors": [{"deviceId": "d", "errorCode": "DeviceAlreadyExists"}]});
    let twin = json!({"tags": sample::twin().tags, "properties": {"desired": sample::twin().desired}});
    let shown = serde_json::from_str::<Value>(&device("MQ==", 30)).unwrap();
    let steps = [(400, exists), (200, shown), (200, json!({})), (200, twin)];
    let steps = steps.map(|(status, body)| Step::reply(status, &body.to_string()));
    let requests = check(steps.to_vec(), &twinned, Ok(())).await;
    assert_eq!(requests[2], r#"PUT /devices/d?api-version=2021-04-12 If-Match:"MQ==""#);
    assert_eq!(requests.len(), 4, "the twin is not written: {requests:?}");
}

#[tokio::test]
async fn a_call_to_a_slow_hub_ends_at_its_deadline_with_its_connection() {
    let script = Script::start([Step::Hang(Duration::from_secs(60)), Step::reply(200, "{}")]).await;
    let connector = impatient(&script, Duration::from_millis(300));
    let began = Instant::now();
    let outcome = connector.ensure_device(&spec()).await;
    assert!(
        matches!(&outcome, Err(HubError::Unavailable(delay)) if delay.reason.contains("no answer")),
        "{outcome:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(connector.ensure_device(&spec()).await.map(|it| it.generation), Ok(None));
    assert_eq!(script.connections(), 2);
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off_at_the_deadline() {
    for start in [
        "HTTP/1.1 200 OK\r\nX-",
        "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n",
    ] {
        let script = Script::start([Step::Trickle(start), Step::reply(200, "{}")]).await;
        let connector = impatient(&script, Duration::from_millis(500));
        let outcome = connector.ensure_device(&spec()).await;
        assert!(
            matches!(&outcome, Err(HubError::Unavailable(delay)) if delay.reason.contains("no answer")),
            "{start}: {outcome:?}"
        );
        assert_eq!(
            connector.ensure_device(&spec()).await.map(|it| it.generation),
            Ok(None),
            "over another connection"
        );
    }
}

#[tokio::test]
async fn a_long_answer_is_read_only_up_to_the_limit() {
    check(vec![Step::Long(64 << 20)], &spec(), unavailable("longer than 1048576 bytes")).await;
}

#[tokio::test]
async fn a_kept_connection_that_the_hub_closed_is_replaced() {
    let closed = Step::ReplyAndClose { status: 200, body: "{}".to_owned() };
    let script = Script::start([closed, Step::reply(200, "{}"), Step::Cut, Step::reply(204, "")]).await;
    let connector = connector(&script);
    for _ in 0..2 {
        connector.ensure_device(&spec()).await.unwrap();
    }
    // Cut on the kept connection, done on a new one.
    connector.remove_device(&DeviceId::parse("d").unwrap(), &HubVersion("MQ==".to_owned())).await.unwrap();
    assert_eq!((script.connections(), script.steps_left()), (3, 0));
}

#[tokio::test]
async fn a_hub_that_does_not_listen_is_unavailable() {
    let script = Script::start([]).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let link = RestLink { port, ..script.site.link("p", 1) };
    let outcome = over(link).ensure_device(&spec()).await;
    assert!(
        matches!(&outcome, Err(HubError::Unavailable(delay)) if delay.reason.contains("cannot connect")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn the_number_of_calls_in_flight_to_a_hub_is_bounded() {
    let steps = std::iter::repeat_n(Step::Hang(Duration::from_secs(60)), 100);
    let script = Script::start(steps).await;
    let deadlines = Deadlines { connect: Duration::from_secs(20), exchange: Duration::from_secs(5) };
    let link = RestLink { deadlines, permit_within: Duration::from_millis(500), ..script.site.link("p", 1) };
    let connector = Arc::new(over(link));
    let runs: Vec<_> = (0..100)
        .map(|_| {
            let connector = Arc::clone(&connector);
            tokio::spawn(async move { connector.ensure_device(&spec()).await })
        })
        .collect();
    let (mut busy, mut late) = (0, 0);
    for run in runs {
        match run.await.unwrap() {
            Err(HubError::Unavailable(delay)) if delay.reason.contains("too many calls are in flight") => {
                busy += 1
            }
            Err(HubError::Unavailable(delay)) if delay.reason.contains("no answer") => late += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((busy, late, script.connections()), (68, 32, 32));
}

#[tokio::test]
async fn a_hub_that_refuses_reported_properties_gets_the_device_without_them() {
    let refused = r#"{"isSuccessful":false,"errors":[{"errorCode":"ArgumentInvalid"}],"warnings":[]}"#;
    let taken = r#"{"isSuccessful":true,"errors":[],"warnings":[]}"#;
    let absent = r#"{"errorCode":404001}"#;
    let steps = [
        (404, absent),
        (400, refused),
        (404, absent),
        (200, taken),
        (200, r#"{"generationId":"7"}"#),
        (200, "{}"),
    ];
    let script = Script::start(steps.map(|(status, body)| Step::reply(status, body))).await;
    let section = |value: Value, version| Properties { value: value.as_object().cloned().unwrap(), version };
    let carried = Carried {
        tags: json!({"site": "x"}).as_object().cloned().unwrap(),
        desired: section(json!({"rate": 5}), 7),
        reported: section(json!({"firmware": "1.2"}), 4),
        disabled: Some("lost".to_owned()),
    };
    let received = connector(&script).receive_device(&spec(), &carried).await.unwrap();
    assert_eq!((received.generation, received.took_over), (model::Generation::parse("7").ok(), false));
    let requests = script.requests();
    let asked: Vec<_> = requests.iter().map(|request| request.split('?').next().unwrap()).collect();
    let (look, import) = ("GET /devices/d", "POST /devices");
    assert_eq!(asked, [look, import, look, import, look, "PUT /twins/d"]);
    let bodies: Vec<Value> =
        script.bodies().iter().map(|body| serde_json::from_str(body).unwrap_or_default()).collect();
    let bodies = [&bodies[1], &bodies[3], &bodies[5]];
    assert_eq!(bodies[0][0]["properties"]["reported"], json!({"firmware": "1.2", "$version": 4}));
    assert_eq!(bodies[0][0]["properties"]["desired"], json!({"rate": 5, "$version": 7}));
    assert_eq!(bodies[1][0]["properties"], json!({"desired": {"rate": 5}}));
    assert_eq!(bodies[1][0]["tags"], json!({"site": "x"}), "in the request that makes the device");
    for body in &bodies[..2] {
        assert_eq!((&body[0]["status"], &body[0]["statusReason"]), (&json!("disabled"), &json!("lost")));
    }
    assert_eq!(bodies[2]["tags"], json!({"site": "x"}));
    assert_eq!(bodies[2]["properties"], json!({"desired": {"rate": 5}}));
}
