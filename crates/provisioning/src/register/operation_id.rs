//! Operation IDs that prove themselves: `5.{run}.{mac}`.
//!
//! The hosted service's have the form `5.316aac5bdc130deb.b1e02da8-c3a0-4ff2-a121-7ea7a6b7f550`, and so do ours: the
//! middle part is the etag of the record that the run began with, random and never used twice; the last is a MAC over
//! that and the registration under the instance's own key. So an ID that was ever given out is known again without being
//! stored, after a restart and for as long as the registration exists, and any other is not.

use aws_lc_rs::hmac;
use model::{Etag, Instance, OperationId, RegistrationId};

use crate::Error;

/// The ID of the run that begins with the record of this etag.
pub(super) fn issue(
    instance: &Instance,
    registration_id: &RegistrationId,
    etag: &Etag,
) -> Result<OperationId, Error> {
    let mac = mac(instance, registration_id, etag.as_str());
    OperationId::parse(format!("5.{etag}.{}", as_guid(mac.as_ref())))
        .map_err(|error| Error::Broken(error.to_string()))
}

/// Whether the instance issued this ID for this registration.
pub(super) fn is_issued(instance: &Instance, registration_id: &RegistrationId, id: &OperationId) -> bool {
    let mut parts = id.as_str().splitn(3, '.');
    let (Some("5"), Some(run), Some(guid)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let expected = as_guid(mac(instance, registration_id, run).as_ref());
    aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_bytes(), guid.as_bytes()).is_ok()
}

fn mac(instance: &Instance, registration_id: &RegistrationId, run: &str) -> hmac::Tag {
    let key = hmac::Key::new(hmac::HMAC_SHA256, instance.operation_key.as_bytes());
    hmac::sign(&key, format!("{}/{}/{run}", instance.id_scope.key(), registration_id.key()).as_bytes())
}

/// The first 16 bytes in the shape of a GUID.
fn as_guid(mac: &[u8]) -> String {
    let hex = format!("{:032x}", mac.first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes)));
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}
