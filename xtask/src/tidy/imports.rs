//! Import style.

use std::collections::HashSet;

use super::{Finding, tree::SourceFile};

/// Rejects a second `use` of a crate in a file, except below a `cfg`.
pub fn check(file: &SourceFile) -> Option<Finding> {
    let problem = "a crate is imported twice: nest its paths in one use";
    second_use(file).map(|line| Finding::of_line(&file.path, line, problem))
}

/// Returns the line of the first repeated `use` of a crate, `crate` and `super` included.
fn second_use(file: &SourceFile) -> Option<usize> {
    let lines = file.is_rust().then(|| file.text.lines()).into_iter().flatten();
    let (mut seen, mut after_attribute) = (HashSet::new(), false);
    for (index, line) in lines.enumerate() {
        let name = line.strip_prefix("use ").and_then(|path| path.split([':', ';', ' ']).next());
        let name = name.filter(|name| !after_attribute && *name != "self");
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
        check_code("use std::{fmt, io};\nuse http::Method;\n\nuse crate::{a, b};\n\nuse super::c;\n", None);
        check_code("use crate::a;\nuse crate::b;\n", Some(1));
        check_code("use std::fmt;\nuse std::io;\n", Some(1));
        check_code("use std::fmt;\n#[cfg(test)]\nuse std::io;\npub use std::env;\n", None);
        check_code("use std::fmt;\nmod tests {\n    use std::io;\n}\n", None);
    }
}
