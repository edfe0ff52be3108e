//! Configuration of bearer tokens.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, bail};
use model::{IdScope, Issuer, Role};
use serde::{Deserialize, Deserializer, de::Error};
use service_api::{BearerSettings, BearerTokens, ClaimPointer, GrantScope, KeySource, RoleRow, RoleTable};

use crate::identity_provider::{KeyFile, PublishedKeys};

use super::webhook::client_tls;

/// The OpenID provider whose access tokens operators may use.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OidcConfig {
    /// The issuer, to the letter; without it no bearer token is accepted.
    pub issuer: Option<String>,
    /// The audiences, one of which a token must be for.
    pub audiences: Vec<String>,
    /// A file with the JWK set, instead of the one that the provider publishes.
    pub jwks_file: Option<PathBuf>,
    /// A PEM file with the CA certificates of the provider's server; the CAs of the system when absent.
    pub ca: Option<PathBuf>,
    /// A JSON pointer to the claim whose values have roles.
    pub roles_claim: String,
    /// The roles.
    #[serde(rename = "role")]
    pub roles: Vec<RoleConfig>,
}

/// A role of the subjects with a value in their claim.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleConfig {
    /// The value.
    pub value: String,
    /// The role: `owner`, `contributor`, `data contributor`, `data reader` or `auditor`.
    #[serde(deserialize_with = "role")]
    pub role: Role,
    /// The ID scope of the instance; all instances when absent.
    pub instance: Option<IdScope>,
}

impl Default for OidcConfig {
    fn default() -> Self {
        OidcConfig {
            issuer: None,
            audiences: vec!["https://azure-devices-provisioning.net".to_owned()],
            jwks_file: None,
            ca: None,
            roles_claim: "/roles".to_owned(),
            roles: Vec::new(),
        }
    }
}

impl OidcConfig {
    /// Fails if values are invalid or contradict each other. A role may be for an instance that does not exist yet.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let is_given = self.jwks_file.is_some() || !self.roles.is_empty();
        if self.issuer.is_none() && is_given {
            bail!("[oidc] has settings, but no issuer");
        }
        self.settings().map(drop)
    }

    /// Makes the verifier of bearer tokens, if a provider is configured, and reads the files.
    pub fn tokens(&self) -> anyhow::Result<Option<Arc<BearerTokens>>> {
        let Some(settings) = self.settings()? else { return Ok(None) };
        let source: Arc<dyn KeySource> = match &self.jwks_file {
            Some(file) => Arc::new(KeyFile(file.clone())),
            None => {
                let tls = client_tls(self.ca.as_deref()).context("[oidc]")?;
                Arc::new(PublishedKeys { issuer: settings.issuer.clone(), tls })
            }
        };
        Ok(Some(Arc::new(BearerTokens::new(settings, source))))
    }

    fn settings(&self) -> anyhow::Result<Option<BearerSettings>> {
        let Some(issuer) = &self.issuer else { return Ok(None) };
        if self.audiences.is_empty() {
            bail!("[oidc] audiences is empty: name at least one");
        }
        let claim = ClaimPointer::parse(&self.roles_claim).context("[oidc] roles_claim")?;
        Ok(Some(BearerSettings {
            issuer: Issuer::parse(issuer).context("[oidc] issuer")?,
            audiences: self.audiences.clone(),
            roles: RoleTable::new(claim, self.roles.iter().map(RoleConfig::row).collect()),
        }))
    }
}

impl RoleConfig {
    fn row(&self) -> RoleRow {
        let on = self.instance.clone().map_or(GrantScope::All, GrantScope::Instance);
        RoleRow { value: self.value.clone(), role: self.role, on }
    }
}

fn role<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Role, D::Error> {
    Role::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, EXAMPLE};

    #[test]
    fn mistakes_are_reported() {
        let role = |name: &str| format!("[[oidc.role]]\nvalue = \"a\"\nrole = \"{name}\"\n[latency]");
        let cases = [
            ("# issuer = \"https:", "issuer = \"http:".to_owned(), "an issuer must be an https URL"),
            ("# issuer = \"https:", "audiences = []\nissuer = \"https:".to_owned(), "audiences is empty"),
            (
                "# issuer = \"https:",
                "roles_claim = \"roles\"\nissuer = \"https:".to_owned(),
                "must be a JSON pointer",
            ),
            ("[latency]", role("boss"), "unknown role \"boss\""),
            ("[latency]", role("owner"), "but no issuer"),
        ];
        for (right, wrong, expected) in cases {
            let error = Config::parse(&EXAMPLE.replacen(right, &wrong, 1)).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(expected), "{error}");
        }
    }
}
