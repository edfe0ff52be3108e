//! Name constraints: the names for which a CA may issue (RFC 5280 §4.2.1.10, §6.1.3 b and c).
//!
//! They bind the subject and every alternative name of each certificate below. Beyond the RFC, a leaf's common name is bound as
//! if it were a DNS name, because a registration knows the device by it: a CA that may issue for some names only does not name
//! other devices. Who the device is and what constraints bind is read from one list of names, so that they cannot differ.

mod forms;

use model::{
    CommonName, NameParts, common_name,
    der::{SEQUENCE, element},
    mail_addresses, name_text,
};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, oid_registry::OID_X509_EXT_NAME_CONSTRAINTS,
    prelude::FromDer,
};

use super::rules::BrokenRule;
use forms::{Name, Subtree};

/// The names that a CA may issue for, and those that it may not.
pub(super) struct NameConstraints<'a> {
    permitted: Vec<Subtree<'a>>,
    excluded: Vec<Subtree<'a>>,
}

/// How many times a name may still be compared with a constraint. A chain that somebody made to be slow can hold
/// thousands of both; one from a factory needs a few dozen comparisons.
#[derive(Debug)]
pub(super) struct Comparisons(u32);

impl Comparisons {
    /// As many as one search for a path may make.
    pub(super) const fn of_a_search() -> Self {
        Comparisons(20_000)
    }

    fn take(&mut self, wanted: usize) -> Result<(), BrokenRule> {
        let left = u32::try_from(wanted).ok().and_then(|wanted| self.0.checked_sub(wanted));
        left.map(|left| self.0 = left).ok_or(BrokenRule::NameConstraints)
    }
}

/// Whether the certificate has name constraints, of whatever content.
pub(super) fn stand_in(certificate: &X509Certificate<'_>) -> bool {
    matches!(certificate.get_extension_unique(&OID_X509_EXT_NAME_CONSTRAINTS), Ok(Some(_)))
}

/// Refuses a certificate below one with name constraints whose names they do not allow.
pub(super) fn allow(
    issuer: &X509Certificate<'_>,
    (below, is_leaf): (&X509Certificate<'_>, bool),
    comparisons: &mut Comparisons,
) -> Result<(), BrokenRule> {
    let Ok(extension) = issuer.get_extension_unique(&OID_X509_EXT_NAME_CONSTRAINTS) else {
        return Err(BrokenRule::NameConstraints);
    };
    let Some(extension) = extension else { return Ok(()) };
    let constraints = NameConstraints::read(extension.value).ok_or(BrokenRule::NameConstraints)?;
    let names = names_of(below, is_leaf);
    comparisons.take(names.len() * (constraints.permitted.len() + constraints.excluded.len()))?;
    names.iter().try_for_each(|name| constraints.allow(name))
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

    fn allow(&self, name: &Name<'_>) -> Result<(), BrokenRule> {
        let forbidden = || BrokenRule::ForbiddenName(name.to_string());
        let excluded = of_form(&self.excluded, name);
        let permitted = of_form(&self.permitted, name);
        if excluded.is_empty() && permitted.is_empty() {
            return Ok(());
        }
        if !name.is_sound() {
            return Err(forbidden());
        }
        for subtree in excluded {
            if name.may_be_within(subtree).ok_or(BrokenRule::NameConstraints)? {
                return Err(forbidden());
            }
        }
        let mut is_permitted = permitted.is_empty();
        for subtree in permitted {
            is_permitted |= name.is_within(subtree).ok_or(BrokenRule::NameConstraints)?;
        }
        if is_permitted { Ok(()) } else { Err(forbidden()) }
    }
}

const PERMITTED: u8 = 0xA0;
const EXCLUDED: u8 = 0xA1;

/// The subtrees under this tag, if it comes next, and what follows. Each is `SEQUENCE { base, minimum [0] DEFAULT 0,
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

/// The name by which a registration knows the device of a leaf.
pub(super) enum DeviceName {
    /// Its common name, as the hosted service demands.
    Common(String),
    /// Its first DNS name, because it has no common name. The C# SDK takes its registration ID from there.
    Dns(String),
    /// It has neither.
    None,
}

/// Returns the name by which a registration knows the device: one that constraints have bound.
pub(super) fn device_name(leaf: &X509Certificate<'_>) -> DeviceName {
    let names = names_of(leaf, true);
    let common = names.iter().find_map(|name| match name {
        Name::Common(name) => Some(DeviceName::Common(name.clone())),
        _ => None,
    });
    let dns = || {
        names.iter().find_map(|name| match name {
            Name::Alternative(GeneralName::DNSName(name), _) => Some(DeviceName::Dns((*name).to_owned())),
            _ => None,
        })
    };
    common.or_else(dns).unwrap_or(DeviceName::None)
}

/// Every name that the certificate gives its subject. The names are its alternative names and its subject, with the mail
/// addresses in there, and a leaf's common name. One that cannot be read as text is the empty one, which is nobody's.
fn names_of<'c>(certificate: &'c X509Certificate<'_>, is_leaf: bool) -> Vec<Name<'c>> {
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
    names.extend(common_name(subject).filter(|_| is_leaf).map(|name| match name {
        CommonName::Text(name) => Name::Common(name),
        CommonName::Unreadable => Name::Common(String::new()),
    }));
    names
}
