//! A folder for what is not complete yet.

use std::{
    fs::{self, DirBuilder, DirEntry, File, TryLockError},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use rustix::process::geteuid;

/// The file in the folder that marks it as one of this program, and is locked while a process uses it.
const MARKER: &str = "muster-partial.lock";

/// A private folder of this process, which is removed on drop. What an earlier process left there when it was killed is removed
/// by the next one.
#[derive(Debug)]
pub struct Staging {
    folder: PathBuf,
    /// Locked as long as this exists.
    _lock: File,
}

impl Staging {
    /// Creates the folder (0700), or empties one that an earlier process left. Fails while another process uses it, and if
    /// anything else has its path.
    pub fn begin(folder: &Path) -> anyhow::Result<Staging> {
        let context = || format!("cannot write into {}", folder.display());
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => reject_foreign(folder)?,
            created => created.with_context(context)?,
        }
        let marker = folder.join(MARKER);
        let lock = File::options().create(true).truncate(false).write(true).mode(0o600).open(marker);
        let lock = lock.with_context(context)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another process works in {}", folder.display()),
            Err(TryLockError::Error(error)) => return Err(error).with_context(context),
        }
        for entry in fs::read_dir(folder).with_context(context)? {
            entry.and_then(|entry| remove(&entry)).with_context(context)?;
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
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(%error, folder = %self.folder.display(), "the folder can be removed");
            }
            _ => {}
        }
    }
}

/// Fails unless an earlier process of this user left the folder: only then it is private, so that no other user can have put
/// anything there, and has the marker, or nothing.
pub(super) fn reject_foreign(folder: &Path) -> anyhow::Result<()> {
    let metadata = fs::symlink_metadata(folder).with_context(|| folder.display().to_string())?;
    let is_private =
        metadata.is_dir() && metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o077 == 0;
    let is_own = is_private && is_marked(folder).with_context(|| folder.display().to_string())?;
    ensure!(
        is_own,
        "{} exists and was not left by an interrupted command of this user: move it away, or remove it",
        folder.display()
    );
    Ok(())
}

/// Returns whether a folder has the marker, or nothing, as after a process that was killed before it wrote the marker.
fn is_marked(folder: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(folder.join(MARKER)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(fs::read_dir(folder)?.next().is_none()),
        marker => Ok(marker?.is_file()),
    }
}

/// Removes a file, unless it is the marker, or a folder. Symlinks are not followed.
fn remove(entry: &DirEntry) -> io::Result<()> {
    match entry.file_type()?.is_dir() {
        true => fs::remove_dir_all(entry.path()),
        false if entry.file_name() == MARKER => Ok(()),
        false => fs::remove_file(entry.path()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn private_folder(path: &Path) {
        DirBuilder::new().mode(0o700).create(path).unwrap();
    }

    /// What a killed process leaves.
    fn leave(folder: &Path) {
        private_folder(folder);
        fs::write(folder.join(MARKER), "").unwrap();
        fs::create_dir(folder.join("hubs")).unwrap();
        fs::write(folder.join("hubs/hub.db"), "half").unwrap();
        fs::write(folder.join("muster.db"), "half").unwrap();
    }

    #[test]
    fn one_process_works_in_a_folder_and_the_next_one_finds_it_empty() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("partial");
        leave(&folder);
        let staging = Staging::begin(&folder).unwrap();
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [MARKER]);
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        assert!(Staging::begin(&folder).unwrap_err().to_string().contains("another process"));
        drop(staging);
        assert!(!folder.exists());
    }

    /// Everything that may have the path of the folder: only what an own process left is used.
    #[test]
    fn only_an_own_leftover_is_adopted_and_nothing_else_is_changed() {
        type Put = fn(&Path, &Path);
        let cases: [(&str, bool, Put); 9] = [
            ("nothing", true, |_, _| ()),
            ("a leftover", true, |_, at| leave(at)),
            ("a leftover without its marker yet", true, |_, at| private_folder(at)),
            ("a file", false, |_, at| fs::write(at, "theirs").unwrap()),
            ("a symlink to a folder", false, |victim, at| symlink(victim, at).unwrap()),
            ("a dangling symlink", false, |_, at| symlink("missing", at).unwrap()),
            ("a private folder with files", false, |_, at| {
                private_folder(at);
                fs::write(at.join("lock"), "theirs").unwrap();
            }),
            ("a folder that others may write into", false, |_, at| {
                leave(at);
                fs::set_permissions(at, fs::Permissions::from_mode(0o777)).unwrap();
            }),
            ("a folder whose marker is a symlink", false, |victim, at| {
                private_folder(at);
                symlink(victim.join("muster.db"), at.join(MARKER)).unwrap();
            }),
        ];
        for (case, expected, put) in cases {
            let dir = tempfile::tempdir().unwrap();
            let (victim, folder) = (dir.path().join("victim"), dir.path().join("partial"));
            leave(&victim);
            put(&victim, &folder);
            let before = tree(dir.path());
            let begun = Staging::begin(&folder);
            assert_eq!(begun.is_ok(), expected, "{case}: {begun:?}");
            drop(begun);
            let before = before.into_iter().filter(|(path, _)| !expected || !path.starts_with(&folder));
            assert_eq!(tree(dir.path()), before.collect::<Vec<_>>(), "{case}");
        }
    }

    /// Returns all paths below a folder, with what they are and have.
    fn tree(folder: &Path) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                found.extend(tree(&path));
            }
            let content = if kind.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
            found.push((path, format!("{kind:?} {content}")));
        }
        found.sort();
        found
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
