//! How many answers devices got, of each kind, since the start.

use std::sync::atomic::{AtomicU64, Ordering};

use net::Transport;

use crate::call::Reply;

/// What a device was told in answer to a register or a poll call, or to a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Where it belongs.
    Assigned,
    /// To ask again: its assignment is under way.
    Assigning,
    /// That its enrollment is disabled.
    Disabled,
    /// That its assignment failed.
    Failed,
    /// To open a challenge in its TPM first.
    Challenged,
    /// That it is not let in: 401.
    Unauthorized,
    /// That the request is wrong: any other 4xx.
    Invalid,
    /// That the service is too busy: 429.
    Throttled,
    /// That the service is broken: 5xx.
    Broken,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Outcome; 9] = [
        Outcome::Assigned,
        Outcome::Assigning,
        Outcome::Disabled,
        Outcome::Failed,
        Outcome::Challenged,
        Outcome::Unauthorized,
        Outcome::Invalid,
        Outcome::Throttled,
        Outcome::Broken,
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Assigned => "assigned",
            Outcome::Assigning => "assigning",
            Outcome::Disabled => "disabled",
            Outcome::Failed => "failed",
            Outcome::Challenged => "challenged",
            Outcome::Unauthorized => "unauthorized",
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

    /// Of a refusal with this status, or its counterpart.
    pub(crate) fn of_refusal(status: u16) -> Outcome {
        match status {
            401 => Outcome::Unauthorized,
            429 => Outcome::Throttled,
            500.. => Outcome::Broken,
            _ => Outcome::Invalid,
        }
    }
}

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Tally([[AtomicU64; Outcome::ALL.len()]; Transport::ALL.len()]);

impl Tally {
    pub(crate) fn count(&self, transport: Transport, outcome: Outcome) {
        self.0[transport as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counted(&self, transport: Transport, outcome: Outcome) -> u64 {
        self.0[transport as usize][outcome as usize].load(Ordering::Relaxed)
    }
}
