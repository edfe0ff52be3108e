//! Signatures of requests.
//!
//! What is signed names the time, the instance and the URL beside the body, and each instance has a key of its own. So a
//! webhook can refuse a request that was recorded and sent again, one that was meant for another webhook, and one that
//! another instance signed.

use aws_lc_rs::hmac;
use model::{IdScope, SymmetricKey, Timestamp};

/// The header that carries the signature.
pub const SIGNATURE_HEADER: &str = "x-muster-signature-v2";

/// The header of the old form, which is sent beside the other for as long as a key for it is configured.
pub const OLD_SIGNATURE_HEADER: &str = "x-muster-signature";

/// Returns `t=SECONDS,scope=ID-SCOPE,v2=HEX`: an HMAC-SHA256 over `v2`, the time in seconds since 1970, the ID scope, the
/// webhook's URL as the enrollment has it, and the body, with a line feed between each two. None but the body can hold a
/// line feed, so no two requests have the same signed text.
pub fn signature(key: &SymmetricKey, at: Timestamp, (scope, url): (&IdScope, &str), body: &[u8]) -> String {
    let seconds = at.unix_seconds();
    let digest = hmac_hex(key, [format!("v2\n{seconds}\n{scope}\n{url}\n").as_bytes(), body]);
    format!("t={seconds},scope={scope},v2={digest}")
}

/// Returns the old form, `t=SECONDS,v1=HEX`: an HMAC-SHA256 over the time, a dot and the body, by one key of all instances.
pub fn old_signature(key: &SymmetricKey, at: Timestamp, body: &[u8]) -> String {
    let seconds = at.unix_seconds();
    let digest = hmac_hex(key, [format!("{seconds}.").as_bytes(), body]);
    format!("t={seconds},v1={digest}")
}

fn hmac_hex(key: &SymmetricKey, parts: [&[u8]; 2]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()));
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values are Python's, such as `hmac.new(b"k" * 32, b'1700000000.{"a":1}', "sha256").hexdigest()`.
    #[test]
    fn signatures_equal_those_of_another_program() {
        let key = SymmetricKey::from_bytes(&[b'k'; 32]).unwrap();
        let at = Timestamp::from_unix_seconds(1_700_000_000);
        assert_eq!(
            old_signature(&key, at, br#"{"a":1}"#),
            "t=1700000000,v1=6935b796c0fec66e5dee52c86c7fd1218a424c32f1adb239ff2893c31e54f033"
        );
        let meant_for = (&IdScope::parse("0neA").unwrap(), "https://web.hook/choose?code=x");
        assert_eq!(
            signature(&key, at, meant_for, br#"{"a":1}"#),
            "t=1700000000,scope=0neA,v2=f2b8b71bb845bd073ea922bfba991192b44d06dff55ddaef158e2ca83e8627a5"
        );
    }
}
