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

impl ServiceApiVersion {
    /// The version of this name; `None` when there is none.
    pub fn parse(text: &str) -> Option<Self> {
        KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(text)).map(ServiceApiVersion)
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
        }
    }
}
