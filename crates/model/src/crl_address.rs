//! Where a CA publishes its revocation list.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::HostPort;

/// An `http` or `https` URL. Lists are signed, so that most CAs publish them over plain HTTP.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CrlAddress {
    text: Box<str>,
    scheme: Scheme,
    authority: HostPort,
    /// Where path and query begin in the text; its end when there are none.
    path: usize,
}

/// How a list is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In clear.
    Http,
    /// Over TLS.
    Https,
}

/// Why a text is no such address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an http or https URL of at most {} characters with a DNS name or IPv4 address, and without user name and \
     fragment",
    CrlAddress::MAX_LENGTH
)]
pub struct CrlAddressError;

impl CrlAddress {
    /// The longest address taken, in characters.
    pub const MAX_LENGTH: usize = 1024;

    /// Parses a URL such as `http://crl.example/root.crl`.
    pub fn parse(text: &str) -> Result<Self, CrlAddressError> {
        let plain = text.len() <= Self::MAX_LENGTH && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        let (scheme, rest) = text.split_once("://").filter(|_| plain).ok_or(CrlAddressError)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(CrlAddressError),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let authority = rest.get(..end).and_then(|authority| authority.parse().ok());
        let authority = authority.ok_or(CrlAddressError)?;
        Ok(CrlAddress { text: text.into(), scheme, authority, path: text.len() - rest.len() + end })
    }

    /// How it is fetched.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The server's name.
    pub fn host(&self) -> &str {
        self.authority.host.as_str()
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.authority.port.unwrap_or(match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        })
    }

    /// What is asked for there.
    pub fn path_and_query(&self) -> String {
        let path = self.text.get(self.path..).unwrap_or_default();
        if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for CrlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for CrlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl TryFrom<String> for CrlAddress {
    type Error = CrlAddressError;
    fn try_from(text: String) -> Result<Self, CrlAddressError> {
        Self::parse(&text)
    }
}

impl From<CrlAddress> for String {
    fn from(address: CrlAddress) -> String {
        address.text.into()
    }
}

/// Where a CA publishes its lists: one address, or one for each distribution point.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredAddresses", into = "StoredAddresses")]
pub struct CrlAddresses(Vec<CrlAddress>);

/// More addresses than are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be at most {} addresses", CrlAddresses::MAX)]
pub struct TooManyAddresses;

impl CrlAddresses {
    /// The most addresses of one CA. Each is fetched in its turn, once an hour.
    pub const MAX: usize = 64;

    /// These addresses, each once.
    pub fn new(addresses: impl IntoIterator<Item = CrlAddress>) -> Result<Self, TooManyAddresses> {
        let mut distinct: Vec<CrlAddress> = Vec::new();
        for address in addresses {
            if !distinct.contains(&address) {
                distinct.push(address);
            }
            if distinct.len() > Self::MAX {
                return Err(TooManyAddresses);
            }
        }
        Ok(CrlAddresses(distinct))
    }

    /// The addresses in the order in which they were given.
    pub fn iter(&self) -> std::slice::Iter<'_, CrlAddress> {
        self.0.iter()
    }

    /// Whether nothing is fetched.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is one of them.
    pub fn contains(&self, address: &CrlAddress) -> bool {
        self.0.contains(address)
    }
}

impl From<CrlAddress> for CrlAddresses {
    fn from(address: CrlAddress) -> Self {
        CrlAddresses(vec![address])
    }
}

/// The stored form. One address is a text, as it was before there could be several.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredAddresses {
    None(()),
    One(CrlAddress),
    Several(Vec<CrlAddress>),
}

impl TryFrom<StoredAddresses> for CrlAddresses {
    type Error = TooManyAddresses;
    fn try_from(stored: StoredAddresses) -> Result<Self, TooManyAddresses> {
        match stored {
            StoredAddresses::None(()) => Ok(CrlAddresses::default()),
            StoredAddresses::One(address) => Ok(address.into()),
            StoredAddresses::Several(addresses) => CrlAddresses::new(addresses),
        }
    }
}

impl From<CrlAddresses> for StoredAddresses {
    fn from(CrlAddresses(mut addresses): CrlAddresses) -> Self {
        match (addresses.pop(), addresses.is_empty()) {
            (None, _) => StoredAddresses::None(()),
            (Some(one), true) => StoredAddresses::One(one),
            (Some(last), false) => {
                addresses.push(last);
                StoredAddresses::Several(addresses)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_lists_are_fetched_from() {
        let cases = [
            ("http://crl.example/root.crl", Some((Scheme::Http, "crl.example", 80, "/root.crl"))),
            ("HTTPS://Crl.Example", Some((Scheme::Https, "crl.example", 443, "/"))),
            ("http://10.0.0.1:8080?ca=1", Some((Scheme::Http, "10.0.0.1", 8080, "/?ca=1"))),
            ("ldap://ldap.example/cn=ca", None),
            ("http://user@crl.example/", None),
            ("http://crl.example/#a", None),
            ("http:///root.crl", None),
            ("http://crl.example/a b", None),
            ("crl.example/root.crl", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let address = CrlAddress::parse(text).ok();
            let path = address.as_ref().map(CrlAddress::path_and_query).unwrap_or_default();
            let parts = address.as_ref().map(|it| (it.scheme(), it.host(), it.port(), path.as_str()));
            assert_eq!(parts, expected, "{text}");
        }
        assert!(CrlAddress::parse(&format!("http://a/{}", "x".repeat(CrlAddress::MAX_LENGTH))).is_err());
    }
    #[test]
    fn addresses_are_stored_as_before_and_bounded() {
        let address = |number: usize| CrlAddress::parse(&format!("http://crl.example/{number}")).unwrap();
        for (addresses, stored) in [
            (CrlAddresses::default(), "null"),
            (address(1).into(), r#""http://crl.example/1""#),
            (
                CrlAddresses::new([address(2), address(1), address(2)]).unwrap(),
                r#"["http://crl.example/2","http://crl.example/1"]"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&addresses).unwrap(), stored);
            assert_eq!(serde_json::from_str::<CrlAddresses>(stored).unwrap(), addresses);
        }
        assert!(CrlAddresses::new((0..CrlAddresses::MAX).map(address)).is_ok());
        assert_eq!(CrlAddresses::new((0..=CrlAddresses::MAX).map(address)), Err(TooManyAddresses));
    }
}
