//! The search for a path from a leaf to a certificate that is trusted.
//!
//! It goes up level by level: from the leaf to what issued it, to what issued that. At each level the anchors are tried
//! as issuers first, then the certificates that the device sent, in whatever order it sent them, and the stored ones that
//! complete them. The first level with an anchor decides. Paths are kept whole, because some rules of an issuer bind everything below it.

use model::{Authorities, CrlMaxAge, Timestamp};
use x509_parser::certificate::X509Certificate;

use super::{
    CertificateRefusal, OtherIds, PresentedChain, is_same, known,
    names::{self, Comparisons},
    rules::{self, BrokenRule, Source},
    signature,
};

/// The most signatures checked in one search. A chain with one issuer for each certificate needs one per certificate;
/// only certificates that all bear one name need more.
const MAX_SIGNATURES: u32 = 100;

/// The most paths followed at one level, for the same reason.
const MAX_PATHS: usize = 32;

/// A certificate that is trusted, and whose it is.
#[derive(Debug, Clone)]
pub struct Anchor<'a, O> {
    /// The certificate.
    pub certificate: X509Certificate<'a>,
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
    pub fn for_all(certificate: X509Certificate<'a>, owner: O) -> Self {
        Anchor { certificate, owner, admits: Ok(()), blocks: false }
    }
}

/// What a search found.
#[derive(Debug)]
pub struct Found<'s, O> {
    /// The path, or why there is none.
    pub path: Result<Path<'s, O>, CertificateRefusal>,
    /// The issuers that were met and passed over because of a rule; the owner is that of an anchor.
    pub passed_over: Vec<(Option<O>, CertificateRefusal)>,
}

impl<O: Copy> Found<'_, O> {
    /// The same if the path that was found meets a demand; otherwise its owner is passed over.
    pub fn demanding(mut self, demand: impl FnOnce(&Path<'_, O>) -> Result<(), CertificateRefusal>) -> Self {
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
    pub certificates: Vec<&'s X509Certificate<'s>>,
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
    pub known: &'s Authorities,
    /// When a revocation list that does not say when the next one is due is stale.
    pub crl_max_age: CrlMaxAge,
}

/// Searches for the path to the anchor nearest the leaf. What binds the leaf alone is the caller's business.
pub fn nearest<'s, O: Copy>(
    chain: &'s PresentedChain<'s>,
    anchors: &'s [Anchor<'s, O>],
    circumstances: Circumstances<'s>,
) -> Found<'s, O> {
    let mut search = Search::new(anchors, issuers(chain, &chain.completing), circumstances);
    let path = search.run(Stem { below: Vec::new(), top: &chain.leaf });
    Found { path, passed_over: search.passed_over }
}

/// Searches on from the end of a path to one of these anchors, by the rules that bind all of it. Above the end there may
/// be what the device sent, and these stored certificates.
pub fn onward<'s, O: Copy, P: Copy>(
    path: &Path<'s, O>,
    (chain, above): (&'s PresentedChain<'s>, &'s [X509Certificate<'s>]),
    anchors: &'s [Anchor<'s, P>],
    circumstances: Circumstances<'s>,
) -> Result<Path<'s, P>, CertificateRefusal> {
    let Some((top, below)) = path.certificates.split_last() else {
        return Err(CertificateRefusal::Unreadable(0));
    };
    let stem = Stem { below: below.to_vec(), top };
    Search::new(anchors, issuers(chain, above), circumstances).run(stem)
}

/// The certificates sent along with the leaf and the stored ones, each once, and who vouches for them.
fn issuers<'s>(
    chain: &'s PresentedChain<'s>,
    stored: &'s [X509Certificate<'s>],
) -> Vec<(&'s X509Certificate<'s>, Source)> {
    let mut issuers: Vec<(&X509Certificate<'_>, Source)> = Vec::with_capacity(chain.others.len());
    let stored = stored.iter().map(|certificate| (certificate, Source::Entered));
    for (certificate, source) in stored.chain(chain.others.iter().map(|it| (it, Source::Sent))) {
        let is_new = |known: &X509Certificate<'_>| !is_same(known, certificate);
        if is_new(&chain.leaf) && issuers.iter().all(|(known, _)| is_new(known)) {
            issuers.push((certificate, source));
        }
    }
    issuers
}

struct Search<'s, O> {
    anchors: &'s [Anchor<'s, O>],
    issuers: Vec<(&'s X509Certificate<'s>, Source)>,
    circumstances: Circumstances<'s>,
    /// How many may still be checked.
    signatures: u32,
    comparisons: Comparisons,
    passed_over: Vec<(Option<O>, CertificateRefusal)>,
}

/// The certificates from the leaf up, the top one last. The top stands apart because there always is one.
#[derive(Debug, Clone)]
struct Stem<'s> {
    below: Vec<&'s X509Certificate<'s>>,
    top: &'s X509Certificate<'s>,
}

impl<'s> Stem<'s> {
    fn all(&self) -> impl Iterator<Item = &'s X509Certificate<'s>> {
        self.below.iter().copied().chain([self.top])
    }

    fn with(&self, top: &'s X509Certificate<'s>) -> Self {
        Stem { below: self.all().collect(), top }
    }

    fn holds(&self, certificate: &X509Certificate<'_>) -> bool {
        self.all().any(|one| is_same(one, certificate))
    }

    /// How many count against a path length: the issuers that did not issue themselves (RFC 5280 §4.2.1.9).
    fn length(&self) -> u32 {
        let counted = self.all().skip(1).filter(|issuer| !is_self_issued(issuer));
        u32::try_from(counted.count()).unwrap_or(u32::MAX)
    }
}

impl<'s, O: Copy> Search<'s, O> {
    fn new(
        anchors: &'s [Anchor<'s, O>],
        issuers: Vec<(&'s X509Certificate<'s>, Source)>,
        circumstances: Circumstances<'s>,
    ) -> Self {
        Search {
            anchors,
            issuers,
            circumstances,
            signatures: MAX_SIGNATURES,
            comparisons: Comparisons::of_a_search(),
            passed_over: Vec::new(),
        }
    }

    fn run(&mut self, from: Stem<'s>) -> Result<Path<'s, O>, CertificateRefusal> {
        let mut level = vec![from];
        loop {
            if let Some((anchor, stem)) = self.anchored(&level)? {
                let certificates = stem.with(&anchor.certificate).all().collect();
                return Ok(Path { certificates, owner: anchor.owner });
            }
            let above = self.above(&level)?;
            let Some(first) = level.first().filter(|_| above.is_empty()) else {
                level = above;
                continue;
            };
            return Err(self.no_issuer(first.top));
        }
    }

    /// The anchor that decides about a level, if one of them issued something there. If any of those blocks, one that
    /// blocks decides.
    fn anchored<'l>(
        &mut self,
        level: &'l [Stem<'s>],
    ) -> Result<Option<(&'s Anchor<'s, O>, &'l Stem<'s>)>, CertificateRefusal> {
        let mut reached = Vec::new();
        for stem in level {
            for anchor in self.anchors {
                if self.issued(&anchor.certificate, stem.top)? {
                    reached.push((anchor, stem));
                }
            }
        }
        if reached.iter().any(|(anchor, _)| anchor.blocks) {
            reached.retain(|(anchor, _)| anchor.blocks);
        }
        let passed = self.passing(reached, |search, (anchor, stem)| {
            let admits = anchor.admits.clone().map_err(CertificateRefusal::from);
            let stands =
                admits.and_then(|()| search.may_stand_above(&anchor.certificate, Source::Entered, stem));
            (Some(anchor.owner), stands)
        })?;
        Ok(passed.into_iter().next())
    }

    /// The stems with what issued their tops.
    fn above(&mut self, level: &[Stem<'s>]) -> Result<Vec<Stem<'s>>, CertificateRefusal> {
        let mut longer = Vec::new();
        for stem in level {
            for (issuer, source) in self.issuers.clone() {
                if !stem.holds(issuer) && self.issued(issuer, stem.top)? {
                    longer.push((issuer, source, stem));
                }
            }
        }
        if longer.len() > MAX_PATHS {
            return Err(CertificateRefusal::TooTangled);
        }
        let passed = self.passing(longer, |search, (issuer, source, stem)| {
            (None, search.may_stand_above(issuer, *source, stem))
        })?;
        Ok(passed.into_iter().map(|(issuer, _, stem)| stem.with(issuer)).collect())
    }

    /// Those that pass the rule; when none does, why the first does not. A renewed certificate may stand beside its
    /// expired predecessor, so one of them that passes is enough.
    fn passing<T>(
        &mut self,
        candidates: Vec<T>,
        rule: impl Fn(&mut Self, &T) -> (Option<O>, Result<(), CertificateRefusal>),
    ) -> Result<Vec<T>, CertificateRefusal> {
        let (mut passed, mut first) = (Vec::new(), None);
        for candidate in candidates {
            match rule(self, &candidate) {
                (_, Ok(())) => passed.push(candidate),
                (owner, Err(refusal)) => {
                    first.get_or_insert_with(|| refusal.clone());
                    self.passed_over.push((owner, refusal));
                }
            }
        }
        match first {
            Some(refusal) if passed.is_empty() => Err(refusal),
            _ => Ok(passed),
        }
    }

    /// The rules of an issuer about itself and about everything below it.
    fn may_stand_above(
        &mut self,
        issuer: &X509Certificate<'_>,
        source: Source,
        stem: &Stem<'s>,
    ) -> Result<(), CertificateRefusal> {
        rules::issuer(issuer, (source, stem.length()), self.circumstances.now)?;
        known::admits(issuer, stem.top, self.circumstances)?;
        for (at, below) in stem.all().enumerate() {
            let is_leaf = at == 0;
            if is_leaf || !is_self_issued(below) {
                names::allow(issuer, (below, is_leaf), &mut self.comparisons)
                    .map_err(|rule| rules::broken(issuer, rule))?;
            }
        }
        Ok(())
    }

    fn issued(
        &mut self,
        issuer: &X509Certificate<'_>,
        certificate: &X509Certificate<'_>,
    ) -> Result<bool, CertificateRefusal> {
        if certificate.issuer().as_raw() != issuer.subject().as_raw() {
            return Ok(false);
        }
        self.signatures = self.signatures.checked_sub(1).ok_or(CertificateRefusal::TooTangled)?;
        Ok(signature::is_signed_by(certificate, issuer))
    }

    /// Why the walk ended at `top`: an issuer whose name fits and whose key does not is told apart from a missing one.
    fn no_issuer(&self, top: &X509Certificate<'_>) -> CertificateRefusal {
        let issuer = top.issuer().as_raw();
        let anchors = self.anchors.iter().map(|anchor| &anchor.certificate);
        let others = self.issuers.iter().map(|(certificate, _)| *certificate);
        let others = others.filter(|certificate| !is_same(certificate, top));
        if anchors.chain(others).any(|certificate| certificate.subject().as_raw() == issuer) {
            return rules::broken(top, BrokenRule::Signature);
        }
        CertificateRefusal::MissingIssuer {
            subject: top.subject().to_string(),
            issuer: top.issuer().to_string(),
            key_id: rules::authority_key_id(top),
            gone: None,
        }
    }
}

fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject().as_raw() == certificate.issuer().as_raw()
}
