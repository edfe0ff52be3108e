//! The registration IDs that an enrollment group accepts.

use serde::{Deserialize, Serialize};

use crate::RegistrationId;

/// The registration IDs that an enrollment group accepts: those that one of its patterns matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct RegistrationIds(Box<[IdPattern]>);

/// A registration ID in which `*` stands for any number of characters. Compared without case, as registration IDs are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct IdPattern(Box<str>);

/// Why a list of patterns is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The list is empty or too long.
    #[error("must be 1 to {max} patterns, not {0}", max = RegistrationIds::MAX)]
    Number(usize),
    /// A pattern is empty or too long.
    #[error("a pattern must be 1 to {max} characters long, not {0}", max = RegistrationIds::MAX_LENGTH)]
    Length(usize),
    /// A pattern has a character that registration IDs cannot have.
    #[error("a pattern must be of letters, digits, - . _ : and *")]
    Character,
}

impl RegistrationIds {
    /// How many patterns a group may have. Groups are kept in memory, and each device is compared with all patterns of a group.
    pub const MAX: usize = 32;

    /// The longest pattern, in characters, which is that of the longest registration ID.
    pub const MAX_LENGTH: usize = 128;

    /// Parses a list of patterns.
    pub fn parse(patterns: &[impl AsRef<str>]) -> Result<Self, PatternError> {
        if !(1..=Self::MAX).contains(&patterns.len()) {
            return Err(PatternError::Number(patterns.len()));
        }
        let parsed = patterns.iter().map(|pattern| IdPattern::parse(pattern.as_ref()));
        Ok(RegistrationIds(parsed.collect::<Result<_, _>>()?))
    }

    /// Whether a pattern matches this ID.
    pub fn includes(&self, id: &RegistrationId) -> bool {
        let id = id.key();
        self.0.iter().any(|pattern| pattern.matches(&id))
    }

    /// Returns the patterns in lower case.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|pattern| &*pattern.0)
    }
}

impl IdPattern {
    fn parse(text: &str) -> Result<Self, PatternError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:*".contains(&byte);
        if !(1..=RegistrationIds::MAX_LENGTH).contains(&text.len()) {
            return Err(PatternError::Length(text.len()));
        }
        if !text.bytes().all(is_allowed) {
            return Err(PatternError::Character);
        }
        Ok(IdPattern(text.to_ascii_lowercase().into()))
    }

    /// Whether it matches a lower-case ID. Each part between two stars is matched at its first occurrence, which misses no match, so
    /// that there is no backtracking: the time is linear in the lengths.
    fn matches(&self, id: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return *self.0 == *id };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let Some(mut left) = id.strip_prefix(first).and_then(|id| id.strip_suffix(last)) else {
            return false;
        };
        for part in middle.split('*') {
            let Some(at) = left.find(part) else { return false };
            left = &left[at + part.len()..];
        }
        true
    }
}

impl std::fmt::Display for RegistrationIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.iter().map(|pattern| &*pattern.0).collect::<Vec<_>>().join(", "))
    }
}

impl TryFrom<Vec<String>> for RegistrationIds {
    type Error = PatternError;
    fn try_from(patterns: Vec<String>) -> Result<Self, PatternError> {
        Self::parse(&patterns)
    }
}

impl From<RegistrationIds> for Vec<String> {
    fn from(ids: RegistrationIds) -> Vec<String> {
        ids.patterns().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(patterns: &[&str]) -> RegistrationIds {
        RegistrationIds::parse(patterns).unwrap()
    }

    fn id(text: &str) -> RegistrationId {
        RegistrationId::parse(text).unwrap()
    }

    #[test]
    fn prefixes_and_patterns() {
        for (pattern, matching, others) in [
            (
                "line-1-*",
                &["line-1-a", "LINE-1-7", "line-1-:x"][..],
                &["line-1", "line-10-a", "xline-1-a"][..],
            ),
            ("Dev-1", &["dev-1", "DEV-1"], &["dev-11", "dev-"]),
            ("*", &["a", "a:b.c_d-e"], &[]),
            ("*-x", &["a-x", "a-x-x"], &["x", "a-xy"]),
            ("a*a", &["aa", "aba", "aaa"], &["a", "ab"]),
            ("a*b*c", &["abc", "axbybzc"], &["acb", "ac"]),
            ("a**b", &["ab", "axb"], &["ba"]),
            ("ab*ba", &["abba", "ab1ba"], &["aba"]),
        ] {
            let ids = ids(&[pattern]);
            matching.iter().for_each(|text| assert!(ids.includes(&id(text)), "{pattern} {text}"));
            others.iter().for_each(|text| assert!(!ids.includes(&id(text)), "{pattern} {text}"));
        }
        assert!(ids(&["a*", "b*"]).includes(&id("b1")));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let long = "a".repeat(RegistrationIds::MAX_LENGTH + 1);
        let many = vec!["a"; RegistrationIds::MAX + 1];
        for (patterns, error) in [
            (&[][..], PatternError::Number(0)),
            (&many, PatternError::Number(RegistrationIds::MAX + 1)),
            (&[""], PatternError::Length(0)),
            (&[long.as_str()], PatternError::Length(RegistrationIds::MAX_LENGTH + 1)),
            (&["a b"], PatternError::Character),
            (&["a?"], PatternError::Character),
            (&["ü*"], PatternError::Character),
        ] {
            assert_eq!(RegistrationIds::parse(patterns), Err(error), "{patterns:?}");
        }
        assert!(RegistrationIds::parse(&vec!["*"; RegistrationIds::MAX]).is_ok());
    }

    /// The obvious matcher, which tries every split.
    fn matches(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, _) => text.is_empty(),
            (Some((b'*', rest)), _) => (0..=text.len()).any(|at| matches(rest, &text[at..])),
            (Some((one, rest)), Some((other, text))) => one == other && matches(rest, text),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn matches_as_the_obvious_matcher_does(pattern in "[ab*]{1,8}", text in "[ab]{1,10}") {
            let expected = matches(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(ids(&[&pattern]).includes(&id(&text)), expected);
        }
    }
}
