//! `muster demo` with few devices.

use crate::program::muster;

#[tokio::test]
async fn the_demo_provisions_every_device() {
    let ended = muster(["demo", "--devices", "40", "--concurrency", "8"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.last_line(), "provisioned 40 of 40");
    for heading in ["enrollment", "p99 ms", "share by weight", "127.0.0.12"] {
        assert!(ended.stdout.contains(heading), "{heading}: {}", ended.stdout);
    }
}

#[tokio::test]
async fn the_json_report_counts_every_kind_of_enrollment_and_transport() {
    let ended = muster(["demo", "--devices", "60", "--hubs", "3", "--concurrency", "8", "--json"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let report = ended.json();
    assert_eq!((report["provisioned"].as_u64(), report["devices"].as_u64()), (Some(60), Some(60)));
    let rows: Vec<_> = report["enrollments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            assert!(row["timeToAssigned"]["p99Ms"].as_f64().unwrap() > 0.0);
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            (text("enrollment"), text("transport"), row["devices"].as_u64().unwrap())
        })
        .collect();
    let expected = [
        ("X.509 group", "https", 14),
        ("X.509 group", "mqtt", 13),
        ("individual, X.509", "https", 2),
        ("individual, X.509", "mqtt", 1),
        ("individual, symmetric key", "https", 2),
        ("individual, symmetric key", "mqtt", 1),
        ("symmetric-key group", "https", 14),
        ("symmetric-key group", "mqtt", 13),
    ];
    let expected = expected
        .map(|(enrollment, transport, devices)| (enrollment.to_owned(), transport.to_owned(), devices));
    assert_eq!(rows, expected);
    let hubs = report["hubs"].as_array().unwrap();
    assert_eq!(hubs.len(), 3);
    assert_eq!(hubs.iter().map(|hub| hub["devices"].as_u64().unwrap()).sum::<u64>(), 60);
    let by_weight: Vec<_> =
        hubs.iter().map(|hub| (hub["shareByWeight"].as_f64().unwrap() * 6.0).round()).collect();
    assert_eq!(by_weight, [1.0, 2.0, 3.0]);
}
