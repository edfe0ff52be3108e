//! Where a CA publishes its revocation lists.

use serde::{Deserialize, Serialize};

use crate::HttpUrl;

/// Where a CA publishes its lists: one address, or one for each distribution point.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredAddresses", into = "StoredAddresses")]
pub struct CrlAddresses(Vec<HttpUrl>);

/// More addresses than are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be at most {} addresses", CrlAddresses::MAX)]
pub struct TooManyAddresses;

impl CrlAddresses {
    /// The most addresses of one CA. Each is fetched in its turn, once an hour.
    pub const MAX: usize = 64;

    /// These addresses, each once.
    pub fn new(addresses: impl IntoIterator<Item = HttpUrl>) -> Result<Self, TooManyAddresses> {
        let mut distinct: Vec<HttpUrl> = Vec::new();
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
    pub fn iter(&self) -> std::slice::Iter<'_, HttpUrl> {
        self.0.iter()
    }

    /// Whether nothing is fetched.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is one of them.
    pub fn contains(&self, address: &HttpUrl) -> bool {
        self.0.contains(address)
    }
}

impl From<HttpUrl> for CrlAddresses {
    fn from(address: HttpUrl) -> Self {
        CrlAddresses(vec![address])
    }
}

/// The stored form. One address is a text, as it was before there could be several.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredAddresses {
    None(()),
    One(HttpUrl),
    Several(Vec<HttpUrl>),
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
    fn addresses_are_stored_as_before_and_bounded() {
        let address = |number: usize| HttpUrl::parse(&format!("http://crl.example/{number}")).unwrap();
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
