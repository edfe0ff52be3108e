//! The `If-Match` header in the four spellings that SDKs send: `*`, `"*"`, `"etag"`, `etag`.

/// What a caller demands of the version it is about to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// No header.
    Absent,
    /// `*`: it must exist, in any version.
    Any,
    /// It must be this version.
    Etag(String),
}

impl IfMatch {
    /// Reads the header's value; an empty one counts as absent.
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

/// The etag as it stands in headers.
pub fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_read() {
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
