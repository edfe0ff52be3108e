//! Authorization: the host name selects an instance or the management API, and a credential proves who the operator is.
//!
//! A credential is a bearer token ([`crate::bearer`]) or a shared access signature. That is one by a key of an access policy: of the instance, or of the management API, which is one of all
//! instances. A resource in the path is looked for only after that, and an operator without any right on it does not learn
//! whether it exists.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::extract::ConnectInfo;
use http::{Extensions, header, request::Parts};
use model::{
    AccessPolicy, Actor, Audience, Extent, FilteredApi, HostName, IdScope, Identity, Instance, ResourceKey,
    Right, Rights, Role, without_port,
};
use percent_encoding::percent_decode_str;
use provisioning::resource::HostRules;
use wire::sas;

use crate::{
    BearerTokens, ServiceApi,
    error::Failure,
    route::{Route, is_management_path},
};

/// An operator whose credential was verified: who it is, and what it may do to which instances. Every kind of credential
/// becomes one.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    /// The operator for the change log.
    pub(crate) actor: Actor,
    /// The identity for the log: the access policy whose key signed the token, or the subject of a bearer token.
    pub(crate) name: Identity,
    /// What it may do. Grants add up.
    pub(crate) grants: Vec<RightsGrant>,
}

/// Rights on one instance or on all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RightsGrant {
    /// The instances.
    pub(crate) on: GrantScope,
    /// The rights.
    pub(crate) rights: Rights,
    /// The role that they come from; access policies have none.
    pub(crate) role: Option<Role>,
}

/// The instances that a grant is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantScope {
    /// All instances, also those that do not exist yet.
    All,
    /// One instance.
    Instance(IdScope),
}

impl Operator {
    /// Whether it has any of these rights on all instances, also on those that do not exist yet.
    pub(crate) fn has_everywhere(&self, rights: &[Right]) -> bool {
        self.grants.iter().any(|grant| grant.on == GrantScope::All && has_any(grant.rights, rights))
    }

    /// Whether it has any of these rights on an instance.
    pub(crate) fn has_on(&self, instance: &IdScope, rights: &[Right]) -> bool {
        has_any(self.rights_on(instance), rights)
    }

    /// Whether it has any of these rights on any instance.
    pub(crate) fn has_anywhere(&self, rights: &[Right]) -> bool {
        self.grants.iter().any(|grant| has_any(grant.rights, rights))
    }

    /// Returns the rights on an instance.
    pub(crate) fn rights_on(&self, instance: &IdScope) -> Rights {
        let grants = self.grants.iter().filter(|grant| grant.on.includes(instance));
        grants.fold(Rights::default(), |rights, grant| rights.union(grant.rights))
    }

    /// Returns the highest role on an instance, or on any.
    pub(crate) fn highest_role(&self, instance: Option<&IdScope>) -> Option<Role> {
        let counts = |grant: &&RightsGrant| instance.is_none_or(|instance| grant.on.includes(instance));
        self.grants.iter().filter(counts).filter_map(|grant| grant.role).max()
    }
}

impl RightsGrant {
    /// Grants the rights of a role.
    pub(crate) fn of_role(role: Role, on: GrantScope) -> RightsGrant {
        RightsGrant { on, rights: role.rights(), role: Some(role) }
    }
}

impl GrantScope {
    pub(crate) fn includes(&self, instance: &IdScope) -> bool {
        match self {
            GrantScope::All => true,
            GrantScope::Instance(scope) => scope == instance,
        }
    }
}

fn has_any(rights: Rights, wanted: &[Right]) -> bool {
    wanted.iter().any(|right| rights.grants(*right))
}

/// The management API: what it is called by, and who may do everything.
#[derive(Debug, Clone, Default)]
pub struct Management {
    /// Its own host name. Its routes are also at the hosts of instances, and without this name at every host that is of no
    /// instance: otherwise there would be none to call before the first instance exists, or once the last one is deleted.
    pub host: Option<HostName>,
    /// The domain of the host names of new instances, which are `NAME.DOMAIN`.
    pub domain: Option<String>,
    /// The access policies whose keys grant every right on all instances.
    pub policies: Vec<AccessPolicy>,
}

impl Management {
    /// Returns the host names that operators may give to instances.
    pub(crate) fn host_rules(&self) -> HostRules<'_> {
        HostRules { domain: self.domain.as_deref(), reserved: self.host.as_ref() }
    }
}

/// Who may call beside the keys of instances. A reload replaces it; a request is judged by what it found at its begin.
#[derive(Default)]
pub struct OperatorAccess {
    /// The management API.
    pub management: Management,
    /// The verifier of bearer tokens; `None` if no provider is configured: only access policies count then.
    pub bearer: Option<Arc<BearerTokens>>,
}

impl OperatorAccess {
    /// Whether the management API is at every host that is of no instance: it has no host name, and credentials of its own.
    fn is_managed_at_any_host(&self) -> bool {
        let has_credentials = !self.management.policies.is_empty() || self.bearer.is_some();
        self.management.host.is_none() && has_credentials
    }
}

/// What a host name selects.
#[derive(Debug, Clone)]
pub(crate) enum CalledHost {
    /// The management API of all instances, by this host name.
    Management(HostName),
    /// One instance.
    Instance(Arc<Instance>),
}

/// The proof that an operator has the right for a route: on one instance, or where the handler compares it with each instance,
/// on any. Only [`grant`] and [`grant_anywhere`] create it.
#[derive(Debug)]
pub(crate) struct Granted<S = Arc<Instance>> {
    subject: S,
    operator: Operator,
}

impl<S> Granted<S> {
    /// Returns what the right is for.
    pub(crate) fn subject(&self) -> &S {
        &self.subject
    }

    /// Returns the caller.
    pub(crate) fn operator(&self) -> &Operator {
        &self.operator
    }
}

/// Finds what the host name of a request selects.
pub(crate) async fn called_host(api: &ServiceApi, head: &Parts) -> Result<CalledHost, Failure> {
    let host = host(head)?;
    if api.access.management.host.as_ref() == Some(&host) {
        return Ok(CalledHost::Management(host));
    }
    match api.provisioning.instance_by_host(&host).await? {
        Some(instance) => Ok(CalledHost::Instance(instance)),
        None if api.access.is_managed_at_any_host() && is_management_path(head.uri.path()) => {
            Ok(CalledHost::Management(host))
        }
        None => Err(Failure::Host(format!("no service instance has the host name {host}"))),
    }
}

/// Fails if the instance that a resource path names does not admit the address of the caller. Who may change the rules is admitted
/// from everywhere, as in Azure, and can undo rules that reject everyone.
pub(crate) fn reject_address_at_resource(
    api: &ServiceApi,
    (instance, operator): (&Instance, &Operator),
    head: &Parts,
) -> Result<(), Failure> {
    match operator.has_on(&instance.id_scope, &[Right::InstanceWrite]) {
        true => Ok(()),
        false => reject_address(api, instance, head),
    }
}

/// Fails if the instance does not admit the address of the caller.
pub(crate) fn reject_address(api: &ServiceApi, instance: &Instance, head: &Parts) -> Result<(), Failure> {
    // An unknown address counts as one that only rules for all addresses are for.
    let address = address(&head.extensions).unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    match instance.address_refusal(address, FilteredApi::Service) {
        None => Ok(()),
        Some(refusal) => {
            api.tally.count_refused_address(&instance.id_scope);
            Err(Failure::Address(refusal))
        }
    }
}

/// Finds the instance that a request is for: the resource in its path, or else that of its host name.
pub(crate) async fn instance(
    api: &ServiceApi,
    called_host: &CalledHost,
    operator: &Operator,
    resource: Option<&ResourceKey>,
) -> Result<Arc<Instance>, Failure> {
    match (resource, called_host) {
        (None, CalledHost::Instance(instance)) => Ok(Arc::clone(instance)),
        (None, CalledHost::Management(_)) => Err(Failure::Host(
            "this host name is that of the management API; call this route at the host name of an instance"
                .into(),
        )),
        (Some(key), _) => {
            visible(api, operator, key).await?.ok_or_else(|| Failure::NoResource(key.name.clone()))
        }
    }
}

/// Finds a resource on which an operator has any right.
pub(crate) async fn visible(
    api: &ServiceApi,
    operator: &Operator,
    key: &ResourceKey,
) -> Result<Option<Arc<Instance>>, Failure> {
    let found = api.provisioning.resource(key).await?;
    Ok(found.filter(|instance| operator.rights_on(&instance.id_scope) != Rights::default()))
}

/// Returns the host name of a request, in lower case and without a port. In HTTP/1.1 it is in the header, unless the target
/// is absolute (RFC 9112 §3.2.2).
fn host(head: &Parts) -> Result<HostName, Failure> {
    let header = || head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let text = head.uri.host().or_else(header).unwrap_or("");
    HostName::parse(without_port(text)).map_err(|error| Failure::Host(format!("the host header: {error}")))
}

/// Verifies that an operator has a right for the route on an instance.
pub(crate) fn grant(operator: Operator, instance: Arc<Instance>, route: &Route) -> Result<Granted, Failure> {
    match operator.has_on(&instance.id_scope, route.rights) {
        true => Ok(Granted { subject: instance, operator }),
        false => Err(Failure::Forbidden(operator.name)),
    }
}

/// Verifies that an operator has a right for the route on any instance. The handler compares it with each instance.
pub(crate) fn grant_anywhere(
    operator: Operator,
    called_host: CalledHost,
    route: &Route,
) -> Result<Granted<CalledHost>, Failure> {
    match operator.has_anywhere(route.rights) {
        true => Ok(Granted { subject: called_host, operator }),
        false => Err(Failure::Forbidden(operator.name)),
    }
}

/// Returns the address of the peer, if the listener added it to the request as axum's listeners do.
pub(crate) fn address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get().map(|ConnectInfo(address): &ConnectInfo<SocketAddr>| address.ip())
}

/// Verifies the credential in the header `Authorization`: a bearer token, if tokens are accepted, or a shared access signature.
pub(crate) async fn authenticate(
    api: &ServiceApi,
    called_host: &CalledHost,
    head: &Parts,
) -> Result<Operator, Failure> {
    let credential = head.headers.get(header::AUTHORIZATION).ok_or("no authorization header");
    let text = credential.and_then(|it| it.to_str().map_err(|_| "the authorization header is not ASCII"));
    let text = text.map_err(|reason| Failure::Unauthorized(reason.to_owned()))?;
    let (name, grants) = match (&api.access.bearer, bearer_token(text)) {
        (Some(tokens), Some(token)) => {
            let verified = tokens.verify(token, api.clock.now()).await?;
            (verified.identity.clone(), verified.grants.clone())
        }
        _ => {
            let (policy, on) = policy_of(api, called_host, text, head).map_err(Failure::Unauthorized)?;
            let grant = RightsGrant { on, rights: policy.rights, role: None };
            let name = policy.name.clone();
            let identity = match &grant.on {
                GrantScope::Instance(_) => Identity::Policy(name),
                GrantScope::All => Identity::ManagementPolicy(name),
            };
            (identity, vec![grant])
        }
    };
    let actor = Actor::Operator { identity: name.clone(), address: address(&head.extensions) };
    Ok(Operator { actor, name, grants })
}

/// Returns the token of the scheme `Bearer`, whose name is written in any case (RFC 9110 §11.1).
fn bearer_token(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

/// Returns the access policy whose key signed a shared access token, and the instances that it is for. The error is for the
/// log; the caller learns only that the token was refused.
fn policy_of<'a>(
    api: &'a ServiceApi,
    called_host: &'a CalledHost,
    token: &str,
    head: &Parts,
) -> Result<(&'a AccessPolicy, GrantScope), String> {
    let claim = sas::parse(token).map_err(|error| error.to_string())?;
    let path = percent_decode_str(head.uri.path()).decode_utf8_lossy();
    let hosts = match called_host {
        CalledHost::Management(host) => std::slice::from_ref(host),
        CalledHost::Instance(instance) => &instance.service_hosts,
    };
    let names = hosts.iter().map(HostName::as_str).collect();
    let audience = Audience { names, path: &path, extent: Extent::Within };
    let claim = claim.check(&audience, api.clock.now()).map_err(|refusal| refusal.to_string())?;
    if let CalledHost::Instance(instance) = called_host
        && let Ok(policy) = claim.policy(&instance.access_policies)
    {
        return Ok((policy, GrantScope::Instance(instance.id_scope.clone())));
    }
    let policy = claim.policy(&api.access.management.policies).map_err(|refusal| refusal.to_string())?;
    Ok((policy, GrantScope::All))
}
