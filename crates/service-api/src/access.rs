//! Who may call: the instance comes from the host name, the right from a shared access signature of one of its
//! policies.

use std::sync::Arc;

use http::{header, request::Parts};
use model::{AccessPolicy, HostName, Instance, PolicyName, Timestamp};
use percent_encoding::percent_decode_str;
use wire::sas::SasToken;

use crate::{ServiceApi, error::Failure, route::Route};

/// Proof that a caller may do what a route does, on one instance. Made by [`grant`] only.
#[derive(Debug)]
pub(crate) struct Granted {
    instance: Arc<Instance>,
    policy: PolicyName,
}

impl Granted {
    /// The instance that the caller may act on.
    pub(crate) fn instance(&self) -> &Instance {
        &self.instance
    }

    /// The access policy whose key the caller holds.
    pub(crate) fn policy(&self) -> &PolicyName {
        &self.policy
    }
}

/// The instance that a request is for.
pub(crate) async fn instance(api: &ServiceApi, head: &Parts) -> Result<Arc<Instance>, Failure> {
    let host = host(head)?;
    let found = api.provisioning.instance_by_host(&host).await?;
    found.ok_or_else(|| Failure::Host(format!("no service instance has the host name {host}")))
}

/// The host name of a request, in lower case and without a port. HTTP/1.1 puts it into the header; in an absolute
/// target it takes precedence (RFC 9112, 3.2.2).
fn host(head: &Parts) -> Result<HostName, Failure> {
    let header = || head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let text = head.uri.host().or_else(header).unwrap_or("");
    HostName::parse(without_port(text)).map_err(|error| Failure::Host(format!("the host header: {error}")))
}

/// Grants a route to the bearer of a token.
pub(crate) fn grant(
    instance: Arc<Instance>,
    head: &Parts,
    route: &Route,
    now: Timestamp,
) -> Result<Granted, Failure> {
    let policy = authenticate(&instance, head, now).map_err(Failure::Unauthorized)?;
    if !route.rights.iter().any(|right| policy.rights.grants(*right)) {
        return Err(Failure::Forbidden(policy.name.clone()));
    }
    let policy = policy.name.clone();
    Ok(Granted { instance, policy })
}

/// The policy whose key signed the request's token. An error is for the log: the caller learns no more than that the
/// token was refused.
fn authenticate<'a>(
    instance: &'a Instance,
    head: &Parts,
    now: Timestamp,
) -> Result<&'a AccessPolicy, String> {
    let header = head.headers.get(header::AUTHORIZATION).ok_or("no authorization header")?;
    let text = header.to_str().map_err(|_| "the authorization header is not ASCII")?;
    let token = SasToken::parse(text).map_err(|error| error.to_string())?;
    let name = token.key_name().ok_or("the token names no policy")?;
    let policy = instance.access_policy(name).ok_or_else(|| format!("there is no policy {name:?}"))?;
    // Both keys are tried whatever the first says, so that the time taken does not tell which one it was.
    let signed = [&policy.primary_key, &policy.secondary_key].map(|key| token.verify(key.as_bytes()));
    if !signed.contains(&true) {
        return Err(format!("the signature is not by a key of policy {name:?}"));
    }
    if token.is_expired(now.unix_seconds()) {
        return Err(format!("the token expired at {}", token.expiry()));
    }
    let audience = token.decoded_resource();
    if !covers(&audience, &instance.service_hosts, head.uri.path()) {
        return Err(format!("the token is for {audience:?}"));
    }
    Ok(policy)
}

/// Whether a token's resource covers a path: one of the hosts, and perhaps the path's first segments. Clients write a
/// scheme, a port, or neither.
fn covers(audience: &str, hosts: &[HostName], path: &str) -> bool {
    let audience = audience.to_ascii_lowercase();
    let rest = audience.split_once("://").map_or(audience.as_str(), |(_, rest)| rest);
    let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if !hosts.iter().any(|ours| ours.as_str() == without_port(host)) {
        return false;
    }
    let path = percent_decode_str(path).decode_utf8_lossy().to_ascii_lowercase();
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    prefix.split('/').filter(|segment| !segment.is_empty()).all(|wanted| segments.next() == Some(wanted))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hosts() -> Vec<HostName> {
        ["one.example", "localhost"].map(|host| HostName::parse(host).unwrap()).into()
    }

    #[test]
    fn audiences() {
        let cases = [
            ("one.example", true),
            ("ONE.example", true),
            ("one.example:8443", true),
            ("localhost", true),
            ("https://one.example", true),
            ("http://127.0.0.1:18080", false),
            ("https://one.example:443/", true),
            ("one.example/enrollments", true),
            ("one.example/Enrollments/A:1", true),
            ("one.example/enrollments/a", false),
            ("one.example/enroll", false),
            ("one.example/registrations", false),
            ("one.example/enrollments/a:1/attestationmechanism/x", false),
            ("two.example", false),
            ("one.example.evil.test", false),
            ("evil.test/one.example", false),
            ("", false),
        ];
        for (audience, covered) in cases {
            assert_eq!(covers(audience, &hosts(), "/enrollments/a%3A1"), covered, "{audience}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(audience in "\\PC{0,60}", path in "\\PC{0,60}") {
            let _ = covers(&audience, &hosts(), &path);
        }
    }
}
