//! A folder for what is not complete yet.

use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

/// A private folder of this process, which is removed on drop. What an earlier process left there when it was killed is removed
/// by the next one.
#[derive(Debug)]
pub struct Staging {
    folder: PathBuf,
    /// Locked as long as this exists.
    _lock: File,
}

impl Staging {
    /// Creates the folder, or empties one that an earlier process left. Fails while another process uses it.
    pub fn begin(folder: &Path) -> anyhow::Result<Staging> {
        let context = || format!("cannot write into {}", folder.display());
        durable::make_private_directory(folder).with_context(context)?;
        let lock = File::options().create(true).truncate(false).write(true).open(folder.join("lock"));
        let lock = lock.with_context(context)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another process works in {}", folder.display()),
            Err(TryLockError::Error(error)) => return Err(error).with_context(context),
        }
        for entry in fs::read_dir(folder).with_context(context)? {
            remove(&entry.with_context(context)?.path()).with_context(context)?;
        }
        Ok(Staging { folder: folder.to_owned(), _lock: lock })
    }

    /// Gives a file of the folder its final name, which no file may have. On disk when this returns.
    pub fn publish(&self, name: &str, to: &Path) -> anyhow::Result<()> {
        let from = self.folder.join(name);
        let published = fs::hard_link(&from, to).or_else(|error| match error.kind() {
            // Some file systems have no links.
            ErrorKind::Unsupported | ErrorKind::PermissionDenied if !to.exists() => fs::rename(&from, to),
            _ => Err(error),
        });
        published.with_context(|| format!("cannot create {}", to.display()))?;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        durable::sync_directory(folder).with_context(|| format!("cannot write into {}", folder.display()))
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(%error, folder = %self.folder.display(), "the folder can be removed");
        }
    }
}

/// Removes a file, unless it is the lock, or a folder.
fn remove(path: &Path) -> io::Result<()> {
    match path {
        folder if folder.is_dir() => fs::remove_dir_all(folder),
        file if file.ends_with("lock") => Ok(()),
        file => fs::remove_file(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_works_in_a_folder_and_the_next_one_finds_it_empty() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("partial");
        fs::create_dir_all(folder.join("hubs")).unwrap();
        fs::write(folder.join("hubs/hub.db"), "half").unwrap();
        fs::write(folder.join("muster.db"), "half").unwrap();
        let staging = Staging::begin(&folder).unwrap();
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["lock"]);
        assert!(Staging::begin(&folder).unwrap_err().to_string().contains("another process"));
        drop(staging);
        assert!(!folder.exists());
    }

    #[test]
    fn a_published_file_replaces_none() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, to) = (dir.path().join("partial"), dir.path().join("whole"));
        for expected in [Ok(()), Err(())] {
            let staging = Staging::begin(&folder).unwrap();
            let text = if expected.is_ok() { "first" } else { "second" };
            fs::write(folder.join("file"), text).unwrap();
            assert_eq!(staging.publish("file", &to).map_err(|_| ()), expected);
            assert_eq!(fs::read_to_string(&to).unwrap(), "first");
        }
    }
}
