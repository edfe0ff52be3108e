//! The forms of name, and when one lies within a subtree.

use std::{fmt, mem::discriminant};

use x509_parser::extensions::GeneralName;

use crate::NameParts;

/// A name that a certificate gives its subject.
pub(super) enum Name<'a> {
    /// One of its alternative names, with its parts if it is a distinguished name.
    Alternative(&'a GeneralName<'a>, Option<NameParts>),
    /// Its distinguished name as text, and its parts.
    Subject(String, NameParts),
    /// A mail address in its distinguished name.
    Email(String),
    /// The common name of a leaf.
    Common(String),
}

/// The names that lie within a base.
pub(super) struct Subtree<'a> {
    base: GeneralName<'a>,
    parts: Option<NameParts>,
}

impl<'a> Subtree<'a> {
    pub(super) fn new(base: GeneralName<'a>) -> Self {
        let parts = parts_of(&base);
        Subtree { base, parts }
    }
}

fn parts_of(name: &GeneralName<'_>) -> Option<NameParts> {
    match name {
        GeneralName::DirectoryName(name) => Some(NameParts::of(name)),
        _ => None,
    }
}

/// A name in the form in which it is compared.
enum Form<'a> {
    Dns(&'a str),
    /// A name that is bound like a DNS name and need not be written as one: it may be a MAC address.
    Device(&'a str),
    Email(&'a str),
    Uri(&'a str),
    Ip(&'a [u8]),
    Directory(&'a NameParts),
    Other,
}

impl<'a> Form<'a> {
    fn of(name: &'a GeneralName<'a>, parts: Option<&'a NameParts>) -> Form<'a> {
        match name {
            GeneralName::DNSName(name) => Form::Dns(name),
            GeneralName::RFC822Name(address) => Form::Email(address),
            GeneralName::URI(uri) => Form::Uri(uri),
            GeneralName::IPAddress(address) => Form::Ip(address),
            GeneralName::DirectoryName(_) => parts.map_or(Form::Other, Form::Directory),
            _ => Form::Other,
        }
    }
}

impl<'a> Name<'a> {
    pub(super) fn alternative(name: &'a GeneralName<'a>) -> Self {
        Name::Alternative(name, parts_of(name))
    }

    fn form(&self) -> Form<'_> {
        match self {
            Name::Alternative(name, parts) => Form::of(name, parts.as_ref()),
            Name::Subject(_, parts) => Form::Directory(parts),
            Name::Email(address) => Form::Email(address),
            Name::Common(name) => Form::Device(name),
        }
    }

    /// Returns whether a subtree is for names of this form.
    pub(super) fn is_of_form_of(&self, subtree: &Subtree<'_>) -> bool {
        match self {
            Name::Alternative(name, _) => discriminant(*name) == discriminant(&subtree.base),
            Name::Subject(..) => matches!(subtree.base, GeneralName::DirectoryName(_)),
            Name::Email(_) => matches!(subtree.base, GeneralName::RFC822Name(_)),
            Name::Common(_) => matches!(subtree.base, GeneralName::DNSName(_)),
        }
    }

    /// Returns whether it is well-formed; otherwise it cannot be compared.
    pub(super) fn is_sound(&self) -> bool {
        match self.form() {
            Form::Dns(name) => is_host(name.strip_prefix("*.").unwrap_or(name)),
            Form::Email(address) => mailbox(address).is_some(),
            Form::Uri(uri) => host_of(uri).is_some(),
            Form::Ip(address) => matches!(address.len(), 4 | 16),
            Form::Device(_) | Form::Directory(_) | Form::Other => true,
        }
    }

    /// Returns whether it lies within the subtree, which is of its form. `None` when the subtree is malformed, or its form
    /// is not supported.
    pub(super) fn is_within(&self, subtree: &Subtree<'_>) -> Option<bool> {
        match (self.form(), Form::of(&subtree.base, subtree.parts.as_ref())) {
            (Form::Dns(name) | Form::Device(name), Form::Dns(base)) => dns_is_within(name, base),
            (Form::Email(address), Form::Email(base)) => email_is_within(address, base),
            (Form::Uri(uri), Form::Uri(base)) => host_is_within(host_of(uri)?, base),
            (Form::Ip(address), Form::Ip(range)) => address_is_within(address, range),
            (Form::Directory(name), Form::Directory(base)) => Some(name.is_within(base)),
            _ => None,
        }
    }

    /// Returns the same, and true for a wildcard that covers a name within the subtree.
    pub(super) fn may_be_within(&self, subtree: &Subtree<'_>) -> Option<bool> {
        let is_within = self.is_within(subtree)?;
        let (Form::Dns(name), GeneralName::DNSName(base)) = (self.form(), &subtree.base) else {
            return Some(is_within);
        };
        let covers = name.strip_prefix("*.").is_some_and(|parent| {
            base.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
        });
        Some(is_within || covers)
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Alternative(name, _) => write!(f, "{name}"),
            Name::Subject(name, _) => write!(f, "the subject {name}"),
            Name::Email(address) => write!(f, "the mail address {address:?} in the subject"),
            Name::Common(name) => write!(f, "the common name {name:?}"),
        }
    }
}

/// The base is a host and all those below it, or with a leading dot, which OpenSSL takes as well, only those below it; everything is
/// within an empty base.
fn dns_is_within(name: &str, base: &str) -> Option<bool> {
    match base.strip_prefix('.') {
        Some(domain) => is_host(domain).then(|| is_below(name, domain) && name.len() > domain.len()),
        None => (base.is_empty() || is_host(base)).then(|| is_below(name, base)),
    }
}

/// Returns whether a name consists of labels of letters, digits, hyphens and underscores, with dots between them.
fn is_host(name: &str) -> bool {
    let is_label = |label: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(fits)
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// Returns whether `name` is `base` or ends in it after a dot; everything is below an empty base.
fn is_below(name: &str, base: &str) -> bool {
    if base.is_empty() {
        return true;
    }
    let Some(start) = name.len().checked_sub(base.len()) else { return false };
    let ends = name.get(start..).is_some_and(|end| end.eq_ignore_ascii_case(base));
    ends && (start == 0 || name.as_bytes().get(start - 1) == Some(&b'.'))
}

/// Returns local part and host of a mail address.
fn mailbox(address: &str) -> Option<(&str, &str)> {
    let (local, host) = address.split_once('@')?;
    (!local.is_empty() && is_host(host)).then_some((local, host))
}

/// The base is a mailbox, the mailboxes of one host, or with a leading dot those of all hosts below one. There are no wildcards;
/// the local part is compared with case.
fn email_is_within(address: &str, base: &str) -> Option<bool> {
    let (local, host) = mailbox(address)?;
    if !base.contains('@') {
        return host_is_within(host, base);
    }
    let (base_local, base_host) = mailbox(base)?;
    Some(local == base_local && host.eq_ignore_ascii_case(base_host))
}

/// The base is one host, or with a leading dot all those below it but not itself.
fn host_is_within(host: &str, base: &str) -> Option<bool> {
    match base.strip_prefix('.') {
        Some(domain) => is_host(domain).then(|| is_below(host, domain) && host.len() > domain.len()),
        None => is_host(base).then(|| host.eq_ignore_ascii_case(base)),
    }
}

/// Returns the host in a URI, which must be a name: there are no constraints for addresses in URIs.
fn host_of(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let after_user = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = after_user.split_once(':').map_or(after_user, |(host, _)| host);
    let is_address = host.parse::<std::net::Ipv4Addr>().is_ok();
    (is_host(host) && !is_address).then_some(host)
}

/// The range is its first address and its mask, which is all ones and then all zeros. An address lies in no range of the other
/// version.
fn address_is_within(address: &[u8], range: &[u8]) -> Option<bool> {
    if !matches!(range.len(), 8 | 32) {
        return None;
    }
    let (first, mask) = range.split_at(range.len() / 2);
    let ones = mask.iter().map(|byte| byte.leading_ones()).take_while(|ones| *ones == 8).count();
    let rest = mask.get(ones..)?;
    let is_contiguous = rest.first().is_none_or(|byte| byte.leading_ones() + byte.trailing_zeros() == 8)
        && rest.iter().skip(1).all(|byte| *byte == 0);
    let same = |((one, other), mask): ((&u8, &u8), &u8)| one & mask == other & mask;
    is_contiguous.then(|| address.len() == first.len() && address.iter().zip(first).zip(mask).all(same))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(name: GeneralName<'_>, base: GeneralName<'_>) -> Option<bool> {
        Name::alternative(&name).is_within(&Subtree::new(base))
    }

    #[test]
    fn dns_names() {
        let cases = [
            ("a.example", "a.example", Some(true)),
            ("b.a.example", "A.EXAMPLE", Some(true)),
            ("ba.example", "a.example", Some(false)),
            ("example", "a.example", Some(false)),
            ("a.example", "", Some(true)),
            ("a.example", ".example", Some(true)),
            ("b.a.example", ".example", Some(true)),
            ("example", ".example", Some(false)),
            ("a.example", ".", None),
            ("a.example", "..example", None),
            ("a.example", "*.example", None),
        ];
        for (name, base, expected) in cases {
            assert_eq!(
                within(GeneralName::DNSName(name), GeneralName::DNSName(base)),
                expected,
                "{name} {base}"
            );
        }
        let wildcard = GeneralName::DNSName("*.a.example");
        for (base, expected) in
            [("b.a.example", true), ("c.b.a.example", false), ("a.example", true), ("b.example", false)]
        {
            let may_be =
                Name::alternative(&wildcard).may_be_within(&Subtree::new(GeneralName::DNSName(base)));
            assert_eq!(may_be, Some(expected), "{base}");
        }
    }

    /// A common name need not be a host name; it is compared as text.
    #[test]
    fn common_names() {
        let cases = [
            ("dev-1.a.example", "a.example", Some(true)),
            ("victim-7", "plant-a.example", Some(false)),
            ("victim-7", "victim-7", Some(true)),
            ("00:11:22:33:44:55", "a.example", Some(false)),
            ("00:11:22:33:44:55", "", Some(true)),
            ("Victim-7", "victim-7", Some(true)),
            ("", "a.example", Some(false)),
        ];
        for (name, base, expected) in cases {
            let subtree = Subtree::new(GeneralName::DNSName(base));
            assert_eq!(Name::Common(name.to_owned()).is_within(&subtree), expected, "{name} {base}");
        }
    }

    #[test]
    fn mail_addresses() {
        let cases = [
            ("me@a.example", "me@A.example", Some(true)),
            ("Me@a.example", "me@a.example", Some(false)),
            ("me@a.example", "a.example", Some(true)),
            ("me@b.a.example", "a.example", Some(false)),
            ("me@b.a.example", ".a.example", Some(true)),
            ("me@a.example", ".a.example", Some(false)),
            ("me@a.example", "*@a.example", Some(false)),
            ("me@a.example", "x@y@a.example", None),
            ("me@a.example", "", None),
        ];
        for (name, base, expected) in cases {
            assert_eq!(
                within(GeneralName::RFC822Name(name), GeneralName::RFC822Name(base)),
                expected,
                "{name} {base}"
            );
        }
        for unsound in ["me", "me@you@a.example", "@a.example", "me@"] {
            assert!(!Name::Email(unsound.to_owned()).is_sound(), "{unsound}");
        }
    }

    #[test]
    fn uris_by_their_host() {
        let cases = [
            ("https://a.example/x", "a.example", Some(true)),
            ("https://me@a.example:8443?x", "a.example", Some(true)),
            ("coap://b.a.example", ".a.example", Some(true)),
            ("coap://a.example", ".a.example", Some(false)),
            ("https://a.example@evil.example/", "a.example", Some(false)),
        ];
        for (name, base, expected) in cases {
            assert_eq!(within(GeneralName::URI(name), GeneralName::URI(base)), expected, "{name} {base}");
        }
        for unsound in ["urn:uuid:1", "https://192.0.2.1/", "https://[::1]/", "https:///x"] {
            assert!(!Name::alternative(&GeneralName::URI(unsound)).is_sound(), "{unsound}");
        }
    }

    #[test]
    fn addresses() {
        let cases: [(&[u8], &[u8], Option<bool>); 7] = [
            (&[192, 0, 2, 7], &[192, 0, 2, 0, 255, 255, 255, 0], Some(true)),
            (&[192, 0, 3, 7], &[192, 0, 2, 0, 255, 255, 255, 0], Some(false)),
            (&[192, 0, 3, 7], &[192, 0, 2, 0, 255, 255, 254, 0], Some(true)),
            (&[192, 0, 2, 7], &[0, 0, 0, 0, 0, 0, 0, 0], Some(true)),
            (&[192, 0, 2, 7], &[192, 0, 2, 0, 255, 0, 255, 0], None),
            (&[192, 0, 2, 7], &[192, 0, 2, 0], None),
            (&[1; 16], &[192, 0, 2, 0, 255, 255, 255, 0], Some(false)),
        ];
        for (name, base, expected) in cases {
            assert_eq!(
                within(GeneralName::IPAddress(name), GeneralName::IPAddress(base)),
                expected,
                "{name:?} {base:?}"
            );
        }
        assert!(!Name::alternative(&GeneralName::IPAddress(&[192, 0, 2, 0, 255, 255, 255, 0])).is_sound());
    }
}
