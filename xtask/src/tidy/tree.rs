//! The text files of the repository.

use std::{fs, path::Path};

use anyhow::Context;

/// A text file.
#[derive(Debug)]
pub struct SourceFile {
    /// The path, relative to the root, with forward slashes.
    pub path: String,
    /// The content.
    pub text: String,
}

impl SourceFile {
    /// Returns whether the file is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Returns whether the file is a test by its path: below `tests/`, or a `tests.rs`.
    pub fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }
}

/// Reads all text files below `root`, ordered by path, except [`SKIPPED`] ones.
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
            // Binary files, and files deleted meanwhile, are skipped.
            files.push(SourceFile { path, text });
        }
    }
    Ok(())
}

/// The names or paths of skipped files: built, installed, generated, or input for tests.
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
