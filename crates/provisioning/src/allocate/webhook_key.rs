//! Derives the key that signs the requests to an instance's webhooks.

use aws_lc_rs::hmac;
use model::{Instance, SymmetricKey};

use crate::Error;

/// Separates this use of the instance's operation key from others.
const PURPOSE: &str = "muster webhook signature v2";

/// Returns the configured key of an instance's webhook signatures, or one derived from the instance's operation key. No two
/// instances have the same, so that the webhook of one cannot forge requests of another.
pub fn webhook_key(instance: &Instance) -> Result<SymmetricKey, Error> {
    if let Some(key) = &instance.webhook_key {
        return Ok(key.clone());
    }
    let secret = hmac::Key::new(hmac::HMAC_SHA256, instance.operation_key.as_bytes());
    let derived = hmac::sign(&secret, format!("{PURPOSE}/{}", instance.id_scope.key()).as_bytes());
    SymmetricKey::from_bytes(derived.as_ref()).map_err(|error| Error::Broken(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enroll::samples;

    #[test]
    fn no_two_instances_have_the_same_key() {
        let one = samples::instance("0neA");
        let other = Instance { id_scope: model::IdScope::parse("0neOther").unwrap(), ..one.clone() };
        let derived = webhook_key(&one).unwrap();
        assert_eq!(derived, webhook_key(&one).unwrap(), "a restart changes nothing");
        assert_ne!(derived, webhook_key(&other).unwrap());
        assert_ne!(derived, one.operation_key);
        let configured = Instance { webhook_key: Some(samples::key(7)), ..one };
        assert_eq!(webhook_key(&configured).unwrap(), samples::key(7));
    }
}
