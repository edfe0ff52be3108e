//! Versions of the device API, and the differences between them.

use model::{Day, Substatus};

/// A version of the device API. Its methods answer what differs between versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceApiVersion {
    /// The date as a number: `2019-03-31` is 20190331.
    date: u32,
}

/// The versions that clients are known to send.
#[cfg(test)]
const KNOWN: [&str; 13] = [
    "2017-11-15",
    "2018-04-01",
    "2018-09-01-preview",
    "2018-11-01",
    "2019-03-31",
    "2021-06-01",
    "2021-10-01",
    "2021-11-01-preview",
    "2025-07-01-preview",
    "2026-07-01-preview",
    "2026-11-01",
    "2026-11-02-preview",
    "2026-11-15-preview",
];

/// The first version whose clients expect `assigning` before `assigned`.
const ASSIGNING_FIRST: u32 = 20_250_701;

/// The last version without the substatus `reprovisionedToInitialAssignment`.
const WITHOUT_RETURN: u32 = 20_190_331;

/// The last version before reprovisioning existed: without a reprovision policy, its devices stay at their hub.
const STICKY: u32 = 20_180_401;

impl DeviceApiVersion {
    /// Parses `YYYY-MM-DD` or `YYYY-MM-DD-preview`; returns `None` for any other text. Any date is accepted, since
    /// clients of unknown versions differ only in members that are ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, suffix) = text.split_at_checked(10)?;
        let date = Day::parse(date).ok()?.to_string().replace('-', "").parse().ok()?;
        (suffix.is_empty() || suffix.eq_ignore_ascii_case("-preview")).then_some(DeviceApiVersion { date })
    }

    /// Returns whether the first reply must be `assigning`, even if the result is known already.
    pub fn assigning_first(self) -> bool {
        self.date >= ASSIGNING_FIRST
    }

    /// Returns the substatus that this version defines: versions up to 2019-03-31 report a device that returned to its
    /// first hub as `initialAssignment`.
    pub fn known_substatus(self, substatus: Substatus) -> Substatus {
        match substatus {
            Substatus::ReprovisionedToInitialAssignment if self.date <= WITHOUT_RETURN => {
                Substatus::InitialAssignment
            }
            other => other,
        }
    }

    /// Returns whether a device without a reprovision policy stays at its hub.
    pub fn is_sticky(self) -> bool {
        self.date <= STICKY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_known_clients_are_parsed() {
        for text in KNOWN {
            assert!(DeviceApiVersion::parse(text).is_some(), "{text}");
        }
        for text in [
            "",
            "2019-3-31",
            "latest",
            "2019-03-31-beta",
            "2019-02-30",
            "9999-99-99",
            "2019-03-31T",
            "２019-03-31",
        ] {
            assert!(DeviceApiVersion::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn newer_versions_get_assigning_first_and_the_oldest_are_sticky() {
        let version = |text| DeviceApiVersion::parse(text).unwrap();
        assert!(!version("2021-06-01").assigning_first());
        assert!(version("2025-07-01-preview").assigning_first());
        assert!(version("2018-04-01").is_sticky());
        assert!(!version("2018-11-01").is_sticky());
    }

    #[test]
    fn earlier_versions_report_a_return_as_initial_assignment() {
        let seen = |text, substatus| DeviceApiVersion::parse(text).unwrap().known_substatus(substatus);
        let returned = Substatus::ReprovisionedToInitialAssignment;
        assert_eq!(seen("2019-03-31", returned), Substatus::InitialAssignment);
        assert_eq!(seen("2021-06-01", returned), returned);
        assert_eq!(seen("2019-03-31", Substatus::DeviceDataReset), Substatus::DeviceDataReset);
    }
}
