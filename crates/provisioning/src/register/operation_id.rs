//! Issues and verifies operation IDs, which need no storage: `5.{run}.{mac}`.
//!
//! The form is that of the hosted service, `5.316aac5bdc130deb.b1e02da8-c3a0-4ff2-a121-7ea7a6b7f550`. The middle part is the
//! etag of the registration when the run began, random and never used twice; the last part is a MAC of it and the registration
//! under the instance's operation key. So an issued ID is valid after a restart and for as long as the registration exists.

use aws_lc_rs::hmac;
use model::{Etag, Instance, OperationId, RegistrationId};

use crate::Error;

/// Returns the ID of the run that begins with this etag of the registration.
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

/// Returns the first 16 bytes in the form of a GUID.
fn as_guid(mac: &[u8]) -> String {
    let hex = format!("{:032x}", mac.first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes)));
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}
