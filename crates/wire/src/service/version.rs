//! Versions of the service API.

use model::Day;

/// A version of the service API. One superset model serves them all, so a version changes nothing but whether a request is
/// understood: any that is well-formed is, one that is newer than those known as the newest known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceApiVersion(&'static str);

/// From the sources of the SDKs, the command line tool and the published API descriptions, oldest first; those of the
/// resource manager's API, of which the routes of CA certificates are part, included.
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
    /// Reads `YYYY-MM-DD` or `YYYY-MM-DD-preview` as the newest known version that is not newer, or the oldest; `None` for
    /// any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, suffix) = text.split_at_checked(DATE)?;
        let is_version =
            Day::parse(date).is_ok() && (suffix.is_empty() || suffix.eq_ignore_ascii_case("-preview"));
        let known = KNOWN.into_iter().rev().find(|known| &known[..DATE] <= date).unwrap_or(KNOWN[0]);
        is_version.then_some(ServiceApiVersion(known))
    }

    /// Every known version, oldest first.
    pub fn all() -> impl Iterator<Item = ServiceApiVersion> {
        KNOWN.into_iter().map(ServiceApiVersion)
    }

    /// As clients write it.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

/// The length of a date.
const DATE: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_version_is_understood_as_one_that_is_known() {
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
