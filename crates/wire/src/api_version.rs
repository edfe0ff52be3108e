//! Versions of the device API, by what differs between them.

use model::{Day, Substatus};

/// A version of the device API, parsed once: what the version changes is asked of this value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceApiVersion {
    /// The date as a number, `2019-03-31` being 20190331.
    date: u32,
}

/// The versions that clients in the field are known to send.
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

/// The first version whose clients insist on seeing `assigning` before `assigned`.
const ASSIGNING_FIRST: u32 = 20_250_701;

/// The last version that does not know of devices that came back to where they were.
const WITHOUT_RETURN: u32 = 20_190_331;

/// The last version before reprovisioning existed; its devices stay where they are unless a policy says otherwise.
const STICKY: u32 = 20_180_401;

impl DeviceApiVersion {
    /// Parses `YYYY-MM-DD` or `YYYY-MM-DD-preview`; `None` for any other text. Any date is taken, as clients of
    /// versions nobody has heard of differ only in members that are ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, suffix) = text.split_at_checked(10)?;
        let date = Day::parse(date).ok()?.to_string().replace('-', "").parse().ok()?;
        (suffix.is_empty() || suffix.eq_ignore_ascii_case("-preview")).then_some(DeviceApiVersion { date })
    }

    /// Whether the first reply must be `assigning`, even when the result is there.
    pub fn assigning_first(self) -> bool {
        self.date >= ASSIGNING_FIRST
    }

    /// The substatus as the version has it: earlier ones say of a device that came back what they said at first.
    pub fn known_substatus(self, substatus: Substatus) -> Substatus {
        match substatus {
            Substatus::ReprovisionedToInitialAssignment if self.date <= WITHOUT_RETURN => {
                Substatus::InitialAssignment
            }
            other => other,
        }
    }

    /// Whether a device without a reprovision policy stays at its hub.
    pub fn is_sticky(self) -> bool {
        self.date <= STICKY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_the_clients_send() {
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
    fn newer_versions_see_assigning_first() {
        let version = |text| DeviceApiVersion::parse(text).unwrap();
        assert!(!version("2021-06-01").assigning_first());
        assert!(version("2025-07-01-preview").assigning_first());
        assert!(version("2018-04-01").is_sticky());
        assert!(!version("2018-11-01").is_sticky());
    }

    #[test]
    fn earlier_versions_know_of_no_return() {
        let seen = |text, substatus| DeviceApiVersion::parse(text).unwrap().known_substatus(substatus);
        let returned = Substatus::ReprovisionedToInitialAssignment;
        assert_eq!(seen("2019-03-31", returned), Substatus::InitialAssignment);
        assert_eq!(seen("2021-06-01", returned), returned);
        assert_eq!(seen("2019-03-31", Substatus::DeviceDataReset), Substatus::DeviceDataReset);
    }
}
