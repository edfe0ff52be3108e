//! Identities of operators, and the roles that bearer tokens give them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{HttpUrl, PolicyName, Right, Rights};

/// Separates issuer and subject in [`Subject::qualified`]. Neither contains it.
const SEPARATOR: char = '\n';

/// The identity of an operator, by its credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The holder of a key of this access policy of the instance.
    Policy(PolicyName),
    /// The holder of a key of this access policy of the management API. An instance may have one with the same name.
    ManagementPolicy(PolicyName),
    /// The subject of a bearer token.
    Subject(Subject),
}

impl Identity {
    /// Returns the name of the policy, or of the subject.
    pub fn name(&self) -> &str {
        match self {
            Identity::Policy(policy) | Identity::ManagementPolicy(policy) => policy.as_str(),
            Identity::Subject(subject) => subject.as_str(),
        }
    }
}

/// Writes `NAME` of a policy, `NAME of the management API` and `SUBJECT of ISSUER`.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Policy(policy) => write!(f, "{policy}"),
            Identity::ManagementPolicy(policy) => write!(f, "{policy} of the management API"),
            Identity::Subject(subject) => write!(f, "{subject}"),
        }
    }
}

/// The URL of an OpenID provider, which its tokens name. Compared to the letter (OpenID Connect Core §3.1.3.7).
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Issuer(HttpUrl);

/// A text is not the URL of an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an issuer must be an https URL of at most {} characters without user name, query and fragment; http is for loopback addresses only",
    Issuer::MAX_LENGTH
)]
pub struct IssuerError;

impl Issuer {
    /// The length of the longest issuer, in characters. It is a part of every entry of the change log by its subjects.
    pub const MAX_LENGTH: usize = 255;

    /// Parses a URL such as `https://login.example/realms/plant`.
    pub fn parse(text: &str) -> Result<Self, IssuerError> {
        let url = HttpUrl::parse(text).map_err(|_| IssuerError)?;
        if url.is_private() && text.len() <= Self::MAX_LENGTH && !text.contains('?') {
            Ok(Issuer(url))
        } else {
            Err(IssuerError)
        }
    }

    /// Returns the URL.
    pub fn url(&self) -> &HttpUrl {
        &self.0
    }

    /// Returns the text as it was given.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl TryFrom<String> for Issuer {
    type Error = IssuerError;
    fn try_from(text: String) -> Result<Self, IssuerError> {
        Self::parse(&text)
    }
}

impl From<Issuer> for String {
    fn from(issuer: Issuer) -> String {
        issuer.0.into()
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// The subject of bearer tokens: the claims `iss` and `sub`, which together name one operator (OpenID Connect Core §5.7).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    issuer: Issuer,
    name: Box<str>,
}

/// Two texts are not a subject and its issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// The claim `sub`.
    #[error("a subject must be 1 to {} printable ASCII characters", Subject::MAX_LENGTH)]
    Name,
    /// The claim `iss`.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
}

impl Subject {
    /// The length of the longest name (OpenID Connect Core §2).
    pub const MAX_LENGTH: usize = 255;

    /// Parses the name of a subject of this issuer.
    pub fn parse(issuer: Issuer, name: &str) -> Result<Self, SubjectError> {
        let is_printable = name.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if is_printable && (1..=Self::MAX_LENGTH).contains(&name.len()) {
            Ok(Subject { issuer, name: name.into() })
        } else {
            Err(SubjectError::Name)
        }
    }

    /// Parses what [`Subject::qualified`] returned.
    pub fn parse_qualified(text: &str) -> Result<Self, SubjectError> {
        let (issuer, name) = text.split_once(SEPARATOR).ok_or(SubjectError::Name)?;
        Subject::parse(Issuer::parse(issuer)?, name)
    }

    /// Returns issuer and name as one text, for storage.
    pub fn qualified(&self) -> String {
        format!("{}{SEPARATOR}{}", self.issuer, self.name)
    }

    /// Returns the issuer.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.name, self.issuer)
    }
}

/// A role of the subjects of bearer tokens, named as in Azure but for the auditor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads the change log.
    Auditor,
    /// Reads enrollments and registrations.
    DataReader,
    /// Changes enrollments and registrations.
    DataContributor,
    /// Changes everything but access policies, whose keys it cannot read.
    Contributor,
    /// Changes everything.
    Owner,
}

/// A text names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown role {0:?}; known are auditor, data reader, data contributor, contributor, owner")]
pub struct UnknownRole(String);

impl Role {
    /// All roles, those with fewer rights first.
    pub const ALL: [Role; 5] =
        [Role::Auditor, Role::DataReader, Role::DataContributor, Role::Contributor, Role::Owner];

    /// Parses a name, without regard to case.
    pub fn parse(text: &str) -> Result<Self, UnknownRole> {
        let known = Role::ALL.into_iter().find(|role| role.name().eq_ignore_ascii_case(text));
        known.ok_or_else(|| UnknownRole(text.to_owned()))
    }

    /// Returns the name.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Auditor => "auditor",
            Role::DataReader => "data reader",
            Role::DataContributor => "data contributor",
            Role::Contributor => "contributor",
            Role::Owner => "owner",
        }
    }

    /// Returns the rights.
    pub fn rights(self) -> Rights {
        match self {
            Role::Auditor => Rights::of(&[Right::ChangeLogRead]),
            Role::DataReader => Rights::of(&[Right::EnrollmentRead, Right::RegistrationStatusRead]),
            Role::DataContributor => Rights::of(&[Right::EnrollmentWrite, Right::RegistrationStatusWrite]),
            Role::Contributor => Rights::OF_POLICIES.union(Rights::of(&[Right::InstanceWrite])),
            Role::Owner => Rights::ALL,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn issuers_are_private_urls() {
        for (text, is_issuer) in [
            ("https://login.example", true),
            ("https://login.example/realms/plant/", true),
            ("http://127.0.0.1:8080", true),
            ("http://localhost/a", true),
            ("http://login.example", false),
            ("http://127.example", false),
            ("https://login.example/?a", false),
            ("https://login.example/#a", false),
            ("https://a@login.example", false),
            ("login.example", false),
            ("", false),
        ] {
            assert_eq!(Issuer::parse(text).is_ok(), is_issuer, "{text}");
        }
        let longest = format!("https://a/{}", "b".repeat(Issuer::MAX_LENGTH - 10));
        assert!(Issuer::parse(&longest).is_ok() && Issuer::parse(&format!("{longest}b")).is_err());
    }

    #[test]
    fn roles_are_parsed_in_any_case_and_later_ones_have_more_rights() {
        for role in Role::ALL {
            assert_eq!(Role::parse(&role.name().to_uppercase()), Ok(role));
        }
        for (lower, higher) in Role::ALL.into_iter().skip(1).zip(Role::ALL.into_iter().skip(2)) {
            let granted =
                |role: Role| Right::OF_POLICIES.into_iter().filter(move |it| role.rights().grants(*it));
            assert!(granted(lower).all(|right| higher.rights().grants(right)), "{lower}, {higher}");
        }
        assert!(!Role::Contributor.rights().grants(Right::InstanceKeys));
    }

    proptest! {
        #[test]
        fn a_subject_is_read_as_it_was_written(name in "[ -~]{1,255}") {
            let issuer = Issuer::parse("https://login.example").unwrap();
            let subject = Subject::parse(issuer, &name).unwrap();
            prop_assert_eq!(Subject::parse_qualified(&subject.qualified()), Ok(subject));
        }

        #[test]
        fn a_text_is_refused_or_is_how_its_subject_is_written(text in "(https://[a-z/]{0,9}\n)?[ -~]{0,4}|\\PC{0,12}") {
            if let Ok(subject) = Subject::parse_qualified(&text) {
                prop_assert_eq!(subject.qualified(), text);
            }
        }
    }
}
