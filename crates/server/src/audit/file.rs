//! The file of the audit trail, which is rotated.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::AuditOutput;

/// A file that grows up to a size, then becomes `FILE.1`, and so on up to a number of files.
pub struct AuditFile {
    path: PathBuf,
    max_bytes: u64,
    kept: u32,
    /// The open file and its length; opened again after an error.
    file: Option<(File, u64)>,
}

impl AuditFile {
    /// Opens the file, or creates it.
    pub fn open(path: &Path, max_bytes: u64, kept: u32) -> anyhow::Result<AuditFile> {
        let mut file = AuditFile { path: path.to_owned(), max_bytes, kept, file: None };
        file.file = Some(file.reopen()?);
        Ok(file)
    }

    fn reopen(&self) -> anyhow::Result<(File, u64)> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let context = || format!("cannot open the audit file {}", self.path.display());
        let file = options.open(&self.path).with_context(context)?;
        let length = file.metadata().with_context(context)?.len();
        Ok((file, length))
    }

    fn rotate(&self) -> anyhow::Result<()> {
        let name = |number: u32| {
            let mut name = self.path.as_os_str().to_owned();
            if number > 0 {
                name.push(format!(".{number}"));
            }
            PathBuf::from(name)
        };
        for number in (0..self.kept).rev() {
            if name(number).exists() {
                fs::rename(name(number), name(number + 1)).context("cannot rotate the audit file")?;
            }
        }
        Ok(())
    }
}

impl AuditOutput for AuditFile {
    fn write(&mut self, line: &str) -> anyhow::Result<()> {
        let bytes = [line.as_bytes(), b"\n"].concat();
        let is_full = |(_, length): &(File, u64)| length + bytes.len() as u64 > self.max_bytes;
        if self.file.as_ref().is_some_and(is_full) {
            self.file = None;
            self.rotate()?;
        }
        let (mut file, length) = match self.file.take() {
            Some(open) => open,
            None => self.reopen()?,
        };
        file.write_all(&bytes).with_context(|| format!("cannot write {}", self.path.display()))?;
        self.file = Some((file, length + bytes.len() as u64));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_rotated_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut file = AuditFile::open(&path, 40, 2).unwrap();
        for number in 0..10 {
            file.write(&format!("line-{number:014}")).unwrap();
            if number == 4 {
                file = AuditFile::open(&path, 40, 2).unwrap();
            }
        }
        let mut kept: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().path()).collect();
        kept.sort();
        assert_eq!(
            kept,
            [path.clone(), folder.path().join("audit.jsonl.1"), folder.path().join("audit.jsonl.2")]
        );
        let numbers: Vec<String> = kept
            .iter()
            .map(|path| fs::read_to_string(path).unwrap().lines().map(|line| &line[18..]).collect())
            .collect();
        assert_eq!(numbers, ["89", "67", "45"]);
    }
}
