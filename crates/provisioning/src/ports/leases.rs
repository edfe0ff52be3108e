//! The `Leases` port: which process does the work that only one may do at a time.
//!
//! A holder renews its lease before it ends, and stops the work when it cannot. Time is the store's: a lease comes with the
//! time that is left, never with a date, so that the clocks of processes need not agree. What a holder writes carries its
//! token ([`Commit::fence`](super::Commit::fence)), because a process that was paused does not know that its lease is gone.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use model::{Job, LeaseToken};

use super::{Entropy, StoreError};

/// Leases, which are held in the store.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Claims a lease for this time. Returns `None` while another holder has it; a holder that has it already renews it.
    async fn claim(
        &self,
        name: &LeaseName,
        holder: &RunnerId,
        time: Duration,
    ) -> Result<Option<Lease>, StoreError>;

    /// Lets a lease last this time from now on, also one that has ended and that no other holder claimed since. Returns
    /// false, and changes nothing, when the token is not current any more.
    async fn renew(&self, token: LeaseToken, time: Duration) -> Result<bool, StoreError>;

    /// Gives a lease back: its token is not current from then on. Does nothing when it is not.
    async fn release(&self, token: LeaseToken) -> Result<(), StoreError>;

    /// Returns the leases whose token is current, in the order of their tokens. Those that ended are among them until
    /// another holder claims them.
    async fn leases(&self) -> Result<Vec<Lease>, StoreError>;
}

/// A lease, as the store had it a moment ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What it is for.
    pub name: LeaseName,
    /// Who has it.
    pub holder: RunnerId,
    /// Its token, which no other holder ever has.
    pub token: LeaseToken,
    /// The time that was left; zero once it has ended.
    pub left: Duration,
}

/// What a lease is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LeaseName {
    /// The existence of a runner; held by itself, or by the one that takes over its work.
    Runner(RunnerId),
    /// A job that one runner does for all.
    Job(Job),
}

impl LeaseName {
    /// Reads the name from the text that [`Display`](fmt::Display) makes of it.
    pub fn parse(text: &str) -> Option<LeaseName> {
        match text.split_once('/')? {
            ("runner", id) => RunnerId::parse(id).map(LeaseName::Runner),
            ("job", name) => Job::from_name(name).map(LeaseName::Job),
            _ => None,
        }
    }
}

impl fmt::Display for LeaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeaseName::Runner(id) => write!(f, "runner/{id}"),
            LeaseName::Job(job) => write!(f, "job/{}", job.name()),
        }
    }
}

/// Names one runner, from its start to its end: 32 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunnerId(Box<str>);

impl RunnerId {
    /// Makes a name that no other runner has.
    pub fn random(entropy: &dyn Entropy) -> RunnerId {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        RunnerId(format!("{:032x}", u128::from_be_bytes(bytes)).into())
    }

    /// Reads the name from its text.
    pub fn parse(text: &str) -> Option<RunnerId> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 32 && text.bytes().all(is_hex)).then(|| RunnerId(text.into()))
    }
}

impl fmt::Display for RunnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_it_was_written() {
        let id = RunnerId::parse("0123456789abcdef0123456789abcdef").unwrap();
        let jobs = Job::ALL.iter().copied().map(LeaseName::Job);
        for name in jobs.chain([LeaseName::Runner(id)]) {
            assert_eq!(LeaseName::parse(&name.to_string()), Some(name));
        }
        for wrong in ["", "runner", "runner/", "runner/0123456789ABCDEF0123456789ABCDEF", "job/", "job/none"]
        {
            assert_eq!(LeaseName::parse(wrong), None, "{wrong:?}");
        }
    }
}
