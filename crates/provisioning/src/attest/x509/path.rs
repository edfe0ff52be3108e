//! The search for a path from a leaf to a certificate that is trusted.
//!
//! It goes up level by level: from the leaf to what issued it, to what issued that, as [`super::graph`] found out. At each
//! level the anchors are tried as issuers first, then the certificates that the device sent, in whatever order it sent them,
//! and the stored ones that complete them. The first level with an anchor decides. Paths are kept whole, because some rules
//! of an issuer bind everything below it. Whether anything refuses is another question than whether a path passes: see
//! [`super::refusals`].

use std::collections::HashMap;

use model::{CertificateParts, CrlMaxAge, Timestamp, Trust, is_same_name};
use x509_parser::certificate::X509Certificate;

use super::{
    CertificateRefusal, OtherIds,
    graph::{Certificates, Effort, Graph, START, read},
    names,
    refusals::Refusals,
    rules,
};

/// The most paths followed at one level; only certificates that all bear one name and one key need more.
const MAX_PATHS: usize = 32;

/// A certificate that is trusted, and whose it is.
#[derive(Debug, Clone)]
pub struct Anchor<'a, O> {
    /// The certificate.
    pub parts: CertificateParts<'a>,
    /// To whom a path leads that ends here.
    pub owner: O,
    /// Whether its owner takes the leaf's device, going by the registration ID. If not, another anchor of its level may,
    /// but none above: who may sign below it gains no names by what stands above it.
    pub admits: Result<(), OtherIds>,
    /// Whether it beats other anchors of its level, so that who is kept out stays out.
    pub blocks: bool,
}

impl<'a, O> Anchor<'a, O> {
    /// One that takes every device.
    pub fn for_all(parts: CertificateParts<'a>, owner: O) -> Self {
        Anchor { parts, owner, admits: Ok(()), blocks: false }
    }
}

/// What a search found.
#[derive(Debug)]
pub struct Found<'s, O> {
    /// The path, or why there is none.
    pub path: Result<Path<'s, O>, CertificateRefusal>,
    /// The issuers that were met and passed over because of a rule; the owner is that of an anchor.
    pub passed_over: Vec<(Option<O>, CertificateRefusal)>,
    /// How many signatures were checked.
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests count them"))]
    pub signatures: u32,
}

impl<'s, O: Copy> Found<'s, O> {
    /// The same if the path that was found meets a demand; otherwise its owner is passed over.
    pub fn demanding(mut self, demand: impl FnOnce(&Path<'s, O>) -> Result<(), CertificateRefusal>) -> Self {
        if let Ok(path) = &self.path
            && let Err(refusal) = demand(path)
        {
            self.passed_over.push((Some(path.owner), refusal.clone()));
            self.path = Err(refusal);
        }
        self
    }
}

/// A path that breaks no rule.
#[derive(Debug, Clone)]
pub struct Path<'s, O> {
    /// From the leaf to the anchor, both included.
    pub certificates: Vec<X509Certificate<'s>>,
    /// The anchor's.
    pub owner: O,
}

impl<O> Path<'_, O> {
    /// The DER of its certificates.
    pub fn der(&self) -> Vec<Vec<u8>> {
        self.certificates.iter().map(|certificate| certificate.as_raw().to_vec()).collect()
    }
}

/// What a search goes by besides certificates and their rules.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'s> {
    /// When.
    pub now: Timestamp,
    /// What blocks and revokes certificates.
    pub known: &'s Trust,
    /// When a revocation list that does not say when the next one is due is stale.
    pub crl_max_age: CrlMaxAge,
}

/// Searches for the path to the nearest of these anchors, from the top of a path that is certain: a leaf alone, or a path
/// that is to lead on from its end. What binds the leaf alone is the caller's business.
pub fn nearest<'s, O: Copy>(
    from: &[X509Certificate<'s>],
    (sent, stored): (&[CertificateParts<'s>], &[CertificateParts<'s>]),
    anchors: &[Anchor<'s, O>],
    circumstances: Circumstances<'_>,
) -> Found<'s, O> {
    let mut effort = Effort::of_a_search();
    let mut passed_over = Vec::new();
    let path = Search::new(from, (sent, stored), anchors, circumstances, &mut effort)
        .and_then(|search| search.run(&mut effort, &mut passed_over));
    Found { path, passed_over, signatures: effort.signatures }
}

struct Search<'s, 'c, O> {
    anchors: &'c [Anchor<'s, O>],
    circumstances: Circumstances<'c>,
    graph: Graph<'s>,
    /// The nodes that are reached by signatures, read whole.
    read: Vec<Option<X509Certificate<'s>>>,
    refusals: Refusals,
    /// What lies below the start.
    below: &'c [X509Certificate<'s>],
}

/// Something that issued the top of a stem.
#[derive(Debug, Clone, Copy)]
struct Step<'l> {
    stem: &'l Stem,
    issuer: usize,
}

/// The nodes from the start up, the top one last. The top stands apart because there always is one.
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
        from: &'c [X509Certificate<'s>],
        (sent, stored): (&[CertificateParts<'s>], &[CertificateParts<'s>]),
        anchors: &'c [Anchor<'s, O>],
        circumstances: Circumstances<'c>,
        effort: &mut Effort,
    ) -> Result<Self, CertificateRefusal> {
        let (start, below) = from.split_last().ok_or(CertificateRefusal::Unreadable(0))?;
        let parts = CertificateParts::read(start.as_raw()).ok_or(CertificateRefusal::Unreadable(0))?;
        let trusted: Vec<_> = anchors.iter().map(|anchor| anchor.parts).collect();
        let certificates = Certificates { sent, stored, anchors: &trusted };
        let graph = Graph::new(parts, &certificates, effort)?;
        let mut certificates = vec![None; graph.len()];
        for at in graph.signed() {
            certificates[at] = read(graph.node(at));
        }
        certificates[START] = Some(start.clone());
        let refusals = Refusals::among(&graph, &certificates, circumstances, effort)?;
        Ok(Search { anchors, circumstances, graph, read: certificates, refusals, below })
    }

    /// A path that passes, if nothing refuses. That is asked whether or not there is one: another path than the refused one
    /// may be of certificates that the device chose to send.
    fn run(
        &self,
        effort: &mut Effort,
        passed_over: &mut Vec<(Option<O>, CertificateRefusal)>,
    ) -> Result<Path<'s, O>, CertificateRefusal> {
        let path = self.climb(effort, passed_over)?;
        self.refusals.of_start()?;
        Ok(path)
    }

    fn climb(
        &self,
        effort: &mut Effort,
        passed_over: &mut Vec<(Option<O>, CertificateRefusal)>,
    ) -> Result<Path<'s, O>, CertificateRefusal> {
        let mut level = vec![Stem { below: Vec::new(), top: START }];
        loop {
            if let Some((anchor, step)) = self.anchored(&level, effort, passed_over)? {
                let above = step.stem.with(step.issuer);
                let certificates =
                    self.below.iter().chain(above.all().filter_map(|at| self.read[at].as_ref()));
                return Ok(Path { certificates: certificates.cloned().collect(), owner: anchor.owner });
            }
            let above = self.above(&level, effort, passed_over)?;
            let Some(first) = level.first().filter(|_| above.is_empty()) else {
                level = above;
                continue;
            };
            // Where nothing else passes, what was refused is why.
            self.refusals.of_start()?;
            return Err(self.graph.no_issuer(first.top));
        }
    }

    /// The anchor that decides about a level, if one of them issued something there. If any of those blocks, one that
    /// blocks decides.
    fn anchored<'l>(
        &self,
        level: &'l [Stem],
        effort: &mut Effort,
        passed_over: &mut Vec<(Option<O>, CertificateRefusal)>,
    ) -> Result<Option<(&'c Anchor<'s, O>, Step<'l>)>, CertificateRefusal> {
        let (mut steps, mut reached) = (Vec::new(), Vec::new());
        for stem in level {
            let first = steps.len();
            steps.extend(self.issuers(stem).map(|issuer| Step { stem, issuer }));
            let mut places: Vec<_> = (first..steps.len()).flat_map(|at| self.places(&steps, at)).collect();
            places.sort_unstable();
            reached.extend(places.into_iter().map(|(place, at)| (&self.anchors[place], at)));
        }
        if reached.iter().any(|(anchor, _)| anchor.blocks) {
            reached.retain(|(anchor, _)| anchor.blocks);
        }
        // The same certificate may be the anchor of any number of groups. It is judged once, so that neither the time nor
        // the bound on comparisons of names goes by how many there are.
        let mut verdicts = HashMap::new();
        let mut judge =
            |at| verdicts.entry(at).or_insert_with(|| self.may_stand_above(&steps[at], effort)).clone();
        let passed = passing(reached, passed_over, |(anchor, at)| {
            let admits = anchor.admits.clone().map_err(CertificateRefusal::from);
            (Some(anchor.owner), admits.and_then(|()| judge(*at)))
        })?;
        Ok(passed.first().map(|(anchor, at)| (*anchor, steps[*at])))
    }

    /// The stems with what issued their tops.
    fn above(
        &self,
        level: &[Stem],
        effort: &mut Effort,
        passed_over: &mut Vec<(Option<O>, CertificateRefusal)>,
    ) -> Result<Vec<Stem>, CertificateRefusal> {
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
            return Err(CertificateRefusal::TooTangled);
        }
        let passed = passing(longer, passed_over, |step| (None, self.may_stand_above(step, effort)))?;
        Ok(passed.into_iter().map(|step| step.stem.with(step.issuer)).collect())
    }

    fn issuers(&self, stem: &Stem) -> impl Iterator<Item = usize> {
        self.graph.issuers(stem.top).filter(|issuer| self.read[*issuer].is_some())
    }

    /// The places of a step's issuer among the anchors, each with the place of the step.
    fn places(&self, steps: &[Step<'_>], at: usize) -> impl Iterator<Item = (usize, usize)> {
        self.graph.node(steps[at].issuer).anchors.iter().map(move |place| (*place, at))
    }

    /// The rules of an issuer about itself and about everything below it.
    fn may_stand_above(&self, step: &Step<'_>, effort: &mut Effort) -> Result<(), CertificateRefusal> {
        let Some(issuer) = &self.read[step.issuer] else { return Err(CertificateRefusal::Unreadable(0)) };
        let stem = step.stem.all().filter_map(|at| self.read[at].as_ref());
        let below: Vec<_> = self.below.iter().chain(stem).collect();
        let source = self.graph.node(step.issuer).source;
        rules::issuer(issuer, (source, length(&below)), self.circumstances.now)?;
        for (at, certificate) in below.into_iter().enumerate() {
            let is_leaf = at == 0;
            if is_leaf || !is_self_issued(certificate) {
                names::allow(issuer, (certificate, is_leaf), &mut effort.comparisons)
                    .map_err(|rule| rules::broken(issuer, rule))?;
            }
        }
        Ok(())
    }
}

/// How many of those above the leaf count against a path length: those that did not issue themselves (RFC 5280 §4.2.1.9).
fn length(below: &[&X509Certificate<'_>]) -> u32 {
    let counted = below.iter().skip(1).filter(|issuer| !is_self_issued(issuer));
    u32::try_from(counted.count()).unwrap_or(u32::MAX)
}

fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    is_same_name(certificate.subject().as_raw(), certificate.issuer().as_raw())
}

/// Those that pass the rule; when none does, why the first does not. A renewed certificate may stand beside its expired
/// predecessor, so one of them that passes is enough.
fn passing<T, O>(
    candidates: Vec<T>,
    passed_over: &mut Vec<(Option<O>, CertificateRefusal)>,
    mut rule: impl FnMut(&T) -> (Option<O>, Result<(), CertificateRefusal>),
) -> Result<Vec<T>, CertificateRefusal> {
    let (mut passed, mut first) = (Vec::new(), None);
    for candidate in candidates {
        match rule(&candidate) {
            (_, Ok(())) => passed.push(candidate),
            (owner, Err(refusal)) => {
                first.get_or_insert_with(|| refusal.clone());
                passed_over.push((owner, refusal));
            }
        }
    }
    match first {
        Some(refusal) if passed.is_empty() => Err(refusal),
        _ => Ok(passed),
    }
}
