//! Which certificate issued which, as far down as the trust anchors reach.
//!
//! Names are compared first, which costs nothing: where they lead to no anchor, no signature is checked. Signatures are then
//! checked from the anchors down, so a key that the peer made up is never used, and a certificate is checked once for each key
//! that may have signed it. Certificates that a stranger made fail at the first trusted key, however many there are.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    hash::{Hash, Hasher},
};

use x509_parser::certificate::X509Certificate;

use crate::{
    BrokenRule, CertificateParts, NameKey, PathError,
    names::Comparisons,
    rules::{self, Source},
    signature::{self, Verdict},
};

/// The cost of failed signature checks in one search, in microseconds of a typical processor. The second check of P-521 exceeds
/// it, or the fourteenth of P-256: for an honest chain a check fails only where CAs of one name have several keys, and then
/// the key identifiers say which to try first.
const MAX_WASTED: u32 = 800;

/// The most keys of one name that are put in order by their identifiers.
const MAX_SORTED: usize = 64;

/// The cost of one search so far.
#[derive(Debug)]
pub struct Effort {
    /// The number of signatures that were checked.
    pub signatures: u32,
    wasted: u32,
    pub comparisons: Comparisons,
}

impl Effort {
    /// Creates the account of one search.
    pub fn of_a_search() -> Self {
        Effort { signatures: 0, wasted: 0, comparisons: Comparisons::of_a_search() }
    }

    fn waste(&mut self, key: &[u8]) -> Result<(), PathError> {
        self.wasted += signature::cost(key);
        if self.wasted > MAX_WASTED { Err(PathError::TooTangled) } else { Ok(()) }
    }
}

/// A certificate of a search.
#[derive(Debug)]
pub struct Node<'s> {
    /// The parts of the certificate.
    pub parts: CertificateParts<'s>,
    /// Whether it was sent or stored.
    pub source: Source,
    /// The places of the anchors with this certificate.
    pub anchors: Vec<usize>,
    issuer: Name,
    subject: Name,
}

/// The number of a name: equal names have one number.
type Name = usize;

/// The names of a search. Parsing a name takes longer than comparing bytes, and most are written in one way only.
#[derive(Default)]
struct Names<'s> {
    written: HashMap<&'s [u8], Name>,
    keys: HashMap<NameKey, Name>,
}

impl<'s> Names<'s> {
    fn number(&mut self, name: &'s [u8]) -> Name {
        let next = self.keys.len();
        *self.written.entry(name).or_insert_with(|| *self.keys.entry(NameKey::of(name)).or_insert(next))
    }
}

impl Node<'_> {
    /// Returns whether it is a trust anchor.
    pub fn is_anchor(&self) -> bool {
        !self.anchors.is_empty()
    }

    /// Returns whether an operator stored it.
    pub fn is_stored(&self) -> bool {
        self.source == Source::Stored
    }
}

impl<'s> Node<'s> {
    /// Parses the whole certificate.
    fn parse(&self) -> Option<X509Certificate<'s>> {
        rules::parse(self.parts.der)
    }
}

/// The certificates of a search, and which issued which.
pub struct Graph<'s> {
    nodes: Vec<Node<'s>>,
    by_subject: HashMap<Name, Vec<usize>>,
    /// The nodes from which names lead to an anchor.
    live: Vec<bool>,
    /// The key that signed each node, if it was found.
    signer: Vec<Option<&'s [u8]>>,
    /// The nodes to which names lead, level by level.
    reached: Vec<usize>,
    /// The failed check of a node's signature by some key of its issuer's name.
    wrong: HashMap<usize, Verdict>,
}

/// The certificates that a search may use.
pub struct Certificates<'s, 'c> {
    /// Those that the peer sent along.
    pub sent: &'c [CertificateParts<'s>],
    /// Those that operators stored.
    pub stored: &'c [CertificateParts<'s>],
    /// The trust anchors.
    pub anchors: &'c [CertificateParts<'s>],
}

/// The place of the node from which a search starts.
pub const START: usize = 0;

impl<'s> Graph<'s> {
    /// Finds which certificate issued which, from `start` up to the anchors.
    ///
    /// # Errors
    ///
    /// If names lead to no anchor, or if too many signature checks failed.
    pub fn new(
        start: CertificateParts<'s>,
        certificates: &Certificates<'s, '_>,
        effort: &mut Effort,
    ) -> Result<Self, PathError> {
        let mut graph = Graph::of_nodes(nodes(start, certificates));
        graph.reached = graph.reached();
        graph.mark_live();
        if !graph.live[START] {
            return Err(graph.no_anchor());
        }
        graph.find_signers_of_presented(effort)?;
        graph.find_signers_of_stored(effort)?;
        Ok(graph)
    }

    fn of_nodes(nodes: Vec<Node<'s>>) -> Self {
        let mut by_subject: HashMap<Name, Vec<usize>> = HashMap::new();
        for (at, node) in nodes.iter().enumerate().skip(1) {
            by_subject.entry(node.subject).or_default().push(at);
        }
        let (live, signer) = (vec![false; nodes.len()], vec![None; nodes.len()]);
        Graph { nodes, by_subject, live, signer, reached: Vec::new(), wrong: HashMap::new() }
    }

    /// Returns the node at a place.
    pub fn node(&self, at: usize) -> &Node<'s> {
        &self.nodes[at]
    }

    /// Returns the number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the nodes to which signatures lead from the start.
    pub fn signed(&self) -> Vec<usize> {
        let mut found = vec![START];
        let mut next = 0;
        while let Some(at) = found.get(next).copied() {
            next += 1;
            if !self.nodes[at].is_anchor() {
                let issuers: Vec<_> = self.issuers(at).filter(|issuer| !found.contains(issuer)).collect();
                found.extend(issuers);
            }
        }
        found
    }

    /// Returns the issuers of a node by name and signature that are stored, or lead to a stored certificate by signatures.
    pub fn issuers(&self, at: usize) -> impl Iterator<Item = usize> {
        let signer = self.signer[at];
        let named = self.named_issuers(at);
        named.filter(move |issuer| {
            let node = &self.nodes[*issuer];
            let is_trusted = node.is_stored() || self.signer[*issuer].is_some();
            self.live[*issuer] && is_trusted && signer == Some(node.parts.public_key)
        })
    }

    /// Returns why the search that ended at `top` found no issuer there. An issuer with the name and another key is
    /// distinguished from a missing one.
    pub fn no_issuer(&self, top: usize) -> PathError {
        let verdict = |at: &usize| self.wrong.get(at).filter(|_| self.signer[*at].is_none());
        let nearest = self.reached.iter().find_map(|at| verdict(at).map(|verdict| (*at, *verdict)));
        match nearest {
            Some((at, Verdict::Unsupported)) => broken(&self.nodes[at], BrokenRule::Algorithm),
            Some((at, _)) => broken(&self.nodes[at], BrokenRule::Signature),
            None => PathError::missing_issuer_of(self.nodes[top].parts.der),
        }
    }

    fn named_issuers(&self, at: usize) -> impl Iterator<Item = usize> {
        let named = self.by_subject.get(&self.nodes[at].issuer);
        named.into_iter().flatten().copied().filter(move |issuer| *issuer != at)
    }

    /// Returns the nodes to which names lead, level by level, without those above anchors.
    fn reached(&self) -> Vec<usize> {
        let mut reached = vec![START];
        let mut seen = HashSet::from([START]);
        let mut next = 0;
        while let Some(at) = reached.get(next).copied() {
            next += 1;
            if !self.nodes[at].is_anchor() {
                reached.extend(self.named_issuers(at).filter(|issuer| seen.insert(*issuer)));
            }
        }
        reached
    }

    /// Marks those of the reached nodes from which names lead to an anchor.
    fn mark_live(&mut self) {
        let mut below: HashMap<usize, Vec<usize>> = HashMap::new();
        for at in self.reached.iter().filter(|at| !self.nodes[**at].is_anchor()) {
            self.named_issuers(*at).for_each(|issuer| below.entry(issuer).or_default().push(*at));
        }
        let anchors = self.reached.iter().copied().filter(|at| self.nodes[*at].is_anchor());
        let mut queue: VecDeque<usize> = anchors.collect();
        while let Some(at) = queue.pop_front() {
            if !std::mem::replace(&mut self.live[at], true) {
                queue.extend(below.get(&at).into_iter().flatten());
            }
        }
    }

    /// Finds the keys that signed presented certificates among those of stored ones, and of those that these signed, until none
    /// is added.
    fn find_signers_of_presented(&mut self, effort: &mut Effort) -> Result<(), PathError> {
        let is_presented = |at: &usize| *at == START || !self.nodes[*at].is_stored();
        let mut open: Vec<usize> =
            self.reached.iter().copied().filter(|at| self.live[*at] && is_presented(at)).collect();
        let mut tried = HashSet::new();
        loop {
            let before = open.len();
            let mut left = Vec::new();
            for at in open {
                if !self.find_signer(at, &mut tried, effort)? {
                    left.push(at);
                }
            }
            if left.is_empty() || left.len() == before {
                return Ok(());
            }
            open = left;
        }
    }

    /// Finds the keys that signed the stored certificates above those that were found, as far as they are needed.
    fn find_signers_of_stored(&mut self, effort: &mut Effort) -> Result<(), PathError> {
        let mut tried = HashSet::new();
        let mut open: Vec<usize> = self.reached.iter().flat_map(|at| self.issuers(*at)).collect();
        while let Some(at) = open.pop() {
            let is_checked = self.nodes[at].is_anchor() || self.signer[at].is_some();
            if !is_checked && self.find_signer(at, &mut tried, effort)? {
                open.extend(self.issuers(at).collect::<Vec<_>>());
            }
        }
        Ok(())
    }

    /// Finds the key that signed a node among its issuers by name, and returns whether there is one. Issuers that were only
    /// sent count if a trusted key signed them.
    fn find_signer(
        &mut self,
        at: usize,
        tried: &mut HashSet<(usize, &'s [u8])>,
        effort: &mut Effort,
    ) -> Result<bool, PathError> {
        let is_trusted = |issuer: &usize| {
            self.live[*issuer] && (self.nodes[*issuer].is_stored() || self.signer[*issuer].is_some())
        };
        let mut candidates: Vec<usize> = self.named_issuers(at).filter(is_trusted).collect();
        candidates.retain(|issuer| tried.insert((at, self.nodes[*issuer].parts.public_key)));
        if (2..=MAX_SORTED).contains(&candidates.len()) {
            let wanted = self.nodes[at].parse().and_then(|it| rules::authority_key_id(&it));
            candidates.sort_by_cached_key(|issuer| {
                let own = self.nodes[*issuer].parse().and_then(|it| rules::subject_key_id(&it));
                wanted.is_none() || own != wanted
            });
        }
        for issuer in candidates {
            let (parts, key) = (&self.nodes[at].parts, self.nodes[issuer].parts.public_key);
            let verdict = signature::check(parts, key);
            effort.signatures += u32::from(verdict != Verdict::Unsupported);
            if verdict == Verdict::Valid {
                self.signer[at] = Some(key);
                return if self.may_issue(issuer) { Ok(true) } else { effort.waste(key).map(|()| true) };
            }
            self.wrong.insert(at, verdict);
            if verdict == Verdict::Wrong {
                effort.waste(key)?;
            }
        }
        Ok(false)
    }

    /// Returns whether a certificate may issue others at all. A peer may hold the key of one that may not.
    fn may_issue(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        node.is_stored() || node.parse().is_some_and(|it| rules::is_ca(&it))
    }

    /// Returns the error for names that lead to no anchor.
    fn no_anchor(&self) -> PathError {
        let is_end = |at: &&usize| self.named_issuers(**at).next().is_none();
        let end = self.reached.iter().rfind(is_end).copied().unwrap_or(START);
        PathError::missing_issuer_of(self.nodes[end].parts.der)
    }
}

fn broken(node: &Node<'_>, rule: BrokenRule) -> PathError {
    match node.parse() {
        Some(certificate) => PathError::of_rule(&certificate, rule),
        None => PathError::Unreadable(0),
    }
}

/// The signed part of a certificate. It is compared whole and hashed by its serial number and the end of its key: with
/// thousands of anchors, hashing all of it takes longer than everything else in a search.
#[derive(PartialEq, Eq)]
struct Signed<'s> {
    tbs: &'s [u8],
    public_key: &'s [u8],
}

impl<'s> Signed<'s> {
    /// The serial number is within this many bytes of the start.
    const SERIAL: usize = 32;
    const KEY_END: usize = 16;

    fn of(parts: &CertificateParts<'s>) -> Self {
        Signed { tbs: parts.tbs, public_key: parts.public_key }
    }
}

impl Hash for Signed<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.tbs.get(..Self::SERIAL).unwrap_or(self.tbs));
        let end = self.public_key.len().saturating_sub(Self::KEY_END);
        state.write(self.public_key.get(end..).unwrap_or_default());
    }
}

/// Returns the start, the anchors, the stored certificates and those that were sent, each once. They are identified by their
/// signed parts: a whole certificate could be sent again in another form.
fn nodes<'s>(start: CertificateParts<'s>, certificates: &Certificates<'s, '_>) -> Vec<Node<'s>> {
    let mut names = Names::default();
    let mut node = |parts: &CertificateParts<'s>, source| {
        let (issuer, subject) = (names.number(parts.issuer), names.number(parts.subject));
        Node { parts: *parts, source, anchors: Vec::new(), issuer, subject }
    };
    let mut nodes = vec![node(&start, Source::Sent)];
    let mut places: HashMap<Signed<'s>, usize> = HashMap::new();
    for (at, parts) in certificates.anchors.iter().enumerate() {
        let place = *places.entry(Signed::of(parts)).or_insert(nodes.len());
        if place == nodes.len() {
            nodes.push(node(parts, Source::Stored));
        }
        nodes[place].anchors.push(at);
    }
    let others = certificates.stored.iter().map(|parts| (parts, Source::Stored));
    let others = others.chain(certificates.sent.iter().map(|parts| (parts, Source::Sent)));
    for (parts, source) in others.filter(|(parts, _)| parts.tbs != start.tbs) {
        if let Entry::Vacant(place) = places.entry(Signed::of(parts)) {
            place.insert(nodes.len());
            nodes.push(node(parts, source));
        }
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that are no key cost least, so that the bound is reached exactly.
    #[test]
    fn a_search_ends_beyond_its_bound_on_failed_checks() {
        let mut effort = Effort::of_a_search();
        for _ in 0..MAX_WASTED / signature::cost(&[]) {
            assert_eq!(effort.waste(&[]), Ok(()));
        }
        assert_eq!(effort.wasted, MAX_WASTED);
        assert_eq!(effort.waste(&[]), Err(PathError::TooTangled));
    }
}
