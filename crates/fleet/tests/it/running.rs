//! Runs with many devices.

use std::{num::NonZeroUsize, time::Duration};

use fleet::{HubVisit, Member, Report, Run, Stage, Transport};

use crate::script::{ACCEPT, Server, answer, assigned, device};

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
async fn every_device_has_one_outcome() {
    let answers = (0..20).map(|_| assigned("hub.example")).chain([answer(401, None, "no")]);
    let server = Server::start(answers, ACCEPT).await;
    let run = Run {
        endpoint: server.endpoint.clone(),
        hub_visit: HubVisit::Skip,
        concurrency: NonZeroUsize::new(4).unwrap(),
    };
    let mut reported = 0;
    let outcomes = run.start(members(21), |_| reported += 1).await;
    assert_eq!((reported, outcomes.len()), (21, 21));
    let failed: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.failure.as_ref()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].stage, failed[0].reason.as_str()), (Stage::Register, "refused: 401 no"));

    let report = Report::of(&outcomes, Duration::from_secs(1));
    assert_eq!((report.provisioned, report.devices), (20, 21));
    let rows: Vec<_> = report.enrollments.iter().map(|row| (row.transport.as_str(), row.devices)).collect();
    assert_eq!(rows, [("https", 11), ("mqtt", 10)]);
}

#[tokio::test]
async fn an_assigned_device_that_cannot_reach_its_hub_fails() {
    let server = Server::start([assigned("127.0.0.1")], ACCEPT).await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let run = Run {
        endpoint: server.endpoint.clone(),
        hub_visit: HubVisit::ReadTwin { mqtts_port: closed },
        concurrency: NonZeroUsize::MIN,
    };
    let outcomes = run.start(members(1), |_| ()).await;
    let failure = outcomes[0].failure.as_ref().unwrap();
    assert_eq!(failure.stage, Stage::Connect);
    assert!(outcomes[0].assignment.is_some(), "the device was assigned nevertheless");
}

#[tokio::test]
async fn a_run_without_devices_ends_immediately() {
    let server = Server::start([], ACCEPT).await;
    let run = Run {
        endpoint: server.endpoint.clone(),
        hub_visit: HubVisit::Skip,
        concurrency: NonZeroUsize::new(8).unwrap(),
    };
    assert!(run.start(Vec::new(), |_| ()).await.is_empty());
}
