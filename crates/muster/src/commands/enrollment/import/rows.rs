//! Enrollments as rows of a CSV file (RFC 4180) with a header.

use serde_json::{Map, Value, json};

/// Columns with names of their own, and where their text goes.
const COLUMNS: [(&str, &str); 12] = [
    ("registrationId", "registrationId"),
    ("enrollmentGroupId", "enrollmentGroupId"),
    ("deviceId", "deviceId"),
    ("provisioningStatus", "provisioningStatus"),
    ("allocationPolicy", "allocationPolicy"),
    ("primaryKey", "attestation.symmetricKey.primaryKey"),
    ("secondaryKey", "attestation.symmetricKey.secondaryKey"),
    ("endorsementKey", "attestation.tpm.endorsementKey"),
    ("storageRootKey", "attestation.tpm.storageRootKey"),
    ("caReference", "attestation.x509.caReferences.primary"),
    ("certificate", "attestation.x509.CERTIFICATES.primary.certificate"),
    ("secondaryCertificate", "attestation.x509.CERTIFICATES.secondary.certificate"),
];

/// Stands for the member of an enrollment's certificates, which depends on its kind.
const CERTIFICATES: &str = "CERTIFICATES";

/// The attestation mechanisms, each with its member.
const MECHANISMS: [&str; 3] = ["symmetricKey", "tpm", "x509"];

/// The header of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Header(Vec<Column>);

/// A column: where the texts of its cells go.
#[derive(Debug, PartialEq, Eq)]
enum Column {
    /// The text is the value of the member at this path.
    Text(&'static str),
    /// The text is JSON, or else a string, at this path.
    Json(String),
    /// Names of hubs, separated by semicolons.
    Hubs,
    /// Whether the device is an IoT Edge device.
    Edge,
}

impl Header {
    /// Parses the header. The error names a column that is not known.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Header, String> {
        names.into_iter().map(column).collect::<Result<_, _>>().map(Header)
    }

    /// Returns the enrollment of a row. Empty cells are absent members.
    pub fn enrollment<'a>(&self, cells: impl IntoIterator<Item = &'a str>) -> Result<Value, String> {
        let mut enrollment = Map::new();
        let mut cells = cells.into_iter();
        for column in &self.0 {
            let cell = cells.next().ok_or("it has fewer cells than the header")?.trim();
            if !cell.is_empty() {
                column.put(&mut enrollment, cell)?;
            }
        }
        if cells.next().is_some() {
            return Err("it has more cells than the header".to_owned());
        }
        let is_group = enrollment.contains_key("enrollmentGroupId");
        complete_attestation(&mut enrollment, is_group);
        Ok(Value::Object(enrollment))
    }
}

fn column(name: &str) -> Result<Column, String> {
    let name = name.trim();
    let known = COLUMNS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    match known {
        Some((_, path)) => Ok(Column::Text(path)),
        None if name.eq_ignore_ascii_case("iotHubs") => Ok(Column::Hubs),
        None if name.eq_ignore_ascii_case("iotEdge") => Ok(Column::Edge),
        None if name.contains('.') => Ok(Column::Json(name.to_owned())),
        None => Err(format!(
            "the column {name:?} is not known; others are paths of members, such as initialTwin.tags.site"
        )),
    }
}

impl Column {
    fn put(&self, enrollment: &mut Map<String, Value>, cell: &str) -> Result<(), String> {
        match self {
            Column::Text(path) => put(enrollment, path, json!(cell)),
            Column::Json(path) => put(enrollment, path, json_of(cell)),
            Column::Hubs => {
                let hubs: Vec<&str> = cell.split(';').map(str::trim).filter(|hub| !hub.is_empty()).collect();
                put(enrollment, "iotHubs", json!(hubs))
            }
            Column::Edge => match cell.to_ascii_lowercase().parse::<bool>() {
                Ok(is_edge) => put(enrollment, "capabilities.iotEdge", json!(is_edge)),
                Err(_) => Err(format!("iotEdge is {cell:?}, neither true nor false")),
            },
        }
    }
}

/// Returns the JSON that a cell is, or else its text. A number whose digits JSON would change, such as a long serial number, is
/// text.
fn json_of(cell: &str) -> Value {
    match serde_json::from_str(cell) {
        Ok(Value::Number(number)) if number.to_string() != cell => json!(cell),
        Ok(json) => json,
        Err(_) => json!(cell),
    }
}

/// Sets the member at a path, with the objects on the way.
fn put(object: &mut Map<String, Value>, path: &str, value: Value) -> Result<(), String> {
    let Some((name, rest)) = path.split_once('.') else {
        object.insert(path.to_owned(), value);
        return Ok(());
    };
    let inner = object.entry(name).or_insert_with(|| json!({}));
    put(inner.as_object_mut().ok_or_else(|| format!("{name} is no object, but has members"))?, rest, value)
}

/// Names the mechanism by the member that is there, and the certificates by the kind of enrollment.
fn complete_attestation(enrollment: &mut Map<String, Value>, is_group: bool) {
    let attestation = enrollment.entry("attestation").or_insert_with(|| json!({}));
    let Some(attestation) = attestation.as_object_mut() else { return };
    if let Some(x509) = attestation.get_mut("x509").and_then(Value::as_object_mut)
        && let Some(certificates) = x509.remove(CERTIFICATES)
    {
        let name = if is_group { "signingCertificates" } else { "clientCertificates" };
        x509.insert(name.to_owned(), certificates);
    }
    if !attestation.contains_key("type") {
        let mechanism = MECHANISMS.into_iter().find(|mechanism| attestation.contains_key(*mechanism));
        attestation.insert("type".to_owned(), json!(mechanism.unwrap_or(MECHANISMS[0])));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(header: &str, cells: &str) -> Result<Value, String> {
        Header::parse(header.split(',')).and_then(|header| header.enrollment(cells.split(',')))
    }

    #[test]
    fn rows_become_enrollments() {
        for (header, cells, expected) in [
            (
                "registrationId,primaryKey,iotHubs,deviceId",
                "dev-1,AAAA,a.hub; b.hub,",
                json!({"registrationId": "dev-1", "iotHubs": ["a.hub", "b.hub"], "attestation":
                       {"symmetricKey": {"primaryKey": "AAAA"}, "type": "symmetricKey"}}),
            ),
            (
                "REGISTRATIONID,endorsementKey,iotEdge",
                "007,EK,True",
                json!({"registrationId": "007", "capabilities": {"iotEdge": true}, "attestation":
                       {"tpm": {"endorsementKey": "EK"}, "type": "tpm"}}),
            ),
            (
                "enrollmentGroupId,certificate",
                "line-1,PEM",
                json!({"enrollmentGroupId": "line-1", "attestation":
                       {"x509": {"signingCertificates": {"primary": {"certificate": "PEM"}}}, "type": "x509"}}),
            ),
            (
                "registrationId,certificate,initialTwin.tags.site,initialTwin.properties.desired.rate",
                "dev-1,PEM,north,7",
                json!({"registrationId": "dev-1",
                       "initialTwin": {"tags": {"site": "north"}, "properties": {"desired": {"rate": 7}}},
                       "attestation":
                       {"x509": {"clientCertificates": {"primary": {"certificate": "PEM"}}}, "type": "x509"}}),
            ),
            (
                "registrationId,attestation.type",
                "dev-1,symmetricKey",
                json!({"registrationId": "dev-1", "attestation": {"type": "symmetricKey"}}),
            ),
        ] {
            assert_eq!(row(header, cells), Ok(expected), "{header}");
        }
    }

    /// No cell changes its text on the way.
    #[test]
    fn a_number_keeps_its_digits() {
        for (cell, expected) in [
            ("7", json!(7)),
            ("-1.5", json!(-1.5)),
            ("12345678901234567890123", json!("12345678901234567890123")),
            ("0.10", json!("0.10")),
            ("1e3", json!("1e3")),
            ("007", json!("007")),
            ("true", json!(true)),
            ("[1,2]", json!([1, 2])),
        ] {
            assert_eq!(json_of(cell), expected, "{cell}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (header, cells, expected) in [
            ("registrationId,key", "dev-1,x", "the column \"key\" is not known"),
            ("registrationId,deviceId", "dev-1", "fewer cells"),
            ("registrationId", "dev-1,x", "more cells"),
            ("registrationId,iotEdge", "dev-1,yes", "neither true nor false"),
            ("registrationId,deviceId,deviceId.x", "dev-1,a,b", "deviceId is no object"),
        ] {
            let error = row(header, cells).unwrap_err();
            assert!(error.contains(expected), "{header}: {error}");
        }
    }
}
