//! Authorization: the host name selects the instance, and a shared access signature by a key of one of its access policies
//! proves the right.

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

/// The proof that a caller has the right for a route on one instance. Only [`grant`] creates it.
#[derive(Debug)]
pub(crate) struct Granted {
    instance: Arc<Instance>,
    policy: PolicyName,
    actor: Actor,
}

impl Granted {
    /// Returns the instance.
    pub(crate) fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Returns the caller for the change log.
    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Returns the access policy whose key signed the token.
    pub(crate) fn policy(&self) -> &PolicyName {
        &self.policy
    }
}

/// Finds the instance of a request by its host name.
pub(crate) async fn instance(api: &ServiceApi, head: &Parts) -> Result<Arc<Instance>, Failure> {
    let host = host(head)?;
    let found = api.provisioning.instance_by_host(&host).await?;
    found.ok_or_else(|| Failure::Host(format!("no service instance has the host name {host}")))
}

/// Returns the host name of a request, in lower case and without a port. In HTTP/1.1 it is in the header, unless the target
/// is absolute (RFC 9112 §3.2.2).
fn host(head: &Parts) -> Result<HostName, Failure> {
    let header = || head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let text = head.uri.host().or_else(header).unwrap_or("");
    HostName::parse(without_port(text)).map_err(|error| Failure::Host(format!("the host header: {error}")))
}

/// Verifies the token of a request, and that its access policy has a right for the route.
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
    let actor = Actor::Operator { policy: policy.clone(), address: address(&head.extensions) };
    Ok(Granted { instance, policy, actor })
}

/// Returns the address of the peer, if the listener added it to the request as axum's listeners do.
pub(crate) fn address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get().map(|ConnectInfo(address): &ConnectInfo<SocketAddr>| address.ip())
}

/// Returns the access policy whose key signed the token. The error is for the log; the caller learns only that the token
/// was refused.
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
