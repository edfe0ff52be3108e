//! DER where it is read by hand: strictly, because what can be spelled in two ways can be changed unnoticed.

pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const SEQUENCE: u8 = 0x30;

/// The content of the element that `der` begins with, if it has this tag, and what follows it. Its length must be
/// written in as few bytes as possible (X.690 §10.1), of which a certificate never needs more than two, and a revocation list
/// three.
pub(super) fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match *der.strip_prefix(&[tag])? {
        [length @ 0..=0x7F, ref rest @ ..] => (usize::from(length), rest),
        [0x81, length @ 0x80..=0xFF, ref rest @ ..] => (usize::from(length), rest),
        [0x82, high @ 1..=0xFF, low, ref rest @ ..] => (usize::from(u16::from_be_bytes([high, low])), rest),
        [0x83, high @ 1..=0xFF, middle, low, ref rest @ ..] => {
            (u32::from_be_bytes([0, high, middle, low]) as usize, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// A bit string's bytes, when no bits are left over.
pub(super) fn bits(content: &[u8]) -> Option<&[u8]> {
    content.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bytes)| bytes)
}
