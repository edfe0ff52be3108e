//! The audit trail: what operators did, and what was refused to them.

use std::fs;

use ::fleet::{EnrollmentKind, ServiceClient, Trust};
use serde_json::Value;
use wire::sas::ConnectionString;

use crate::{
    serve::{KEY, ServeFixture, enrollment},
    storage::stop,
};

#[tokio::test]
async fn changes_reads_of_keys_and_refusals_are_recorded_without_secrets() {
    let fixture = ServeFixture::new();
    let path = fixture.folder().join("audit.jsonl");
    fixture.append(&format!("[audit]\nfile = {:?}\nrefused_per_minute = 2\n", path.display().to_string()));
    let service = fixture.start().await;
    let mut operator = fixture.service("127.0.0.1");
    operator.create_enrollment(&enrollment("dev-1")).await.unwrap();
    operator.enrollment("dev-1").await.unwrap();
    operator.attestation(EnrollmentKind::Individual, "dev-1").await.unwrap();
    let kind = (EnrollmentKind::Individual, "dev-1");
    operator.put_enrollment(kind, &enrollment("dev-1"), Some("\"stale\"")).await.unwrap_err();

    let port = fixture.endpoint("0neAAAAAAAA").https_port;
    let key = testkit::sample::key(9).to_base64();
    let wrong = format!("HostName=127.0.0.1:{port};SharedAccessKeyName=owner;SharedAccessKey={key}");
    let trust = Trust::from_pem(fixture.ca_pem.as_bytes()).unwrap();
    let mut stranger = ServiceClient::new(&ConnectionString::parse(&wrong).unwrap(), port, trust).unwrap();
    for _ in 0..5 {
        stranger.delete_enrollment(EnrollmentKind::Individual, "dev-1").await.unwrap_err();
    }
    operator.delete_enrollment(EnrollmentKind::Individual, "dev-1").await.unwrap();

    // A shutdown writes all lines. Of the stranger's refusals two are recorded in a minute, which may end meanwhile.
    stop(service).await;
    let text = fs::read_to_string(&path).unwrap();
    let found: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |outcome: &str| found.iter().filter(|line| line["outcome"] == outcome).collect::<Vec<_>>();
    let (done, refused) = (of("done"), of("refused"));
    let omitted: u64 = of("omitted").iter().filter_map(|line| line["count"].as_u64()).sum();
    assert_eq!(refused.len() as u64 + omitted, 6, "{found:?}");
    let operations: Vec<_> = done.iter().filter_map(|line| line["operation"].as_str()).collect();
    let expected = [
        "IndividualEnrollment_CreateOrUpdate",
        "IndividualEnrollment_GetAttestationMechanism",
        "IndividualEnrollment_Delete",
    ];
    assert_eq!(operations, expected, "{found:?}");
    assert_eq!((&done[0]["actor"], &done[0]["address"]), (&"owner".into(), &"127.0.0.1".into()));
    assert_eq!(done[2]["instance"], "0neAAAAAAAA");
    assert_eq!((&refused[0]["code"], &refused[0]["actor"]), (&412_000.into(), &"owner".into()));
    assert_eq!((&refused[1]["code"], &refused[1]["actor"]), (&401_002.into(), &Value::Null));
    assert_eq!(refused[1]["trackingId"].as_str().map(str::len), Some(36));
    assert!(!text.contains(KEY) && !text.contains("sig="), "{text}");
}
