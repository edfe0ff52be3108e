//! Name constraints: the names for which a CA may issue (RFC 5280 §4.2.1.10, §6.1.3 b and c).
//!
//! They bind the subject and every alternative name of each certificate below. Beyond the RFC, a leaf's common name is bound as
//! if it were a DNS name, because it identifies the leaf: a CA that may issue for some names only must not issue leaves under
//! other ones. The name of the leaf and the names that constraints bind are read from one list, so that they cannot differ.

mod forms;

use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, oid_registry::OID_X509_EXT_NAME_CONSTRAINTS,
    prelude::FromDer,
};

use crate::{
    BrokenRule, CommonName, NameParts, common_name,
    der::{SEQUENCE, element},
    mail_addresses, name_text,
};
use forms::{Name, Subtree};

/// `permittedSubtrees [0]`.
const PERMITTED: u8 = 0xA0;
/// `excludedSubtrees [1]`.
const EXCLUDED: u8 = 0xA1;

/// The names that a CA may issue for, and those that it may not.
struct NameConstraints<'a> {
    permitted: Vec<Subtree<'a>>,
    excluded: Vec<Subtree<'a>>,
}

/// The number of comparisons of a name with a constraint that a search may still make. A hostile chain can hold thousands of both;
/// one from a factory needs a few dozen comparisons.
#[derive(Debug)]
pub(crate) struct Comparisons(u32);

impl Comparisons {
    /// Returns the bound for one search.
    pub(crate) const fn of_a_search() -> Self {
        Comparisons(20_000)
    }

    /// Takes this many; returns false, and takes none, if fewer are left.
    fn take(&mut self, wanted: usize) -> bool {
        let left = u32::try_from(wanted).ok().and_then(|wanted| self.0.checked_sub(wanted));
        left.map(|left| self.0 = left).is_some()
    }
}

/// Returns whether the certificate has name constraints, of whatever content.
pub(crate) fn has_constraints(certificate: &X509Certificate<'_>) -> bool {
    matches!(certificate.get_extension_unique(&OID_X509_EXT_NAME_CONSTRAINTS), Ok(Some(_)))
}

/// Returns the rule about name constraints that an issuer breaks by their form, or by a name of a certificate below it.
pub(crate) fn rule_broken_by_names(
    issuer: &X509Certificate<'_>,
    (below, is_leaf): (&X509Certificate<'_>, bool),
    comparisons: &mut Comparisons,
) -> Option<BrokenRule> {
    let Ok(extension) = issuer.get_extension_unique(&OID_X509_EXT_NAME_CONSTRAINTS) else {
        return Some(BrokenRule::NameConstraints);
    };
    let Some(constraints) = NameConstraints::read(extension?.value) else {
        return Some(BrokenRule::NameConstraints);
    };
    let names = if is_leaf { names_of_leaf(below) } else { names_of(below) };
    if !comparisons.take(names.len() * (constraints.permitted.len() + constraints.excluded.len())) {
        return Some(BrokenRule::NameConstraints);
    }
    names.iter().find_map(|name| match constraints.allow(name) {
        Some(true) => None,
        Some(false) => Some(BrokenRule::ForbiddenName(name.to_string())),
        None => Some(BrokenRule::NameConstraints),
    })
}

impl<'a> NameConstraints<'a> {
    /// `NameConstraints ::= SEQUENCE { permittedSubtrees [0] OPTIONAL, excludedSubtrees [1] OPTIONAL }`, with one of
    /// them at least; `None` for anything else, because what is overlooked would not bind.
    fn read(value: &'a [u8]) -> Option<Self> {
        let (content, []) = element(SEQUENCE, value)? else { return None };
        let (permitted, rest) = subtrees(PERMITTED, content)?;
        let (excluded, rest) = subtrees(EXCLUDED, rest)?;
        let is_empty = permitted.is_empty() && excluded.is_empty();
        (rest.is_empty() && !is_empty).then_some(NameConstraints { permitted, excluded })
    }

    /// Returns whether a name is allowed; `None` when a subtree of its form is malformed or not supported.
    fn allow(&self, name: &Name<'_>) -> Option<bool> {
        let excluded = of_form(&self.excluded, name);
        let permitted = of_form(&self.permitted, name);
        if excluded.is_empty() && permitted.is_empty() {
            return Some(true);
        }
        if !name.is_sound() {
            return Some(false);
        }
        for subtree in excluded {
            if name.may_be_within(subtree)? {
                return Some(false);
            }
        }
        let mut is_permitted = permitted.is_empty();
        for subtree in permitted {
            is_permitted |= name.is_within(subtree)?;
        }
        Some(is_permitted)
    }
}

/// Returns the subtrees under this tag, if it comes next, and what follows. Each is `SEQUENCE { base, minimum [0] DEFAULT 0,
/// maximum [1] OPTIONAL }`, of which this profile has the base only; there is at least one.
fn subtrees(tag: u8, der: &[u8]) -> Option<(Vec<Subtree<'_>>, &[u8])> {
    if der.first() != Some(&tag) {
        return Some((Vec::new(), der));
    }
    let (mut content, after) = element(tag, der)?;
    let mut subtrees = Vec::new();
    while !content.is_empty() {
        let (subtree, rest) = element(SEQUENCE, content)?;
        let Ok(([], base)) = GeneralName::from_der(subtree) else { return None };
        subtrees.push(Subtree::new(base));
        content = rest;
    }
    (!subtrees.is_empty()).then_some((subtrees, after))
}

fn of_form<'s, 'a>(subtrees: &'s [Subtree<'a>], name: &Name<'_>) -> Vec<&'s Subtree<'a>> {
    subtrees.iter().filter(|subtree| name.is_of_form_of(subtree)).collect()
}

/// The name that identifies a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeafName {
    /// Its common name.
    Common(String),
    /// Its first DNS name, because it has no common name.
    Dns(String),
    /// It has neither.
    None,
}

/// Returns the name that identifies a leaf: one that the name constraints above it bind.
pub fn leaf_name(leaf: &X509Certificate<'_>) -> LeafName {
    let names = names_of_leaf(leaf);
    let common = names.iter().find_map(|name| match name {
        Name::Common(name) => Some(LeafName::Common(name.clone())),
        _ => None,
    });
    let dns = || {
        names.iter().find_map(|name| match name {
            Name::Alternative(GeneralName::DNSName(name), _) => Some(LeafName::Dns((*name).to_owned())),
            _ => None,
        })
    };
    common.or_else(dns).unwrap_or(LeafName::None)
}

/// Returns every name of a leaf: those of any certificate, and its common name.
fn names_of_leaf<'c>(leaf: &'c X509Certificate<'_>) -> Vec<Name<'c>> {
    let mut names = names_of(leaf);
    names.extend(common_name(leaf.subject()).map(|name| match name {
        CommonName::Text(name) => Name::Common(name),
        CommonName::Unreadable => Name::Common(String::new()),
    }));
    names
}

/// Returns every name of a certificate's subject: its alternative names, its distinguished name, and the mail addresses in that. A
/// name that cannot be read as text becomes the empty one, which identifies nothing.
fn names_of<'c>(certificate: &'c X509Certificate<'_>) -> Vec<Name<'c>> {
    let subject = certificate.subject();
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let mut names: Vec<_> = alternative
        .iter()
        .flat_map(|alternative| &alternative.value.general_names)
        .map(Name::alternative)
        .collect();
    if subject.iter_rdn().next().is_some() {
        names.push(Name::Subject(name_text(subject), NameParts::of(subject)));
    }
    names.extend(mail_addresses(subject).into_iter().map(Name::Email));
    names
}
