//! Quotas and throttles of an instance.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Instance, RateLimit};

/// What is limited: the number of records of a kind, or of events in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quota {
    /// Individual enrollments.
    Enrollments,
    /// Enrollment groups with symmetric keys.
    SymmetricKeyGroups,
    /// Enrollment groups with certificates.
    X509Groups,
    /// CA certificates.
    CaCertificates,
    /// Linked hubs.
    LinkedHubs,
    /// Registrations.
    Registrations,
    /// Registrations that are begun in a minute; its number is that of [`Instance::max_registrations_per_minute`].
    RegistrationsPerMinute,
    /// Calls of the service API in a minute.
    OperationsPerMinute,
    /// Polls of one device in ten seconds.
    #[serde(rename = "polls_per_10_seconds")]
    PollsPer10Seconds,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Quota {
    /// All quotas.
    pub const ALL: [Quota; 9] = [
        Quota::Enrollments,
        Quota::SymmetricKeyGroups,
        Quota::X509Groups,
        Quota::CaCertificates,
        Quota::LinkedHubs,
        Quota::Registrations,
        Quota::RegistrationsPerMinute,
        Quota::OperationsPerMinute,
        Quota::PollsPer10Seconds,
    ];

    /// Returns the name in the JSON of the API and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Quota::Enrollments => "enrollments",
            Quota::SymmetricKeyGroups => "symmetricKeyGroups",
            Quota::X509Groups => "x509Groups",
            Quota::CaCertificates => "caCertificates",
            Quota::LinkedHubs => "linkedHubs",
            Quota::Registrations => "registrations",
            Quota::RegistrationsPerMinute => "registrationsPerMinute",
            Quota::OperationsPerMinute => "operationsPerMinute",
            Quota::PollsPer10Seconds => "pollsPer10Seconds",
        }
    }

    /// Returns the limit of Azure's service (its documentation, "IoT Hub Device Provisioning Service limits").
    const fn of_azure(self) -> u32 {
        match self {
            Quota::Enrollments | Quota::Registrations => 1_000_000,
            Quota::SymmetricKeyGroups | Quota::X509Groups => 100,
            Quota::CaCertificates => 25,
            Quota::LinkedHubs => 50,
            Quota::RegistrationsPerMinute | Quota::OperationsPerMinute => 1000,
            Quota::PollsPer10Seconds => 5,
        }
    }

    /// Returns the time in which events are counted; `None` if records are counted.
    pub const fn window(self) -> Option<Duration> {
        match self {
            Quota::RegistrationsPerMinute | Quota::OperationsPerMinute => Some(MINUTE),
            Quota::PollsPer10Seconds => Some(Duration::from_secs(10)),
            _ => None,
        }
    }
}

/// The numbers of quotas that have none of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuotaPreset {
    /// There is no limit.
    #[default]
    Off,
    /// They are those of Azure's service.
    Azure,
}

/// The quotas of an instance: a preset, and numbers that replace those of the preset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredQuotas", into = "StoredQuotas")]
pub struct Quotas {
    preset: QuotaPreset,
    numbers: BTreeMap<Quota, u32>,
}

/// The stored form. Keys that are no quotas are errors.
#[derive(Clone, Serialize, Deserialize)]
struct StoredQuotas {
    #[serde(default)]
    preset: QuotaPreset,
    #[serde(flatten)]
    numbers: BTreeMap<Quota, u32>,
}

/// A number is given for the rate of registrations, which has a setting of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the number of registrations per minute is a setting of its own: max_registrations_per_minute")]
pub struct OtherSetting;

impl Quotas {
    /// Returns quotas by a preset, with these numbers instead of its own; 0 stands for no limit.
    pub fn new(preset: QuotaPreset, numbers: BTreeMap<Quota, u32>) -> Result<Self, OtherSetting> {
        match numbers.contains_key(&Quota::RegistrationsPerMinute) {
            true => Err(OtherSetting),
            false => Ok(Quotas { preset, numbers }),
        }
    }

    /// Returns the preset.
    pub fn preset(&self) -> QuotaPreset {
        self.preset
    }

    /// Returns the numbers that replace those of the preset.
    pub fn numbers(&self) -> &BTreeMap<Quota, u32> {
        &self.numbers
    }

    pub(crate) fn is_default(&self) -> bool {
        *self == Quotas::default()
    }

    fn limit(&self, quota: Quota) -> Option<NonZeroU32> {
        let of_preset = || match self.preset {
            QuotaPreset::Off => 0,
            QuotaPreset::Azure => quota.of_azure(),
        };
        NonZeroU32::new(self.numbers.get(&quota).copied().unwrap_or_else(of_preset))
    }
}

impl TryFrom<StoredQuotas> for Quotas {
    type Error = OtherSetting;
    fn try_from(StoredQuotas { preset, numbers }: StoredQuotas) -> Result<Self, OtherSetting> {
        Self::new(preset, numbers)
    }
}

impl From<Quotas> for StoredQuotas {
    fn from(Quotas { preset, numbers }: Quotas) -> Self {
        StoredQuotas { preset, numbers }
    }
}

impl Instance {
    /// Returns the limit of a quota; `None` if it has none.
    pub fn limit(&self, quota: Quota) -> Option<NonZeroU32> {
        let own = match quota {
            Quota::RegistrationsPerMinute => self.max_registrations_per_minute,
            _ => None,
        };
        own.or_else(|| self.quotas.limit(quota))
    }

    /// Returns the limit of a quota of events; `None` if it has none, or counts records.
    pub fn rate_limit(&self, quota: Quota) -> Option<RateLimit> {
        Some(RateLimit { count: self.limit(quota)?, window: quota.window()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas(text: &str) -> Result<Quotas, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// `(stored, limits of enrollments, CA certificates and polls)`
    #[test]
    fn single_numbers_replace_those_of_the_preset() {
        for (stored, expected) in [
            ("{}", [0, 0, 0]),
            (r#"{"preset": "off", "ca_certificates": 7}"#, [0, 7, 0]),
            (r#"{"preset": "azure"}"#, [1_000_000, 25, 5]),
            (r#"{"preset": "azure", "enrollments": 5000000, "polls_per_10_seconds": 0}"#, [5_000_000, 25, 0]),
        ] {
            let quotas = quotas(stored).unwrap();
            let limits = [Quota::Enrollments, Quota::CaCertificates, Quota::PollsPer10Seconds];
            let limits = limits.map(|quota| quotas.limit(quota).map_or(0, NonZeroU32::get));
            assert_eq!(limits, expected, "{stored}");
            let written = serde_json::to_string(&quotas).unwrap();
            assert_eq!(self::quotas(&written).unwrap(), quotas, "{written}");
        }
        for mistake in [
            r#"{"preset": "aws"}"#,
            r#"{"devices": 7}"#,
            r#"{"enrollments": -1}"#,
            r#"{"registrations_per_minute": 7}"#,
        ] {
            assert!(quotas(mistake).is_err(), "{mistake}");
        }
    }
}
