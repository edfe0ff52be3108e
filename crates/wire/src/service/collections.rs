//! Members of twins and device information that some clients cannot parse. Azure's API description gives `version` and
//! `count` a numeric type and `metadata` an object type, although operators may choose any names and values. The
//! service returns such members unchanged, like the hosted one, but clients generated from the description fail to
//! parse an enrollment in which they have other types. Therefore the service warns the operator.

use std::fmt;

use model::Timestamp;
use serde_json::{Map, Value};

/// The collections of an enrollment, as JSON pointers.
const COLLECTIONS: [&str; 3] =
    ["/initialTwin/tags", "/initialTwin/properties/desired", "/optionalDeviceInformation"];

/// A member of a collection that generated clients cannot parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableMember {
    /// The path, such as `initialTwin.tags.version`.
    path: String,
    /// The type that clients expect.
    expected: &'static str,
}

impl UnreadableMember {
    /// Returns such members of an enrollment in the form of the service API.
    pub fn of_enrollment(enrollment: &Value) -> Vec<UnreadableMember> {
        let collections =
            COLLECTIONS.iter().filter_map(|at| Some((*at, enrollment.pointer(at)?.as_object()?)));
        collections.flat_map(|(at, members)| of_collection(at, members)).collect()
    }

    /// Returns the path of the member, such as `initialTwin.tags.version`.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for UnreadableMember {
    /// Writes a warning for the operator.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnreadableMember { path, expected } = self;
        write!(f, "{path} is not {expected}: clients generated from Azure's API description cannot read it")
    }
}

type IsReadable = fn(&Value) -> bool;

fn of_collection(at: &str, members: &Map<String, Value>) -> Vec<UnreadableMember> {
    let table: [(&str, &str, &'static str, IsReadable); 4] = [
        ("version", "", A_NUMBER, is_small_integer),
        ("count", "", A_NUMBER, is_small_integer),
        ("metadata", "", "an object with a date in lastUpdated", is_metadata),
        ("metadata", "lastUpdatedVersion", A_NUMBER, is_small_integer),
    ];
    let find = |name: &str, inner: &str| match inner {
        "" => members.get(name),
        inner => members.get(name)?.get(inner),
    };
    let unreadable = table
        .into_iter()
        .filter(|(name, inner, _, is_readable)| find(name, inner).is_some_and(|value| !is_readable(value)));
    let path = |name: &str, inner: &str| {
        let path = format!("{}.{name}.{inner}", at.trim_start_matches('/').replace('/', "."));
        path.trim_end_matches('.').to_owned()
    };
    let member = |(name, inner, expected, _): (&str, &str, &'static str, IsReadable)| UnreadableMember {
        path: path(name, inner),
        expected,
    };
    unreadable.map(member).collect()
}

const A_NUMBER: &str = "a whole number of 32 bits";

fn is_small_integer(value: &Value) -> bool {
    value.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
}

fn is_metadata(value: &Value) -> bool {
    let Some(members) = value.as_object() else { return false };
    members
        .get("lastUpdated")
        .is_none_or(|date| date.as_str().is_some_and(|text| Timestamp::parse(text).is_ok()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_of_unexpected_types_are_named() {
        let check = |collection: Value, paths: &[&str]| {
            let shown = json!({
                "initialTwin": {"tags": collection, "properties": {"desired": collection}},
                "optionalDeviceInformation": collection,
            });
            let found = UnreadableMember::of_enrollment(&shown);
            let expected: Vec<String> =
                ["initialTwin.tags", "initialTwin.properties.desired", "optionalDeviceInformation"]
                    .iter()
                    .flat_map(|at| paths.iter().map(move |path| format!("{at}.{path}")))
                    .collect();
            assert_eq!(
                found.iter().map(UnreadableMember::path).collect::<Vec<_>>(),
                expected,
                "{collection}"
            );
        };
        check(json!({}), &[]);
        check(
            json!({"a": {"version": "x"}, "Version": "x", "version": 7, "count": -1, "metadata": {"a": 1}}),
            &[],
        );
        check(
            json!({"version": "1.2", "count": 2_147_483_648_i64, "metadata": "m"}),
            &["version", "count", "metadata"],
        );
        check(json!({"version": null, "count": 1.5}), &["version", "count"]);
        check(json!({"metadata": {"lastUpdated": "2026-11-22T08:15:30Z", "lastUpdatedVersion": 3}}), &[]);
        check(
            json!({"metadata": {"lastUpdated": 5, "lastUpdatedVersion": "3"}}),
            &["metadata", "metadata.lastUpdatedVersion"],
        );
        let warning =
            &UnreadableMember::of_enrollment(&json!({"optionalDeviceInformation": {"count": {}}}))[0];
        assert!(
            warning
                .to_string()
                .starts_with("optionalDeviceInformation.count is not a whole number of 32 bits: ")
        );
    }
}
