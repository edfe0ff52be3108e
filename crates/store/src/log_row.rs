//! Entries of the change log as the rows of every engine hold them.

use std::net::IpAddr;

use model::{
    Actor, Attribution, Identity, Job, LogEntry, LogKind, LogOperation, LogPosition, PolicyName,
    RegistrationId, Subject, Timestamp,
};

const OPERATOR: u8 = 0;
const DEVICE: u8 = 1;
const SUBJECT: u8 = 2;
const MANAGEMENT_POLICY: u8 = 3;
const FIRST_JOB: u8 = 16;

/// A tick is 100 ns.
pub(crate) const TICKS_PER_MICRO: i64 = 10;
pub(crate) const TICKS_PER_MILLI: i64 = 1000 * TICKS_PER_MICRO;

/// An attribution as rows hold it.
#[derive(Debug)]
pub(crate) struct Signature {
    /// Milliseconds since 1970.
    pub(crate) millis: i64,
    pub(crate) operation: u8,
    pub(crate) actor: u8,
    name: Option<String>,
    /// Four or sixteen bytes.
    pub(crate) address: Option<Vec<u8>>,
}

impl Signature {
    pub(crate) fn new(by: &Attribution) -> Signature {
        let octets = |address: &IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let (actor, name, address) = match &by.actor {
            Actor::Operator { identity: Identity::Policy(policy), address } => {
                (OPERATOR, Some(policy.to_string()), address.as_ref())
            }
            Actor::Operator { identity: Identity::ManagementPolicy(policy), address } => {
                (MANAGEMENT_POLICY, Some(policy.to_string()), address.as_ref())
            }
            Actor::Operator { identity: Identity::Subject(subject), address } => {
                (SUBJECT, Some(subject.qualified()), address.as_ref())
            }
            Actor::Device { registration_id, address } => {
                (DEVICE, Some(registration_id.key().into_owned()), address.as_ref())
            }
            Actor::System(job) => (FIRST_JOB + job.code(), None, None),
        };
        let millis = by.at.ticks().div_euclid(TICKS_PER_MILLI);
        Signature { millis, operation: by.operation.code(), actor, name, address: address.map(octets) }
    }

    /// Returns the name of the operator or device, unless it is the key of the entry.
    pub(crate) fn name_beside(&self, key: &str) -> Option<&str> {
        self.name.as_deref().filter(|name| self.actor != DEVICE || *name != key)
    }
}

/// A row of the log.
#[derive(Debug)]
pub(crate) struct LogRow {
    /// Milliseconds since 1970.
    pub(crate) millis: i64,
    pub(crate) kind: u8,
    pub(crate) operation: u8,
    pub(crate) key: String,
    pub(crate) version: Option<String>,
    pub(crate) actor: u8,
    /// Of the operator or device; absent if it is the key.
    pub(crate) name: Option<String>,
    /// Four or sixteen bytes.
    pub(crate) address: Option<Vec<u8>>,
}

impl LogRow {
    /// Returns the entry at this position, or why the row cannot be read.
    pub(crate) fn into_entry(self, position: LogPosition) -> Result<LogEntry, String> {
        let LogRow { millis, kind, operation, key, version, actor, name, address } = self;
        let name = name.unwrap_or_else(|| key.clone());
        let address = address.and_then(parse_address);
        let actor = match actor {
            OPERATOR => {
                let policy = PolicyName::parse(name).map_err(|error| error.to_string())?;
                Actor::Operator { identity: Identity::Policy(policy), address }
            }
            MANAGEMENT_POLICY => {
                let policy = PolicyName::parse(name).map_err(|error| error.to_string())?;
                Actor::Operator { identity: Identity::ManagementPolicy(policy), address }
            }
            SUBJECT => {
                let subject = Subject::parse_qualified(&name).map_err(|error| error.to_string())?;
                Actor::Operator { identity: Identity::Subject(subject), address }
            }
            DEVICE => {
                let registration_id = RegistrationId::parse(name).map_err(|error| error.to_string())?;
                Actor::Device { registration_id, address }
            }
            code => Actor::System(coded(code, |code| Job::from_code(code.checked_sub(FIRST_JOB)?))?),
        };
        let at = Timestamp::from_ticks(millis.saturating_mul(TICKS_PER_MILLI));
        let operation = coded(operation, LogOperation::from_code)?;
        let attribution = Attribution { actor, operation, at };
        Ok(LogEntry { position, attribution, kind: coded(kind, LogKind::from_code)?, key, version })
    }
}

fn parse_address(octets: Vec<u8>) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets.as_slice()).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets.as_slice()).map(IpAddr::from)).ok()
}

fn coded<T>(code: u8, from: impl Fn(u8) -> Option<T>) -> Result<T, String> {
    from(code).ok_or_else(|| format!("the change log has the code {code}, which this program does not know"))
}
