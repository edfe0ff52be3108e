//! The arguments of commands that work with the configuration and the database of a service.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use server::config::{Config, DatabaseUrl};

/// Where the configuration and the database are.
#[derive(Args)]
pub struct Location {
    /// The configuration file.
    #[arg(long, env = "MUSTER_CONFIG", default_value = "muster.toml")]
    pub config: PathBuf,
    /// The folder of the databases; overrides `data_dir` of the file.
    #[arg(long, env = "MUSTER_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// The PostgreSQL database that nodes share; overrides `store` of the file.
    #[arg(long, env = "MUSTER_STORE", value_name = "URL", hide_env_values = true)]
    store: Option<DatabaseUrl>,
}

impl Location {
    /// Returns the target of a copy.
    pub fn of_copy(config: PathBuf, data_dir: Option<PathBuf>, store: Option<DatabaseUrl>) -> Location {
        Location { config, data_dir, store }
    }

    /// Reads the configuration; what the command line says overrides it.
    pub fn configuration(&self) -> anyhow::Result<Config> {
        if let Some(url) = &self.store {
            let arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
            reject_password_in_arguments(url, arguments)?;
        }
        let mut config = Config::load(&self.config)?;
        if let Some(dir) = &self.data_dir {
            config.data_dir = dir.clone();
        }
        config.override_store(self.store.clone());
        Ok(config)
    }
}

/// Fails if a URL with a password is among the arguments, which every user of the machine can read.
fn reject_password_in_arguments(
    url: &DatabaseUrl,
    mut arguments: impl Iterator<Item = String>,
) -> anyhow::Result<()> {
    if url.has_password() && arguments.any(|argument| url.ends(&argument)) {
        bail!(
            "the URL of the database has a password, which every user of this machine can read in the list of processes: leave it \
             out, and set `store_password = \"file:PATH\"` in the configuration, or put the URL into the environment variable \
             MUSTER_STORE"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_among_the_arguments_is_refused() {
        let without = "postgres://m@one/muster?sslmode=disable";
        let with = "postgres://m:secret@one/muster?sslmode=disable";
        let option = format!("--store={with}");
        for (url, argument, is_refused) in
            [(with, with, true), (with, &option, true), (with, "serve", false), (without, without, false)]
        {
            let arguments = ["muster", argument].map(str::to_owned);
            let result = reject_password_in_arguments(&url.parse().unwrap(), arguments.into_iter());
            assert_eq!(result.is_err(), is_refused, "{url} {argument}");
            assert!(!format!("{result:?}").contains("secret"), "{result:?}");
        }
    }
}
