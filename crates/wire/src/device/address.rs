//! The address of a device: `{idScope}/registrations/{registrationId}`.

use std::fmt;

use model::{IdScope, RegistrationId};
use percent_encoding::percent_decode_str;

/// An ID scope and a registration ID. Both are compared without regard to case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceAddress {
    /// The ID scope of the instance.
    pub id_scope: IdScope,
    /// The registration ID of the device.
    pub registration_id: RegistrationId,
}

impl DeviceAddress {
    /// Parses the user name of SASL PLAIN or the address of an AMQP link. Clients send the latter with the server's
    /// name in front (`amqps://{host}/…`), with a leading slash, or bare. Returns `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let path = match text.split_once("://") {
            Some((_, rest)) => rest.split_once('/')?.1,
            None => text.strip_prefix('/').unwrap_or(text),
        };
        let (address, rest) = Self::split(path)?;
        rest.is_empty().then_some(address)
    }

    /// Parses the address with which an MQTT user name, an AMQP address or an HTTP path begins, and ignores the rest.
    pub fn at_start_of(text: &str) -> Option<Self> {
        let text = percent_decode_str(text.strip_prefix('/').unwrap_or(text)).decode_utf8().ok()?;
        Self::split(&text).map(|(address, _)| address)
    }

    /// Parses the address at the beginning of a text, and returns it with the rest after the following slash.
    pub(super) fn split(text: &str) -> Option<(Self, &str)> {
        let mut parts = text.splitn(4, '/');
        let id_scope = IdScope::parse(parts.next()?).ok()?;
        if !parts.next()?.eq_ignore_ascii_case("registrations") {
            return None;
        }
        let registration_id = RegistrationId::parse(parts.next()?).ok()?;
        Some((DeviceAddress { id_scope, registration_id }, parts.next().unwrap_or("")))
    }
}

impl fmt::Display for DeviceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/registrations/{}", self.id_scope, self.registration_id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_of_sdks_are_parsed() {
        let plain = DeviceAddress::parse("0ne00000001/registrations/reg-1").unwrap();
        assert_eq!((plain.id_scope.as_str(), plain.registration_id.as_str()), ("0ne00000001", "reg-1"));
        for text in [
            "/0ne00000001/registrations/reg-1",
            "amqps://dps.example/0ne00000001/registrations/reg-1",
            "amqps://dps.example:5671/0NE00000001/Registrations/REG-1",
            "0ne00000001/registrations/reg-1/",
        ] {
            assert_eq!(DeviceAddress::parse(text).as_ref(), Some(&plain), "{text}");
        }
        for text in [
            "",
            "reg-1",
            "amqps://dps.example",
            "//0ne00000001/registrations/reg-1",
            "0ne00000001/devices/reg-1",
            "0ne00000001/registrations/",
            "0ne00000001/registrations/a b",
            "0ne00000001/registrations/reg-1/more",
            "$cbs",
        ] {
            assert_eq!(DeviceAddress::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn addresses_read_back(text in "(amqps://h|/)?/?[a-zA-Z0-9]{1,6}/[Rr]egistrations/[a-zA-Z0-9._:-]{1,9}/?|\\PC{0,100}") {
            if let Some(address) = DeviceAddress::parse(&text) {
                prop_assert_eq!(DeviceAddress::parse(&address.to_string()), Some(address.clone()));
                prop_assert_eq!(DeviceAddress::at_start_of(&format!("/{address}/x")), Some(address));
            }
        }
    }
}
