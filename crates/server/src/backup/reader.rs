//! Reading a backup.

use std::io::{self, ErrorKind, Read};

use anyhow::{Context, bail};

use crate::backup::{
    MAGIC,
    manifest::{BackupFile, MAX_MANIFEST_BYTES, Manifest},
};

/// A backup whose manifest was read.
#[derive(Debug)]
pub struct BackupReader<R> {
    manifest: Manifest,
    input: R,
}

impl<R: Read> BackupReader<R> {
    /// Reads the manifest.
    pub fn open(mut input: R) -> anyhow::Result<BackupReader<R>> {
        let (mut magic, mut length) = ([0; 8], [0; 4]);
        read_exact(&mut input, &mut magic)?;
        match magic.split_last() {
            Some((version, name)) if *name == MAGIC[..7] && *version == MAGIC[7] => {}
            Some((version, name)) if *name == MAGIC[..7] => {
                bail!("the backup has the format {version}, and this program reads format {}", MAGIC[7])
            }
            _ => bail!("the file is sealed, but is not a backup"),
        }
        read_exact(&mut input, &mut length)?;
        let length = u32::from_be_bytes(length);
        anyhow::ensure!(length <= MAX_MANIFEST_BYTES, "the list of its files is too long");
        let mut manifest = vec![0; length as usize];
        read_exact(&mut input, &mut manifest)?;
        let manifest: Manifest =
            serde_json::from_slice(&manifest).context("the list of its files cannot be read")?;
        manifest.reject_incomplete()?;
        Ok(BackupReader { manifest, input })
    }

    /// Returns the manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Gives the content of each file to `take`, in the order of the manifest, and reads to the end. Fails if a file is shorter
    /// than the manifest says, or if there is more.
    pub fn read_files(
        mut self,
        mut take: impl FnMut(&BackupFile, &mut dyn Read) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for file in &self.manifest.files {
            let mut content = self.input.by_ref().take(file.bytes);
            take(file, &mut content)?;
            let missing = content.limit();
            anyhow::ensure!(missing == 0, "{} lacks {missing} bytes", file.name);
        }
        let more = io::copy(&mut self.input, &mut io::sink())?;
        anyhow::ensure!(more == 0, "after its files the backup has {more} bytes");
        Ok(())
    }
}

fn read_exact(input: &mut impl Read, buffer: &mut [u8]) -> anyhow::Result<()> {
    match input.read_exact(buffer) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            bail!("the file ends within its first bytes, and is not a backup")
        }
        read => Ok(read?),
    }
}
