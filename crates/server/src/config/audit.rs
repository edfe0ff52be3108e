//! Configuration of the audit trail.

use std::path::PathBuf;

use serde::Deserialize;

use super::listen::within;
use crate::audit::{AuditFile, AuditOutput, AuditTrail, Syslog, SyslogTarget};

/// Where operators' calls are recorded, beside the log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// The file, with a line of JSON for each call.
    pub file: Option<PathBuf>,
    /// The size at which the file is rotated, in MB: 1 to 10,000.
    #[serde(deserialize_with = "within::<1, 10_000, _>")]
    pub file_mb: u32,
    /// The number of rotated files that are kept: 1 to 1000.
    #[serde(deserialize_with = "within::<1, 1000, _>")]
    pub keep_files: u32,
    /// The syslog server.
    pub syslog: Option<SyslogTarget>,
    /// The number of refused calls that are recorded in a minute, of each access policy and of strangers at each instance:
    /// 1 to 100,000.
    #[serde(deserialize_with = "within::<1, 100_000, _>")]
    pub refused_per_minute: u32,
}

impl Default for AuditConfig {
    fn default() -> Self {
        AuditConfig { file: None, file_mb: 100, keep_files: 10, syslog: None, refused_per_minute: 120 }
    }
}

impl AuditConfig {
    /// Fails if the file cannot be opened.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.file.as_deref().map_or(Ok(()), AuditFile::check)
    }

    /// Opens the file, and starts the threads that write.
    pub(crate) fn open(&self) -> anyhow::Result<AuditTrail> {
        let mut outputs: Vec<Box<dyn AuditOutput>> = Vec::new();
        if let Some(file) = &self.file {
            let max_bytes = u64::from(self.file_mb) * 1024 * 1024;
            outputs.push(Box::new(AuditFile::open(file, max_bytes, self.keep_files)?));
        }
        if let Some(target) = &self.syslog {
            outputs.push(Box::new(Syslog::new(target.clone())));
        }
        AuditTrail::start(outputs, self.refused_per_minute)
    }
}
