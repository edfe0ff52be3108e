//! The search for a path from a leaf to a trust anchor.
//!
//! It goes up level by level: from the leaf to its issuers, to theirs, and so on, as [`crate::graph`] found them. At each level
//! the anchors are tried as issuers first, then the certificates that the peer sent, in whatever order, and the stored ones
//! that complete them. The first level with an anchor decides. Paths are kept whole, because some rules of an issuer apply to
//! every certificate below it. Whether a block or a revocation refuses is another question than whether a path passes: see
//! [`crate::refusals`].

use std::collections::HashMap;

use x509_parser::certificate::X509Certificate;

use crate::{
    Authorities, CertificateParts, CrlMaxAge, Leaf, PathError, Time,
    graph::{Certificates, Effort, Graph, START},
    is_same_name, names,
    refusals::Refusals,
    rules,
};

/// The most paths followed at one level; only certificates that all bear one name and one key need more.
const MAX_PATHS: usize = 32;

/// A trust anchor (RFC 5280 §6.1.1), and its owner.
#[derive(Debug, Clone)]
pub struct Anchor<'a, O> {
    /// The certificate.
    pub parts: CertificateParts<'a>,
    /// The owner, which a path to the anchor returns.
    pub owner: O,
    /// Why the owner does not accept this leaf; `None` if it does. Another anchor of the level may accept the leaf, but none
    /// above: an issuer below this anchor gains no leaves by what certifies the anchor.
    pub rejects: Option<String>,
    /// Whether it takes precedence over other anchors of its level, so that a leaf that it excludes stays out.
    pub takes_precedence: bool,
}

impl<'a, O> Anchor<'a, O> {
    /// Creates an anchor that accepts every leaf.
    pub fn for_all(parts: CertificateParts<'a>, owner: O) -> Self {
        Anchor { parts, owner, rejects: None, takes_precedence: false }
    }

    /// Returns whether reaching it may keep the leaf out.
    fn excludes(&self) -> bool {
        self.takes_precedence || self.rejects.is_some()
    }
}

/// The certificates that may stand between a leaf and an anchor.
#[derive(Debug, Clone, Copy)]
pub struct Candidates<'s, 'c> {
    /// The certificates that the peer sent along.
    pub sent: &'c [CertificateParts<'s>],
    /// The certificates that an operator stored.
    pub stored: &'c [CertificateParts<'s>],
}

/// What a search depends on besides the certificates and their rules.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'s> {
    /// The instant at which a path must be valid.
    pub now: Time,
    /// The blocks, revocation lists and stored CA certificates.
    pub authorities: &'s dyn Authorities,
    /// The age at which a revocation list without a date for the next one is stale.
    pub crl_max_age: CrlMaxAge,
}

/// Where a search starts: at a leaf, or at the end of a path that is to continue.
#[derive(Debug, Clone, Copy)]
pub struct Start<'c, 's> {
    below: &'c [X509Certificate<'s>],
    top: &'c X509Certificate<'s>,
    parts: CertificateParts<'s>,
}

impl<'c, 's> From<Leaf<'c, 's>> for Start<'c, 's> {
    fn from(leaf: Leaf<'c, 's>) -> Self {
        Start { below: &[], top: leaf.certificate(), parts: leaf.parts() }
    }
}

impl<'c, 's, O> From<&'c Path<'s, O>> for Start<'c, 's> {
    fn from(path: &'c Path<'s, O>) -> Self {
        Start { below: &path.below, top: &path.anchor, parts: path.anchor_parts }
    }
}

/// The result of a search.
#[derive(Debug)]
pub struct Found<'s, O, E = PathError> {
    /// The path, or why there is none.
    pub path: Result<Path<'s, O>, E>,
    /// The issuers that were passed over, with the reason; the owner is that of an anchor.
    pub passed_over: Vec<(Option<O>, E)>,
    /// The number of signatures that were checked.
    pub signatures: u32,
}

impl<'s, O: Copy> Found<'s, O> {
    /// Rejects the path that was found if there is an objection to it; then its owner is passed over.
    pub fn rejecting<E: From<PathError> + Clone>(
        self,
        objection: impl FnOnce(&Path<'s, O>) -> Option<E>,
    ) -> Found<'s, O, E> {
        let passed_over = self.passed_over.into_iter().map(|(owner, error)| (owner, error.into()));
        let mut passed_over: Vec<_> = passed_over.collect();
        let path = self.path.map_err(E::from).and_then(|path| match objection(&path) {
            None => Ok(path),
            Some(error) => {
                passed_over.push((Some(path.owner), error.clone()));
                Err(error)
            }
        });
        Found { path, passed_over, signatures: self.signatures }
    }
}

/// A path that breaks no rule.
#[derive(Debug, Clone)]
pub struct Path<'s, O> {
    /// From the leaf up.
    below: Vec<X509Certificate<'s>>,
    anchor: X509Certificate<'s>,
    anchor_parts: CertificateParts<'s>,
    /// The owner of the anchor.
    pub owner: O,
}

impl<'s, O> Path<'s, O> {
    /// Returns the certificates below the anchor, the leaf first.
    pub fn below_anchor(&self) -> &[X509Certificate<'s>] {
        &self.below
    }

    /// Returns the anchor.
    pub fn anchor(&self) -> &X509Certificate<'s> {
        &self.anchor
    }

    /// Returns the parts of the anchor.
    pub fn anchor_parts(&self) -> &CertificateParts<'s> {
        &self.anchor_parts
    }

    /// Returns the DER of all certificates, from the leaf to the anchor.
    pub fn der(&self) -> Vec<Vec<u8>> {
        let all = self.below.iter().chain([&self.anchor]);
        all.map(|certificate| certificate.as_raw().to_vec()).collect()
    }
}

/// Searches for the path to the nearest of the anchors.
pub fn nearest_path<'s, O: Copy>(
    start: Start<'_, 's>,
    candidates: Candidates<'s, '_>,
    anchors: &[Anchor<'s, O>],
    circumstances: Circumstances<'_>,
) -> Found<'s, O> {
    let mut effort = Effort::of_a_search();
    let mut passed_over = Vec::new();
    let path = Search::new(start, candidates, anchors, circumstances, &mut effort)
        .and_then(|search| search.run(&mut effort, &mut passed_over));
    Found { path, passed_over, signatures: effort.signatures }
}

struct Search<'s, 'c, O> {
    anchors: &'c [Anchor<'s, O>],
    circumstances: Circumstances<'c>,
    graph: Graph<'s>,
    /// The nodes that are reached by signatures, parsed whole.
    read: Vec<Option<X509Certificate<'s>>>,
    refusals: Refusals,
    /// The certificates below the start.
    below: &'c [X509Certificate<'s>],
}

/// An issuer of the top of a stem.
#[derive(Debug, Clone, Copy)]
struct Step<'l> {
    stem: &'l Stem,
    issuer: usize,
}

/// The nodes from the start up, the top one last. The top is separate because there always is one.
#[derive(Debug, Clone)]
struct Stem {
    below: Vec<usize>,
    top: usize,
}

impl Stem {
    fn all(&self) -> impl Iterator<Item = usize> {
        self.below.iter().copied().chain([self.top])
    }

    fn with(&self, top: usize) -> Self {
        Stem { below: self.all().collect(), top }
    }
}

impl<'s, 'c, O: Copy> Search<'s, 'c, O> {
    fn new(
        start: Start<'c, 's>,
        Candidates { sent, stored }: Candidates<'s, '_>,
        anchors: &'c [Anchor<'s, O>],
        circumstances: Circumstances<'c>,
        effort: &mut Effort,
    ) -> Result<Self, PathError> {
        let trusted: Vec<_> = anchors.iter().map(|anchor| anchor.parts).collect();
        let certificates = Certificates { sent, stored, anchors: &trusted };
        let graph = Graph::new(start.parts, &certificates, effort)?;
        let mut read = vec![None; graph.len()];
        for at in graph.signed() {
            read[at] = rules::parse(graph.node(at).parts.der);
        }
        read[START] = Some(start.top.clone());
        let refusals = Refusals::among(&graph, &read, circumstances, effort);
        Ok(Search { anchors, circumstances, graph, read, refusals, below: start.below })
    }

    /// Returns a path that passes, if nothing refuses. A refusal counts also where there is one: the path may be of
    /// certificates that the peer chose to send.
    fn run(
        &self,
        effort: &mut Effort,
        passed_over: &mut Vec<(Option<O>, PathError)>,
    ) -> Result<Path<'s, O>, PathError> {
        let path = self.climb(effort, passed_over)?;
        self.refusals.of_start().map_or(Ok(path), |refusal| Err(refusal.clone()))
    }

    fn climb(
        &self,
        effort: &mut Effort,
        passed_over: &mut Vec<(Option<O>, PathError)>,
    ) -> Result<Path<'s, O>, PathError> {
        let mut level = vec![Stem { below: Vec::new(), top: START }];
        loop {
            if let Some((anchor, step)) = self.anchored(&level, effort, passed_over)? {
                return self.path_to(anchor, step);
            }
            let above = self.above(&level, effort, passed_over)?;
            let Some(first) = level.first().filter(|_| above.is_empty()) else {
                level = above;
                continue;
            };
            // Where no other path passes, the refusal is the reason.
            let refusal = self.refusals.of_start().cloned();
            return Err(refusal.unwrap_or_else(|| self.graph.no_issuer(first.top)));
        }
    }

    fn path_to(&self, anchor: &Anchor<'s, O>, step: Step<'_>) -> Result<Path<'s, O>, PathError> {
        let certificate = self.read[step.issuer].clone().ok_or(PathError::Unreadable(0))?;
        let stem = step.stem.all().filter_map(|at| self.read[at].as_ref());
        Ok(Path {
            below: self.below.iter().chain(stem).cloned().collect(),
            anchor: certificate,
            anchor_parts: self.graph.node(step.issuer).parts,
            owner: anchor.owner,
        })
    }

    /// Returns the anchor that decides about a level, if one of them issued a certificate there. If any of those takes
    /// precedence, one that does decides. A block or a revocation passes over anchors, but none that excludes the leaf.
    fn anchored<'l>(
        &self,
        level: &'l [Stem],
        effort: &mut Effort,
        passed_over: &mut Vec<(Option<O>, PathError)>,
    ) -> Result<Option<(&'c Anchor<'s, O>, Step<'l>)>, PathError> {
        let (mut steps, mut reached) = (Vec::new(), Vec::new());
        for stem in level {
            let first = steps.len();
            steps.extend(self.issuers(stem).map(|issuer| Step { stem, issuer }));
            let mut places: Vec<_> = (first..steps.len()).flat_map(|at| self.places(&steps, at)).collect();
            places.sort_unstable();
            for (anchor, at) in places.into_iter().map(|(place, at)| (&self.anchors[place], at)) {
                match self.refusals.of_step(stem.top, steps[at].issuer) {
                    Some(refusal) if !anchor.excludes() => {
                        passed_over.push((Some(anchor.owner), refusal.clone()));
                    }
                    _ => reached.push((anchor, at)),
                }
            }
        }
        if reached.iter().any(|(anchor, _)| anchor.takes_precedence) {
            reached.retain(|(anchor, _)| anchor.takes_precedence);
        }
        // One certificate may be the anchor of any number of owners. It is checked once, so that neither the time nor the
        // bound on comparisons of names depends on their number.
        let mut errors = HashMap::new();
        let mut error_of =
            |at| errors.entry(at).or_insert_with(|| self.error_of_issuer(&steps[at], effort)).clone();
        let passed = passing(reached, passed_over, |(anchor, at)| {
            let rejected = anchor.rejects.clone().map(PathError::NotAdmitted);
            (Some(anchor.owner), rejected.or_else(|| error_of(*at)))
        })?;
        Ok(passed.first().map(|(anchor, at)| (*anchor, steps[*at])))
    }

    /// Returns the stems with the issuers of their tops.
    fn above(
        &self,
        level: &[Stem],
        effort: &mut Effort,
        passed_over: &mut Vec<(Option<O>, PathError)>,
    ) -> Result<Vec<Stem>, PathError> {
        let mut longer = Vec::new();
        for stem in level {
            let issuers = self.issuers(stem).filter(|issuer| !self.graph.node(*issuer).is_anchor());
            for issuer in issuers.filter(|issuer| !stem.all().any(|at| at == *issuer)) {
                match self.refusals.of_step(stem.top, issuer) {
                    Some(refusal) => passed_over.push((None, refusal.clone())),
                    None => longer.push(Step { stem, issuer }),
                }
            }
        }
        if longer.len() > MAX_PATHS {
            return Err(PathError::TooTangled);
        }
        let passed = passing(longer, passed_over, |step| (None, self.error_of_issuer(step, effort)))?;
        Ok(passed.into_iter().map(|step| step.stem.with(step.issuer)).collect())
    }

    fn issuers(&self, stem: &Stem) -> impl Iterator<Item = usize> {
        self.graph.issuers(stem.top).filter(|issuer| self.read[*issuer].is_some())
    }

    /// Returns the places of a step's issuer among the anchors, each with the place of the step.
    fn places(&self, steps: &[Step<'_>], at: usize) -> impl Iterator<Item = (usize, usize)> {
        self.graph.node(steps[at].issuer).anchors.iter().map(move |place| (*place, at))
    }

    /// Returns the rule of an issuer that it or a certificate below it breaks, if any.
    fn error_of_issuer(&self, step: &Step<'_>, effort: &mut Effort) -> Option<PathError> {
        let Some(issuer) = &self.read[step.issuer] else { return Some(PathError::Unreadable(0)) };
        let stem = step.stem.all().filter_map(|at| self.read[at].as_ref());
        let below: Vec<_> = self.below.iter().chain(stem).collect();
        let source = self.graph.node(step.issuer).source;
        let own = rules::check_issuer(issuer, (source, length(&below)), self.circumstances.now).err();
        own.or_else(|| {
            below.into_iter().enumerate().find_map(|(at, certificate)| {
                let is_bound = at == 0 || !is_self_issued(certificate);
                let broken =
                    |comparisons| names::rule_broken_by_names(issuer, (certificate, at == 0), comparisons);
                let rule = is_bound.then(|| broken(&mut effort.comparisons)).flatten()?;
                Some(PathError::of_rule(issuer, rule))
            })
        })
    }
}

/// Returns the number of issuers that count against a path length: those that are not self-issued (RFC 5280 §4.2.1.9).
fn length(below: &[&X509Certificate<'_>]) -> u32 {
    let counted = below.iter().skip(1).filter(|issuer| !is_self_issued(issuer));
    u32::try_from(counted.count()).unwrap_or(u32::MAX)
}

fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    is_same_name(certificate.subject().as_raw(), certificate.issuer().as_raw())
}

/// Returns the candidates without an error; if all have one, the first error. A renewed certificate may stand beside its expired
/// predecessor, so one candidate that passes is enough.
fn passing<T, O>(
    candidates: Vec<T>,
    passed_over: &mut Vec<(Option<O>, PathError)>,
    mut error_of: impl FnMut(&T) -> (Option<O>, Option<PathError>),
) -> Result<Vec<T>, PathError> {
    let (mut passed, mut first) = (Vec::new(), None);
    for candidate in candidates {
        match error_of(&candidate) {
            (_, None) => passed.push(candidate),
            (owner, Some(error)) => {
                first.get_or_insert_with(|| error.clone());
                passed_over.push((owner, error));
            }
        }
    }
    match first {
        Some(error) if passed.is_empty() => Err(error),
        _ => Ok(passed),
    }
}
