//! The encodings of certificates, revocation lists and keys in files and bodies: standard ones, and those that tools
//! write.
//!
//! ```
//! use testkit::{ca::Authority, documents::forms};
//!
//! let root = Authority::root("Root");
//! for (form, document) in forms("CERTIFICATE", root.identity().der()) {
//!     assert_eq!(model::Certificate::parse_all(&document).unwrap(), [root.certificate()], "{form}");
//! }
//! ```

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::ca::{Authority, pem};

/// The text that `openssl x509 -text` writes before a certificate, with a character that is not UTF-8.
const TEXT: &[u8] = b"Certificate:\n    Data:\n        Issuer: O = Caf\xE9, CN = Root -- made by hand\n";
const EC_PARAMETERS: &str = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Returns an object in every encoding, each with the name of the encoding; `label` is the object's label in PEM.
pub fn forms(label: &str, der: &[u8]) -> Vec<(String, Vec<u8>)> {
    let standard = pem(label, der);
    let base64 = STANDARD.encode(der);
    let section =
        |body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n").into_bytes();
    let mut forms = vec![
        ("PEM", standard.clone().into_bytes()),
        ("line ends of Windows", standard.replace('\n', "\r\n").into_bytes()),
        ("a byte order mark", [BYTE_ORDER_MARK, standard.as_bytes()].concat()),
        ("no line feed at the end", standard.trim_end().as_bytes().to_vec()),
        ("one long line", section(&base64)),
        ("lines of 76", section(&wrapped(&base64, 76))),
        ("spaces after the lines", standard.replace('\n', " \n").into_bytes()),
        ("text before and after", [TEXT, standard.as_bytes(), TEXT].concat()),
        ("EC parameters before", [EC_PARAMETERS, &standard].concat().into_bytes()),
        ("objects of other kinds around", with_other_objects(label, &standard).into_bytes()),
        ("DER", der.to_vec()),
        ("base64 of DER", base64.clone().into_bytes()),
        ("base64 of DER in lines", format!("{}\r\n", wrapped(&base64, 76)).into_bytes()),
        ("base64 of DER after a byte order mark", [BYTE_ORDER_MARK, base64.as_bytes()].concat()),
        ("base64 of PEM", STANDARD.encode(&standard).into_bytes()),
    ];
    if label == "CERTIFICATE" {
        let trusted = [der, &[0x30, 0]].concat();
        forms.push(("an old label", pem("X509 CERTIFICATE", der).into_bytes()));
        forms.push(("a trusted certificate", pem("TRUSTED CERTIFICATE", &trusted).into_bytes()));
    }
    if label == "PRIVATE KEY" {
        forms.push(("the label of another form", pem("EC PRIVATE KEY", der).into_bytes()));
    }
    forms.into_iter().map(|(name, form)| (name.to_owned(), form)).collect()
}

/// Returns an object in PEM between objects of other kinds.
fn with_other_objects(label: &str, object: &str) -> String {
    let other = Authority::root("Other");
    let key = if label == "PRIVATE KEY" { other.identity().pem() } else { other.identity().key_pem() };
    let request = pem("CERTIFICATE REQUEST", &[0x30, 0]);
    [key.as_str(), &request, object, &key].concat()
}

fn wrapped(text: &str, width: usize) -> String {
    let lines: Vec<&str> =
        (0..text.len()).step_by(width).map(|at| &text[at..text.len().min(at + width)]).collect();
    lines.join("\n")
}
