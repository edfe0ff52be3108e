//! The `Leases` port: which process does the work that only one may do at a time.
//!
//! A holder renews its lease before it ends, and stops the work when it cannot. The store measures time: a lease comes with the
//! time that is left, never with a date, so that the clocks of processes need not agree. The writes of a holder carry its
//! token ([`Commit::fence`](super::Commit::fence)), because a process that was paused does not know that it lost its lease.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use model::{Job, LeaseToken};

use super::{Entropy, StoreError};

/// Keeps leases for all processes that use the store.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Claims a lease for this time from now on. Its holder renews it so, also after it has ended, unless another holder
    /// claimed it since. Returns `None` while another holder has it.
    async fn claim(
        &self,
        name: &LeaseName,
        holder: &RunnerId,
        time: Duration,
    ) -> Result<Option<Lease>, StoreError>;

    /// Ends a lease: its token is not current from then on. Does nothing if it is not current.
    async fn release(&self, token: LeaseToken) -> Result<(), StoreError>;

    /// Returns the leases whose token is current, in the order of their tokens. A lease that has ended is among them until
    /// another holder claims it.
    async fn leases(&self) -> Result<Vec<Lease>, StoreError>;
}

/// A lease, as the store just had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The work that it is for.
    pub name: LeaseName,
    /// The runner that has it.
    pub holder: RunnerId,
    /// Its fencing token, which no other holder ever gets.
    pub token: LeaseToken,
    /// The time that was left; zero once it has ended.
    pub left: Duration,
}

/// The name of a lease: the work that it is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LeaseName {
    /// The assignment runs of this runner, which holds it until another runner takes them over.
    Runner(RunnerId),
    /// A job that one runner does for all processes.
    Job(Job),
}

impl LeaseName {
    /// Parses the text that [`Display`](fmt::Display) makes of a name; `None` if there is no such name.
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

/// Identifies a runner from its start to its end: 32 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunnerId(Box<str>);

impl RunnerId {
    /// Generates an ID that no other runner has.
    pub fn random(entropy: &dyn Entropy) -> RunnerId {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        RunnerId(format!("{:032x}", u128::from_be_bytes(bytes)).into())
    }

    /// Parses an ID; `None` if it is not 32 hex digits in lower case.
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
