//! How many refused calls are recorded.

use std::collections::HashMap;

use model::IdScope;
use service_api::AuditEntry;

/// The instances whose whole budget strangers may use in one minute: all of them together have no more.
const INSTANCES_OF_STRANGERS: u32 = 10;

/// The caller of a refused call, as far as it was proven.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Caller {
    /// One whose credential was not accepted, by the instance that it called.
    Stranger(Option<IdScope>),
    /// An operator, by the instance that it called.
    Operator(Option<IdScope>, String),
}

/// The refusals that are recorded in a minute. Callers have budgets of their own, so that strangers cannot hide what was
/// refused to an operator, and what happens at one instance hides nothing of another one. There are at most as many budgets as
/// instances and operators.
#[derive(Debug)]
pub struct RefusalBudget {
    per_minute: u32,
    minute: i64,
    /// Refusals of this minute that were recorded.
    counts: HashMap<Caller, u32>,
    /// Those of strangers among them.
    of_strangers: u32,
}

impl RefusalBudget {
    /// Creates the budgets: this many refusals per minute and caller.
    pub fn new(per_minute: u32) -> RefusalBudget {
        RefusalBudget { per_minute, minute: 0, counts: HashMap::new(), of_strangers: 0 }
    }

    /// Returns whether a refusal is recorded, and counts it.
    pub fn admit(&mut self, entry: &AuditEntry<'_>) -> bool {
        let minute = entry.at.unix_seconds().div_euclid(60);
        if minute != self.minute {
            *self = RefusalBudget { minute, ..RefusalBudget::new(self.per_minute) };
        }
        let instance = entry.instance.cloned();
        let (caller, is_stranger) = match entry.actor {
            Some(actor) => (Caller::Operator(instance, actor.to_string()), false),
            None => (Caller::Stranger(instance), true),
        };
        if is_stranger && self.of_strangers >= self.per_minute.saturating_mul(INSTANCES_OF_STRANGERS) {
            return false;
        }
        let count = self.counts.entry(caller).or_default();
        let is_admitted = *count < self.per_minute;
        *count += u32::from(is_admitted);
        self.of_strangers += u32::from(is_admitted && is_stranger);
        is_admitted
    }
}
