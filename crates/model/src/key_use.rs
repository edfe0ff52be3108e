//! Which of its enrollment's symmetric keys a device used.

use std::fmt;

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{SymmetricKey, SymmetricKeyPair};

/// One of the two keys of an enrollment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeySlot {
    /// The primary key.
    Primary,
    /// The secondary key.
    Secondary,
}

impl KeySlot {
    /// Both slots, primary first.
    pub const ALL: [KeySlot; 2] = [KeySlot::Primary, KeySlot::Secondary];

    /// Returns the slot with this name, without regard to case.
    pub fn from_name(name: &str) -> Option<KeySlot> {
        Self::ALL.into_iter().find(|slot| slot.name().eq_ignore_ascii_case(name))
    }

    /// Returns its name in JSON and in messages.
    pub fn name(self) -> &'static str {
        match self {
            KeySlot::Primary => "primary",
            KeySlot::Secondary => "secondary",
        }
    }
}

impl fmt::Display for KeySlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One key of an enrollment, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySelection {
    /// One key.
    One(KeySlot),
    /// Both keys.
    Both,
}

impl KeySelection {
    /// Selects the slots for which `is_selected` returns true; `None` if there are none.
    pub fn of(is_selected: impl Fn(KeySlot) -> bool) -> Option<KeySelection> {
        match KeySlot::ALL.map(is_selected) {
            [true, true] => Some(KeySelection::Both),
            [true, false] => Some(KeySelection::One(KeySlot::Primary)),
            [false, true] => Some(KeySelection::One(KeySlot::Secondary)),
            [false, false] => None,
        }
    }

    /// Returns the selected slots, primary first.
    pub fn slots(self) -> impl Iterator<Item = KeySlot> {
        KeySlot::ALL.into_iter().filter(move |slot| match self {
            KeySelection::One(one) => one == *slot,
            KeySelection::Both => true,
        })
    }
}

impl fmt::Display for KeySelection {
    /// Writes it as in "the … of the enrollment".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySelection::One(slot) => write!(f, "{slot} key"),
            KeySelection::Both => f.write_str("primary and secondary keys"),
        }
    }
}

/// The enrollment key that a device used, directly or derived. A digest identifies the key, so that one that was replaced since is not
/// mistaken for its successor in the slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUse {
    /// The slot of the key at that time.
    slot: KeySlot,
    /// 64 bits of its SHA-256: enough to distinguish an enrollment's keys, useless for finding a key.
    digest: String,
}

impl KeyUse {
    /// Records the use of the key in this slot.
    pub fn of(keys: &SymmetricKeyPair, slot: KeySlot) -> KeyUse {
        KeyUse { slot, digest: short_digest(keys.key(slot)) }
    }

    /// Returns the slot that the key was in when it was used.
    pub fn slot(&self) -> KeySlot {
        self.slot
    }

    /// Returns whether the enrollment still has the key; `None` as `keys` for one that was deleted or has no keys any more.
    pub fn standing(&self, keys: Option<&SymmetricKeyPair>) -> KeyStanding {
        let is_same = |slot: &KeySlot| keys.is_some_and(|keys| short_digest(keys.key(*slot)) == self.digest);
        // The slot of the use first: both may hold the same key.
        let slots = [self.slot].into_iter().chain(KeySlot::ALL);
        match slots.into_iter().find(is_same) {
            Some(slot) => KeyStanding::Current(slot),
            None => KeyStanding::Replaced(self.slot),
        }
    }
}

/// Whether an enrollment still has the key that a device used last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStanding {
    /// It does, in this slot.
    Current(KeySlot),
    /// It does not. The key was in this slot when the device used it.
    Replaced(KeySlot),
}

/// Returns the digest of a key. The prefix separates it from other hashes of keys.
fn short_digest(key: &SymmetricKey) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"muster key use\0");
    context.update(key.as_bytes());
    STANDARD_NO_PAD.encode(context.finish().as_ref().get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(primary: u8, secondary: u8) -> SymmetricKeyPair {
        let key = |byte| SymmetricKey::from_bytes(&[byte; 32]).unwrap();
        SymmetricKeyPair { primary: key(primary), secondary: key(secondary) }
    }

    #[test]
    fn a_key_is_found_where_it_is_now() {
        use KeySlot::{Primary, Secondary};
        let used = |slot| KeyUse::of(&keys(1, 2), slot);
        for (slot, now, standing) in [
            (Primary, Some(keys(1, 2)), KeyStanding::Current(Primary)),
            (Secondary, Some(keys(1, 2)), KeyStanding::Current(Secondary)),
            (Primary, Some(keys(3, 2)), KeyStanding::Replaced(Primary)),
            (Secondary, Some(keys(1, 3)), KeyStanding::Replaced(Secondary)),
            (Primary, Some(keys(2, 1)), KeyStanding::Current(Secondary)),
            (Secondary, Some(keys(2, 2)), KeyStanding::Current(Secondary)),
            (Primary, None, KeyStanding::Replaced(Primary)),
        ] {
            assert_eq!(used(slot).standing(now.as_ref()), standing, "{slot} {now:?}");
        }
    }

    #[test]
    fn selections() {
        let select = |primary, secondary| {
            let selection =
                KeySelection::of(|slot| if slot == KeySlot::Primary { primary } else { secondary });
            selection.map(|selection| selection.slots().map(KeySlot::name).collect::<Vec<_>>())
        };
        assert_eq!(select(true, true), Some(vec!["primary", "secondary"]));
        assert_eq!(select(true, false), Some(vec!["primary"]));
        assert_eq!(select(false, true), Some(vec!["secondary"]));
        assert_eq!(select(false, false), None);
    }
}
