//! A readable notation for bytes in tests.

use bytes::BytesMut;

/// Parses hexadecimal bytes separated by spaces; text in quotes stands for itself.
pub(crate) fn bytes(text: &str) -> BytesMut {
    let mut bytes = BytesMut::new();
    for (index, part) in text.split('"').enumerate() {
        if index % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        for byte in part.split_whitespace() {
            bytes.extend_from_slice(&[u8::from_str_radix(byte, 16).unwrap()]);
        }
    }
    bytes
}
