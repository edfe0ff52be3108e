//! URLs that the service fetches documents from.

use std::{fmt, net::Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::HostPort;

/// An `http` or `https` URL, without user name and fragment.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpUrl {
    text: Box<str>,
    scheme: Scheme,
    authority: HostPort,
    /// Where path and query begin in the text; its end when there are none.
    path: usize,
}

/// How a document is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In clear.
    Http,
    /// Over TLS.
    Https,
}

/// Why a text is no such URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an http or https URL of at most {} characters with a DNS name or IPv4 address, and without user name and \
     fragment",
    HttpUrl::MAX_LENGTH
)]
pub struct HttpUrlError;

impl HttpUrl {
    /// The longest URL taken, in characters.
    pub const MAX_LENGTH: usize = 1024;

    /// Parses a URL such as `http://crl.example/root.crl`.
    pub fn parse(text: &str) -> Result<Self, HttpUrlError> {
        let plain = text.len() <= Self::MAX_LENGTH && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        let (scheme, rest) = text.split_once("://").filter(|_| plain).ok_or(HttpUrlError)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(HttpUrlError),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let authority = rest.get(..end).and_then(|authority| authority.parse().ok());
        let authority = authority.ok_or(HttpUrlError)?;
        Ok(HttpUrl { text: text.into(), scheme, authority, path: text.len() - rest.len() + end })
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

    /// Whether no other machine on the way can read or change what is sent: by TLS, or because the server is this machine.
    pub fn is_private(&self) -> bool {
        self.scheme == Scheme::Https || self.is_loopback()
    }

    /// Whether the server is this machine, by its name or an address of 127.0.0.0/8.
    fn is_loopback(&self) -> bool {
        let address = self.host().parse::<Ipv4Addr>();
        self.host().eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
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

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl TryFrom<String> for HttpUrl {
    type Error = HttpUrlError;
    fn try_from(text: String) -> Result<Self, HttpUrlError> {
        Self::parse(&text)
    }
}

impl From<HttpUrl> for String {
    fn from(address: HttpUrl) -> String {
        address.text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_documents_are_fetched_from() {
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
            let address = HttpUrl::parse(text).ok();
            let path = address.as_ref().map(HttpUrl::path_and_query).unwrap_or_default();
            let parts = address.as_ref().map(|it| (it.scheme(), it.host(), it.port(), path.as_str()));
            assert_eq!(parts, expected, "{text}");
        }
        assert!(HttpUrl::parse(&format!("http://a/{}", "x".repeat(HttpUrl::MAX_LENGTH))).is_err());
    }
}
