//! Configuration of the database that several nodes share.

use std::{convert::Infallible, fmt, path::PathBuf, str::FromStr};

use anyhow::{Context, bail};
use serde::Deserialize;
use store::postgres::Settings;

use super::Config;
use crate::store_location::{SharedDatabase, StoreLocation};

/// The URL of a PostgreSQL database: `postgres://USER@HOST,HOST:PORT/NAME`. It may contain a password, so it has no `Display`
/// and an empty `Debug`, and it is parsed only where an error does not quote it, as those of TOML and of arguments do.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Returns whether it contains a password.
    pub fn has_password(&self) -> bool {
        self.settings().is_ok_and(|settings| settings.has_password())
    }

    /// Returns whether an argument is this URL, alone or after the name of an option.
    pub fn ends(&self, argument: &str) -> bool {
        argument.ends_with(&self.0)
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        Settings::parse(&self.0).context("`store` cannot be used")
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl")
    }
}

impl FromStr for DatabaseUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(DatabaseUrl(text.to_owned()))
    }
}

impl Config {
    /// Returns where the records are: in files of this process, or with `store` in a database that nodes share.
    /// `new_database` permits an empty file beside others of an earlier start. Reads the password and the CA certificates.
    pub fn store_location(&self, new_database: bool) -> anyhow::Result<StoreLocation> {
        let files = self.storage(new_database);
        let Some(url) = &self.store else {
            if self.store_password.is_some() || self.store_ca.is_some() {
                bail!("store_password and store_ca are for a PostgreSQL database: set `store`, too");
            }
            return Ok(StoreLocation::Files(files));
        };
        if !self.embedded_hubs.is_empty() {
            bail!(
                "embedded hubs keep their devices in files of one process, so they cannot be combined with `store`: run them \
                 as a service of their own, and link them by connection string"
            );
        }
        if new_database {
            bail!("--new-database is for a database in data_dir, and `store` is set");
        }
        let mut settings = url.settings()?;
        if let Some(password) = &self.store_password {
            let (password, _) = password.text("password")?;
            settings = settings.with_password(password.trim_end_matches(['\r', '\n']).as_bytes());
        }
        if let Some(path) = &self.store_ca {
            settings = with_ca(settings, path)?;
        }
        let master_key_file = files.master_key_file;
        Ok(StoreLocation::Shared(SharedDatabase { settings: Box::new(settings), master_key_file }))
    }
}

fn with_ca(settings: Settings, path: &PathBuf) -> anyhow::Result<Settings> {
    let file = || format!("store_ca {}", path.display());
    let pem = std::fs::read(path).with_context(file)?;
    settings.with_ca(&pem).with_context(file)
}

impl Config {
    /// Sets the database of the environment or the command line, which overrides the file's.
    pub fn override_store(&mut self, url: Option<DatabaseUrl>) {
        if url.is_some() {
            self.store = url;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::EXAMPLE, *};

    /// The example with a database, which takes the place of its embedded hubs.
    fn shared(lines: &str) -> Config {
        let mut config = Config::parse(&format!("{lines}\n{EXAMPLE}")).unwrap();
        config.embedded_hubs.clear();
        config
    }

    #[test]
    fn records_are_in_files_unless_a_database_is_named() {
        let location = Config::parse(EXAMPLE).unwrap().store_location(false).unwrap();
        assert!(matches!(location, StoreLocation::Files(_)), "{location:?}");
        let config = shared("store = \"postgres://m:secret@one,two:5433/muster?sslmode=disable\"");
        let location = config.store_location(false).unwrap();
        let StoreLocation::Shared(database) = &location else { panic!("{location:?}") };
        assert_eq!(database.settings.address(), "one:5432,two:5433/muster");
        assert!(!format!("{:?} {location:?} {location}", config.store).contains("secret"), "{location:?}");
    }

    #[test]
    fn a_wrong_url_is_refused_without_its_password() {
        for (wrong, expected) in [
            ("mysql://m:secret@one/muster", "begins with postgres://"),
            ("postgres://m:secret@one", "add /NAME"),
            ("postgres://m:secret@one:port/muster", "not a URL"),
        ] {
            let config = shared(&format!("store = \"{wrong}\""));
            let error = format!("{:#}", config.store_location(false).expect_err("refused"));
            assert!(error.contains("`store`") && error.contains(expected), "{error}");
            assert!(!format!("{error} {config:?}").contains("secret"), "{error} {config:?}");
        }
    }

    #[test]
    fn what_does_not_go_with_a_database_is_refused() {
        let store = "store = \"postgres://m@one/muster?sslmode=disable\"";
        let refused = |config: &Config, new_database| {
            format!("{:#}", config.store_location(new_database).expect_err("refused"))
        };
        let hubs = Config::parse(&format!("{store}\n{EXAMPLE}")).unwrap();
        assert!(refused(&hubs, false).contains("link them by connection string"));
        assert!(refused(&shared(store), true).contains("--new-database"));
        let password = "store_password = \"env:MUSTER_NO_SUCH_VARIABLE\"";
        assert!(refused(&shared(password), false).contains("set `store`, too"));
        let both = shared(&format!("{store}\n{password}"));
        assert!(refused(&both, false).contains("MUSTER_NO_SUCH_VARIABLE"));
        let ca = shared(&format!("{store}\nstore_ca = \"/nonexistent/ca.pem\""));
        assert!(refused(&ca, false).contains("/nonexistent/ca.pem"));
    }
}
