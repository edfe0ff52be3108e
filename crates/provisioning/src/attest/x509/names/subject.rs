//! Distinguished names, compared as RFC 5280 §7.1 says: without case, and spaces count once.

use x509_parser::{
    asn1_rs::Tag,
    x509::{AttributeTypeAndValue, RelativeDistinguishedName, X509Name},
};

/// Whether the name begins with all parts of the base.
pub(super) fn is_within(name: &X509Name<'_>, base: &X509Name<'_>) -> bool {
    let mut parts = name.iter_rdn();
    base.iter_rdn().all(|wanted| parts.next().is_some_and(|part| is_same_part(part, wanted)))
}

fn is_same_part(one: &RelativeDistinguishedName<'_>, other: &RelativeDistinguishedName<'_>) -> bool {
    let is_in_one = |wanted| one.iter().any(|attribute| is_same_attribute(attribute, wanted));
    one.iter().count() == other.iter().count() && other.iter().all(is_in_one)
}

fn is_same_attribute(one: &AttributeTypeAndValue<'_>, other: &AttributeTypeAndValue<'_>) -> bool {
    one.attr_type() == other.attr_type()
        && match (text(one), text(other)) {
            (Some(one), Some(other)) => folded(&one) == folded(&other),
            _ => one.attr_value().data == other.attr_value().data,
        }
}

/// The characters of a value in any of the string types of directories (RFC 5280 §4.1.2.4); an excluded name must not
/// slip through in another encoding.
fn text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let bytes = attribute.attr_value().data;
    match attribute.attr_value().tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            String::from_utf8(bytes.to_vec()).ok()
        }
        Tag::T61String => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString => {
            let units: Vec<_> = bytes.as_chunks().0.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
            String::from_utf16(&units).ok()
        }
        Tag::UniversalString => {
            let scalars = bytes.as_chunks().0.iter().map(|scalar| u32::from_be_bytes(*scalar));
            scalars.map(char::from_u32).collect()
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
    use x509_parser::prelude::FromDer;

    use super::*;

    const UTF8: u8 = 0x0C;
    const PRINTABLE: u8 = 0x13;
    const T61: u8 = 0x14;
    const UNIVERSAL: u8 = 0x1C;
    const BMP: u8 = 0x1E;

    /// A string's tag and bytes.
    type Value = (u8, &'static [u8]);

    /// Organisations, one part each, with the tag of their value.
    fn name(parts: &[Value]) -> Vec<u8> {
        let wrap = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
        let part = |(tag, value): &Value| {
            let attribute = [&[0x06, 0x03, 0x55, 0x04, 0x0A], &wrap(*tag, value)[..]].concat();
            wrap(0x31, &wrap(0x30, &attribute))
        };
        wrap(0x30, &parts.iter().flat_map(part).collect::<Vec<_>>())
    }

    #[test]
    fn a_name_lies_within_its_beginning() {
        let whole = [(PRINTABLE, &b"Acme  Works "[..]), (UTF8, &b"Line 1"[..])];
        let cases: [(&[Value], bool); 9] = [
            (&[], true),
            (&[(UTF8, b"acme works")], true),
            (&[(T61, b"ACME WORKS")], true),
            (&[(BMP, b"\0A\0c\0m\0e\0 \0W\0o\0r\0k\0s")], true),
            (&[(UNIVERSAL, b"\0\0\0A\0\0\0c\0\0\0m\0\0\0e\0\0\0 \0\0\0W\0\0\0o\0\0\0r\0\0\0k\0\0\0s")], true),
            (&whole, true),
            (&[(UTF8, b"Line 1")], false),
            (&[(UTF8, b"Acme")], false),
            (&[whole[0], whole[1], whole[1]], false),
        ];
        let der = name(&whole);
        let (_, name_read) = X509Name::from_der(&der).unwrap();
        for (base, expected) in cases {
            let base_der = name(base);
            let (_, base_read) = X509Name::from_der(&base_der).unwrap();
            assert_eq!(is_within(&name_read, &base_read), expected, "{base:?}");
        }
    }
}
