//! `GET /attempts`.

use model::{Admission, Attempt, Explanation, RefusalReason, Timestamp};
use serde_json::Value;
use testkit::sample;

use crate::world::{World, id_scope};

/// The time of the first attempt; the others follow, one a minute.
const FIRST: i64 = 1_790_000_000;

fn attempt(id: &str, minute: i64, code: RefusalReason) -> Attempt {
    let explanation = Explanation {
        presented: Vec::new(),
        considered: Vec::new(),
        omitted: 0,
        unfit: Vec::new(),
        outcome: Admission::Refused { reason: "no".to_owned(), code: Some(code) },
    };
    let at = Timestamp::from_unix_seconds(FIRST + 60 * minute);
    Attempt { registration_id: sample::registration_id(id), at, address: None, known: true, explanation }
}

/// Stores attempts of three devices, of which the first comes in turn with two others.
async fn world() -> World {
    let world = World::new().await;
    let attempts = (0..9).map(|minute| match minute % 3 {
        0 => attempt("dev-1", minute, RefusalReason::WrongKey),
        1 => attempt("dev-2", minute, RefusalReason::Revoked),
        _ => attempt("dev-3", minute, RefusalReason::WrongKey),
    });
    world.store.keep_attempts(&id_scope("one"), attempts.collect()).await.unwrap();
    world
}

/// Returns the minutes of all attempts that meet a search, read in pages that examine two each.
async fn minutes(world: &World, search: &str) -> Vec<i64> {
    let (mut minutes, mut after) = (Vec::new(), String::new());
    loop {
        let page = world.get(&format!("/attempts?limit=2{search}{after}")).send().await.ok();
        let attempts = page["attempts"].as_array().unwrap();
        assert!(attempts.len() <= 2, "{page}");
        minutes.extend(attempts.iter().map(minute));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return minutes,
        }
    }
}

fn minute(attempt: &Value) -> i64 {
    let at = Timestamp::parse(attempt["dateTimeUtc"].as_str().unwrap()).unwrap();
    (at.unix_seconds() - FIRST) / 60
}

#[tokio::test]
async fn attempts_are_found_by_time_device_and_reason() {
    let world = world().await;
    let at = |minute: i64| Timestamp::from_unix_seconds(FIRST + 60 * minute);
    assert_eq!(minutes(&world, "").await, [8, 7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(minutes(&world, "&key=DEV-1").await, [6, 3, 0]);
    assert_eq!(minutes(&world, "&reason=REVOKED").await, [7, 4, 1]);
    assert_eq!(minutes(&world, &format!("&since={}&until={}", at(2), at(5))).await, [5, 4, 3, 2]);
    assert_eq!(minutes(&world, &format!("&reason=wrongKey&key=dev-3&since={}", at(3))).await, [8, 5]);
    assert_eq!(minutes(&world, "&key=dev-4").await, [0; 0]);
    assert_eq!(world.get("/attempts").of("two").send().await.ok(), serde_json::json!({"attempts": []}));
    let found = world.get("/attempts?limit=1").send().await.ok();
    assert_eq!(found["attempts"][0]["reasonCode"], "wrongKey");
    assert!(found["attempts"][0]["advice"].as_str().unwrap().contains("Compare the key"), "{found}");
    for search in
        ["since=now", "until=x", "reason=none", "key=a%20b", "limit=0", "limit=1001", "after=-1", "after=x"]
    {
        world.get(&format!("/attempts?{search}")).send().await.refused(400_002);
    }
}
