//! Maps the values of a claim to roles.

use model::Role;
use serde_json::Value;

use crate::access::{GrantScope, RightsGrant};

/// The maximum length of a pointer, in bytes.
const MAX_POINTER_BYTES: usize = 256;

/// A JSON pointer to a claim (RFC 6901), such as `/realm_access/roles`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPointer(Box<str>);

/// A text is not a pointer to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a JSON pointer that begins with a slash, such as /roles, of at most {MAX_POINTER_BYTES} bytes"
)]
pub struct ClaimPointerError;

impl ClaimPointer {
    /// Parses a pointer.
    pub fn parse(text: &str) -> Result<Self, ClaimPointerError> {
        let names_claim = text.len() > 1 && text.starts_with('/') && text.len() <= MAX_POINTER_BYTES;
        if names_claim { Ok(ClaimPointer(text.into())) } else { Err(ClaimPointerError) }
    }
}

/// A role that a value of the claim gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRow {
    /// The value, compared to the letter.
    pub value: String,
    /// The role.
    pub role: Role,
    /// The instances that it is for.
    pub on: GrantScope,
}

/// The table of roles. A value may have several rows.
#[derive(Debug, Clone)]
pub struct RoleTable {
    claim: ClaimPointer,
    rows: Vec<RoleRow>,
}

impl RoleTable {
    /// Creates a table over the values of this claim.
    pub fn new(claim: ClaimPointer, rows: Vec<RoleRow>) -> RoleTable {
        RoleTable { claim, rows }
    }

    /// Returns the grants of a token with these claims. The claim is an array of texts, or one text with words between spaces, as
    /// `scope` is.
    pub(crate) fn grants(&self, claims: &Value) -> Vec<RightsGrant> {
        let values: Vec<&str> = match claims.pointer(&self.claim.0) {
            Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(words)) => words.split_ascii_whitespace().collect(),
            _ => Vec::new(),
        };
        let given = self.rows.iter().filter(|row| values.contains(&row.value.as_str()));
        given.map(|row| RightsGrant::of_role(row.role, row.on.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use model::{IdScope, Role};
    use serde_json::json;

    use super::*;

    fn table(claim: &str) -> RoleTable {
        let row = |value: &str, role, on: &str| {
            let on = IdScope::parse(on).map_or(GrantScope::All, GrantScope::Instance);
            RoleRow { value: value.to_owned(), role, on }
        };
        let rows = vec![
            row("admins", Role::Owner, ""),
            row("line one", Role::DataReader, "one"),
            row("line", Role::Auditor, "one"),
            row("line", Role::DataContributor, "two"),
        ];
        RoleTable::new(ClaimPointer::parse(claim).unwrap(), rows)
    }

    #[test]
    fn values_of_the_claim_give_the_roles_of_their_rows() {
        let cases = [
            ("/roles", json!({"roles": ["admins"]}), Some(Role::Owner), Some(Role::Owner)),
            ("/roles", json!({"roles": ["line one"]}), Some(Role::DataReader), None),
            ("/roles", json!({"roles": ["line", 7, null]}), Some(Role::Auditor), Some(Role::DataContributor)),
            ("/scp", json!({"scp": "openid line one"}), Some(Role::Auditor), Some(Role::DataContributor)),
            ("/a/roles", json!({"a": {"roles": ["admins"]}}), Some(Role::Owner), Some(Role::Owner)),
            ("/roles", json!({"roles": ["Admins", "admins ", ""]}), None, None),
            ("/roles", json!({"roles": {"admins": true}}), None, None),
            ("/roles", json!({"groups": ["admins"]}), None, None),
        ];
        for (claim, claims, on_one, on_two) in cases {
            let grants = table(claim).grants(&claims);
            let highest = |scope: &str| {
                let scope = IdScope::parse(scope).unwrap();
                grants.iter().filter(|it| it.on.includes(&scope)).filter_map(|it| it.role).max()
            };
            assert_eq!((highest("one"), highest("two")), (on_one, on_two), "{claims}");
        }
        assert!(["", "/", "roles"].into_iter().all(|text| ClaimPointer::parse(text).is_err()));
    }
}
