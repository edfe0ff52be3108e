//! Verification of one chain against fixed trust anchors.

use crate::{
    Anchor, BrokenRule, CertificateParts, Circumstances, CrlMaxAge, Leaf, NoAuthorities, PathError,
    PresentedChain, Purpose, Start, Time, nearest_path, rules,
};

/// What a chain is verified for, besides where it leads.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// The instant at which it must be valid.
    pub at: Time,
    /// The purpose that its usages must allow, if any.
    pub purpose: Option<Purpose>,
}

/// Returns the DER of the path from the leaf to the nearest anchor, both included. Nothing is blocked or revoked here.
///
/// # Errors
///
/// The rule that the leaf or the nearest path breaks.
pub fn verify(
    chain: &PresentedChain<'_>,
    anchors: &[CertificateParts<'_>],
    question: Question,
) -> Result<Vec<Vec<u8>>, PathError> {
    let authorities = &NoAuthorities;
    let circumstances = Circumstances { now: question.at, authorities, crl_max_age: CrlMaxAge::default() };
    let leaf = Leaf::check(chain.leaf(), circumstances)?;
    let anchors: Vec<_> = anchors.iter().map(|parts| Anchor::for_all(*parts, ())).collect();
    let path = nearest_path(Start::from(leaf), chain.candidates(), &anchors, circumstances).path?;
    if let Some(purpose) = question.purpose {
        for (at, certificate) in path.below_anchor().iter().enumerate() {
            let is_leaf = at == 0;
            if !rules::serves(certificate, purpose) || (is_leaf && !rules::may_sign(certificate)) {
                return Err(PathError::of_rule(certificate, BrokenRule::OtherPurpose(purpose)));
            }
        }
    }
    Ok(path.der())
}
