//! Whether a block or a revocation refuses a leaf.
//!
//! The search for a path cannot find out: it stops at a path that passes, and the peer chooses which certificates it sends. Here
//! every certificate that issued another on some path counts, and only a stored certificate can replace one that is refused:
//!
//! - of the certificates for one name and one key, one that is stored or an anchor, and leads to an anchor through only such
//!   certificates, replaces the others, because an operator may roll a CA over by a cross-certificate;
//! - a certificate that the peer sent replaces none;
//! - above an anchor, only stored certificates count.
//!
//! So certificates that are added to those that a peer sends can add a refusal, and can remove none.

use std::collections::{HashMap, HashSet};

use x509_parser::certificate::X509Certificate;

use crate::{
    Authorities, CertificateParts, Circumstances, PathError,
    authorities::issuers_of,
    graph::{Effort, Graph, START},
    is_same_name, name_text,
    revocation::{revoked, revoked_by_itself},
    rules::{self, Source},
    signature::{self, Verdict},
};

/// The refusals among the certificates of a search.
#[derive(Debug, Default)]
pub struct Refusals {
    steps: HashMap<(usize, usize), PathError>,
    start: Option<PathError>,
}

/// An issuer and a certificate that it issued, with the refusal of either.
struct Link {
    below: usize,
    issuer: usize,
    refusal: Option<PathError>,
    /// Whether the issuer can replace others: it is stored and breaks no rule.
    counts: bool,
}

impl Refusals {
    /// Finds the refusals on all paths up from the start.
    pub fn among(
        graph: &Graph<'_>,
        read: &[Option<X509Certificate<'_>>],
        circumstances: Circumstances<'_>,
        effort: &mut Effort,
    ) -> Self {
        if !circumstances.authorities.can_refuse() {
            return Refusals::default();
        }
        let mut links = Vec::new();
        let (mut open, mut seen) = (vec![START], vec![false; read.len()]);
        while let Some(below) = open.pop() {
            if graph.node(below).is_anchor() || std::mem::replace(&mut seen[below], true) {
                continue;
            }
            for issuer in graph.issuers(below) {
                let (Some(above), Some(certificate)) = (&read[issuer], &read[below]) else { continue };
                let mut refusal = refusal_of_step(above, certificate, circumstances, effort);
                if refusal.is_none() && graph.node(issuer).is_anchor() {
                    refusal = above_anchor(above, circumstances, effort);
                }
                let counts = graph.node(issuer).is_stored() && is_valid(above, circumstances);
                links.push(Link { below, issuer, refusal, counts });
                open.push(issuer);
            }
        }
        let replaced = replaced(&links, |at| graph.node(at).is_anchor());
        let start = refusal_of(START, &links, &replaced);
        let steps = links.into_iter().filter_map(|link| Some(((link.below, link.issuer), link.refusal?)));
        Refusals { steps: steps.collect(), start }
    }

    /// Returns the refusal of a step: the issuer is blocked, revoked the certificate, or is an anchor above which all paths are
    /// refused.
    pub fn of_step(&self, below: usize, issuer: usize) -> Option<&PathError> {
        self.steps.get(&(below, issuer))
    }

    /// Returns the refusal of the start: a certificate on a path up from it is refused and no stored one replaces it.
    pub fn of_start(&self) -> Option<&PathError> {
        self.start.as_ref()
    }
}

/// Returns whether an issuer meets the rules about itself; those about the certificates below it are the path's.
fn is_valid(issuer: &X509Certificate<'_>, circumstances: Circumstances<'_>) -> bool {
    rules::check_issuer(issuer, (Source::Stored, 0), circumstances.now).is_ok()
}

/// Returns the nodes whose refused issuers are replaced: those below an issuer that counts and leads to an end through only such.
fn replaced(links: &[Link], is_end: impl Fn(usize) -> bool) -> HashSet<usize> {
    let mut replaced = HashSet::new();
    loop {
        let before = replaced.len();
        for link in links.iter().filter(|link| link.refusal.is_none() && link.counts) {
            if is_end(link.issuer) || replaced.contains(&link.issuer) {
                replaced.insert(link.below);
            }
        }
        if replaced.len() == before {
            return replaced;
        }
    }
}

/// Returns the first refusal on the paths up from a node, without those above nodes whose issuers are replaced.
fn refusal_of(from: usize, links: &[Link], replaced: &HashSet<usize>) -> Option<PathError> {
    let (mut open, mut seen) = (vec![from], Vec::new());
    while let Some(at) = open.pop() {
        if replaced.contains(&at) || seen.contains(&at) {
            continue;
        }
        seen.push(at);
        for link in links.iter().filter(|link| link.below == at) {
            if link.refusal.is_some() {
                return link.refusal.clone();
            }
            open.push(link.issuer);
        }
    }
    None
}

/// Returns the refusal of an anchor from above, where only stored certificates count. Without a stored issuer there is none, and
/// one path up without a refusal is enough.
fn above_anchor(
    anchor: &X509Certificate<'_>,
    circumstances: Circumstances<'_>,
    effort: &mut Effort,
) -> Option<PathError> {
    let stored = issuers_of(&[anchor.issuer().as_raw()], circumstances.authorities);
    let stored = stored.iter().filter_map(|parts| rules::parse(parts.der));
    let nodes: Vec<_> = [anchor.clone()].into_iter().chain(stored).collect();
    let mut links = Vec::new();
    for (below, certificate) in nodes.iter().enumerate() {
        let named = nodes.iter().enumerate().skip(1);
        let named = named.filter(|(issuer, above)| *issuer != below && is_named_issuer(above, certificate));
        let named: Vec<_> = named.collect();
        // A path ends at a certificate that signed itself, whatever other certificates its key has.
        if named.is_empty() || is_self_signed(certificate, effort) {
            continue;
        }
        for (issuer, above) in named {
            if !signed(above, certificate, effort) {
                continue;
            }
            let refusal = refusal_of_step(above, certificate, circumstances, effort);
            links.push(Link { below, issuer, refusal, counts: is_valid(above, circumstances) });
        }
    }
    let replaced = replaced(&links, |at| !links.iter().any(|link| link.below == at));
    refusal_of(0, &links, &replaced)
}

fn is_named_issuer(issuer: &X509Certificate<'_>, below: &X509Certificate<'_>) -> bool {
    is_same_name(issuer.subject().as_raw(), below.issuer().as_raw())
}

fn is_self_signed(certificate: &X509Certificate<'_>, effort: &mut Effort) -> bool {
    is_named_issuer(certificate, certificate) && signed(certificate, certificate, effort)
}

fn signed(issuer: &X509Certificate<'_>, below: &X509Certificate<'_>, effort: &mut Effort) -> bool {
    let parts = CertificateParts::read(below.as_raw());
    effort.signatures += 1;
    parts.is_some_and(|parts| signature::check(&parts, issuer.public_key().raw) == Verdict::Valid)
}

/// Returns why a step is refused: the issuer is blocked, or revoked the certificate below it, or is a root that revoked itself.
/// Whether the peer's certificates make a root the end of a path, or a step to another root of its name and key, is the same.
fn refusal_of_step(
    issuer: &X509Certificate<'_>,
    below: &X509Certificate<'_>,
    circumstances: Circumstances<'_>,
    effort: &mut Effort,
) -> Option<PathError> {
    let authorities = circumstances.authorities;
    let of_step = blocked(issuer, authorities).or_else(|| revoked(issuer, below, circumstances));
    of_step.or_else(|| revoked_by_itself(issuer, authorities).filter(|_| is_self_signed(issuer, effort)))
}

/// Returns [`PathError::Blocked`] if an operator blocked a certificate.
pub(crate) fn blocked(certificate: &X509Certificate<'_>, authorities: &dyn Authorities) -> Option<PathError> {
    // A certificate without parts breaks a rule that every certificate must meet.
    let parts = CertificateParts::read(certificate.as_raw())?;
    let reason = authorities.block_reason(&parts)?.to_owned();
    Some(PathError::Blocked { subject: name_text(certificate.subject()), reason })
}
