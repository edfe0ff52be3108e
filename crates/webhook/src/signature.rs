//! Signatures of requests: `t=SECONDS,v1=HEX`, an HMAC-SHA256 over the time, a dot and the body. The time is signed
//! along so that a webhook can refuse a request that was recorded and sent again.

use aws_lc_rs::hmac;
use model::{SymmetricKey, Timestamp};

/// The header that carries it.
pub const HEADER: &str = "x-muster-signature";

/// The signature of a body at this time, in seconds since 1970.
pub fn signature(key: &SymmetricKey, at: Timestamp, body: &[u8]) -> String {
    let seconds = at.unix_seconds();
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{seconds}.").as_bytes());
    context.update(body);
    let hex: String = context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value is Python's: `hmac.new(b"k" * 32, b'1700000000.{"a":1}', "sha256").hexdigest()`.
    #[test]
    fn is_what_another_program_computes() {
        let key = SymmetricKey::from_bytes(&[b'k'; 32]).unwrap();
        let at = Timestamp::from_unix_seconds(1_700_000_000);
        assert_eq!(
            signature(&key, at, br#"{"a":1}"#),
            "t=1700000000,v1=6935b796c0fec66e5dee52c86c7fd1218a424c32f1adb239ff2893c31e54f033"
        );
    }
}
