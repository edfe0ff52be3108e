//! DER, read strictly: bytes that can be spelled in two ways can be changed unnoticed.

/// The tag of an INTEGER.
pub const INTEGER: u8 = 0x02;
/// The tag of a BIT STRING.
pub const BIT_STRING: u8 = 0x03;
/// The tag of an OBJECT IDENTIFIER.
pub const OBJECT_IDENTIFIER: u8 = 0x06;
/// The tag of a SEQUENCE.
pub const SEQUENCE: u8 = 0x30;

/// Reads the element that `der` begins with, if it has this tag: its content, and what follows it. Its length must be
/// written in as few bytes as possible (X.690 §10.1), at most two for a certificate and three for a revocation list.
pub fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
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

/// Reads the element that `der` begins with, with its tag and length: the whole of it, and what follows it.
pub fn whole_element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, rest) = element(tag, der)?;
    der.split_at_checked(der.len() - rest.len())
}

/// Returns a bit string's bytes, when no bits are left over.
pub fn bits(content: &[u8]) -> Option<&[u8]> {
    content.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bytes)| bytes)
}

/// Writes an element, with its length in as few bytes as possible.
pub fn write(tag: u8, content: &[u8]) -> Vec<u8> {
    let [low, ..] = content.len().to_le_bytes();
    let mut element = vec![tag];
    if content.len() > 0x7F {
        let length = content.len().to_be_bytes();
        let zeros = length.iter().take_while(|byte| **byte == 0).count();
        let [digits, ..] = (length.len() - zeros).to_le_bytes();
        element.push(0x80 | digits);
        element.extend(length.iter().skip(zeros));
    } else {
        element.push(low);
    }
    element.extend(content);
    element
}

/// Reads an INTEGER that is positive and written in as few bytes as possible: its bytes without zeros in front, and what
/// follows it.
pub(crate) fn positive_integer(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (content, rest) = element(INTEGER, der)?;
    let magnitude = match content {
        [0, 0x80..=0xFF, ..] => content.get(1..)?,
        [1..=0x7F, ..] => content,
        _ => return None,
    };
    Some((magnitude, rest))
}

/// Writes a positive INTEGER from bytes that may have zeros in front.
pub(crate) fn write_positive_integer(magnitude: &[u8]) -> Vec<u8> {
    let zeros = magnitude.iter().take_while(|byte| **byte == 0).count();
    let digits = magnitude.get(zeros..).unwrap_or_default();
    let sign: &[u8] = if digits.first().is_none_or(|byte| *byte >= 0x80) { &[0] } else { &[] };
    write(INTEGER, &[sign, digits].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At every step from one form of length to the next.
    #[test]
    fn what_is_written_reads_back_and_nothing_less() {
        for length in [0, 1, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF, 0x1_0000] {
            let content = vec![7; length];
            let der = write(SEQUENCE, &content);
            let followed = [&der[..], &[1, 2]].concat();
            assert_eq!(element(SEQUENCE, &followed), Some((&content[..], &[1, 2][..])), "{length}");
            assert_eq!(whole_element(SEQUENCE, &followed), Some((&der[..], &[1, 2][..])), "{length}");
            assert_eq!(element(INTEGER, &followed), None, "{length}");
            assert_eq!(element(SEQUENCE, &der[..der.len() - 1]), None, "{length}");
        }
    }

    #[test]
    fn longer_forms_of_a_length_are_rejected() {
        let forms: [&[u8]; 5] =
            [&[0x81, 0x7F], &[0x82, 0, 0xFF], &[0x83, 0, 0xFF, 0xFF], &[0x80], &[0x84, 1, 0, 0, 0]];
        for form in forms {
            let der = [&[SEQUENCE], form, &[0; 0x1_0000]].concat();
            assert_eq!(element(SEQUENCE, &der), None, "{form:02X?}");
        }
    }

    #[test]
    fn integers_are_positive_and_have_one_form() {
        let cases: [(&[u8], Option<&[u8]>); 7] = [
            (&[2, 1, 1], Some(&[1])),
            (&[2, 1, 0x7F], Some(&[0x7F])),
            (&[2, 2, 0, 0x80], Some(&[0x80])),
            (&[2, 2, 0, 0x7F], None),
            (&[2, 1, 0x80], None),
            (&[2, 1, 0], None),
            (&[2, 0], None),
        ];
        for (der, expected) in cases {
            assert_eq!(positive_integer(der), expected.map(|magnitude| (magnitude, &[][..])), "{der:02X?}");
        }
        for magnitude in [&[1][..], &[0x7F], &[0x80], &[1, 0], &[0xFF; 66]] {
            let der = write_positive_integer(&[&[0, 0], magnitude].concat());
            assert_eq!(positive_integer(&der), Some((magnitude, &[][..])), "{magnitude:02X?}");
        }
    }
}
