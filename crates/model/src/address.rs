//! Addresses of hosts, with an optional port.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{HostName, IdError};

/// A host with an optional port: `HOST` or `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort {
    /// A DNS name or IPv4 address.
    pub host: HostName,
    /// The port, if given.
    pub port: Option<u16>,
}

/// Why a text is not a host with an optional port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPortError {
    /// The host is not valid.
    #[error(transparent)]
    Host(#[from] IdError),
    /// The port is not valid.
    #[error("port {0:?} must be a number from 1 to 65535")]
    Port(String),
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<HostPort, HostPortError> {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(parse_port(port)?)),
            None => (text, None),
        };
        Ok(HostPort { host: HostName::parse(host)?, port })
    }
}

impl TryFrom<String> for HostPort {
    type Error = HostPortError;
    fn try_from(text: String) -> Result<Self, HostPortError> {
        text.parse()
    }
}

impl From<HostPort> for String {
    fn from(address: HostPort) -> String {
        address.to_string()
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => self.host.fmt(f),
        }
    }
}

fn parse_port(text: &str) -> Result<u16, HostPortError> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| HostPortError::Port(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, Option<u16>)>) {
        let parsed = text.parse::<HostPort>().ok();
        let parts = parsed.as_ref().map(|parsed| (parsed.host.as_str(), parsed.port));
        assert_eq!(parts, expected, "{text}");
    }

    #[test]
    fn hosts_with_and_without_a_port() {
        check("127.0.0.1", Some(("127.0.0.1", None)));
        check("Dps.Example:8443", Some(("dps.example", Some(8443))));
        check("dps.example:65535", Some(("dps.example", Some(65535))));
        for text in
            ["", ":443", "host:", "host:0", "host:65536", "host:https", "a:1:2", "a b", "https://host"]
        {
            check(text, None);
        }
    }

    #[test]
    fn prints_what_it_was_parsed_from() {
        for text in ["host.example", "127.0.0.1:8443"] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
    }
}
