//! The passphrase of sealed files.

use std::{fs, path::PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use crate::commands::sealed::Passphrase;

/// Where the passphrase is.
#[derive(Args)]
pub struct PassphraseArgs {
    /// The file with the passphrase of a sealed file.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The passphrase of a sealed file. Other users may see command lines, so use the environment.
    #[arg(long, value_name = "TEXT", env = "MUSTER_PASSPHRASE", hide_env_values = true)]
    passphrase: Option<String>,
}

impl PassphraseArgs {
    /// Reads the passphrase; `None` if there is none. A file takes precedence over the environment.
    pub fn read(self) -> anyhow::Result<Option<Passphrase>> {
        let text = match self.passphrase_file {
            Some(path) => {
                let read = fs::read_to_string(&path);
                Some(read.with_context(|| format!("cannot read {}", path.display()))?)
            }
            None => self.passphrase,
        };
        text.map(|text| Passphrase::parse(&text)).transpose()
    }

    /// Reads the passphrase of a file that is always sealed.
    pub fn require(self) -> anyhow::Result<Passphrase> {
        match self.read()? {
            Some(passphrase) => Ok(passphrase),
            None => bail!("a backup is sealed: set MUSTER_PASSPHRASE or --passphrase-file"),
        }
    }
}
