//! The log lines of a call: who called what from where, and the outcome.

use std::net::IpAddr;

use axum::body::Body;
use http::{Method, Request};
use model::{IdScope, PolicyName};
use tracing::field::display;

use crate::{
    access::{self, Granted},
    error::Failure,
    route::Route,
};

/// The target of the log lines about changes. `audit=info` in a log filter keeps them, whatever else it drops.
pub const AUDIT: &str = "audit";

/// The facts about a call for the log. They are added as they become known, so that a refusal names those that were known.
pub(crate) struct CallRecord {
    method: Method,
    path: String,
    from: Option<IpAddr>,
    scope: Option<IdScope>,
    policy: Option<PolicyName>,
    is_audited: bool,
}

impl CallRecord {
    /// Creates the record of a request.
    pub(crate) fn new(request: &Request<Body>) -> Self {
        CallRecord {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            from: access::address(request.extensions()),
            scope: None,
            policy: None,
            is_audited: false,
        }
    }

    /// Adds the instance.
    pub(crate) fn note_instance(&mut self, scope: &IdScope) {
        self.scope = Some(scope.clone());
    }

    /// Adds the access policy, and whether the route belongs into the audit log.
    pub(crate) fn note_grant(&mut self, granted: &Granted, route: &Route) {
        self.policy = Some(granted.operator().name.clone());
        self.is_audited = route.is_audited();
    }

    /// Writes the audit line of a successful call, if the route has one.
    pub(crate) fn log_success(&self) {
        if !self.is_audited {
            return;
        }
        let scope = self.scope.as_ref().map(display);
        let policy = self.policy.as_ref().map(display);
        let (from, method, path) = (self.from.map(display), &self.method, self.path.as_str());
        tracing::info!(target: AUDIT, { instance.id_scope = scope, policy, peer.addr = from, %method, path }, "service call done");
    }

    /// Writes the line of a call that was refused or failed.
    pub(crate) fn log_failure(&self, failure: &Failure, code: u32, tracking_id: &str) {
        let scope = self.scope.as_ref().map(display);
        let policy = self.policy.as_ref().map(display);
        let (from, method, path) = (self.from.map(display), &self.method, self.path.as_str());
        if code >= 500_000 {
            tracing::error!(tracking_id, code, peer.addr = from, instance.id_scope = scope, policy, %method, path, reason = %failure, "service call failed");
        } else {
            tracing::info!(tracking_id, code, peer.addr = from, instance.id_scope = scope, policy, %method, path, reason = %failure, "service call refused");
        }
    }
}
