//! What operators are warned of: certificates that expire soon, and revocation lists that are missing or stale.

use std::sync::Arc;

use certpath::CrlMaxAge;
use model::{CaCertificate, CaReference, Instance, RevocationPolicy, Timestamp, Trust};

use super::ExpiringCertificates;
use crate::{Error, Provisioning};

/// How long before its end a certificate is reported, in seconds.
const EXPIRES_SOON_SECS: i64 = 30 * 86_400;

/// What is wrong with the trust of an instance, or soon will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustReport {
    /// The certificates that have expired or expire within 30 days.
    pub expiring: ExpiringCertificates,
    /// The CAs with a stale revocation list, or without a list that they should have.
    pub without_fresh_list: Vec<CaReference>,
}

impl Provisioning {
    /// Reports on the trust of an instance.
    pub async fn trust_report(&self, instance: &Instance) -> Result<TrustReport, Error> {
        let now = self.clock.now();
        let expiring = self.expiring(instance, now.plus_seconds(EXPIRES_SOON_SECS)).await?;
        let trust = self.trust(instance).await?;
        Ok(TrustReport {
            expiring,
            without_fresh_list: without_fresh_list(&trust, instance.crl_max_age, now),
        })
    }
}

/// Returns the CAs with a stale list, or without one although lists are fetched or the policy demands one.
fn without_fresh_list(trust: &Trust, max_age: CrlMaxAge, now: Timestamp) -> Vec<CaReference> {
    let lacks_list = |ca: &&Arc<CaCertificate>| {
        let needs_list =
            !ca.revocation.fetched_from.is_empty() || ca.revocation.policy == RevocationPolicy::Hard;
        let mut lists = trust.lists_of(ca).peekable();
        (needs_list && lists.peek().is_none()) || lists.any(|list| list.crl.is_stale(max_age, now.into()))
    };
    trust.certificates().filter(lacks_list).map(|ca| ca.name.clone()).collect()
}
