//! `QuerySpecification`. The only query that provisioning services know is "everything": `SELECT * [FROM collection]`.
//! Clients name any collection in any route, so the route decides.

use super::members::{self, BodyError, Members};

/// A query for everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelectAll;

/// Why a query is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The body is not a query specification.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The query asks for something else.
    #[error(
        "query must be SELECT * [FROM enrollments | enrollmentGroups | deviceRegistrations]; nothing else is supported, WHERE included"
    )]
    Unsupported,
}

/// Names of collections, in lower case.
const COLLECTIONS: [&str; 3] = ["enrollments", "enrollmentgroups", "deviceregistrations"];

impl SelectAll {
    /// Reads `{"query": "…"}`.
    pub fn parse_body(body: &[u8]) -> Result<Self, QueryError> {
        let body = members::parse_json(body)?;
        let body = Members::of_body(&body)?;
        let query = body.parsed("query", |text| Ok::<_, BodyError>(text.to_owned()))?;
        Self::parse(&body.required("query", query)?)
    }

    /// Parses the query itself.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        let query = query.trim().trim_end_matches(';').replace('*', " * ").to_ascii_lowercase();
        let words: Vec<&str> = query.split_whitespace().collect();
        match words.as_slice() {
            ["select", "*"] => Ok(SelectAll),
            ["select", "*", "from", collection] if COLLECTIONS.contains(collection) => Ok(SelectAll),
            _ => Err(QueryError::Unsupported),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn everything_is_all_there_is() {
        let fits = [
            "SELECT *",
            "select * from enrollments",
            " Select\t*  FROM enrollmentGroups ",
            "SELECT * FROM deviceRegistrations;",
            "select*from enrollments",
        ];
        let refused = [
            "",
            "*",
            "SELECT",
            "SELECT deviceId FROM enrollments",
            "SELECT * FROM",
            "SELECT * FROM devices",
            "SELECT * FROM enrollments WHERE registrationId = 'a'",
            "SELECT * FROM enrollments GROUP BY deviceId",
            "SELECT * WHERE 1=1",
        ];
        for query in fits {
            assert_eq!(SelectAll::parse(query), Ok(SelectAll), "{query}");
        }
        for query in refused {
            assert_eq!(SelectAll::parse(query), Err(QueryError::Unsupported), "{query}");
        }
    }

    #[test]
    fn bodies() {
        assert_eq!(SelectAll::parse_body(br#"{"query":"SELECT *"}"#), Ok(SelectAll));
        for body in ["", "{}", "[]", r#"{"query":5}"#, r#"{"query":null}"#, r#"{"query":"#] {
            assert!(matches!(SelectAll::parse_body(body.as_bytes()), Err(QueryError::Body(_))), "{body}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,100}") {
            let _ = SelectAll::parse(&text);
            let _ = SelectAll::parse_body(text.as_bytes());
        }
    }
}
