//! `If-Match` in the forms that clients send: `"etag"`, `etag`, `*` and `"*"`, each with or without the prefix `W/`.

use model::{Etag, IdError, IfMatch};

/// Parses the value of the header, or the etag of a bulk item. Some clients quote the etag twice.
pub fn parse_if_match(text: &str) -> Result<IfMatch, IdError> {
    let text = text.trim();
    let mut bare = text.strip_prefix("W/").unwrap_or(text);
    while let Some(inner) = bare.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        bare = inner;
    }
    if bare == "*" { Ok(IfMatch::Any) } else { Etag::parse(bare).map(IfMatch::Version) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_if_match_are_parsed() {
        let version = |text| Some(IfMatch::Version(Etag::parse(text).unwrap()));
        for (text, expected) in [
            ("*", Some(IfMatch::Any)),
            ("\"*\"", Some(IfMatch::Any)),
            ("\"abc\"", version("abc")),
            ("abc", version("abc")),
            (" W/\"abc\" ", version("abc")),
            ("\"\"abc\"\"", version("abc")),
            ("", None),
            ("\"\"", None),
            ("\"", None),
            ("\"half", None),
            ("a b", None),
            ("\"a\", \"b\"", None),
        ] {
            assert_eq!(parse_if_match(text).ok(), expected, "{text}");
        }
    }
}
