//! Checks that `ARCHITECTURE.md` describes the tree.

use std::collections::BTreeSet;

use super::{Finding, tree::SourceFile};

const FOLDERS: [&str; 6] = [".ci/", "crates/", "docs/", "fuzz/", "tests/", "xtask/"];
const FILES: [&str; 3] = [".md", ".rs", ".toml"];

const MAP: &str = "ARCHITECTURE.md";

/// Checks that every crate is in the code map, and that every path in the document exists.
pub fn check(files: &[SourceFile]) -> Vec<Finding> {
    let Some(map) = files.iter().find(|file| file.path == MAP) else {
        return vec![Finding::of_file(MAP, "is missing: the map of the crates")];
    };
    let mut findings = missing_crates(files, map);
    for (index, line) in map.text.lines().enumerate() {
        let gone = quoted(line).filter(|text| is_path(text) && !exists(files, text));
        findings.extend(gone.map(|path| Finding::of_line(MAP, index, format!("{path} does not exist"))));
    }
    findings
}

fn missing_crates(files: &[SourceFile], map: &SourceFile) -> Vec<Finding> {
    let crates: BTreeSet<&str> =
        files.iter().filter_map(|file| file.path.strip_suffix("/Cargo.toml")).collect();
    let named: BTreeSet<&str> = map.text.lines().flat_map(quoted).collect();
    let missing = crates.difference(&named);
    missing.map(|folder| Finding::of_file(MAP, format!("does not say what `{folder}` is"))).collect()
}

/// Returns the texts between backticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Returns whether a text looks like a path: it has a folder, or the extension of a source file.
fn is_path(text: &str) -> bool {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    let in_folder = FOLDERS.iter().any(|folder| text.starts_with(folder));
    plain && (in_folder || FILES.iter().any(|ending| text.ends_with(ending)))
}

/// Returns whether a path exists, from the root or as the end of a path in a crate.
fn exists(files: &[SourceFile], path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let inside = format!("{path}/");
    let ending = format!("/{path}");
    files
        .iter()
        .any(|file| file.path == path || file.path.starts_with(&inside) || file.path.ends_with(&ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_map(map: &str, expected: &[&str]) {
        let paths =
            ["crates/model/Cargo.toml", "crates/model/src/register/plan.rs", "fuzz/Cargo.toml", "Cargo.toml"];
        let mut files: Vec<SourceFile> =
            paths.map(|path| SourceFile { path: path.to_owned(), text: String::new() }).into();
        files.push(SourceFile { path: MAP.to_owned(), text: map.to_owned() });
        let found: Vec<String> = check(&files).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{map}");
    }

    #[test]
    fn maps() {
        let crates = "`crates/model` and `fuzz`";
        check_map(crates, &[]);
        check_map(
            &format!("{crates}, `crates/model/src/`, `register/plan.rs`, `Cargo.toml`, `GET /x/y`"),
            &[],
        );
        check_map("`crates/model`", &["ARCHITECTURE.md: does not say what `fuzz` is"]);
        check_map(
            &format!("{crates}\n`crates/wire/src/lib.rs` and `register/begin.rs`"),
            &[
                "ARCHITECTURE.md:2: crates/wire/src/lib.rs does not exist",
                "ARCHITECTURE.md:2: register/begin.rs does not exist",
            ],
        );
    }
}
