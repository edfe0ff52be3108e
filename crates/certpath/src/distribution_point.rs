//! Distribution points: the parts into which a CA divides its revocations, as certificates name them (RFC 5280
//! §4.2.1.13) and as revocation lists do (§5.2.5).

use std::fmt;

use x509_parser::{
    asn1_rs::{Any, Class, FromDer},
    extensions::GeneralName,
};

use crate::{
    NameKey, Reasons,
    der::{self, SEQUENCE},
};

const SET: u8 = 0x31;
/// `GeneralName`: `directoryName [4] Name`, explicit because `Name` is a choice.
const DIRECTORY_NAME: u8 = 0xA4;
const DIRECTORY_NAME_NUMBER: u32 = 4;
/// `GeneralName`: `uniformResourceIdentifier [6]`.
const URI: u8 = 0x86;
/// `DistributionPointName`: `fullName [0]`.
const FULL_NAME: u32 = 0;
/// `DistributionPointName`: `nameRelativeToCRLIssuer [1]`.
const RELATIVE_NAME: u32 = 1;

/// The names of one distribution point. Two that share a name are the same point (RFC 5280 §6.3.3 b 2 i).
#[derive(Clone, PartialEq, Eq)]
pub struct PointNames(Vec<PointName>);

/// A `GeneralName`, compared by value: a distinguished name as everywhere (RFC 5280 §7.1), because a CA may write it as a
/// UTF8String in its certificates and as a PrintableString in its lists; any other by its bytes.
#[derive(Clone)]
enum PointName {
    Directory { key: NameKey, name: Box<[u8]> },
    Other(Box<[u8]>),
}

/// A distribution point that a certificate names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistributionPoint {
    pub(crate) names: Option<PointNames>,
    pub(crate) reasons: Reasons,
    /// The signer of its lists, if that is not the certificate's issuer.
    pub(crate) signer: Option<PointNames>,
}

impl PointNames {
    /// Returns the point of certificates that name none: that of the issuer's name (RFC 5280 §6.3.3).
    pub fn of_issuer(name: &[u8]) -> Self {
        PointNames(vec![PointName::of_directory(name)])
    }

    /// Returns the point at a URI.
    pub fn of_uri(uri: &str) -> Self {
        PointNames(vec![PointName::Other(der::write(URI, uri.as_bytes()).into())])
    }

    /// Returns whether both name the same point.
    pub fn meets(&self, other: &PointNames) -> bool {
        self.0.iter().any(|name| other.0.contains(name))
    }

    /// Returns whether every name of the other is one of these.
    pub(crate) fn includes(&self, other: &PointNames) -> bool {
        other.0.iter().all(|name| self.0.contains(name))
    }

    /// Reads a `DistributionPointName`; a name that is relative to the issuer of lists is completed with this one's.
    pub(crate) fn read(content: &[u8], issuer: &[u8]) -> Option<Self> {
        let [part] = parts(content)?.try_into().ok()?;
        match part.tag {
            FULL_NAME => Self::of_general_names(part.content),
            RELATIVE_NAME => {
                let (name, _) = der::element(SEQUENCE, issuer)?;
                let name = [name, &der::write(SET, part.content)].concat();
                Some(Self::of_issuer(&der::write(SEQUENCE, &name)))
            }
            _ => None,
        }
    }

    /// Reads the content of `GeneralNames`.
    fn of_general_names(content: &[u8]) -> Option<Self> {
        let names: Vec<_> = parts(content)?.iter().map(PointName::of).collect();
        (!names.is_empty()).then_some(PointNames(names))
    }

    /// Returns the names as text: URIs as they are, others by their kind.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(PointName::text)
    }
}

impl PointName {
    fn of(part: &Part<'_>) -> Self {
        let is_directory = part.class == Class::ContextSpecific && part.tag == DIRECTORY_NAME_NUMBER;
        if is_directory { Self::of_directory(part.content) } else { PointName::Other(part.whole.into()) }
    }

    /// Creates the name from a distinguished name in DER.
    fn of_directory(name: &[u8]) -> Self {
        let key = NameKey::of(name);
        PointName::Directory { key, name: name.into() }
    }

    fn text(&self) -> String {
        let name = match self {
            PointName::Directory { name, .. } => &der::write(DIRECTORY_NAME, name),
            PointName::Other(name) => &**name,
        };
        match GeneralName::from_der(name) {
            Ok((_, GeneralName::URI(uri))) => uri.to_owned(),
            Ok((_, name)) => name.to_string(),
            Err(_) => "a name that cannot be read".to_owned(),
        }
    }
}

/// Distinguished names are compared without regard to their spelling.
impl PartialEq for PointName {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (PointName::Directory { key, .. }, PointName::Directory { key: other, .. }) => key == other,
            (PointName::Other(name), PointName::Other(other)) => name == other,
            _ => false,
        }
    }
}

impl Eq for PointName {}

impl fmt::Debug for PointNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.texts()).finish()
    }
}

impl DistributionPoint {
    /// Creates a point with these names, whose lists are for all reasons and signed by the certificate's issuer.
    pub fn of(names: PointNames) -> Self {
        DistributionPoint { names: Some(names), reasons: Reasons::ALL, signer: None }
    }

    /// Reads the value of the extension cRLDistributionPoints of a certificate with this issuer; `None` when it cannot
    /// be read.
    pub fn read_all(value: &[u8], issuer: &[u8]) -> Option<Vec<Self>> {
        let (points, []) = der::element(SEQUENCE, value)? else { return None };
        parts(points)?.into_iter().map(|point| Self::read(point.content, issuer)).collect()
    }

    fn read(content: &[u8], issuer: &[u8]) -> Option<Self> {
        let mut point = DistributionPoint { names: None, reasons: Reasons::ALL, signer: None };
        for field in fields(content)? {
            match field.tag {
                0 => point.names = Some(PointNames::read(field.content, issuer)?),
                1 => point.reasons = Reasons::read(field.content)?,
                2 => point.signer = Some(PointNames::of_general_names(field.content)?),
                _ => return None,
            }
        }
        Some(point)
    }
}

/// An element of context-specific or other class.
pub(crate) struct Part<'a> {
    class: Class,
    pub(crate) tag: u32,
    pub(crate) content: &'a [u8],
    whole: &'a [u8],
}

/// Reads the fields of a sequence whose fields are all tagged and optional: each at most once, in order.
pub(crate) fn fields(content: &[u8]) -> Option<Vec<Part<'_>>> {
    let fields = parts(content)?;
    let is_tagged = fields.iter().all(|field| field.class == Class::ContextSpecific);
    let is_ordered = fields.is_sorted_by(|before, after| before.tag < after.tag);
    (is_tagged && is_ordered).then_some(fields)
}

/// Reads the elements that make up the whole content.
fn parts(mut content: &[u8]) -> Option<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    while !content.is_empty() {
        let (rest, any) = Any::from_der(content).ok()?;
        let whole = content.get(..content.len() - rest.len())?;
        parts.push(Part { class: any.class(), tag: any.tag().0, content: any.data, whole });
        content = rest;
    }
    Some(parts)
}
