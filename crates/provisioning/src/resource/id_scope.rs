//! ID scopes of new instances.

use model::IdScope;

use crate::{Error, ports::Entropy};

/// How many ID scopes are drawn. With a million used ones, one draw in 4,000 is in vain.
const MAX_DRAWS: usize = 64;

/// Returns an ID scope that is not used: `0ne` and eight hex digits, as in Azure.
pub(super) fn fresh(entropy: &dyn Entropy, is_used: impl Fn(&IdScope) -> bool) -> Result<IdScope, Error> {
    for _ in 0..MAX_DRAWS {
        let mut number = [0; 4];
        entropy.fill(&mut number);
        let scope = IdScope::parse(format!("0ne{:08X}", u32::from_be_bytes(number)))
            .map_err(|error| Error::Broken(error.to_string()))?;
        if !is_used(&scope) {
            return Ok(scope);
        }
    }
    Err(Error::Broken(format!("{MAX_DRAWS} ID scopes were drawn, and all of them are used")))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Mutex};

    use proptest::prelude::*;

    use super::*;

    /// Few numbers again and again, so that used ones are drawn.
    struct Drawn(Mutex<Vec<u8>>);

    impl Entropy for Drawn {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(0);
            if let Some(last) = buffer.last_mut() {
                *last = self.0.lock().unwrap().pop().unwrap_or(255);
            }
        }
    }

    proptest! {
        #[test]
        fn no_id_scope_is_given_twice(draws in prop::collection::vec(0u8..8, 0..64)) {
            let entropy = Drawn(Mutex::new(draws));
            let mut used = BTreeSet::new();
            for _ in 0..8 {
                let Ok(scope) = fresh(&entropy, |scope| used.contains(scope)) else { break };
                prop_assert!(scope.as_str().len() == 11 && scope.as_str().starts_with("0ne"), "{scope}");
                prop_assert!(used.insert(scope));
            }
        }
    }
}
