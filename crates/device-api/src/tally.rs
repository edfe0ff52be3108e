//! Counts the answers to devices since the start.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use model::IdScope;
use net::Transport;

use crate::call::Reply;

/// The kind of an answer to a register or poll call, or to a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The device is assigned.
    Assigned,
    /// The operation is in progress; the device polls.
    Assigning,
    /// The enrollment is disabled.
    Disabled,
    /// The assignment failed.
    Failed,
    /// A challenge to the device's TPM.
    Challenged,
    /// 401.
    Unauthorized,
    /// 401: the instance does not admit the address.
    AddressRefused,
    /// Another 4xx: the request is invalid.
    Invalid,
    /// 429: the service is too busy.
    Throttled,
    /// 5xx: the service failed.
    Broken,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Outcome; 10] = [
        Outcome::Assigned,
        Outcome::Assigning,
        Outcome::Disabled,
        Outcome::Failed,
        Outcome::Challenged,
        Outcome::Unauthorized,
        Outcome::AddressRefused,
        Outcome::Invalid,
        Outcome::Throttled,
        Outcome::Broken,
    ];

    /// Returns the name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Assigned => "assigned",
            Outcome::Assigning => "assigning",
            Outcome::Disabled => "disabled",
            Outcome::Failed => "failed",
            Outcome::Challenged => "challenged",
            Outcome::Unauthorized => "unauthorized",
            Outcome::AddressRefused => "address_refused",
            Outcome::Invalid => "invalid",
            Outcome::Throttled => "throttled",
            Outcome::Broken => "broken",
        }
    }

    pub(crate) fn of(reply: &Reply) -> Outcome {
        match reply {
            Reply::Challenge(_) => Outcome::Challenged,
            Reply::Operation(operation) => match operation.status {
                "assigned" => Outcome::Assigned,
                "assigning" => Outcome::Assigning,
                "disabled" => Outcome::Disabled,
                _ => Outcome::Failed,
            },
        }
    }

    /// Returns the outcome of a refusal with this HTTP status, or the status that another transport's refusal stands for.
    pub(crate) fn of_refusal(status: u32) -> Outcome {
        match status {
            401 => Outcome::Unauthorized,
            429 => Outcome::Throttled,
            500.. => Outcome::Broken,
            _ => Outcome::Invalid,
        }
    }
}

/// The counts by instance. Devices may send any ID scope, so only those of existing instances have counts of their own.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Answers in which no instance was found.
    without_instance: Counts,
    by_instance: RwLock<BTreeMap<IdScope, Arc<Counts>>>,
}

/// Counts by transport and outcome.
#[derive(Debug, Default)]
struct Counts([[AtomicU64; Outcome::ALL.len()]; Transport::ALL.len()]);

/// The answers to the devices of one instance.
#[derive(Debug, Clone)]
pub struct Answers {
    /// The instance; `None` for answers to devices that named none, or one that does not exist.
    pub id_scope: Option<IdScope>,
    counts: [[u64; Outcome::ALL.len()]; Transport::ALL.len()],
}

impl Answers {
    /// Returns the number of answers over a transport with an outcome.
    pub fn count(&self, transport: Transport, outcome: Outcome) -> u64 {
        self.counts[transport as usize][outcome as usize]
    }
}

impl Counts {
    fn answers(&self, id_scope: Option<IdScope>) -> Answers {
        let counts = self.0.each_ref().map(|of| of.each_ref().map(|count| count.load(Ordering::Relaxed)));
        Answers { id_scope, counts }
    }
}

impl Tally {
    /// Lets an instance with this ID scope have counts of its own.
    pub(crate) fn note_instance(&self, scope: &IdScope) {
        if self.of(scope).is_none() {
            let mut all = self.by_instance.write().unwrap_or_else(PoisonError::into_inner);
            all.entry(scope.clone()).or_default();
        }
    }

    /// Counts an answer to a device that named this ID scope.
    pub(crate) fn count(&self, scope: Option<&IdScope>, transport: Transport, outcome: Outcome) {
        let own = scope.and_then(|scope| self.of(scope));
        let counts = own.as_deref().unwrap_or(&self.without_instance);
        counts.0[transport as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the counts; first those in which no instance was found.
    pub(crate) fn answers(&self) -> Vec<Answers> {
        let all = self.by_instance.read().unwrap_or_else(PoisonError::into_inner);
        let of_instances = all.iter().map(|(scope, counts)| counts.answers(Some(scope.clone())));
        [self.without_instance.answers(None)].into_iter().chain(of_instances).collect()
    }

    fn of(&self, scope: &IdScope) -> Option<Arc<Counts>> {
        self.by_instance.read().unwrap_or_else(PoisonError::into_inner).get(scope).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_scope_that_is_no_instances_has_no_counts_of_its_own() {
        let (tally, one) = (Tally::default(), IdScope::parse("0ne1").unwrap());
        let transport = Transport::ALL[0];
        tally.note_instance(&one);
        tally.note_instance(&one);
        for number in 0..1000 {
            let made_up = IdScope::parse(format!("0ne{number:08}")).unwrap();
            tally.count(Some(&made_up), transport, Outcome::Unauthorized);
        }
        tally.count(None, transport, Outcome::Unauthorized);
        tally.count(Some(&one), transport, Outcome::Assigned);
        let answers = tally.answers();
        let scopes: Vec<_> = answers.iter().map(|answers| answers.id_scope.clone()).collect();
        assert_eq!(scopes, [None, Some(one)]);
        let counts = answers.iter().map(|answers| {
            [Outcome::Unauthorized, Outcome::Assigned].map(|outcome| answers.count(transport, outcome))
        });
        assert_eq!(counts.collect::<Vec<_>>(), [[1001, 0], [0, 1]]);
    }
}
