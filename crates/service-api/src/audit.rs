//! The log lines of a call: who called what from where, and the outcome.

use std::net::IpAddr;

use axum::body::Body;
use http::{Method, Request, Uri};
use model::{IdScope, Identity, PolicyName, Role, Subject, Timestamp};
use tracing::field::display;

use crate::{
    ServiceApi,
    access::{self, Operator},
    error::Failure,
    request,
    route::{self, Route},
};

/// The target of the log lines about changes. `audit=info` in a log filter keeps them, whatever else it drops.
pub const AUDIT: &str = "audit";

/// Records operators' calls beside the log. Must not wait.
pub trait AuditSink: Send + Sync {
    /// Records a call.
    fn record(&self, entry: &AuditEntry<'_>);
}

/// A call that changed something, read keys, failed at that, or was refused. It has no secrets: neither bodies nor queries.
#[derive(Debug, Clone)]
pub struct AuditEntry<'a> {
    /// When it ended.
    pub at: Timestamp,
    /// The instance, if the host name named one.
    pub instance: Option<&'a IdScope>,
    /// The operator, if the credential was accepted.
    pub actor: Option<&'a Identity>,
    /// The operator's highest role on the instance; access policies have none.
    pub role: Option<Role>,
    /// The address of the caller, if known.
    pub address: Option<IpAddr>,
    /// The name of the operation, if the path has one.
    pub operation: Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// The outcome.
    pub outcome: AuditOutcome<'a>,
}

/// The outcome of a call.
#[derive(Debug, Clone, Copy)]
pub enum AuditOutcome<'a> {
    /// It was done.
    Done,
    /// It was refused: the credential, the right, or the condition.
    Refused(AuditFailure<'a>),
    /// The caller had the right, but the call failed. It may have changed something before that.
    Failed(AuditFailure<'a>),
}

/// Why a call was not done.
#[derive(Debug, Clone, Copy)]
pub struct AuditFailure<'a> {
    /// The error code.
    pub code: u32,
    /// The reason, which may quote the caller.
    pub reason: &'a str,
    /// The ID that the caller got.
    pub tracking_id: &'a str,
}

/// Records nothing.
pub(crate) struct NoSink;

impl AuditSink for NoSink {
    fn record(&self, _: &AuditEntry<'_>) {}
}

/// Whether a code is one of a refusal: no credential or right, or a condition that is not met.
fn is_refusal(code: u32) -> bool {
    [401, 403, 412].contains(&(code / 1000))
}

/// The facts about a call for the log. They are added as they become known, so that a refusal names those that were known.
pub(crate) struct CallRecord {
    method: Method,
    uri: Uri,
    from: Option<IpAddr>,
    scope: Option<IdScope>,
    operator: Option<Identity>,
    role: Option<Role>,
    operation: Option<&'static str>,
    is_audited: bool,
}

impl CallRecord {
    /// Creates the record of a request.
    pub(crate) fn new(request: &Request<Body>) -> Self {
        CallRecord {
            method: request.method().clone(),
            uri: request.uri().clone(),
            from: access::address(request.extensions()),
            scope: None,
            operator: None,
            role: None,
            operation: None,
            is_audited: false,
        }
    }

    /// Whether the call is one of the management API, which has its own form of errors.
    pub(crate) fn is_management(&self) -> bool {
        route::is_management_path(self.uri.path())
    }

    /// Returns the query parameter `api-version`.
    pub(crate) fn version(&self) -> Option<String> {
        request::parameter(&self.uri, request::API_VERSION)
    }

    /// Adds the instance.
    pub(crate) fn note_instance(&mut self, scope: &IdScope) {
        self.scope = Some(scope.clone());
    }

    /// Sets the instance that the path names, if it names one that exists.
    pub(crate) fn note_target(&mut self, scope: Option<&IdScope>) {
        self.scope = scope.cloned();
    }

    /// Adds the operation.
    pub(crate) fn note_route(&mut self, route: &Route) {
        self.operation = Some(route.name);
    }

    fn entry<'a>(&'a self, at: Timestamp, outcome: AuditOutcome<'a>) -> AuditEntry<'a> {
        AuditEntry {
            at,
            instance: self.scope.as_ref(),
            actor: self.operator.as_ref(),
            role: self.role,
            address: self.from,
            operation: self.operation,
            method: self.method.as_str(),
            path: self.uri.path(),
            outcome,
        }
    }

    /// Adds the operator, and its role on the instance, if the call is for one.
    pub(crate) fn note_operator(&mut self, operator: &Operator) {
        self.operator = Some(operator.name.clone());
        self.role = operator.highest_role(self.scope.as_ref());
    }

    /// Notes that the caller has the right. From then on every outcome of an audited route is recorded.
    pub(crate) fn note_grant(&mut self, route: &Route) {
        self.is_audited = route.is_audited();
    }

    /// Writes the audit line of a successful call, if the route has one.
    pub(crate) fn log_success(&self, api: &ServiceApi) {
        if !self.is_audited {
            return;
        }
        api.audit.record(&self.entry(api.clock.now(), AuditOutcome::Done));
        let (scope, role) = (self.scope.as_ref().map(display), self.role.map(display));
        let (policy, subject) = (self.policy().map(display), self.subject().map(display));
        let (from, method, path) = (self.from.map(display), &self.method, self.uri.path());
        tracing::info!(target: AUDIT, { instance.id_scope = scope, policy, subject, role, peer.addr = from, %method, path }, "service call done");
    }

    /// Writes the line of a call that was refused or failed.
    pub(crate) fn log_failure(&self, api: &ServiceApi, failure: &Failure, (code, tracking_id): (u32, &str)) {
        let is_refused = is_refusal(code);
        if is_refused || self.is_audited {
            let reason = failure.to_string();
            let failure = AuditFailure { code, reason: &reason, tracking_id };
            let outcome =
                if is_refused { AuditOutcome::Refused(failure) } else { AuditOutcome::Failed(failure) };
            api.audit.record(&self.entry(api.clock.now(), outcome));
        }
        let (scope, role) = (self.scope.as_ref().map(display), self.role.map(display));
        let (policy, subject) = (self.policy().map(display), self.subject().map(display));
        let (from, method, path) = (self.from.map(display), &self.method, self.uri.path());
        if code >= 500_000 {
            tracing::error!(tracking_id, code, peer.addr = from, instance.id_scope = scope, policy, subject, role, %method, path, reason = %failure, "service call failed");
        } else {
            tracing::info!(tracking_id, code, peer.addr = from, instance.id_scope = scope, policy, subject, role, %method, path, reason = %failure, "service call refused");
        }
    }

    fn policy(&self) -> Option<&PolicyName> {
        match self.operator.as_ref()? {
            Identity::Policy(policy) | Identity::ManagementPolicy(policy) => Some(policy),
            Identity::Subject(_) => None,
        }
    }

    fn subject(&self) -> Option<&Subject> {
        match self.operator.as_ref()? {
            Identity::Policy(_) | Identity::ManagementPolicy(_) => None,
            Identity::Subject(subject) => Some(subject),
        }
    }
}
