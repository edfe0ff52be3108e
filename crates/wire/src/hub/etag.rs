//! The header `If-Match` in the four forms that SDKs send: `*`, `"*"`, `"etag"`, `etag`.

/// The precondition of a change, from the header `If-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// No precondition.
    Absent,
    /// The object exists (`*`).
    Any,
    /// The object exists with this etag.
    Etag(String),
}

impl IfMatch {
    /// Parses the header's value; an empty value counts as absent.
    pub fn parse(header: Option<&str>) -> IfMatch {
        let Some(text) = header.map(str::trim) else { return IfMatch::Absent };
        let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
        match bare {
            "" => IfMatch::Absent,
            "*" => IfMatch::Any,
            etag => IfMatch::Etag(etag.to_owned()),
        }
    }
}

/// Returns the etag in quotes, as in headers.
pub fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_if_match_are_parsed() {
        for (header, expected) in [
            (None, IfMatch::Absent),
            (Some(""), IfMatch::Absent),
            (Some("*"), IfMatch::Any),
            (Some("\"*\""), IfMatch::Any),
            (Some("MQ=="), IfMatch::Etag("MQ==".into())),
            (Some(" \"MQ==\" "), IfMatch::Etag("MQ==".into())),
            (Some("\"half"), IfMatch::Etag("\"half".into())),
        ] {
            assert_eq!(IfMatch::parse(header), expected, "{header:?}");
        }
    }
}
