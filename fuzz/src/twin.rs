//! A twin's life: changes by operators and reports by the device, and what the device hears of them.

use embedded_hub::twin::{MetadataDetail, Mode, Twin};
use model::Timestamp;
use serde_json::{Map, Value};
use wire::hub::TwinChange;

/// One step per line: `p` patches, `r` replaces, `d` reports; JSON follows. A refusal leaves everything as it was. A
/// device that applies what it hears has what the hub has.
pub fn run(input: &[u8]) {
    let mut twin = Twin::new(Timestamp::from_ticks(0));
    let mut at_device = Value::Object(Map::new());
    for (time, line) in (1..).zip(input.split(|byte| *byte == b'\n')) {
        let before = twin.clone();
        let changed = step(&mut twin, &mut at_device, line, Timestamp::from_ticks(time));
        if changed {
            assert_eq!(twin.version, before.version + 1);
        } else {
            twin = before;
        }
        assert_eq!(at_device, Value::Object(twin.desired.value.clone()));
        let stored = serde_json::to_string(&twin).expect("a twin can be stored");
        assert_eq!(serde_json::from_str::<Twin>(&stored).expect("and read"), twin);
        for section in [&twin.desired, &twin.reported] {
            assert_eq!(section.for_device()["$version"], section.version);
            assert_eq!(section.for_service(MetadataDetail::TimesAndVersions).len(), section.value.len() + 2);
        }
    }
}

fn step(twin: &mut Twin, at_device: &mut Value, line: &[u8], now: Timestamp) -> bool {
    let Some((kind, json)) = line.split_first() else { return false };
    let mode = match kind {
        b'p' => Mode::Patch,
        b'r' => Mode::Replace,
        b'd' => {
            let Ok(patch) = serde_json::from_slice(json) else { return false };
            return twin.report(patch, now).is_ok();
        }
        _ => return false,
    };
    let Ok(change) = serde_json::from_slice::<TwinChange>(json) else { return false };
    match twin.change(change, mode, now) {
        Ok(Some(heard)) => {
            let mut patch: Map<String, Value> =
                serde_json::from_slice(&heard.body()).expect("what is sent is JSON");
            assert_eq!(patch.shift_remove("$version"), Some(twin.desired.version.into()));
            merge(at_device, &Value::Object(patch));
            true
        }
        Ok(None) => true,
        Err(_) => false,
    }
}

/// RFC 7386, section 2, word for word.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.shift_remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}
