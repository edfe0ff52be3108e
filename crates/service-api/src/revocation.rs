//! Revocation lists, blocked certificates, and expiring certificates. Not part of the hosted service's API.

use certpath::Sha256Thumbprint;
use model::{CaCertificate, Trust};
use provisioning::{
    RecordKind,
    trust::{BlockDraft, Fetching, Holder, RevocationChange},
};
use serde_json::Value;
use wire::service::{
    FetchAttempt, RevocationBody, block_json, expiring_json, listing_json, parse_block, parse_revocation,
    revocation_json,
};

use crate::{certificates::name, error::Failure, reply, request::Call, route::Answer};

/// The default of the parameter `within`, in days.
const DEFAULT_DAYS: u32 = 30;

/// The maximum of the parameter `within`, in days: a hundred years.
const MAX_DAYS: u32 = 36_525;

/// Returns the revocation settings and lists of a CA.
pub(crate) async fn read(call: &Call) -> Answer {
    let ca = call.verbs().ca_certificate(call.instance(), &name(call)?).await?;
    let trust = call.verbs().trust(call.instance()).await?;
    Ok(reply::ok(&settings_json(call, &trust, &ca)))
}

/// Writes the revocation settings of a CA, its lists, and the last fetches.
pub(crate) fn settings_json(call: &Call, trust: &Trust, ca: &CaCertificate) -> Value {
    let instance = call.instance();
    let fetches = call.verbs().last_fetches(instance, ca).into_iter().map(|fetch| FetchAttempt {
        at: fetch.at,
        next: fetch.next(),
        problem: fetch.problem,
        from: fetch.from,
    });
    let lists = trust.lists_of(ca).map(AsRef::as_ref);
    revocation_json(&ca.revocation, lists, fetches.collect(), (instance.crl_max_age, call.now()))
}

/// Changes the revocation settings of a CA, or stores a list.
pub(crate) async fn put(call: &Call) -> Answer {
    let RevocationBody { policy, fetch, fetched_from, list } = parse_revocation(call.body())?;
    let fetching = match (fetch, fetched_from) {
        (Some(false), _) => Some(Fetching::Off),
        (_, Some(addresses)) if addresses.is_empty() => Some(Fetching::Off),
        (_, Some(addresses)) => Some(Fetching::From(addresses)),
        (Some(true), None) => Some(Fetching::OwnPoint),
        (None, None) => None,
    };
    let change = RevocationChange { policy, fetching, list };
    call.verbs().change_revocation(call.instance(), call.actor(), &name(call)?, change).await?;
    read(call).await
}

/// Deletes the revocation lists of a CA, or the one whose ID is in the parameter `list`.
pub(crate) async fn delete(call: &Call) -> Answer {
    let (name, id) = (name(call)?, call.parameter("list"));
    call.verbs().delete_revocation_lists(call.instance(), call.actor(), &name, id.as_deref()).await?;
    Ok(reply::no_content())
}

/// Lists blocked certificates by thumbprint.
pub(crate) async fn blocks(call: &Call) -> Answer {
    let trust = call.verbs().trust(call.instance()).await?;
    let listed = reply::ok(&listing_json(trust.blocks().map(|block| block_json(block)).collect()));
    let damaged = call.verbs().unreadable(call.instance(), &[RecordKind::Block]).await?;
    Ok(reply::warned(listed, &damaged))
}

/// Blocks the certificate with the thumbprint in the path.
pub(crate) async fn block(call: &Call) -> Answer {
    let (thumbprint, body) = (thumbprint(call)?, parse_block(call.body())?);
    if body.certificate.as_ref().is_some_and(|certificate| *certificate.thumbprint() != thumbprint) {
        return Err(Failure::Argument("certificate: its thumbprint is not the one in the path".into()));
    }
    let draft = BlockDraft { thumbprint, reason: body.reason, certificate: body.certificate, key: body.key };
    let block = call.verbs().block(call.instance(), call.actor(), &draft).await?;
    Ok(reply::ok(&block_json(&block)))
}

/// Lifts a block.
pub(crate) async fn unblock(call: &Call) -> Answer {
    call.verbs().unblock(call.instance(), call.actor(), &thumbprint(call)?).await?;
    Ok(reply::no_content())
}

/// Lists the certificates that have expired, or will expire `within` a number of days.
pub(crate) async fn expiring(call: &Call) -> Answer {
    let now = call.now();
    let days = call.parsed("within", "a number of days such as 30d", days)?.unwrap_or(DEFAULT_DAYS);
    let until = now.plus_seconds(i64::from(days) * 86_400);
    let expiring = call.verbs().expiring(call.instance(), until).await?;
    let items = expiring.certificates.iter().map(|it| {
        let holder = match &it.holder {
            Holder::Ca(name) => ("caCertificate", name.as_str()),
            Holder::Group(id) => ("enrollmentGroup", id.as_str()),
            Holder::Individual(id) => ("enrollment", id.as_str()),
        };
        expiring_json(holder, &it.certificate, now)
    });
    let mut json = listing_json(items.collect());
    json["more"] = expiring.more.into();
    Ok(reply::warned(reply::ok(&json), &expiring.damaged))
}

fn thumbprint(call: &Call) -> Result<Sha256Thumbprint, Failure> {
    let parsed = Sha256Thumbprint::parse(call.raw_id());
    parsed.map_err(|error| Failure::Argument(format!("the path: {error}")))
}

/// Parses a number of days: `30d` or `30`.
fn days(text: &str) -> Option<u32> {
    text.trim_end_matches('d').parse().ok().filter(|days| *days <= MAX_DAYS)
}
