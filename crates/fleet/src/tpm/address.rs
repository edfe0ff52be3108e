//! Addresses of TPMs.

use std::{fmt, path::PathBuf, str::FromStr};

/// The address of a TPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TpmAddress {
    /// A character device of the kernel, such as `/dev/tpmrm0`.
    Device(PathBuf),
    /// The command socket of swtpm: `HOST:PORT`.
    Swtpm(String),
}

impl FromStr for TpmAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<TpmAddress, String> {
        match text.strip_prefix("swtpm:") {
            Some(address) if address.split_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => {
                Ok(TpmAddress::Swtpm(address.to_owned()))
            }
            None if text.starts_with('/') => Ok(TpmAddress::Device(text.into())),
            _ => Err("must be a device such as /dev/tpmrm0, or swtpm:HOST:PORT".to_owned()),
        }
    }
}

impl fmt::Display for TpmAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TpmAddress::Device(path) => path.display().fmt(f),
            TpmAddress::Swtpm(address) => write!(f, "swtpm:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_and_written() {
        for text in ["/dev/tpmrm0", "swtpm:127.0.0.1:2321", "swtpm:tpm.example:1"] {
            assert_eq!(text.parse::<TpmAddress>().map(|address| address.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "tpm0", "swtpm:", "swtpm:127.0.0.1", "swtpm:127.0.0.1:x", "swtpm:/dev/tpm0"] {
            assert!(text.parse::<TpmAddress>().is_err(), "{text}");
        }
    }
}
