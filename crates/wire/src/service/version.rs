//! Versions of the service API.

use model::Day;

/// A version of the service API. Requests of all versions are parsed as one superset, so the version has no other
/// effect. Every well-formed version is accepted, and mapped to a known one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceApiVersion(&'static str);

/// The known versions, oldest first: from the sources of the SDKs and of Azure CLI, and from the published API
/// descriptions, including those of the Resource Manager API, which has the routes for CA certificates.
const KNOWN: [&str; 24] = [
    "2017-08-21-preview",
    "2017-11-15",
    "2018-01-22",
    "2018-04-01",
    "2018-09-01-preview",
    "2018-11-01",
    "2019-03-31",
    "2020-01-01",
    "2020-03-01",
    "2020-09-01-preview",
    "2021-06-01",
    "2021-10-01",
    "2021-10-15",
    "2022-02-05",
    "2022-12-12",
    "2023-03-01-preview",
    "2025-02-01-preview",
    "2025-07-01-preview",
    "2026-03-01-preview",
    "2026-04-01",
    "2026-06-01-preview",
    "2026-07-01-preview",
    "2026-08-01",
    "2026-11-01",
];

impl ServiceApiVersion {
    /// Parses `YYYY-MM-DD` or `YYYY-MM-DD-preview`, and returns the newest known version up to that date, or else the
    /// oldest one. Returns `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, suffix) = text.split_at_checked(DATE)?;
        let is_version =
            Day::parse(date).is_ok() && (suffix.is_empty() || suffix.eq_ignore_ascii_case("-preview"));
        let known = KNOWN.into_iter().rev().find(|known| &known[..DATE] <= date).unwrap_or(KNOWN[0]);
        is_version.then_some(ServiceApiVersion(known))
    }

    /// Returns all known versions, oldest first.
    pub fn all() -> impl Iterator<Item = ServiceApiVersion> {
        KNOWN.into_iter().map(ServiceApiVersion)
    }

    /// Returns the text of the version, as clients send it.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

/// The length of a date in bytes.
const DATE: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_mapped_to_a_known_one() {
        for version in ServiceApiVersion::all() {
            assert_eq!(ServiceApiVersion::parse(version.as_str()), Some(version));
        }
        for (text, expected) in [
            ("2026-11-02-preview", Some("2026-11-01")),
            ("2031-01-01", Some("2026-11-01")),
            ("2021-10-02", Some("2021-10-01")),
            ("2016-01-01", Some("2017-08-21-preview")),
            ("2021-10-01-PREVIEW", Some("2021-10-01")),
            ("", None),
            ("latest", None),
            ("2021-10-1", None),
            ("2021-13-01", None),
            ("2021-10-01-beta", None),
            ("２021-10-01", None),
        ] {
            assert_eq!(ServiceApiVersion::parse(text).map(ServiceApiVersion::as_str), expected, "{text}");
        }
    }
}
