//! Who may call: the instance comes from the host name, the right from a shared access signature of one of its
//! policies.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::extract::ConnectInfo;
use http::{Extensions, header, request::Parts};
use model::{AccessPolicy, Actor, Audience, Extent, HostName, Instance, PolicyName, Timestamp, without_port};
use percent_encoding::percent_decode_str;
use wire::sas;

use crate::{ServiceApi, error::Failure, route::Route};

/// Proof that a caller may do what a route does, on one instance. Made by [`grant`] only.
#[derive(Debug)]
pub(crate) struct Granted {
    instance: Arc<Instance>,
    policy: PolicyName,
    actor: Actor,
}

impl Granted {
    /// The instance that the caller may act on.
    pub(crate) fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Who the change log says made a change.
    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
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
    let address = address(&head.extensions);
    let actor = Actor::Operator { policy: policy.clone(), address };
    Ok(Granted { instance, policy, actor })
}

/// Where a request came from, if its listener noted the peer's address as axum's listeners do.
pub(crate) fn address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get().map(|ConnectInfo(address): &ConnectInfo<SocketAddr>| address.ip())
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
    let claim = sas::parse(text).map_err(|error| error.to_string())?;
    let names = instance.service_hosts.iter().map(HostName::as_str).collect();
    let path = percent_decode_str(head.uri.path()).decode_utf8_lossy();
    let audience = Audience { names, path: &path, extent: Extent::Within };
    let claim = claim.check(&audience, now).map_err(|refusal| refusal.to_string())?;
    claim.policy(&instance.access_policies).map_err(|refusal| refusal.to_string())
}
