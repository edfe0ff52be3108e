//! Makes version and dates of records.

use model::{Etag, Record, Timestamp};

use crate::{Error, ports::Entropy};

/// Returns version and dates of the record that replaces `stored` at `now`.
pub(crate) fn fresh(entropy: &dyn Entropy, stored: Option<&Record>, now: Timestamp) -> Result<Record, Error> {
    let created = stored.map_or(now, |record| record.created);
    Ok(Record { etag: fresh_etag(entropy)?, created, last_updated: now })
}

/// Returns an etag that no record had before: 64 random bits.
fn fresh_etag(entropy: &dyn Entropy) -> Result<Etag, Error> {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    Etag::parse(format!("{:016x}", u64::from_be_bytes(bytes)))
        .map_err(|error| Error::Broken(error.to_string()))
}
