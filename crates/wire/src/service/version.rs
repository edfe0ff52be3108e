//! Versions of the service API.

/// A version that clients are known to send or that is published. One superset model serves them all, so a version
/// changes nothing but whether a request is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceApiVersion(&'static str);

/// From the sources of the SDKs, the command line tool and the published API descriptions.
const KNOWN: [&str; 9] = [
    "2018-04-01",
    "2018-09-01-preview",
    "2018-11-01",
    "2019-03-31",
    "2021-06-01",
    "2021-10-01",
    "2025-07-01-preview",
    "2026-07-01-preview",
    "2026-11-01",
];

/// Versions of the resource manager's API, of which the routes of CA certificates are part.
const OF_RESOURCES: [&str; 16] = [
    "2017-08-21-preview",
    "2017-11-15",
    "2018-01-22",
    "2020-01-01",
    "2020-03-01",
    "2020-09-01-preview",
    "2021-10-15",
    "2022-02-05",
    "2022-12-12",
    "2023-03-01-preview",
    "2025-02-01-preview",
    "2026-03-01-preview",
    "2026-04-01",
    "2026-06-01-preview",
    "2026-08-01",
    "2026-11-01",
];

impl ServiceApiVersion {
    /// The version of this name; `None` when there is none.
    pub fn parse(text: &str) -> Option<Self> {
        KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(text)).map(ServiceApiVersion)
    }

    /// The version of this name for a route of the resource manager's API, which has versions of its own.
    pub fn parse_of_resource(text: &str) -> Option<Self> {
        let of_resource = OF_RESOURCES.into_iter().find(|known| known.eq_ignore_ascii_case(text));
        of_resource.map(ServiceApiVersion).or_else(|| Self::parse(text))
    }

    /// Every version, oldest first.
    pub fn all() -> impl Iterator<Item = ServiceApiVersion> {
        KNOWN.into_iter().map(ServiceApiVersion)
    }

    /// As clients write it.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_versions() {
        for version in ServiceApiVersion::all() {
            assert_eq!(ServiceApiVersion::parse(version.as_str()), Some(version));
        }
        for text in ["", "2021-10-02", "2021-10-01-preview", "latest"] {
            assert_eq!(ServiceApiVersion::parse(text), None, "{text}");
            assert_eq!(ServiceApiVersion::parse_of_resource(text), None, "{text}");
        }
        for text in ["2022-02-05", "2021-10-01"] {
            assert_eq!(ServiceApiVersion::parse_of_resource(text).map(ServiceApiVersion::as_str), Some(text));
        }
        assert_eq!(ServiceApiVersion::parse("2022-02-05"), None);
    }
}
