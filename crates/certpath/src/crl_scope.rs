//! Which of its CA's certificates a revocation list covers (RFC 5280 §5.2.5, §6.3.3).

use std::fmt;

use crate::{
    DistributionPoint,
    der::{self, SEQUENCE},
    distribution_point::{PointNames, fields},
};

/// `ReasonFlags` by bit (RFC 5280 §4.2.1.13).
const REASON_NAMES: [&str; 9] = [
    "unused",
    "keyCompromise",
    "cACompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "certificateHold",
    "privilegeWithdrawn",
    "aACompromise",
];

/// The certificates and reasons that a list covers. A list without the extension issuingDistributionPoint covers all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlScope {
    /// The only distribution point whose certificates it covers; `None` for all.
    point: Option<PointNames>,
    certificates: CoveredCertificates,
    reasons: Reasons,
}

/// Which kinds of certificate a list covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoveredCertificates {
    /// Those of CAs and of end entities.
    All,
    /// Those of end entities only: `onlyContainsUserCerts`.
    EndEntities,
    /// Those of CAs only: `onlyContainsCACerts`.
    Cas,
    /// None that can appear in a path: attribute certificates only, or the scope cannot be read.
    None,
}

/// The properties of a certificate on which scopes depend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlSubject {
    /// Whether its basicConstraints say that it is a CA.
    pub is_ca: bool,
    /// The distribution points that may list it.
    pub points: Vec<DistributionPoint>,
    /// The name of its issuer, as a distribution point.
    pub issuer: PointNames,
}

impl CrlScope {
    /// The scope of a complete list.
    pub(crate) const COMPLETE: CrlScope =
        CrlScope { point: None, certificates: CoveredCertificates::All, reasons: Reasons::ALL };

    /// Reads the value of the extension of a list with this issuer. A list whose extension cannot be read covers nothing, but the
    /// certificates that it names are still revoked.
    pub(crate) fn read(value: &[u8], issuer: &[u8]) -> (Self, IsIndirect) {
        Self::parse(value, issuer).unwrap_or((
            CrlScope { certificates: CoveredCertificates::None, ..Self::COMPLETE },
            IsIndirect(false),
        ))
    }

    fn parse(value: &[u8], issuer: &[u8]) -> Option<(Self, IsIndirect)> {
        let (content, []) = der::element(SEQUENCE, value)? else { return None };
        let mut scope = Self::COMPLETE;
        let (mut users, mut cas, mut attributes, mut indirect) = (false, false, false, false);
        for field in fields(content)? {
            match field.tag {
                0 => scope.point = Some(PointNames::read(field.content, issuer)?),
                1 => users = flag(field.content)?,
                2 => cas = flag(field.content)?,
                3 => scope.reasons = Reasons::read(field.content)?,
                4 => indirect = flag(field.content)?,
                5 => attributes = flag(field.content)?,
                _ => return None,
            }
        }
        scope.certificates = match (users, cas, attributes) {
            (false, false, false) => CoveredCertificates::All,
            (true, false, false) => CoveredCertificates::EndEntities,
            (false, true, false) => CoveredCertificates::Cas,
            _ => CoveredCertificates::None,
        };
        Some((scope, IsIndirect(indirect)))
    }

    /// Returns the only distribution point whose certificates are covered; `None` for all.
    pub fn point(&self) -> Option<&PointNames> {
        self.point.as_ref()
    }

    /// Returns which kinds of certificate are covered.
    pub fn certificates(&self) -> CoveredCertificates {
        self.certificates
    }

    /// Returns the reasons for which a certificate would be listed.
    pub fn reasons(&self) -> Reasons {
        self.reasons
    }

    /// Returns the reasons for which the certificate would be on the list if it were revoked (RFC 5280 §6.3.3 b to d); none if
    /// the list does not cover it.
    pub fn covers(&self, subject: &CrlSubject) -> Reasons {
        let is_kind = match self.certificates {
            CoveredCertificates::All => true,
            CoveredCertificates::EndEntities => !subject.is_ca,
            CoveredCertificates::Cas => subject.is_ca,
            CoveredCertificates::None => false,
        };
        if !is_kind {
            return Reasons::NONE;
        }
        let Some(own) = &self.point else { return self.reasons };
        if own.meets(&subject.issuer) {
            return self.reasons;
        }
        // The lists of a point with another signer are indirect, and none is ever stored.
        let is_own = |point: &&DistributionPoint| {
            let is_of_issuer = point.signer.as_ref().is_none_or(|signer| signer.meets(&subject.issuer));
            is_of_issuer && point.names.as_ref().is_some_and(|names| own.meets(names))
        };
        let reasons = subject.points.iter().filter(is_own).map(|point| point.reasons);
        self.reasons.and(reasons.fold(Reasons::NONE, Reasons::or))
    }

    /// Returns whether it covers everything that the other covers.
    pub fn includes(&self, other: &CrlScope) -> bool {
        let has_point = match (&self.point, &other.point) {
            (None, _) => true,
            (Some(own), Some(others)) => own.includes(others),
            (Some(_), None) => false,
        };
        let has_certificates = self.certificates == CoveredCertificates::All
            || self.certificates == other.certificates
            || other.certificates == CoveredCertificates::None;
        has_point && has_certificates && self.reasons.or(other.reasons) == self.reasons
    }

    /// Returns whether it covers no certificate that can appear in a path.
    pub fn is_empty(&self) -> bool {
        self.certificates == CoveredCertificates::None || self.reasons == Reasons::NONE
    }
}

/// Whether a list holds revocations of other CAs.
pub(crate) struct IsIndirect(pub(crate) bool);

/// Reads the content of a BOOLEAN. Every byte but 0 is true: that makes a scope narrower, never wider.
fn flag(content: &[u8]) -> Option<bool> {
    match content {
        [byte] => Some(*byte != 0),
        _ => None,
    }
}

/// A set of reasons for revocation (`ReasonFlags`, RFC 5280 §4.2.1.13).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reasons(u16);

impl Reasons {
    /// No reason at all.
    pub const NONE: Reasons = Reasons(0);
    /// Every reason.
    pub const ALL: Reasons = Reasons(0b1_1111_1110);

    /// Reads the content of a BIT STRING. Bit 0 has no meaning.
    pub(crate) fn read(content: &[u8]) -> Option<Self> {
        let (unused, bytes) = content.split_first()?;
        if *unused > 7 || bytes.len() > 2 {
            return None;
        }
        let is_set = |bit: usize| bytes.get(bit / 8).is_some_and(|byte| byte << (bit % 8) & 0x80 != 0);
        let set = (1..REASON_NAMES.len()).filter(|bit| is_set(*bit));
        Some(Reasons(set.fold(0, |reasons, bit| reasons | 1 << bit)))
    }

    /// Returns the union.
    #[must_use]
    pub fn or(self, other: Reasons) -> Reasons {
        Reasons(self.0 | other.0)
    }

    /// Returns the intersection.
    #[must_use]
    pub fn and(self, other: Reasons) -> Reasons {
        Reasons(self.0 & other.0)
    }

    /// Returns their names in RFC 5280.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let named = REASON_NAMES.into_iter().enumerate();
        named.filter(move |(bit, _)| self.0 & 1 << bit != 0).map(|(_, name)| name)
    }
}

impl fmt::Debug for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &[u8] = b"\xA0\x0D\xA0\x0B\x86\x09http://a/";
    const B: &[u8] = b"\xA0\x0D\xA0\x0B\x86\x09http://b/";
    const ISSUER: &[u8] = b"\x30\x0F\x31\x0D\x30\x0B\x06\x03\x55\x04\x03\x0C\x04Root";

    fn scope(fields: &[&[u8]]) -> CrlScope {
        let content = fields.concat();
        let value = [&[0x30, u8::try_from(content.len()).unwrap()], content.as_slice()].concat();
        CrlScope::read(&value, ISSUER).0
    }

    #[test]
    fn an_unreadable_scope_covers_nothing() {
        let users: &[u8] = b"\x81\x01\xFF";
        assert_eq!(scope(&[users]).certificates(), CoveredCertificates::EndEntities);
        assert_eq!(scope(&[b"\x81\x01\x00"]), CrlScope::COMPLETE);
        for fields in [
            [users, b"\x82\x01\xFF".as_slice()],
            // Out of order, twice, of another class, of no known tag, empty, cut off.
            [b"\x82\x01\xFF", users],
            [users, users],
            [users, b"\x05\x00"],
            [users, b"\x86\x01\xFF"],
            [users, b"\x83\x00"],
            [users, b"\x83\x02\x07"],
            [users, b"\x83\x02\x08\x80"],
            [b"\xA0\x02\xA0\x00", b""],
            [b"\x85\x01\xFF", b""],
        ] {
            assert!(scope(&fields).is_empty(), "{fields:02X?}");
        }
    }

    #[test]
    fn scopes_include_narrower_ones() {
        let (all, a, b) = (CrlScope::COMPLETE, scope(&[A]), scope(&[B]));
        let both = scope(&[b"\xA0\x18\xA0\x16\x86\x09http://a/\x86\x09http://b/"]);
        let users = scope(&[A, b"\x81\x01\xFF"]);
        let compromise = scope(&[A, b"\x83\x02\x05\x60"]);
        let order = [&all, &both, &a, &users];
        for (at, wide) in order.iter().enumerate() {
            for (other, narrow) in order.iter().enumerate() {
                assert_eq!(wide.includes(narrow), at <= other, "{wide:?} {narrow:?}");
            }
        }
        assert!(a.includes(&compromise) && !compromise.includes(&a) && !users.includes(&compromise));
        assert!(!a.includes(&b) && !b.includes(&a) && both.includes(&b));
        assert_eq!(compromise.reasons().names().collect::<Vec<_>>(), ["keyCompromise", "cACompromise"]);
        assert_eq!(a.point().unwrap().texts().collect::<Vec<_>>(), ["http://a/"]);
    }

    /// Every pair of spellings of one name, at each place where a scope compares names: as the list's point, as the
    /// certificate's, and as the issuer that stands for the point of certificates which name none.
    #[test]
    fn spellings_of_one_directory_name_are_one_point() {
        let name = |tag: u8, text: &str| {
            let value = der::write(tag, text.as_bytes());
            let attribute = der::write(SEQUENCE, &[b"\x06\x03\x55\x04\x03", &*value].concat());
            der::write(SEQUENCE, &der::write(0x31, &attribute))
        };
        let point = |name: &[u8]| {
            let full = der::write(0xA0, &der::write(0xA4, name));
            der::write(0xA0, &full)
        };
        let of_scope = |name: &[u8]| scope(&[&point(name)]);
        let other = name(0x0C, "Shard 2");
        let spellings = [(0x0C, "Shard 1"), (0x13, "Shard 1"), (0x16, "SHARD  1"), (0x14, " shard 1 ")];
        for (one, two) in spellings.iter().flat_map(|one| spellings.iter().map(move |two| (one, two))) {
            let [one, two] = [one, two].map(|(tag, text)| name(*tag, text));
            let points = DistributionPoint::read_all(
                &der::write(SEQUENCE, &der::write(SEQUENCE, &point(&two))),
                ISSUER,
            );
            let named =
                CrlSubject { is_ca: false, points: points.unwrap(), issuer: PointNames::of_issuer(ISSUER) };
            let unnamed =
                CrlSubject { is_ca: false, points: Vec::new(), issuer: PointNames::of_issuer(&two) };
            let signer =
                DistributionPoint { signer: Some(PointNames::of_issuer(&one)), ..named.points[0].clone() };
            let signed =
                CrlSubject { is_ca: false, points: vec![signer], issuer: PointNames::of_issuer(&two) };
            for subject in [named, unnamed, signed] {
                assert_eq!(of_scope(&one).covers(&subject), Reasons::ALL, "{one:02X?} {two:02X?}");
                assert_eq!(of_scope(&other).covers(&subject), Reasons::NONE, "{two:02X?}");
            }
            assert!(of_scope(&one).includes(&of_scope(&two)) && of_scope(&one) == of_scope(&two));
        }
    }

    #[test]
    fn a_relative_name_is_completed_with_the_issuer() {
        let relative = b"\xA0\x10\xA1\x0E\x30\x0C\x06\x03\x55\x04\x03\x0C\x05Shard";
        let full = b"\xA0\x25\xA0\x23\xA4\x21\x30\x1F\x31\x0D\x30\x0B\x06\x03\x55\x04\x03\x0C\x04Root\
                     \x31\x0E\x30\x0C\x06\x03\x55\x04\x03\x0C\x05Shard";
        assert_eq!(scope(&[relative]), scope(&[full]));
        assert!(!scope(&[full]).is_empty());
    }
}
