//! An enrollment of a file, as the service takes it.

use fleet::EnrollmentKind;
use serde_json::{Map, Value};

use crate::commands::enrollment::SET_BY_SERVICE;

/// An enrollment of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The number of the line where it ends, from 1.
    pub line: u64,
    /// Its kind.
    pub kind: EnrollmentKind,
    /// Its JSON.
    pub enrollment: Value,
}

impl Item {
    /// Parses the JSON of an enrollment: that of the service API, which is also what `az iot dps enrollment list` and `show` print.
    pub fn parse(line: u64, json: Value) -> Result<Item, String> {
        let Value::Object(mut members) = json else { return Err("it is not a JSON object".to_owned()) };
        members.retain(|name, _| !SET_BY_SERVICE.contains(&name.as_str()));
        let kind = kind(&members).ok_or("it has neither a registrationId nor an enrollmentGroupId")?;
        Ok(Item { line, kind, enrollment: Value::Object(members) })
    }

    /// Returns its ID.
    pub fn id(&self) -> &str {
        self.enrollment[self.kind.id_member()].as_str().unwrap_or_default()
    }
}

fn kind(members: &Map<String, Value>) -> Option<EnrollmentKind> {
    let kinds = [EnrollmentKind::Group, EnrollmentKind::Individual];
    kinds.into_iter().find(|kind| members.get(kind.id_member()).is_some_and(Value::is_string))
}
