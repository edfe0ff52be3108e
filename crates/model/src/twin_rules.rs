//! The limits of twins (documented by Azure for device twins). Initial twins are validated when they are written, and not only when a
//! hub refuses a device.

use serde_json::{Map, Number, Value};

/// The size of all keys and values of the tags, in bytes.
pub const TAG_BYTES: usize = 8 * 1024;
/// The size of all keys and values of the desired properties, in bytes.
pub const DESIRED_BYTES: usize = 32 * 1024;
/// The size of all keys and values of the reported properties, in bytes.
pub const REPORTED_BYTES: usize = 32 * 1024;
/// The length of one key, in bytes.
const KEY_BYTES: usize = 1024;
/// The length of one string, in bytes.
const STRING_BYTES: usize = 4096;
/// The depth of nested objects and arrays.
const DEPTH: usize = 10;
/// The range of integers: what a double holds, with room for the hub's own marks.
const INTEGERS: std::ops::RangeInclusive<i64> = -4_503_599_627_370_496..=4_503_599_627_370_495;

/// Why a change of a twin is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TwinRefusal {
    /// A key is too long or has a forbidden character.
    #[error("the key '{0}' is longer than 1024 bytes or holds a control character, '.', '$', '#' or a space")]
    Key(String),
    /// A string is too long.
    #[error("the string at '{0}' is longer than 4096 bytes")]
    LongString(String),
    /// An integer is out of range.
    #[error("the integer {0} is outside of -4503599627370496 to 4503599627370495")]
    Integer(String),
    /// An array contains a null.
    #[error("the array at '{0}' holds a null")]
    NullInArray(String),
    /// There are too many levels.
    #[error("objects are nested more than 10 levels deep")]
    Depth,
    /// A whole part is too large.
    #[error("the {part} properties are larger than {limit} bytes")]
    Size {
        /// The part of the twin.
        part: &'static str,
        /// Its limit, in bytes.
        limit: usize,
    },
}

/// Returns the document if every key and value in it is allowed.
pub fn checked(document: Map<String, Value>) -> Result<Map<String, Value>, TwinRefusal> {
    match refusal_of_object(&document, 0, Nulls::Delete) {
        Some(refusal) => Err(refusal),
        None => Ok(document),
    }
}

/// Refuses a part whose keys and values together are too large. A twin is checked after it was changed in place.
pub fn check_size(
    part: &'static str,
    document: &Map<String, Value>,
    limit: usize,
) -> Result<(), TwinRefusal> {
    if object_size(document) > limit { Err(TwinRefusal::Size { part, limit }) } else { Ok(()) }
}

/// What a null means in a merge patch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nulls {
    Delete,
    Refuse,
}

/// Returns why the first key or value that is not allowed is refused; `None` if all are allowed.
fn refusal_of_object(object: &Map<String, Value>, depth: usize, nulls: Nulls) -> Option<TwinRefusal> {
    if depth > DEPTH {
        return Some(TwinRefusal::Depth);
    }
    object
        .iter()
        .find_map(|(key, value)| refusal_of_key(key).or_else(|| refusal_of_value(key, value, depth, nulls)))
}

fn refusal_of_value(key: &str, value: &Value, depth: usize, nulls: Nulls) -> Option<TwinRefusal> {
    match value {
        Value::Null => (nulls == Nulls::Refuse).then(|| TwinRefusal::NullInArray(key.to_owned())),
        Value::Bool(_) => None,
        Value::Number(number) => (!fits(number)).then(|| TwinRefusal::Integer(number.to_string())),
        Value::String(text) => (text.len() > STRING_BYTES).then(|| TwinRefusal::LongString(key.to_owned())),
        Value::Array(_) if depth >= DEPTH => Some(TwinRefusal::Depth),
        Value::Array(items) => {
            items.iter().find_map(|item| refusal_of_value(key, item, depth + 1, Nulls::Refuse))
        }
        Value::Object(object) => refusal_of_object(object, depth + 1, nulls),
    }
}

fn refusal_of_key(key: &str) -> Option<TwinRefusal> {
    let forbidden = |c: char| c.is_control() || matches!(c, '.' | '$' | '#' | ' ');
    let is_refused = key.len() > KEY_BYTES || key.contains(forbidden);
    is_refused.then(|| TwinRefusal::Key(key.chars().take(64).collect()))
}

/// Whether a number is in range. `with_exact_integers` finds integers that were parsed as doubles.
fn fits(number: &Number) -> bool {
    number.is_f64() || number.as_i64().is_some_and(|integer| INTEGERS.contains(&integer))
}

fn object_size(object: &Map<String, Value>) -> usize {
    object.iter().map(|(key, value)| key.len() + value_size(value)).sum()
}

/// Numbers count eight bytes and booleans four, as documented for message and twin quotas. What stands in an
/// array counts at least one, or arrays of empty things would have no end.
fn value_size(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(|item| value_size(item).max(1)).sum(),
        Value::Object(object) => object_size(object),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(document: Value, expected: Result<(), TwinRefusal>) {
        let Value::Object(document) = document else { panic!("an object") };
        assert_eq!(checked(document).map(drop), expected);
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!({"property": 1}), |inner, _| json!({"level": inner}))
    }

    #[test]
    fn keys_and_values_at_and_past_their_limits() {
        check(json!({"k".repeat(1024): 1}), Ok(()));
        check(json!({"k".repeat(1025): 1}), Err(TwinRefusal::Key("k".repeat(64))));
        check(json!({"a": "s".repeat(4096)}), Ok(()));
        check(json!({"a": "s".repeat(4097)}), Err(TwinRefusal::LongString("a".into())));
        check(json!({"a": 4_503_599_627_370_495_i64}), Ok(()));
        check(json!({"a": 4_503_599_627_370_496_i64}), Err(TwinRefusal::Integer("4503599627370496".into())));
        check(json!({"a": -4_503_599_627_370_496_i64}), Ok(()));
        check(json!({"a": u64::MAX}), Err(TwinRefusal::Integer(u64::MAX.to_string())));
        check(json!({"a": 1e300}), Ok(()));
        for key in ["a.b", "$a", "a#", "a b", "a\n", "\u{85}"] {
            check(json!({key: 1}), Err(TwinRefusal::Key(key.into())));
        }
    }

    #[test]
    fn nulls_delete_but_not_in_arrays() {
        check(json!({"a": null, "b": {"c": null}}), Ok(()));
        check(json!({"a": [1, null]}), Err(TwinRefusal::NullInArray("a".into())));
        check(json!({"a": [{"b": null}]}), Err(TwinRefusal::NullInArray("b".into())));
    }

    #[test]
    fn ten_levels_and_no_more() {
        check(nested(10), Ok(()));
        check(nested(11), Err(TwinRefusal::Depth));
        let arrays = |levels| json!({"a": (0..levels).fold(json!(1), |inner, _| json!([inner]))});
        check(arrays(10), Ok(()));
        check(arrays(11), Err(TwinRefusal::Depth));
    }

    #[test]
    fn size_counts_keys_and_values() {
        let document =
            |bytes: usize| Map::from_iter([("ab".to_owned(), json!(["x".repeat(bytes - 14), 1, true]))]);
        assert_eq!(check_size("tags", &document(100), 100), Ok(()));
        assert_eq!(
            check_size("tags", &document(101), 100),
            Err(TwinRefusal::Size { part: "tags", limit: 100 })
        );
        for empty in [json!([]), json!({}), json!(""), json!([[]])] {
            let many = Map::from_iter([("a".to_owned(), json!(vec![empty.clone(); 100]))]);
            assert!(check_size("tags", &many, 100).is_err(), "{empty}");
        }
    }
}
