//! The arguments of commands that work with the configuration and the database of a service.

use std::path::PathBuf;

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
    /// Reads the configuration; what the command line says overrides it.
    pub fn configuration(&self) -> anyhow::Result<Config> {
        let mut config = Config::load(&self.config)?;
        if let Some(dir) = &self.data_dir {
            config.data_dir = dir.clone();
        }
        config.override_store(self.store.clone());
        Ok(config)
    }
}
