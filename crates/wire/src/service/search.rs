//! Searches as query parameters.

use std::fmt::Display;

use model::{
    AttestedBy, DeviceIdPrefix, EnrollmentGroupId, EnrollmentSearch, HubName, IdPrefix, KeySlot, Period,
    ProvisioningStatus, RegistrationSearch, StatusKind, Substatus, TagCondition, Timestamp,
};

use crate::{
    device::{failure_code, failures_with_code},
    sas::encode_component,
};

const PREFIX: &str = "prefix";
const DEVICE_PREFIX: &str = "devicePrefix";
const GROUP: &str = "group";
const HUB: &str = "hub";
const STATUS: &str = "status";
const SUBSTATUS: &str = "substatus";
const MECHANISM: &str = "mechanism";
const KEY: &str = "key";
const ERROR_CODE: &str = "errorCode";
const TAG: &str = "tag";
const CREATED: [&str; 2] = ["createdSince", "createdUntil"];
const UPDATED: [&str; 2] = ["updatedSince", "updatedUntil"];

/// A query parameter that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} must be {expected}, not {text:?}")]
pub struct ParameterError {
    name: &'static str,
    expected: String,
    text: String,
}

/// Reads a search among registrations from query parameters, which `value` returns by name, percent-decoded.
pub fn parse_registration_search(
    value: impl Fn(&str) -> Option<String>,
) -> Result<RegistrationSearch, ParameterError> {
    let parameters = Parameters(&value);
    let id = |text: &str| EnrollmentGroupId::parse(text).ok();
    let failures = |text: &str| text.parse().ok().map(failures_with_code);
    Ok(RegistrationSearch {
        prefix: parameters.prefix()?,
        device: parameters.device()?,
        group: parameters.parsed(GROUP, "the ID of an enrollment group", id)?,
        hub: parameters.hub()?,
        status: parameters.named(STATUS, StatusKind::ALL.map(StatusKind::name), StatusKind::from_name)?,
        substatus: parameters.named(SUBSTATUS, Substatus::ALL.map(Substatus::name), Substatus::from_name)?,
        mechanism: parameters.mechanism()?,
        key: parameters.named(KEY, ["primary", "secondary"], KeySlot::from_name)?,
        failures: parameters.parsed(ERROR_CODE, "a number", failures)?,
        created: parameters.period(CREATED)?,
        updated: parameters.period(UPDATED)?,
    })
}

/// Reads a search among enrollments from query parameters, which `value` returns by name, percent-decoded.
pub fn parse_enrollment_search(
    value: impl Fn(&str) -> Option<String>,
) -> Result<EnrollmentSearch, ParameterError> {
    let parameters = Parameters(&value);
    let statuses = ProvisioningStatus::ALL.map(ProvisioningStatus::name);
    let tag = "a tag of the initial twin with its value, such as location.building=43";
    Ok(EnrollmentSearch {
        prefix: parameters.prefix()?,
        device: parameters.device()?,
        hub: parameters.hub()?,
        status: parameters.named(STATUS, statuses, ProvisioningStatus::from_name)?,
        mechanism: parameters.mechanism()?,
        tag: parameters.parsed(TAG, tag, TagCondition::parse)?,
        created: parameters.period(CREATED)?,
        updated: parameters.period(UPDATED)?,
    })
}

/// Writes a search among registrations as a query, percent-encoded; empty if it has no condition.
pub fn registration_search_query(search: &RegistrationSearch) -> String {
    let code = search.failures.as_ref().and_then(|these| these.first()).map(|reason| failure_code(*reason));
    let mut query = Query::default();
    query.add(PREFIX, search.prefix.as_ref().map(IdPrefix::as_str));
    query.add(DEVICE_PREFIX, search.device.as_ref().map(DeviceIdPrefix::as_str));
    query.add(GROUP, search.group.as_ref());
    query.add(HUB, search.hub.as_ref());
    query.add(STATUS, search.status.map(StatusKind::name));
    query.add(SUBSTATUS, search.substatus.map(Substatus::name));
    query.add(MECHANISM, search.mechanism.map(AttestedBy::name));
    query.add(KEY, search.key.map(KeySlot::name));
    query.add(ERROR_CODE, code);
    query.add_period(CREATED, search.created);
    query.add_period(UPDATED, search.updated);
    query.0
}

/// Writes a search among enrollments as a query, percent-encoded; empty if it has no condition.
pub fn enrollment_search_query(search: &EnrollmentSearch) -> String {
    let mut query = Query::default();
    query.add(PREFIX, search.prefix.as_ref().map(IdPrefix::as_str));
    query.add(DEVICE_PREFIX, search.device.as_ref().map(DeviceIdPrefix::as_str));
    query.add(HUB, search.hub.as_ref());
    query.add(STATUS, search.status.map(ProvisioningStatus::name));
    query.add(MECHANISM, search.mechanism.map(AttestedBy::name));
    query.add(TAG, search.tag.as_ref());
    query.add_period(CREATED, search.created);
    query.add_period(UPDATED, search.updated);
    query.0
}

/// The query parameters of a request.
struct Parameters<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Parameters<'_> {
    /// `expected` completes the sentence "NAME must be …".
    fn parsed<T>(
        &self,
        name: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ParameterError> {
        let Some(text) = (self.0)(name) else { return Ok(None) };
        let refused = || ParameterError { name, expected: expected.to_owned(), text: text.clone() };
        parse(&text).map(Some).ok_or_else(refused)
    }

    fn named<T, const N: usize>(
        &self,
        name: &'static str,
        names: [&'static str; N],
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ParameterError> {
        self.parsed(name, &format!("one of {}", names.join(", ")), parse)
    }

    fn prefix(&self) -> Result<Option<IdPrefix>, ParameterError> {
        self.parsed(PREFIX, "the begin of an ID", IdPrefix::parse)
    }

    fn device(&self) -> Result<Option<DeviceIdPrefix>, ParameterError> {
        self.parsed(DEVICE_PREFIX, "the begin of a device ID", DeviceIdPrefix::parse)
    }

    fn hub(&self) -> Result<Option<HubName>, ParameterError> {
        self.parsed(HUB, "the host name of a hub", |text| HubName::parse(text).ok())
    }

    fn mechanism(&self) -> Result<Option<AttestedBy>, ParameterError> {
        self.named(MECHANISM, AttestedBy::ALL.map(AttestedBy::name), AttestedBy::from_name)
    }

    fn period(&self, [since, until]: [&'static str; 2]) -> Result<Period, ParameterError> {
        let expected = "an instant such as 2026-11-23T08:00:00Z";
        let instant = |text: &str| Timestamp::parse(text).ok();
        Ok(Period {
            since: self.parsed(since, expected, instant)?,
            until: self.parsed(until, expected, instant)?,
        })
    }
}

/// A query, percent-encoded.
#[derive(Default)]
struct Query(String);

impl Query {
    fn add(&mut self, name: &str, value: Option<impl Display>) {
        let Some(value) = value else { return };
        let separator = if self.0.is_empty() { "" } else { "&" };
        self.0.push_str(&format!("{separator}{name}={}", encode_component(&value.to_string())));
    }

    fn add_period(&mut self, [since, until]: [&str; 2], period: Period) {
        self.add(since, period.since);
        self.add(until, period.until);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use percent_encoding::percent_decode_str;
    use proptest::{option, prelude::*, sample::select};

    use super::*;

    fn parameters(query: &str) -> HashMap<String, String> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
        pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect()
    }

    fn period() -> impl Strategy<Value = Period> {
        // Of the years that can be written.
        let instant = || option::of((0..2_000_000_000_i64).prop_map(Timestamp::from_unix_seconds));
        (instant(), instant()).prop_map(|(since, until)| Period { since, until })
    }

    fn prefix() -> impl Strategy<Value = Option<IdPrefix>> {
        option::of("[a-z0-9._:-]{1,8}".prop_map(|text| IdPrefix::parse(&text).unwrap()))
    }

    fn device() -> impl Strategy<Value = Option<DeviceIdPrefix>> {
        option::of("[a-z0-9%_#*?!(),=@;$'+-]{1,8}".prop_map(|text| DeviceIdPrefix::parse(&text).unwrap()))
    }

    fn hub() -> impl Strategy<Value = Option<HubName>> {
        option::of("[a-z]{1,5}[.]example".prop_map(|text| HubName::parse(text).unwrap()))
    }

    prop_compose! {
        fn registrations()(
            (prefix, device, hub) in (prefix(), device(), hub()),
            group in option::of("[a-z0-9]{1,8}".prop_map(|text| EnrollmentGroupId::parse(text).unwrap())),
            status in option::of(select(&StatusKind::ALL[..])),
            substatus in option::of(select(&Substatus::ALL[..])),
            mechanism in option::of(select(&AttestedBy::ALL[..])),
            key in option::of(select(&[KeySlot::Primary, KeySlot::Secondary][..])),
            failures in option::of(select(&[403_002, 409_205, 123_456][..]).prop_map(failures_with_code)),
            (created, updated) in (period(), period()),
        ) -> RegistrationSearch {
            RegistrationSearch {
                prefix, device, group, hub, status, substatus, mechanism, key, failures, created, updated,
            }
        }
    }

    prop_compose! {
        fn enrollments()(
            (prefix, device, hub) in (prefix(), device(), hub()),
            status in option::of(select(&ProvisioningStatus::ALL[..])),
            mechanism in option::of(select(&AttestedBy::ALL[..])),
            tag in option::of("[a-z]{1,5}([.][a-z]{1,5})?=[ -~é]{0,8}".prop_map(|text| TagCondition::parse(&text).unwrap())),
            (created, updated) in (period(), period()),
        ) -> EnrollmentSearch {
            EnrollmentSearch { prefix, device, hub, status, mechanism, tag, created, updated }
        }
    }

    proptest! {
        #[test]
        fn a_search_is_read_as_it_was_written(registrations in registrations(), enrollments in enrollments()) {
            let query = parameters(&registration_search_query(&registrations));
            prop_assert_eq!(parse_registration_search(|name| query.get(name).cloned()), Ok(registrations));
            let query = parameters(&enrollment_search_query(&enrollments));
            prop_assert_eq!(parse_enrollment_search(|name| query.get(name).cloned()), Ok(enrollments));
        }
    }

    #[test]
    fn an_error_names_the_parameter_and_what_it_must_be() {
        let error =
            parse_registration_search(|name| (name == "status").then(|| "gone".to_owned())).unwrap_err();
        let expected = "status must be one of assigning, assigned, failed, disabled, not \"gone\"";
        assert_eq!(error.to_string(), expected);
    }
}
