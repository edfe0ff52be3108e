//! Properties of twins, over generated documents.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is no object"),
    }
}

fn desired(value: Value) -> TwinChange {
    let mut change = TwinChange::default();
    change.properties.desired = Part::Object(object(value));
    change
}

fn tags(value: Value) -> TwinChange {
    TwinChange { tags: Part::Object(object(value)), ..TwinChange::default() }
}

/// Documents with few keys, so that patches change existing properties.
fn document() -> impl Strategy<Value = Map<String, Value>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-9i64..9).prop_map(Value::from),
        "[a-z]{0,3}".prop_map(Value::from),
        Just(json!([1, {"x": 2}])),
    ];
    let value = leaf.prop_recursive(3, 20, 4, |inner| fields(inner).prop_map(Value::Object));
    fields(value)
}

fn fields(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec(("[abc]", value), 0..4).prop_map(Map::from_iter)
}

/// Applies a patch by the algorithm of RFC 7386 section 2, word for word.
fn rfc_7386(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut target = if let Value::Object(target) = target { target } else { Map::new() };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            let old = target.remove(name).unwrap_or(Value::Null);
            target.insert(name.clone(), rfc_7386(old, value));
        }
    }
    Value::Object(target)
}

proptest! {
    #[test]
    fn a_merge_follows_the_rfc(target in document(), patch in document()) {
        let mut merged = target.clone();
        merge::merge(&mut merged, &patch);
        prop_assert_eq!(Value::Object(merged), rfc_7386(Value::Object(target), &Value::Object(patch)));
    }

    #[test]
    fn a_second_merge_changes_nothing(mut target in document(), patch in document()) {
        merge::merge(&mut target, &patch);
        let once = target.clone();
        merge::merge(&mut target, &patch);
        prop_assert_eq!(target, once);
    }

    #[test]
    fn a_replacement_is_returned_as_a_patch(first in document(), second in document()) {
        let mut twin = Twin::new(at(1));
        twin.change(desired(Value::Object(first)), Mode::Patch, at(2)).unwrap();
        let mut known_to_device = twin.desired.value.clone();
        let desired_change = twin.change(desired(Value::Object(second)), Mode::Replace, at(3)).unwrap().unwrap();
        merge::merge(&mut known_to_device, &desired_change.patch);
        prop_assert_eq!(&known_to_device, &twin.desired.value);
        prop_assert_eq!(desired_change.version, twin.desired.version);
    }

    #[test]
    fn metadata_mirrors_the_properties(changes in prop::collection::vec((document(), any::<bool>()), 1..6)) {
        let mut twin = Twin::new(at(0));
        for (index, (change, replace)) in (1..).zip(changes) {
            let mode = if replace { Mode::Replace } else { Mode::Patch };
            twin.report(change.clone(), at(index)).unwrap();
            twin.change(desired(Value::Object(change)), mode, at(index)).unwrap();
            prop_assert!(twin.desired.is_mirrored() && twin.reported.is_mirrored());
            prop_assert_eq!(twin.desired.version, 1 + u64::try_from(index).unwrap());
        }
    }

    #[test]
    fn nothing_but_the_patched_section_changes(first in document(), second in document()) {
        let mut twin = Twin::new(at(0));
        twin.change(desired(Value::Object(first)), Mode::Patch, at(1)).unwrap();
        let before = twin.clone();
        twin.report(second, at(2)).unwrap();
        prop_assert_eq!(&twin.desired, &before.desired);
        prop_assert_eq!((&twin.tags, twin.etag), (&before.tags, before.etag));
    }

    #[test]
    fn a_stored_twin_is_read_back(first in document(), second in document()) {
        let mut twin = Twin::new(at(0));
        twin.change(desired(Value::Object(first)), Mode::Patch, at(1)).unwrap();
        twin.report(second, at(2)).unwrap();
        let stored = serde_json::to_vec(&twin).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Twin>(&stored).unwrap(), twin);
    }
}

#[test]
fn a_patch_deletes_keeps_and_dates_properties() {
    let mut twin = Twin::new(at(0));
    twin.change(desired(json!({"a": {"b": 1, "c": 2}, "d": []})), Mode::Patch, at(1)).unwrap();
    let desired_change =
        twin.change(desired(json!({"a": {"b": null}, "e": {}})), Mode::Patch, at(2)).unwrap().unwrap();
    assert_eq!(String::from_utf8(desired_change.body()).unwrap(), r#"{"a":{"b":null},"e":{},"$version":3}"#);
    let returned = Value::Object(twin.desired.for_service(section::MetadataDetail::TimesAndVersions));
    let (first, second) = (at(1).to_string(), at(2).to_string());
    assert_eq!(
        returned,
        json!({
            "a": {"c": 2}, "d": [], "e": {},
            "$metadata": {
                "$lastUpdated": second, "$lastUpdatedVersion": 3,
                "a": {"$lastUpdated": second, "$lastUpdatedVersion": 3,
                      "c": {"$lastUpdated": first, "$lastUpdatedVersion": 2}},
                "d": {"$lastUpdated": first, "$lastUpdatedVersion": 2},
                "e": {"$lastUpdated": second, "$lastUpdatedVersion": 3},
            },
            "$version": 3,
        })
    );
}

#[test]
fn tags_and_desired_properties_have_separate_versions() {
    let mut twin = Twin::new(at(0));
    assert_eq!((twin.etag, twin.version, twin.desired.version, twin.reported.version), (1, 2, 1, 1));
    assert_eq!(twin.change(tags(json!({"site": "x"})), Mode::Patch, at(1)), Ok(None));
    assert_eq!((twin.etag, twin.version, twin.desired.version), (2, 3, 1));
    twin.report(object(json!({"on": true})), at(2)).unwrap();
    assert_eq!((twin.etag, twin.version, twin.reported.version), (2, 4, 2));
    twin.change(TwinChange::default(), Mode::Replace, at(3)).unwrap();
    assert_eq!((twin.tags.len(), twin.desired.version, twin.reported.version), (0, 2, 2));
}

#[test]
fn annotations_that_are_sent_back_are_ignored() {
    let mut twin = Twin::new(at(0));
    let desired_change =
        twin.change(desired(json!({"$metadata": {}, "$version": 9, "a": 1})), Mode::Replace, at(1)).unwrap();
    assert_eq!(desired_change, Some(DesiredChange { version: 2, patch: object(json!({"a": 1})) }));
    assert_eq!(
        twin.report(object(json!({"$version": 1, "$other": 1})), at(2)),
        Err(TwinRefusal::Key("$other".into()))
    );
}

#[test]
fn the_sizes_of_sections_are_bounded() {
    let text = |bytes: usize| {
        let chunks = (0..bytes / 1000).map(|index| (format!("k{index:03}"), json!("x".repeat(996))));
        let rest = ("rest".to_owned(), json!("x".repeat(bytes % 1000 - 4)));
        Value::Object(chunks.chain([rest]).collect())
    };
    for (bytes, refused) in [(8 * 1024, false), (8 * 1024 + 1, true)] {
        assert_eq!(
            Twin::new(at(0)).change(tags(text(bytes)), Mode::Patch, at(1)).is_err(),
            refused,
            "{bytes}"
        );
    }
    for (bytes, refused) in [(32 * 1024, false), (32 * 1024 + 1, true)] {
        assert_eq!(
            Twin::new(at(0)).change(desired(text(bytes)), Mode::Patch, at(1)).is_err(),
            refused,
            "{bytes}"
        );
        assert_eq!(Twin::new(at(0)).report(object(text(bytes)), at(1)).is_err(), refused, "{bytes}");
    }
}

#[test]
fn a_seed_creates_and_restarts_a_twin() {
    let seed = InitialTwin {
        tags: Some(model::TwinCollection::from(object(json!({"site": "x"})))),
        desired: Some(model::TwinCollection::from(object(json!({"rate": 5})))),
    };
    let seeded = Twin::seeded(&seed, at(1)).unwrap();
    assert_eq!((seeded.desired.version, seeded.etag, seeded.version), (2, 1, 2));
    let mut used = seeded.clone();
    assert!(used.is_unchanged_since(&Twin::seeded(&seed, at(9)).unwrap()));
    used.report(object(json!({"on": true})), at(2)).unwrap();
    assert!(!used.is_unchanged_since(&seeded));
    let restarted = used.restarted(seeded.clone());
    assert!(restarted.is_unchanged_since(&seeded));
    assert_eq!((restarted.etag, restarted.version), (2, 4));
    assert_eq!(Twin::seeded(&InitialTwin::default(), at(1)).unwrap(), Twin::new(at(1)));
}
