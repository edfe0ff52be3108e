//! Makes versions and dates of records, and keys.

use aws_lc_rs::hmac;
use model::{Etag, Instance, Record, SymmetricKey, Timestamp};
use serde::Serialize;

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
    etag_of(bytes)
}

/// Returns the version of a part of an instance: a MAC of all its members, so that it need not be stored and reveals nothing of keys.
/// `label` tells apart the kinds of parts.
pub(crate) fn keyed_etag(instance: &Instance, label: &str, part: &impl Serialize) -> Result<Etag, Error> {
    let text = serde_json::to_vec(part).map_err(|error| Error::Broken(error.to_string()))?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, instance.operation_key.as_bytes());
    let tag = hmac::sign(&key, &[label.as_bytes(), b"/", text.as_slice()].concat());
    etag_of(tag.as_ref().first_chunk().copied().unwrap_or_default())
}

fn etag_of(bytes: [u8; 8]) -> Result<Etag, Error> {
    Etag::parse(format!("{:016x}", u64::from_be_bytes(bytes)))
        .map_err(|error| Error::Broken(error.to_string()))
}

/// Returns a new symmetric key of the greatest length.
pub(crate) fn fresh_key(entropy: &dyn Entropy) -> Result<SymmetricKey, Error> {
    fresh_key_of::<{ SymmetricKey::MAX_BYTES }>(entropy)
}

/// Returns a new symmetric key of this length, in bytes.
pub(crate) fn fresh_key_of<const LENGTH: usize>(entropy: &dyn Entropy) -> Result<SymmetricKey, Error> {
    let mut bytes = [0; LENGTH];
    entropy.fill(&mut bytes);
    SymmetricKey::from_bytes(&bytes).map_err(|error| Error::Broken(error.to_string()))
}
