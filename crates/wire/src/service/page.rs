//! Paging: how much at once, and where to go on.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use model::RegistrationId;

/// Items on a page when the caller does not say.
pub const DEFAULT_PAGE_ITEMS: usize = 100;

/// Most items on a page: at 2 KB each a page stays at a few MB.
pub const MAX_PAGE_ITEMS: usize = 1000;

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// Individual enrollments.
    Individuals,
    /// Enrollment groups.
    Groups,
    /// Registrations of a group.
    Registrations,
    /// What is to be removed from hubs.
    Cleanups,
}

/// Why a paging header is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// `x-ms-max-item-count`.
    #[error("x-ms-max-item-count must be a number, and not negative")]
    Limit,
    /// `x-ms-continuation`.
    #[error("x-ms-continuation is not a token that this query returned")]
    Continuation,
}

impl Collection {
    /// The value of `x-ms-item-type`; the C client compares it byte by byte.
    pub fn item_type(self) -> &'static str {
        match self {
            Collection::Individuals => "Enrollment",
            Collection::Groups => "EnrollmentGroup",
            Collection::Registrations => "DeviceRegistration",
            Collection::Cleanups => "Cleanup",
        }
    }

    /// The token that continues a listing of this collection after the item with this lower-case ID, or this hub and
    /// device.
    pub fn continuation(self, after: &str) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}{after}", self.mark()))
    }

    /// The lower-case ID that a token continues after.
    pub fn parse_continuation(self, token: &str) -> Result<String, PageError> {
        let bytes = URL_SAFE_NO_PAD.decode(token.trim()).map_err(|_| PageError::Continuation)?;
        let text = String::from_utf8(bytes).map_err(|_| PageError::Continuation)?;
        let id = text.strip_prefix(self.mark()).ok_or(PageError::Continuation)?;
        if self == Collection::Cleanups {
            return Ok(id.to_owned());
        }
        let id = RegistrationId::parse(id).map_err(|_| PageError::Continuation)?;
        Ok(id.key().into_owned())
    }

    /// Keeps the tokens of one collection from being taken for another's.
    fn mark(self) -> &'static str {
        match self {
            Collection::Individuals => "1e:",
            Collection::Groups => "1g:",
            Collection::Registrations => "1r:",
            Collection::Cleanups => "1c:",
        }
    }
}

/// The number of items on a page, from `x-ms-max-item-count`. 0 stands for the default in some SDKs; a number past
/// [`MAX_PAGE_ITEMS`] gets that many.
pub fn page_limit(text: Option<&str>) -> Result<usize, PageError> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(DEFAULT_PAGE_ITEMS);
    };
    match text.parse::<u64>().map_err(|_| PageError::Limit)? {
        0 => Ok(DEFAULT_PAGE_ITEMS),
        count => Ok(usize::try_from(count).unwrap_or(MAX_PAGE_ITEMS).min(MAX_PAGE_ITEMS)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn limits() {
        let cases = [
            (None, Ok(DEFAULT_PAGE_ITEMS)),
            (Some(""), Ok(DEFAULT_PAGE_ITEMS)),
            (Some("0"), Ok(DEFAULT_PAGE_ITEMS)),
            (Some("1"), Ok(1)),
            (Some("1000"), Ok(1000)),
            (Some("1001"), Ok(1000)),
            (Some("18446744073709551615"), Ok(1000)),
            (Some("18446744073709551616"), Err(PageError::Limit)),
            (Some("-1"), Err(PageError::Limit)),
            (Some("ten"), Err(PageError::Limit)),
        ];
        for (text, expected) in cases {
            assert_eq!(page_limit(text), expected, "{text:?}");
        }
    }

    #[test]
    fn tokens_belong_to_their_collection() {
        let token = Collection::Individuals.continuation("dev-1");
        assert_eq!(Collection::Individuals.parse_continuation(&token).unwrap(), "dev-1");
        assert_eq!(Collection::Groups.parse_continuation(&token), Err(PageError::Continuation));
        for token in ["", "!", "ZQ", "MWU6", "MWU6YSBi"] {
            assert_eq!(
                Collection::Individuals.parse_continuation(token),
                Err(PageError::Continuation),
                "{token}"
            );
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,60}") {
            let _ = Collection::Registrations.parse_continuation(&text);
            let _ = page_limit(Some(&text));
        }

        #[test]
        fn tokens_round_trip(id in "[a-z0-9]([a-z0-9._:-]{0,126}[a-z0-9-])?") {
            let token = Collection::Groups.continuation(&id);
            prop_assert!(token.is_ascii());
            prop_assert_eq!(Collection::Groups.parse_continuation(&token).unwrap(), id);
        }
    }
}
