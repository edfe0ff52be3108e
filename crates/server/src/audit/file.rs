//! The file of the audit trail, which is rotated.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::AuditOutput;

/// A file that grows up to a size, then becomes `FILE.1`, and so on up to a number of files. While it cannot be rotated, it
/// grows on.
pub struct AuditFile {
    path: PathBuf,
    max_bytes: u64,
    kept: u32,
    /// The open file; opened again after an error.
    file: Option<OpenFile>,
    /// Whether the last attempt to rotate it failed.
    cannot_rotate: bool,
}

struct OpenFile {
    file: File,
    length: u64,
    /// Whether its last line was not written to its end: the disk was full, or the process was killed.
    is_torn: bool,
}

impl AuditFile {
    /// Opens the file, or creates it.
    pub fn open(path: &Path, max_bytes: u64, kept: u32) -> anyhow::Result<AuditFile> {
        let file = Some(OpenFile::open(path)?);
        Ok(AuditFile { path: path.to_owned(), max_bytes, kept, file, cannot_rotate: false })
    }

    /// Fails if the file cannot be opened, and leaves everything as it is.
    pub fn check(path: &Path) -> anyhow::Result<()> {
        let is_new = !path.exists();
        OpenFile::open(path)?;
        if is_new {
            fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }

    /// Rotates the files if another line of this length does not fit. A failure is logged once.
    fn make_room(&mut self, open: OpenFile, bytes: u64) -> anyhow::Result<OpenFile> {
        if open.length == 0 || open.length + bytes <= self.max_bytes {
            return Ok(open);
        }
        match self.rotate() {
            Ok(()) => {
                self.cannot_rotate = false;
                OpenFile::open(&self.path)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.cannot_rotate, true) {
                    tracing::error!(error = format!("{error:#}"), "the audit file grows beyond its size");
                }
                Ok(open)
            }
        }
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

impl OpenFile {
    fn open(path: &Path) -> anyhow::Result<OpenFile> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let context = || format!("cannot open the audit file {}", path.display());
        let mut file = options.open(path).with_context(context)?;
        let length = file.metadata().with_context(context)?.len();
        let is_torn = length > 0 && {
            let mut last = [0];
            file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last)).with_context(context)?;
            last != *b"\n"
        };
        Ok(OpenFile { file, length, is_torn })
    }

    fn write(&mut self, line: &[u8]) -> std::io::Result<()> {
        let end_of_torn: &[u8] = if self.is_torn { b"\n" } else { b"" };
        let bytes = [end_of_torn, line, b"\n"].concat();
        self.file.write_all(&bytes)?;
        self.is_torn = false;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

impl AuditOutput for AuditFile {
    fn write(&mut self, line: &str) -> anyhow::Result<()> {
        let open = match self.file.take() {
            Some(open) => open,
            None => OpenFile::open(&self.path)?,
        };
        let mut open = self.make_room(open, line.len() as u64 + 1)?;
        open.write(line.as_bytes()).with_context(|| format!("cannot write {}", self.path.display()))?;
        self.file = Some(open);
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

    /// A line that was cut off spoils no other one.
    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        fs::write(&path, "whole\n{\"tor").unwrap();
        let mut file = AuditFile::open(&path, 1000, 2).unwrap();
        file.write("next").unwrap();
        file.write("last").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\n{\"tor\nnext\nlast\n");
    }

    /// No line is lost where the file cannot be rotated, and it is rotated as soon as it can be.
    #[test]
    fn a_file_that_cannot_be_rotated_grows_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let rotated = folder.path().join("audit.jsonl.1");
        fs::create_dir(&rotated).unwrap();
        let mut file = AuditFile::open(&path, 10, 1).unwrap();
        for _ in 0..3 {
            file.write("line-456").unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 3);
        fs::remove_dir(&rotated).unwrap();
        file.write("line-789").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "line-789\n");
        assert_eq!(fs::read_to_string(&rotated).unwrap().lines().count(), 3);
    }

    #[test]
    fn a_check_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        AuditFile::check(&path).unwrap();
        assert!(!path.exists());
        AuditFile::check(&folder.path().join("absent").join("audit.jsonl")).unwrap_err();
    }
}
