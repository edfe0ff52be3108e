//! The sealing key's file: 32 random bytes in base64, readable by its owner only.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::{constant_time, rand};
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    directory,
    seal::{KEY_LEN, Sealer},
};

/// Why a key file could not be loaded or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file holds something else than 32 bytes in base64.
    #[error("{} is not a sealing key: expected 32 bytes in base64", .0.display())]
    Content(PathBuf),
    /// The file system refused.
    #[error("cannot load or create the sealing key {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
}

/// The key in a key file, which is never printed.
#[derive(Clone)]
pub struct KeyFile {
    key: [u8; KEY_LEN],
}

impl KeyFile {
    /// The longest content of a key file, in bytes: 44 characters of base64, and room for white space.
    pub const MAX_BYTES: u64 = 256;

    /// Reads the key at `path`.
    pub fn load(path: &Path) -> Result<KeyFile, KeyFileError> {
        let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
        let mut text = String::new();
        let file = File::open(path).map_err(failed)?;
        warn_if_exposed(path, &file);
        file.take(KeyFile::MAX_BYTES).read_to_string(&mut text).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => KeyFileError::Content(path.to_owned()),
            _ => failed(error),
        })?;
        KeyFile::parse(&text).ok_or_else(|| KeyFileError::Content(path.to_owned()))
    }

    /// Reads the content of a key file; `None` if it is something else than 32 bytes in base64.
    pub fn parse(text: &str) -> Option<KeyFile> {
        parse(text).map(|key| KeyFile { key })
    }

    /// Returns the content of its file.
    pub fn text(&self) -> String {
        format!("{}\n", STANDARD.encode(self.key))
    }

    /// Returns the sealer with this key.
    pub fn sealer(&self) -> Sealer {
        Sealer::from_key(self.key)
    }

    /// Writes the file (0600, on disk when this returns). Fails if something exists at `path`.
    pub fn install(&self, path: &Path) -> io::Result<()> {
        write_new(path, &self.text())
    }
}

impl PartialEq for KeyFile {
    fn eq(&self, other: &KeyFile) -> bool {
        constant_time::verify_slices_are_equal(&self.key, &other.key).is_ok()
    }
}

impl Eq for KeyFile {}

impl fmt::Debug for KeyFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyFile(key hidden)")
    }
}

impl Sealer {
    /// Loads the key at `path`.
    pub fn load(path: &Path) -> Result<Sealer, KeyFileError> {
        Ok(KeyFile::load(path)?.sealer())
    }

    /// Loads the key at `path`; makes one (0600, on disk before this returns) when there is none.
    pub fn load_or_create(path: &Path) -> Result<Sealer, KeyFileError> {
        let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
        if !fs::exists(path).map_err(failed)? {
            create(path).map_err(failed)?;
        }
        Sealer::load(path)
    }
}

fn parse(text: &str) -> Option<[u8; KEY_LEN]> {
    // With the mark that editors on Windows put before a text.
    STANDARD.decode(text.trim_start_matches('\u{FEFF}').trim()).ok()?.try_into().ok()
}

/// Creates a key. Of two processes that try at once the first wins for both.
fn create(path: &Path) -> io::Result<()> {
    let mut key = [0; KEY_LEN];
    rand::fill(&mut key).map_err(|_| io::Error::other("no randomness"))?;
    match (KeyFile { key }).install(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Writes a key under a name of its own, then links it to `path`: there is never half a key, and none is replaced.
fn write_new(path: &Path, key: &str) -> io::Result<()> {
    let directory = directory::of_file(path);
    directory::make_private_directory(directory)?;
    let mut suffix = [0; 8];
    rand::fill(&mut suffix).map_err(|_| io::Error::other("no randomness"))?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(
        suffix.iter().map(|byte| format!("{byte:02x}")).fold(".".to_owned(), |name, byte| name + &byte),
    );
    let draft = PathBuf::from(draft);
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&draft)?;
    file.write_all(key.as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    linked?;
    directory::sync(directory)
}

/// Warns of a key file that others may read. It is no error: containers mount secrets with modes of their own.
fn warn_if_exposed(path: &Path, file: &File) {
    let exposed = file.metadata().is_ok_and(|metadata| metadata.mode() & 0o077 != 0);
    if exposed {
        tracing::warn!(file = %path.display(), "the sealing key can be read by other users");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_created_once_and_loaded_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys/seal.key");
        let sealed = Sealer::load_or_create(&path).unwrap().seal(b"c", b"value");
        assert_eq!(Sealer::load_or_create(&path).unwrap().open(b"c", &sealed).unwrap(), b"value");
        let marked = path.with_extension("marked");
        fs::write(&marked, format!("\u{FEFF}{}\r\n", fs::read_to_string(&path).unwrap().trim())).unwrap();
        assert_eq!(Sealer::load_or_create(&marked).unwrap().open(b"c", &sealed).unwrap(), b"value");
        fs::remove_file(&marked).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft stays behind");
    }

    #[test]
    fn an_installed_key_is_the_same_and_replaces_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let key = KeyFile { key: [7; KEY_LEN] };
        key.install(&path("key")).unwrap();
        assert_eq!(KeyFile::load(&path("key")).unwrap(), key);
        assert_eq!(KeyFile::parse(&key.text()), Some(key.clone()));
        fs::write(path("other"), KeyFile { key: [8; KEY_LEN] }.text()).unwrap();
        assert_ne!(KeyFile::load(&path("other")).unwrap(), key);
        std::os::unix::fs::symlink("missing", path("dangling")).unwrap();
        for taken in ["key", "other", "dangling"] {
            assert_eq!(key.install(&path(taken)).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3, "no draft stays behind");
    }

    #[test]
    fn an_invalid_key_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seal.key");
        let long = STANDARD.encode([1; 33]);
        for content in [&b""[..], b"not base64!", b"AAAA", long.as_bytes(), &[0xff; 44], &[b'A'; 4096]] {
            fs::write(&path, content).unwrap();
            let refused = Sealer::load_or_create(&path).unwrap_err();
            assert!(matches!(refused, KeyFileError::Content(_)), "{content:?}: {refused}");
            assert_eq!(fs::read(&path).unwrap(), content, "the file is left alone");
        }
    }

    #[test]
    fn concurrent_creators_get_the_same_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seal.key");
        let sealers: Vec<Sealer> = std::thread::scope(|scope| {
            let start = || Sealer::load_or_create(&path).unwrap();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let sealed = sealers[0].seal(b"c", b"value");
        assert!(sealers.iter().all(|sealer| sealer.open(b"c", &sealed).is_ok()));
    }
}
