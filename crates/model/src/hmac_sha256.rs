//! HMAC-SHA256 of one message under many keys.
//!
//! A device with a key derived from a group's does not name its group, so its token is compared with the keys of all groups, and a
//! token that no key made costs the most. A MAC is a chain of SHA-256 compressions, each of which depends on the one before. Here
//! each step is computed for all keys before the next, so that the processor works on several at once, and the state after the
//! key is cached. That takes a third of the time of one MAC after the other. Neither time nor memory access depends on keys or
//! messages, except for the length of a message.

use sha2::block_api::compress256;

/// The state of SHA-256 between two blocks.
type State = [u32; 8];
type Block = [u8; BLOCK_BYTES];

/// A MAC of HMAC-SHA256.
pub(crate) type Tag = [u8; 32];

/// The longest key that is not hashed first (FIPS 198-1 §4), which is that of the longest symmetric key.
pub(crate) const BLOCK_BYTES: usize = 64;

/// The keyed state of HMAC: the inner and the outer hash after a key of at most one block.
#[derive(Clone)]
pub(crate) struct MacKey {
    inner: State,
    outer: State,
}

impl MacKey {
    /// Computes the state of a key. Only the first block of a longer key counts.
    pub(crate) fn new(key: &[u8]) -> Self {
        let behind = |pad: u8| {
            let mut block = [pad; BLOCK_BYTES];
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            let mut state = INITIAL;
            compress256(&mut state, &[block]);
            state
        };
        MacKey { inner: behind(0x36), outer: behind(0x5C) }
    }
}

/// A message that follows a key, padded to whole blocks (FIPS 180-4 §5.1.1).
pub(crate) struct Message(Vec<Block>);

impl Message {
    pub(crate) fn new(text: &[u8]) -> Self {
        let bits = u64::try_from((BLOCK_BYTES + text.len()) * 8).unwrap_or(u64::MAX);
        let length = (text.len() + 1 + size_of::<u64>()).next_multiple_of(BLOCK_BYTES);
        let mut padded = text.to_vec();
        padded.push(0x80);
        padded.resize(length - size_of::<u64>(), 0);
        padded.extend(bits.to_be_bytes());
        Message(padded.as_chunks().0.to_vec())
    }
}

/// Returns the MAC of the message under each key.
pub(crate) fn macs<'k>(keys: impl Iterator<Item = &'k MacKey> + Clone, message: &Message) -> Vec<Tag> {
    let mut inner: Vec<State> = keys.clone().map(|key| key.inner).collect();
    for block in &message.0 {
        inner.iter_mut().for_each(|state| compress256(state, std::slice::from_ref(block)));
    }
    let outer = keys.zip(inner).map(|(key, inner)| {
        let mut state = key.outer;
        compress256(&mut state, &[closing(inner)]);
        bytes(state)
    });
    outer.collect()
}

/// The last block of the outer hash.
fn closing(inner: State) -> Block {
    const BITS: u16 = (BLOCK_BYTES as u16 + 32) * 8;
    let mut block = [0; BLOCK_BYTES];
    block[..32].copy_from_slice(&bytes(inner));
    block[32] = 0x80;
    block[BLOCK_BYTES - 2..].copy_from_slice(&BITS.to_be_bytes());
    block
}

fn bytes(state: State) -> Tag {
    let mut bytes = [0; 32];
    bytes.as_chunks_mut().0.iter_mut().zip(state).for_each(|(part, word)| *part = word.to_be_bytes());
    bytes
}

/// FIPS 180-4 §5.3.3.
const INITIAL: State =
    [0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19];

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Keys of every length that symmetric keys have, messages of every length around the ends of blocks.
        #[test]
        fn are_those_of_another_implementation(
            keys in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..=64), 0..5),
            text in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let put_in: Vec<_> = keys.iter().map(|key| MacKey::new(key)).collect();
            let expected = keys.iter().map(|key| {
                let key = hmac::Key::new(hmac::HMAC_SHA256, key);
                <[u8; 32]>::try_from(hmac::sign(&key, &text).as_ref()).unwrap()
            });
            let expected: Vec<_> = expected.collect();
            prop_assert_eq!(macs(put_in.iter(), &Message::new(&text)), expected);
        }
    }
}
