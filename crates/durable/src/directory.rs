//! Directories whose names survive a power loss.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
};

/// Returns the directory that a file is in.
pub(crate) fn of_file(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates a private directory (0700) and its missing parents. Existing directories keep their mode. On disk when this
/// returns: a file does not survive a power loss if its directory does not.
pub fn make_private_directory(path: &Path) -> io::Result<()> {
    if fs::exists(path)? {
        return Ok(()); // a path that is no directory fails where it is used
    }
    let parent = of_file(path);
    make_private_directory(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync(parent)
}

/// Syncs the names in a directory to the disk.
pub fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn created_directories_are_private_and_existing_ones_keep_their_mode() {
        let directory = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (there, made) = (directory.path().join("there"), directory.path().join("there/a/b"));
        fs::create_dir(&there).unwrap();
        fs::set_permissions(&there, fs::Permissions::from_mode(0o755)).unwrap();
        for _ in 0..2 {
            make_private_directory(&made).unwrap();
            assert_eq!([mode(&there), mode(&there.join("a")), mode(&made)], [0o755, 0o700, 0o700]);
        }
        fs::write(directory.path().join("file"), "").unwrap();
        assert!(make_private_directory(&directory.path().join("file/a")).is_err());
    }
}
