//! Identifiers: text that is validated when it is parsed.

use std::{borrow::Cow, fmt, hash};

use serde::{Deserialize, Serialize};

/// Why a text is not a valid identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {problem}")]
pub struct IdError {
    kind: &'static str,
    problem: &'static str,
}

/// Declares what all identifiers share: a parsed text that prints as it was given.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Parses a text. The error names the rule that it breaks.
            pub fn parse(text: impl AsRef<str>) -> Result<Self, IdError> {
                let check: fn(&str) -> Result<Cow<'_, str>, &'static str> = $parse;
                match check(text.as_ref()) {
                    Ok(text) => Ok($name(text.into())),
                    Err(problem) => Err(IdError { kind: $kind, problem }),
                }
            }

            /// Returns the text as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

/// Declares identifiers that keep the case in which they were created, and are compared without it.
macro_rules! ignore_case {
    ($name:ident) => {
        impl $name {
            /// Returns the lower-case form: equal identifiers have equal keys.
            pub fn key(&self) -> Cow<'_, str> {
                if self.0.bytes().any(|b| b.is_ascii_uppercase()) {
                    Cow::Owned(self.0.to_ascii_lowercase())
                } else {
                    Cow::Borrowed(&self.0)
                }
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.eq_ignore_ascii_case(&other.0)
            }
        }

        impl Eq for $name {}

        impl hash::Hash for $name {
            fn hash<H: hash::Hasher>(&self, state: &mut H) {
                self.key().hash(state);
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.key().cmp(&other.key())
            }
        }
    };
}

/// Declares identifiers that are compared byte by byte.
macro_rules! exact_case {
    ($name:ident) => {
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0 == other.0
            }
        }

        impl Eq for $name {}

        impl hash::Hash for $name {
            fn hash<H: hash::Hasher>(&self, state: &mut H) {
                self.0.hash(state);
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.0.cmp(&other.0)
            }
        }
    };
}

text_id!(
    /// The ID scope of an instance, by which devices select it. Compared without case. Those of the hosted service look like
    /// `0ne00000A0A`; here it has 1 to 64 letters, digits and hyphens.
    IdScope, "ID scope", |text| {
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if fits { Ok(text.into()) } else { Err("must be 1 to 64 letters, digits or hyphens") }
    }
);
ignore_case!(IdScope);

text_id!(
    /// The registration ID, under which a device registers. Compared without case, kept as given.
    RegistrationId, "registration ID", enrollment_name
);
ignore_case!(RegistrationId);

text_id!(
    /// The ID of an enrollment group, with the same rule as a registration ID.
    EnrollmentGroupId, "enrollment group ID", enrollment_name
);
ignore_case!(EnrollmentGroupId);

text_id!(
    /// The device ID at a hub, which is case-sensitive.
    DeviceId, "device ID", |text| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-:.+%_#*?!(),=@;$'".contains(&b);
        match text.len() {
            1..=128 if text.bytes().all(allowed) => Ok(text.into()),
            1..=128 => Err("may hold only letters, digits and - : . + % _ # * ? ! ( ) , = @ ; $ '"),
            _ => Err("must be 1 to 128 characters long"),
        }
    }
);
exact_case!(DeviceId);

impl From<&RegistrationId> for DeviceId {
    /// Converts the ID: every character of a registration ID is allowed in a device ID.
    fn from(id: &RegistrationId) -> DeviceId {
        DeviceId(id.0.clone())
    }
}

text_id!(
    /// A DNS name or IP address without a port, in lower case.
    HostName, "host name", host_name
);
exact_case!(HostName);

text_id!(
    /// The host name of a linked hub, which is also its name, in lower case.
    HubName, "hub name", host_name
);
exact_case!(HubName);

text_id!(
    /// The version of a stored record: opaque printable ASCII without quotes.
    Etag, "etag", |text| {
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
        if fits { Ok(text.into()) } else { Err("must be 1 to 128 printable ASCII characters without quotes") }
    }
);
exact_case!(Etag);

text_id!(
    /// The generation of a device at its hub (`generationId`): a device that is deleted and created again has another one. Hubs issue it
    /// in a form of their own.
    Generation, "generation", |text| {
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(text.into()) } else { Err("must be 1 to 128 printable ASCII characters") }
    }
);
exact_case!(Generation);

text_id!(
    /// The ID of an operation, which needs no escaping in a URL path and in an MQTT topic.
    OperationId, "operation ID", |text| {
        let fits = (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
        if fits { Ok(text.into()) } else { Err("must be 1 to 128 letters, digits, dots or hyphens") }
    }
);
exact_case!(OperationId);

text_id!(
    /// The name of a shared access policy of a service instance.
    PolicyName, "policy name", |text| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-@.".contains(&b);
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
        if fits { Ok(text.into()) } else { Err("must be 1 to 64 letters, digits and _ - @ .") }
    }
);
ignore_case!(PolicyName);

text_id!(
    /// The name of an IP filter rule: 1 to 128 letters, digits and some special characters (rule of Azure), compared without case.
    IpFilterName, "IP filter rule name", |text| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || br"-:/\.+%_#*?!(),=@;'".contains(&b);
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(allowed);
        if fits { Ok(text.into()) } else { Err(r"must be 1 to 128 letters, digits and - : / \ . + % _ # * ? ! ( ) , = @ ; '") }
    }
);
ignore_case!(IpFilterName);

text_id!(
    /// The name of an instance as a resource: 3 to 50 letters, digits and hyphens, not digits alone, no hyphen at either end (the
    /// pattern of Azure's Resource Manager API).
    ResourceName, "resource name", |text| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let fits = (3..=50).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.bytes().all(|b| b.is_ascii_digit())
            && !text.starts_with('-')
            && !text.ends_with('-');
        if fits {
            Ok(text.into())
        } else {
            Err("must be 3 to 50 letters, digits and hyphens, not digits alone, with no hyphen at either end")
        }
    }
);
ignore_case!(ResourceName);

text_id!(
    /// The name of a CA certificate of an instance, by which enrollments refer to it. Compared without case, as the names
    /// of resources are in Azure.
    CaReference, "CA reference", |text| {
        let fits = (1..=256).contains(&text.len()) && !text.chars().any(char::is_control);
        if fits { Ok(text.into()) } else { Err("must be 1 to 256 characters") }
    }
);
ignore_case!(CaReference);

text_id!(
    /// The code that a certificate must have as its common name to prove that its issuer holds a CA's key.
    VerificationCode, "verification code", |text| {
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
        if fits { Ok(text.to_ascii_uppercase().into()) } else { Err("must be 1 to 64 hex digits") }
    }
);
exact_case!(VerificationCode);

text_id!(
    /// The reason for a block, in an operator's words.
    BlockReason, "reason", |text| {
        let fits = (1..=256).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        if fits { Ok(text.into()) } else { Err("must be 1 to 256 characters, and no control characters") }
    }
);
exact_case!(BlockReason);

/// Validates registration IDs and enrollment group IDs: 1 to 128 letters, digits and `-._:`, of which the first and the last must be a
/// letter, a digit or a hyphen.
fn enrollment_name(text: &str) -> Result<Cow<'_, str>, &'static str> {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return Err("must not be empty");
    };
    if bytes.len() > 128 {
        return Err("must be at most 128 characters long");
    }
    if !bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(b)) {
        return Err("may hold only letters, digits and - . _ :");
    }
    if !(first.is_ascii_alphanumeric() || *first == b'-') || !(last.is_ascii_alphanumeric() || *last == b'-')
    {
        return Err("must start and end with a letter, a digit or a hyphen");
    }
    Ok(text.into())
}

fn host_name(text: &str) -> Result<Cow<'_, str>, &'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_';
    if !(1..=253).contains(&text.len()) {
        return Err("must be 1 to 253 characters long");
    }
    if !text.bytes().all(allowed) || text.starts_with('.') || text.contains("..") {
        return Err("must be a DNS name or an IPv4 address without a port");
    }
    Ok(text.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enrollment_names_follow_the_documented_rule() {
        let fits = ["a", "reg-1", "Reg:A_b.1", "-x", "x-", &"a".repeat(128)];
        let refused = ["", "a b", "x.", "_x", ".x", "a/b", "ä", "x:", &"a".repeat(129)];
        for text in fits {
            assert!(RegistrationId::parse(text).is_ok(), "{text}");
        }
        for text in refused {
            assert!(RegistrationId::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn registration_ids_compare_without_case_and_keep_it() {
        let (upper, lower) =
            (RegistrationId::parse("Dev-A").unwrap(), RegistrationId::parse("dev-a").unwrap());
        assert_eq!(upper, lower);
        assert_eq!(upper.as_str(), "Dev-A");
        assert_eq!(upper.key(), "dev-a");
    }

    #[test]
    fn an_id_scope_has_letters_digits_and_hyphens() {
        for text in ["0ne00000A0A", "plant-1", &"a".repeat(64)] {
            assert!(IdScope::parse(text).is_ok(), "{text}");
        }
        for text in ["", "a b", "a/b", "a.b", "ä", &"a".repeat(65)] {
            assert!(IdScope::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn device_ids_keep_case_apart() {
        assert_ne!(DeviceId::parse("A").unwrap(), DeviceId::parse("a").unwrap());
        assert!(DeviceId::parse("a/b").is_err());
    }

    #[test]
    fn every_registration_id_is_a_device_id() {
        for id in ["Reg:A_b.1-", "-x", &"a".repeat(128)] {
            let id = RegistrationId::parse(id).unwrap();
            assert_eq!(DeviceId::parse(id.as_str()), Ok(DeviceId::from(&id)));
        }
    }

    #[test]
    fn hub_names_are_lower_case_hosts_without_port() {
        assert_eq!(HubName::parse("Hub.Example").unwrap().as_str(), "hub.example");
        assert!(HubName::parse("hub:443").is_err());
    }

    #[test]
    fn serde_goes_through_the_same_rule() {
        assert!(serde_json::from_str::<RegistrationId>("\"a b\"").is_err());
        assert_eq!(serde_json::to_string(&RegistrationId::parse("Ab").unwrap()).unwrap(), "\"Ab\"");
    }
}
