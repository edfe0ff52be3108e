//! Whether a block or a revocation refuses a device.
//!
//! That is not found by the search for a path: it stops at one that passes, and a device chooses what it sends. Here every
//! certificate counts that issued something on the way, and only what an operator stored can make up for one that refuses:
//!
//! - of the certificates for one name and one key, one that is stored or trusted and that itself leads to something trusted
//!   through nothing but such, stands for the others, because an operator may roll a CA over by a cross-certificate;
//! - one that the device sent stands for none;
//! - above what is trusted, only what is stored counts at all.
//!
//! So a certificate that is added to what a device sends can add a refusal, and can take none away.

use std::collections::{HashMap, HashSet};

use model::{CertificateParts, is_same_name};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{
    CertificateRefusal,
    graph::{Effort, Graph, START},
    known,
    path::Circumstances,
    rules::{self, Source},
    signature::{self, Verdict},
};

/// What refuses among the certificates of a search.
#[derive(Debug, Default)]
pub struct Refusals {
    steps: HashMap<(usize, usize), CertificateRefusal>,
    start: Option<CertificateRefusal>,
}

/// An issuer and what it issued, with what refuses that.
struct Link {
    below: usize,
    issuer: usize,
    refusal: Option<CertificateRefusal>,
    /// Whether the issuer can make up for others: an operator vouches for it, and it breaks no rule.
    counts: bool,
}

impl Refusals {
    /// Looks for what refuses on all ways up from the start.
    pub fn among(
        graph: &Graph<'_>,
        read: &[Option<X509Certificate<'_>>],
        circumstances: Circumstances<'_>,
        effort: &mut Effort,
    ) -> Result<Self, CertificateRefusal> {
        if !known::has_refusals(circumstances.known) {
            return Ok(Refusals::default());
        }
        let mut links = Vec::new();
        let (mut open, mut seen) = (vec![START], vec![false; read.len()]);
        while let Some(below) = open.pop() {
            if graph.node(below).is_anchor() || std::mem::replace(&mut seen[below], true) {
                continue;
            }
            for issuer in graph.issuers(below) {
                let (Some(above), Some(certificate)) = (&read[issuer], &read[below]) else { continue };
                let mut refusal = known::admits(above, certificate, circumstances).err();
                if refusal.is_none() && graph.node(issuer).is_anchor() {
                    refusal = above_anchor(above, circumstances, effort);
                }
                let counts = graph.node(issuer).is_entered() && is_valid(above, circumstances);
                links.push(Link { below, issuer, refusal, counts });
                open.push(issuer);
            }
        }
        let stands = standing(&links, |at| graph.node(at).is_anchor());
        let start = refusal_of(START, &links, &stands);
        let steps = links.into_iter().filter_map(|link| Some(((link.below, link.issuer), link.refusal?)));
        Ok(Refusals { steps: steps.collect(), start })
    }

    /// Returns what refuses what an issuer issued: it is blocked or revoked that, or is an anchor above which all is refused.
    pub fn of_step(&self, below: usize, issuer: usize) -> Option<&CertificateRefusal> {
        self.steps.get(&(below, issuer))
    }

    /// Refuses the start, if anything on its ways up does and nothing that an operator stored makes up for it.
    pub fn of_start(&self) -> Result<(), CertificateRefusal> {
        self.start.clone().map_or(Ok(()), Err)
    }
}

/// The rules of an issuer about itself; those that bind what is below it are the path's.
fn is_valid(issuer: &X509Certificate<'_>, circumstances: Circumstances<'_>) -> bool {
    rules::issuer(issuer, (Source::Entered, 0), circumstances.now).is_ok()
}

/// Returns the nodes below an issuer that counts and leads to an end through nothing but such.
fn standing(links: &[Link], is_end: impl Fn(usize) -> bool) -> HashSet<usize> {
    let mut stands = HashSet::new();
    loop {
        let before = stands.len();
        for link in links.iter().filter(|link| link.refusal.is_none() && link.counts) {
            if is_end(link.issuer) || stands.contains(&link.issuer) {
                stands.insert(link.below);
            }
        }
        if stands.len() == before {
            return stands;
        }
    }
}

/// Returns the first refusal on the ways up from a node, those past nodes that stand left out.
fn refusal_of(from: usize, links: &[Link], stands: &HashSet<usize>) -> Option<CertificateRefusal> {
    let (mut open, mut seen) = (vec![from], Vec::new());
    while let Some(at) = open.pop() {
        if stands.contains(&at) || seen.contains(&at) {
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

/// Returns what refuses a trusted certificate from above, where only what is stored counts. Without a stored issuer nothing
/// does, and one way up without a refusal is enough.
fn above_anchor(
    anchor: &X509Certificate<'_>,
    circumstances: Circumstances<'_>,
    effort: &mut Effort,
) -> Option<CertificateRefusal> {
    let stored = known::completing(&[anchor.issuer().as_raw()], circumstances.known);
    let stored = stored.iter().filter_map(|parts| X509Certificate::from_der(parts.der).ok());
    let nodes: Vec<_> = [anchor.clone()].into_iter().chain(stored.map(|(_, it)| it)).collect();
    let mut links = Vec::new();
    for (below, certificate) in nodes.iter().enumerate() {
        let named = nodes.iter().enumerate().skip(1);
        let named = named.filter(|(issuer, above)| *issuer != below && is_named_issuer(above, certificate));
        let named: Vec<_> = named.collect();
        // What signed itself is where a way ends, whatever other certificates its key has.
        if named.is_empty()
            || is_named_issuer(certificate, certificate) && signed(certificate, certificate, effort)
        {
            continue;
        }
        for (issuer, above) in named {
            if !signed(above, certificate, effort) {
                continue;
            }
            let refusal = known::admits(above, certificate, circumstances).err();
            links.push(Link { below, issuer, refusal, counts: is_valid(above, circumstances) });
        }
    }
    let stands = standing(&links, |at| !links.iter().any(|link| link.below == at));
    refusal_of(0, &links, &stands)
}

fn is_named_issuer(issuer: &X509Certificate<'_>, below: &X509Certificate<'_>) -> bool {
    is_same_name(issuer.subject().as_raw(), below.issuer().as_raw())
}

fn signed(issuer: &X509Certificate<'_>, below: &X509Certificate<'_>, effort: &mut Effort) -> bool {
    let parts = CertificateParts::read(below.as_raw());
    effort.signatures += 1;
    parts.is_some_and(|parts| signature::check(&parts, issuer.public_key().raw) == Verdict::Valid)
}
