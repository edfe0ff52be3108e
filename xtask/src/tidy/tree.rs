//! The files that people write.

use std::{fs, path::Path};

use anyhow::Context;

/// A text file of the repository.
#[derive(Debug)]
pub struct SourceFile {
    /// Relative to the root, with forward slashes.
    pub path: String,
    /// Its content.
    pub text: String,
}

impl SourceFile {
    /// Whether it is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it is a test by its place: under `tests/`, or a `tests.rs`.
    pub fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }
}

/// All text files under `root`, in order of their paths, but for what [`SKIPPED`] names.
pub fn read(root: &Path) -> anyhow::Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    read_folder(root, "", &mut files)?;
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

fn read_folder(folder: &Path, prefix: &str, files: &mut Vec<SourceFile>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{prefix}{name}");
        if SKIPPED.contains(&name.as_str()) || SKIPPED.contains(&path.as_str()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            read_folder(&entry.path(), &format!("{path}/"), files)?;
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            // What is no text, or was deleted this moment, is nobody's source.
            files.push(SourceFile { path, text });
        }
    }
    Ok(())
}

/// Names or whole paths of what is not written here: built, installed, generated, or input for tests.
const SKIPPED: &[&str] = &[
    ".env",
    ".git",
    ".muster",
    ".pytest_cache",
    "Cargo.lock",
    "__pycache__",
    "fuzz/artifacts",
    "fuzz/corpus",
    "node_modules",
    "package-lock.json",
    "target",
];
