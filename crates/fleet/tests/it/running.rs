//! Many devices at a time.

use std::num::NonZeroUsize;
use std::time::Duration;

use fleet::{HubVisit, Member, Report, Run, Stage, Transport};

use crate::script::{Server, WELCOME, answer, assigned, device};

fn members(devices: usize) -> Vec<Member> {
    let member = |number| Member {
        device: device(&format!("reg-{number}")),
        enrollment: "group".into(),
        transport: if number % 2 == 0 { Transport::Https } else { Transport::Mqtt },
        twin: None,
    };
    (0..devices).map(member).collect()
}

#[tokio::test]
async fn every_device_comes_to_an_end_once() {
    let answers = (0..20).map(|_| assigned("hub.example")).chain([answer(401, None, "no")]);
    let server = Server::start(answers, WELCOME).await;
    let run = Run {
        endpoint: server.endpoint.clone(),
        hub_visit: HubVisit::Skip,
        concurrency: NonZeroUsize::new(4).unwrap(),
    };
    let mut heard = 0;
    let outcomes = run.start(members(21), |_| heard += 1).await;
    assert_eq!((heard, outcomes.len()), (21, 21));
    let failed: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.failure.as_ref()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].stage, failed[0].reason.as_str()), (Stage::Register, "refused: 401 no"));

    let report = Report::of(&outcomes, Duration::from_secs(1));
    assert_eq!((report.provisioned, report.devices), (20, 21));
    let rows: Vec<_> = report.enrollments.iter().map(|row| (row.transport.as_str(), row.devices)).collect();
    assert_eq!(rows, [("https", 11), ("mqtt", 10)]);
}

#[tokio::test]
async fn an_assigned_device_that_cannot_reach_its_hub_has_failed() {
    let server = Server::start([assigned("127.0.0.1")], WELCOME).await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let run = Run {
        endpoint: server.endpoint.clone(),
        hub_visit: HubVisit::ReadTwin { mqtts_port: closed },
        concurrency: NonZeroUsize::MIN,
    };
    let outcomes = run.start(members(1), |_| ()).await;
    let failure = outcomes[0].failure.as_ref().unwrap();
    assert_eq!(failure.stage, Stage::Connect);
    assert!(outcomes[0].landed.is_some(), "it was assigned nevertheless");
}

#[tokio::test]
async fn no_devices_are_no_work() {
    let server = Server::start([], WELCOME).await;
    let run = Run {
        endpoint: server.endpoint.clone(),
        hub_visit: HubVisit::Skip,
        concurrency: NonZeroUsize::new(8).unwrap(),
    };
    assert!(run.start(Vec::new(), |_| ()).await.is_empty());
}
