//! Authorization: the host name selects the instance, and a shared access signature by a key of one of its access policies
//! proves the right.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::extract::ConnectInfo;
use http::{Extensions, header, request::Parts};
use model::{
    AccessPolicy, Actor, Audience, Extent, HostName, IdScope, Instance, PolicyName, Rights, Timestamp,
    without_port,
};
use percent_encoding::percent_decode_str;
use wire::sas;

use crate::{ServiceApi, error::Failure, route::Route};

/// An operator whose credential was verified: who it is, and what it may do to which instances. Every kind of credential
/// becomes one.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    /// The operator for the change log.
    pub(crate) actor: Actor,
    /// The name for the log: of the access policy whose key signed the token.
    pub(crate) name: PolicyName,
    /// What it may do. Grants add up.
    pub(crate) grants: Vec<RightsGrant>,
}

/// Rights on one instance or on all.
#[derive(Debug, Clone)]
pub(crate) struct RightsGrant {
    /// The instances.
    pub(crate) on: GrantScope,
    /// The rights.
    pub(crate) rights: Rights,
}

/// The instances that a grant is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GrantScope {
    /// One instance.
    Instance(IdScope),
}

impl Operator {
    /// Returns the rights on an instance.
    pub(crate) fn rights_on(&self, instance: &IdScope) -> Rights {
        let grants = self.grants.iter().filter(|grant| grant.on.includes(instance));
        grants.fold(Rights::default(), |rights, grant| rights.and(grant.rights))
    }
}

impl GrantScope {
    fn includes(&self, instance: &IdScope) -> bool {
        match self {
            GrantScope::Instance(scope) => scope == instance,
        }
    }
}

/// The proof that an operator has the right for a route on one instance. Only [`grant`] creates it.
#[derive(Debug)]
pub(crate) struct Granted {
    instance: Arc<Instance>,
    operator: Operator,
}

impl Granted {
    /// Returns the instance.
    pub(crate) fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Returns the caller.
    pub(crate) fn operator(&self) -> &Operator {
        &self.operator
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

/// Authenticates the operator, and verifies that it has a right for the route on the instance.
pub(crate) fn grant(
    instance: Arc<Instance>,
    head: &Parts,
    route: &Route,
    now: Timestamp,
) -> Result<Granted, Failure> {
    let operator = authenticate(&instance, head, now).map_err(Failure::Unauthorized)?;
    let rights = operator.rights_on(&instance.id_scope);
    if !route.rights.iter().any(|right| rights.grants(*right)) {
        return Err(Failure::Forbidden(operator.name));
    }
    Ok(Granted { instance, operator })
}

/// Returns the address of the peer, if the listener added it to the request as axum's listeners do.
pub(crate) fn address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get().map(|ConnectInfo(address): &ConnectInfo<SocketAddr>| address.ip())
}

/// Verifies the credential in the header `Authorization`. The error is for the log; the caller learns only that the
/// credential was refused.
fn authenticate(instance: &Instance, head: &Parts, now: Timestamp) -> Result<Operator, String> {
    let header = head.headers.get(header::AUTHORIZATION).ok_or("no authorization header")?;
    let text = header.to_str().map_err(|_| "the authorization header is not ASCII")?;
    let policy = policy_of(instance, text, head.uri.path(), now)?;
    let actor = Actor::Operator { policy: policy.name.clone(), address: address(&head.extensions) };
    let on = GrantScope::Instance(instance.id_scope.clone());
    Ok(Operator { actor, name: policy.name.clone(), grants: vec![RightsGrant { on, rights: policy.rights }] })
}

/// Returns the access policy whose key signed a shared access token.
fn policy_of<'a>(
    instance: &'a Instance,
    token: &str,
    path: &str,
    now: Timestamp,
) -> Result<&'a AccessPolicy, String> {
    let claim = sas::parse(token).map_err(|error| error.to_string())?;
    let names = instance.service_hosts.iter().map(HostName::as_str).collect();
    let path = percent_decode_str(path).decode_utf8_lossy();
    let audience = Audience { names, path: &path, extent: Extent::Within };
    let claim = claim.check(&audience, now).map_err(|refusal| refusal.to_string())?;
    claim.policy(&instance.access_policies).map_err(|refusal| refusal.to_string())
}
