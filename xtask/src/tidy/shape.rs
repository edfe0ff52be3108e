//! Length and first line of files.

use super::{Finding, tree::SourceFile};

/// The maximum lines of a file of code. A longer one has two subjects.
const MAX_LINES: usize = 500;

/// The maximum lines of a file of tests, which are mostly tables.
const MAX_TEST_LINES: usize = 800;

/// Rejects long Rust files, and files without a `//!` description.
pub fn check(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !file.is_rust() {
        return findings;
    }
    let limit = if file.is_test() { MAX_TEST_LINES } else { MAX_LINES };
    let length = file.text.lines().count();
    if length > limit {
        findings
            .push(Finding::of_file(&file.path, format!("{length} lines, the limit is {limit}: split it")));
    }
    if !file.text.trim_start().starts_with("//!") {
        findings.push(Finding::of_line(&file.path, 0, "begin with //! and say what this file is about"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_text(path: &str, text: String, expected: &[&str]) {
        let file = SourceFile { path: path.to_owned(), text };
        let found: Vec<String> = check(&file).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn length() {
        let lines = |count| "//! x\n".repeat(count);
        check_text("a.rs", lines(MAX_LINES), &[]);
        check_text("a.rs", lines(MAX_LINES + 1), &["a.rs: 501 lines, the limit is 500: split it"]);
        check_text("a/tests/b.rs", lines(MAX_TEST_LINES), &[]);
        check_text(
            "a/tests.rs",
            lines(MAX_TEST_LINES + 1),
            &["a/tests.rs: 801 lines, the limit is 800: split it"],
        );
        check_text("a.md", lines(MAX_TEST_LINES + 1), &[]);
    }

    #[test]
    fn beginning() {
        check_text("a.rs", "\n//! Story.\n".to_owned(), &[]);
        check_text(
            "a.rs",
            "use x;\n".to_owned(),
            &["a.rs:1: begin with //! and say what this file is about"],
        );
    }
}
