//! Paging: page sizes and continuation tokens.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use model::RegistrationId;

/// The number of items per page by default.
pub const DEFAULT_PAGE_ITEMS: usize = 100;

/// The maximum number of items per page: with 2 KB per item, a page has a few MB.
pub const MAX_PAGE_ITEMS: usize = 1000;

/// The collections that are listed in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// Individual enrollments.
    Individuals,
    /// Enrollment groups.
    Groups,
    /// The registrations of an enrollment group.
    Registrations,
    /// The cleanups at hubs.
    Cleanups,
}

/// The paging headers that can be invalid.
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
    /// Returns the value of `x-ms-item-type`. The C SDK compares it byte by byte.
    pub fn item_type(self) -> &'static str {
        match self {
            Collection::Individuals => "Enrollment",
            Collection::Groups => "EnrollmentGroup",
            Collection::Registrations => "DeviceRegistration",
            Collection::Cleanups => "Cleanup",
        }
    }

    /// Returns the token that continues a listing after the item with this ID in lower case; the ID of a cleanup is its
    /// hub and device ID.
    pub fn continuation(self, after: &str) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}{after}", self.mark()))
    }

    /// Parses a token, and returns the ID in lower case that it continues after.
    pub fn parse_continuation(self, token: &str) -> Result<String, PageError> {
        let bytes = URL_SAFE_NO_PAD.decode(token.trim()).map_err(|_| PageError::Continuation)?;
        let text = String::from_utf8(bytes).map_err(|_| PageError::Continuation)?;
        let id = text.strip_prefix(self.mark()).ok_or(PageError::Continuation)?;
        // A position in the search table is a term, a line feed and an ID.
        if self == Collection::Cleanups || id.contains('\n') {
            return Ok(id.to_owned());
        }
        let id = RegistrationId::parse(id).map_err(|_| PageError::Continuation)?;
        Ok(id.key().into_owned())
    }

    /// Returns the prefix that distinguishes the tokens of this collection from those of others.
    fn mark(self) -> &'static str {
        match self {
            Collection::Individuals => "1e:",
            Collection::Groups => "1g:",
            Collection::Registrations => "1r:",
            Collection::Cleanups => "1c:",
        }
    }
}

/// Parses the number of items per page from `x-ms-max-item-count`. Some SDKs send 0 for the default; numbers above
/// [`MAX_PAGE_ITEMS`] are reduced to it.
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
    fn page_limits_are_parsed() {
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
    fn tokens_are_valid_for_their_collection_only() {
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
        fn accepted_tokens_and_limits_are_within_bounds(text in "[0-9]{1,21}|MXI6[a-zA-Z0-9]{0,12}|\\PC{0,60}") {
            let collection = Collection::Registrations;
            if let Ok(id) = collection.parse_continuation(&text) {
                prop_assert!(RegistrationId::parse(&id).is_ok() || id.contains('\n'));
                prop_assert_eq!(collection.parse_continuation(&collection.continuation(&id)), Ok(id));
            }
            if let Ok(limit) = page_limit(Some(&text)) {
                prop_assert!((1..=MAX_PAGE_ITEMS).contains(&limit));
            }
        }

        #[test]
        fn tokens_round_trip(id in "[a-z0-9]([a-z0-9._:-]{0,126}[a-z0-9-])?") {
            let token = Collection::Groups.continuation(&id);
            prop_assert!(token.is_ascii());
            prop_assert_eq!(Collection::Groups.parse_continuation(&token).unwrap(), id);
        }
    }
}
