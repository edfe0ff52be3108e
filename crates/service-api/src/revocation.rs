//! What a CA revoked, and certificates that are blocked or expire. Not part of the hosted service's API.

use axum::response::Response;
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

use crate::{ServiceApi, access::Granted, certificates::name, error::Failure, reply, request::Call};

/// How far ahead is looked for expiring certificates when the caller does not say, in days.
const DEFAULT_DAYS: u32 = 30;

/// Shows how a CA's revocation lists are looked up.
pub(crate) async fn read(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let ca = api.provisioning.ca_certificate(granted.instance(), &name(call)?).await?;
    let trust = api.provisioning.trust(granted.instance()).await?;
    Ok(reply::ok(&of_ca(api, granted, &trust, &ca)))
}

/// How the revocation lists of a CA are looked up, what is known of them, and what came of fetching them last.
pub(crate) fn of_ca(api: &ServiceApi, granted: &Granted, trust: &Trust, ca: &CaCertificate) -> Value {
    let instance = granted.instance();
    let fetches = api.provisioning.last_fetches(instance, ca).into_iter().map(|fetch| FetchAttempt {
        at: fetch.at,
        next: fetch.next(),
        problem: fetch.problem,
        from: fetch.from,
    });
    let lists = trust.lists_of(ca).map(AsRef::as_ref);
    revocation_json(&ca.revocation, lists, fetches.collect(), (instance.crl_max_age, api.clock.now()))
}

/// Changes how it is looked up, or takes a list in.
pub(crate) async fn put(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let RevocationBody { policy, fetch, fetched_from, list } = parse_revocation(call.body())?;
    let fetching = match (fetch, fetched_from) {
        (Some(false), _) => Some(Fetching::Off),
        (_, Some(addresses)) if addresses.is_empty() => Some(Fetching::Off),
        (_, Some(addresses)) => Some(Fetching::From(addresses)),
        (Some(true), None) => Some(Fetching::OwnPoint),
        (None, None) => None,
    };
    let change = RevocationChange { policy, fetching, list };
    api.provisioning.change_revocation(granted.instance(), granted.actor(), &name(call)?, change).await?;
    read(api, granted, call).await
}

/// Drops a CA's lists, or the one that the parameter `list` names by its ID.
pub(crate) async fn delete(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let (name, id) = (name(call)?, call.parameter("list"));
    api.provisioning
        .delete_revocation_lists(granted.instance(), granted.actor(), &name, id.as_deref())
        .await?;
    Ok(reply::deleted())
}

/// Lists blocked certificates by thumbprint.
pub(crate) async fn blocks(api: &ServiceApi, granted: &Granted) -> Result<Response, Failure> {
    let trust = api.provisioning.trust(granted.instance()).await?;
    let listed = reply::ok(&listing_json(trust.blocks().map(|block| block_json(block)).collect()));
    let damaged = api.provisioning.unreadable(granted.instance(), &[RecordKind::Block]).await?;
    Ok(reply::warned(listed, &damaged))
}

/// Blocks the certificate whose thumbprint is in the path.
pub(crate) async fn block(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let (thumbprint, body) = (thumbprint(call)?, parse_block(call.body())?);
    if body.certificate.as_ref().is_some_and(|certificate| *certificate.thumbprint() != thumbprint) {
        return Err(Failure::Argument("certificate: its thumbprint is not the one in the path".into()));
    }
    let draft = BlockDraft { thumbprint, reason: body.reason, certificate: body.certificate, key: body.key };
    let block = api.provisioning.block(granted.instance(), granted.actor(), &draft).await?;
    Ok(reply::ok(&block_json(&block)))
}

/// Lifts a block.
pub(crate) async fn unblock(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    api.provisioning.unblock(granted.instance(), granted.actor(), &thumbprint(call)?).await?;
    Ok(reply::deleted())
}

/// Lists certificates that expire `within` some days, expired ones included.
pub(crate) async fn expiring(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let now = api.clock.now();
    let days = call.parameter("within").map_or(Ok(DEFAULT_DAYS), |text| days(&text))?;
    let until = now.plus_seconds(i64::from(days) * 86_400);
    let expiring = api.provisioning.expiring(granted.instance(), until).await?;
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

/// `30d` or `30`.
fn days(text: &str) -> Result<u32, Failure> {
    let days = text.trim_end_matches('d').parse().ok().filter(|days| *days <= MAX_DAYS);
    days.ok_or_else(|| {
        Failure::Argument(format!("within must be a number of days such as 30d, not {text:?}"))
    })
}

/// A hundred years.
const MAX_DAYS: u32 = 36_525;
