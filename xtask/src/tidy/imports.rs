//! Import style.

use std::collections::HashSet;

use super::{Finding, tree::SourceFile};

/// The folders whose files may still import a crate twice. Remove a folder when it is done.
const NOT_YET: [&str; 1] = ["crates/store/"];

/// Rejects a second `use` of a crate in a file, except below a `cfg`.
pub fn check(files: &[SourceFile]) -> Vec<Finding> {
    let problem = "a crate is imported twice: nest its paths in one use";
    let twice: Vec<(&SourceFile, usize)> =
        files.iter().filter_map(|file| Some((file, second_use(file)?))).collect();
    let is_exempt = |path: &str| NOT_YET.iter().any(|folder| path.starts_with(folder));
    let findings = twice.iter().filter(|(file, _)| !is_exempt(&file.path));
    let findings = findings.map(|(file, line)| Finding::of_line(&file.path, *line, problem));
    let done = NOT_YET.iter().filter(|folder| !twice.iter().any(|(file, _)| file.path.starts_with(**folder)));
    let done = done.map(|folder| Finding::of_file(folder, "is done: take it off the list in imports.rs"));
    findings.chain(done).collect()
}

/// Returns the line of the first repeated `use` of a crate, except `crate`, `super` and `self`.
fn second_use(file: &SourceFile) -> Option<usize> {
    let lines = file.is_rust().then(|| file.text.lines()).into_iter().flatten();
    let (mut seen, mut after_attribute) = (HashSet::new(), false);
    for (index, line) in lines.enumerate() {
        let name = line.strip_prefix("use ").and_then(|path| path.split([':', ';', ' ']).next());
        let name = name.filter(|name| !after_attribute && !["crate", "super", "self"].contains(name));
        if name.is_some_and(|name| !seen.insert(name)) {
            return Some(index);
        }
        after_attribute = line.starts_with("#[");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_code(code: &str, expected: Option<usize>) {
        let file = SourceFile { path: "a.rs".to_owned(), text: code.to_owned() };
        assert_eq!(second_use(&file), expected, "{code}");
    }

    #[test]
    fn a_crate_is_named_once() {
        check_code("use std::{fmt, io};\nuse http::Method;\n\nuse crate::a;\nuse crate::b;\n", None);
        check_code("use std::fmt;\nuse std::io;\n", Some(1));
        check_code("use std::fmt;\n#[cfg(test)]\nuse std::io;\npub use std::env;\n", None);
        check_code("use std::fmt;\nmod tests {\n    use std::io;\n}\n", None);
    }

    #[test]
    fn a_folder_that_is_done_leaves_the_list() {
        let file = |path: &str| SourceFile {
            path: format!("{path}a.rs"),
            text: "use std::fmt;\nuse std::io;\n".to_owned(),
        };
        let mut files: Vec<SourceFile> = NOT_YET.map(file).into();
        assert_eq!(check(&files), []);
        files.pop();
        let found: Vec<String> = check(&files).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["crates/store/: is done: take it off the list in imports.rs"]);
        files.push(file("crates/store/"));
        files.push(file("crates/new/"));
        assert_eq!(check(&files).len(), 1);
    }
}
