//! Certification paths (RFC 5280): which certificates lead from a leaf to a trust anchor, and which revocation lists and
//! blocks refuse them.
//!
//! [`PresentedChain`] parses what a peer sent. [`Leaf`] is the proof that the leaf meets the rules for leaves, and
//! [`nearest_path`] finds the path from it to the nearest [`Anchor`]. [`verify()`] does all of that for fixed anchors. Stored CA
//! certificates, revocation lists and blocks come in through the trait [`Authorities`]. Parsers of what these work on are
//! here too: DER ([`der`]), PEM ([`encoding`]), distinguished names, and revocation lists ([`Crl`]).
//!
//! There is no IO here, no clock, and nothing of the service that uses it. Where the rules are more lenient than the RFC is in
//! `docs/certificate-rules.md`.

mod authorities;
mod certificate_parts;
mod chain;
mod crl;
mod crl_parts;
mod crl_scope;
pub mod der;
mod distinguished_name;
mod distribution_point;
pub mod encoding;
mod error;
mod faults;
mod graph;
mod leaf;
mod names;
mod path;
mod pss;
mod refusals;
mod revocation;
mod rules;
mod signature;
mod thumbprint;
mod time;
mod verify;

pub use authorities::{Authorities, Authority, NoAuthorities, issuers_of};
pub use certificate_parts::{CertificateParts, KeyHash, PartRanges, TbsHash};
pub use chain::PresentedChain;
pub use crl::{Crl, CrlError, Revoked};
pub use crl_parts::{CrlMaxAge, CrlMaxAgeError, RevocationReason};
pub use crl_scope::{CoveredCertificates, CrlScope, CrlSubject, Reasons};
pub use distinguished_name::{
    CommonName, NameKey, NameParts, common_name, is_same_name, mail_addresses, name_text,
};
pub use distribution_point::{DistributionPoint, PointNames};
pub use error::{MissingIssuer, PathError};
pub use faults::{faults_of_anchor, faults_of_leaf};
pub use leaf::Leaf;
pub use names::{LeafName, leaf_name};
pub use path::{Anchor, Candidates, Circumstances, Found, Path, Start, nearest_path};
pub use revocation::{ListGap, may_sign_lists};
pub use rules::{BrokenRule, Purpose};
pub use signature::{is_list_signed_by, is_signed_by};
pub use thumbprint::{Sha256Thumbprint, ThumbprintError};
pub use time::Time;
pub use verify::{Question, verify};
