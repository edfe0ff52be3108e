//! Distinguished names, with one reading for all uses: common names, issuers of certificates and lists, name constraints, and the
//! text that people see.
//!
//! Two names are equal if RFC 5280 §7.1 says so: part by part, without regard to the string type of a value, to case, and to
//! how many spaces there are. Values are not normalized as Unicode; no tool of the field does that.

use std::fmt::Write;

use x509_parser::{
    asn1_rs::{Oid, Tag},
    objects::{oid_registry, oid2abbrev},
    oid_registry::{OID_PKCS9_EMAIL_ADDRESS, OID_X509_COMMON_NAME},
    prelude::FromDer,
    x509::{AttributeTypeAndValue, RelativeDistinguishedName, X509Name},
};

/// A comparison key: equal names have equal keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameKey(Box<[u8]>);

/// The parts of a name, each in the form in which it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameParts(Vec<Vec<Vec<u8>>>);

impl NameKey {
    /// Computes the key of a name in DER. Bytes that are not a name are their own key.
    pub fn of(der: &[u8]) -> Self {
        match X509Name::from_der(der) {
            Ok(([], name)) => NameKey(NameParts::of(&name).0.concat().concat().into()),
            _ => NameKey([&[UNREADABLE], der].concat().into()),
        }
    }
}

/// Returns whether two names in DER are equal.
pub fn is_same_name(one: &[u8], other: &[u8]) -> bool {
    one == other || NameKey::of(one) == NameKey::of(other)
}

impl NameParts {
    /// Reads the parts of a name.
    pub fn of(name: &X509Name<'_>) -> Self {
        NameParts(name.iter_rdn().map(comparable_part).collect())
    }

    /// Returns whether it begins with all parts of another one.
    pub fn is_within(&self, base: &NameParts) -> bool {
        self.0.starts_with(&base.0)
    }
}

/// Returns the common name: the last one, as the most specific part comes last.
pub fn common_name(name: &X509Name<'_>) -> Option<CommonName> {
    let last = name.iter_by_oid(&OID_X509_COMMON_NAME).last()?;
    Some(text(last).map_or(CommonName::Unreadable, CommonName::Text))
}

/// A common name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommonName {
    /// It is text.
    Text(String),
    /// Its type or its bytes are not text.
    Unreadable,
}

/// Returns the mail addresses in a name.
pub fn mail_addresses(name: &X509Name<'_>) -> Vec<String> {
    let addresses = name.iter_by_oid(&OID_PKCS9_EMAIL_ADDRESS);
    addresses.map(|address| text(address).unwrap_or_default()).collect()
}

/// Writes a name with the part that is encoded last first, as in `CN=x, OU=y, C=US`.
pub fn name_text(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name.iter_attributes().map(attribute_text).collect();
    parts.reverse();
    parts.join(", ")
}

fn attribute_text(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = abbreviation(attribute.attr_type());
    match text(attribute) {
        Some(value) => format!("{kind}={value}"),
        None => attribute.attr_value().data.iter().fold(format!("{kind}=#"), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02X}");
            hex
        }),
    }
}

fn abbreviation(oid: &Oid<'_>) -> String {
    oid2abbrev(oid, oid_registry()).map_or_else(|_| oid.to_id_string(), str::to_owned)
}

/// Returns the attributes of a part in one order, since it is a set.
fn comparable_part(part: &RelativeDistinguishedName<'_>) -> Vec<Vec<u8>> {
    let mut attributes: Vec<_> = part.iter().map(comparable_attribute).collect();
    attributes.sort();
    // Marks the end of the part in the key.
    attributes.push(vec![END_OF_PART]);
    attributes
}

fn comparable_attribute(attribute: &AttributeTypeAndValue<'_>) -> Vec<u8> {
    let (kind, value) = match text(attribute) {
        Some(text) => (TEXT, folded(&text).into_bytes()),
        None => (BYTES, attribute.attr_value().data.to_vec()),
    };
    let oid = attribute.attr_type().as_bytes();
    let lengths =
        [oid.len(), value.len()].map(|length| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    [&[kind], lengths[0].as_slice(), &lengths[1], oid, &value].concat()
}

const UNREADABLE: u8 = 0;
const TEXT: u8 = 1;
const BYTES: u8 = 2;
const END_OF_PART: u8 = 3;

/// Returns the characters of a value in any of the string types of directories (RFC 5280 §4.1.2.4). T61String is read as Latin-1,
/// as OpenSSL and Windows do.
fn text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let bytes = attribute.attr_value().data;
    match attribute.attr_value().tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            String::from_utf8(bytes.to_vec()).ok()
        }
        Tag::T61String => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString => {
            let (units, []) = bytes.as_chunks() else { return None };
            let units: Vec<_> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
            String::from_utf16(&units).ok()
        }
        Tag::UniversalString => {
            let (scalars, []) = bytes.as_chunks() else { return None };
            scalars.iter().map(|scalar| char::from_u32(u32::from_be_bytes(*scalar))).collect()
        }
        _ => None,
    }
}

fn folded(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UTF8: u8 = 0x0C;
    const PRINTABLE: u8 = 0x13;
    const T61: u8 = 0x14;
    const UNIVERSAL: u8 = 0x1C;
    const BMP: u8 = 0x1E;
    const INTEGER: u8 = 0x02;

    /// A string's tag and bytes.
    type Value = (u8, &'static [u8]);

    fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
        crate::der::write(tag, content)
    }

    /// Common names, one part each, with the tag of their value.
    fn name(parts: &[Value]) -> Vec<u8> {
        let part = |(tag, value): &Value| {
            let attribute = [&[0x06, 0x03, 0x55, 0x04, 0x03], &wrap(*tag, value)[..]].concat();
            wrap(0x31, &wrap(0x30, &attribute))
        };
        wrap(0x30, &parts.iter().flat_map(part).collect::<Vec<_>>())
    }

    /// `Acme Works` in every string type.
    const ACME: [Value; 6] = [
        (PRINTABLE, b"Acme Works"),
        (UTF8, b" acme   works "),
        (T61, b"ACME WORKS"),
        (0x16, b"Acme Works"),
        (BMP, b"\0A\0c\0m\0e\0 \0W\0o\0r\0k\0s"),
        (UNIVERSAL, b"\0\0\0A\0\0\0c\0\0\0m\0\0\0e\0\0\0 \0\0\0W\0\0\0o\0\0\0r\0\0\0k\0\0\0s"),
    ];

    #[test]
    fn names_in_different_string_types_are_equal() {
        for one in ACME {
            for other in ACME {
                assert!(is_same_name(&name(&[one]), &name(&[other])), "{one:?} {other:?}");
            }
            let der = name(&[(UTF8, b"x"), one]);
            let (_, read) = X509Name::from_der(&der).unwrap();
            let Some(CommonName::Text(text)) = common_name(&read) else { panic!("{one:?}") };
            assert_eq!(folded(&text), "acme works", "{one:?}");
            assert_eq!(folded(&name_text(&read)).replace(' ', ""), "cn=acmeworks,cn=x", "{one:?}");
        }
    }

    #[test]
    fn different_names_are_not_equal() {
        let others: [&[Value]; 10] = [
            &[],
            &[(UTF8, b"Acme Works"), (UTF8, b"Acme Works")],
            &[(UTF8, b"AcmeWorks")],
            &[(UTF8, b"")],
            &[(UTF8, b"Acme"), (UTF8, b"Works")],
            // Not text: bytes that are not of their type, and values of other types.
            &[(UTF8, b"Acme Works\xFF")],
            &[(BMP, b"\0A\0c\0m\0e\0 \0W\0o\0r\0k\0s\0")],
            &[(INTEGER, b"Acme Works")],
            &[(INTEGER, b"\x01")],
            &[(T61, "ämter".as_bytes())],
        ];
        let all = [&others[..], &[&[ACME[0]][..]]].concat();
        for (at, one) in all.iter().enumerate() {
            for (place, other) in all.iter().enumerate() {
                assert_eq!(is_same_name(&name(one), &name(other)), at == place, "{one:?} {other:?}");
            }
        }
        assert!(!is_same_name(b"no name", b"none either") && is_same_name(b"no name", b"no name"));
    }

    #[test]
    fn a_part_is_a_set() {
        let attribute =
            |value: &[u8]| wrap(0x30, &[&[0x06, 0x03, 0x55, 0x04, 0x03], &wrap(UTF8, value)[..]].concat());
        let of =
            |parts: &[Vec<u8>]| wrap(0x30, &parts.iter().flat_map(|it| wrap(0x31, it)).collect::<Vec<_>>());
        let (a, b) = (attribute(b"a"), attribute(b"b"));
        let (one, other) = (of(&[[&a[..], &b].concat()]), of(&[[&b[..], &a].concat()]));
        assert!(is_same_name(&one, &other));
        assert!(!is_same_name(&one, &of(&[a, b])));
    }

    #[test]
    fn a_name_lies_within_its_beginning() {
        let whole = [(PRINTABLE, &b"Acme  Works "[..]), (UTF8, &b"Line 1"[..])];
        let cases: [(&[Value], bool); 9] = [
            (&[], true),
            (&[ACME[1]], true),
            (&[ACME[2]], true),
            (&[ACME[4]], true),
            (&[ACME[5]], true),
            (&whole, true),
            (&[(UTF8, b"Line 1")], false),
            (&[(UTF8, b"Acme")], false),
            (&[whole[0], whole[1], whole[1]], false),
        ];
        let parts = |der: &[u8]| NameParts::of(&X509Name::from_der(der).unwrap().1);
        for (base, expected) in cases {
            assert_eq!(parts(&name(&whole)).is_within(&parts(&name(base))), expected, "{base:?}");
        }
    }
}
