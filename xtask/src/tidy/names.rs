//! Vague words in names.

use super::{Finding, tree::SourceFile};

const QUALIFIERS: [&str; 6] = ["pub", "async", "const", "unsafe", "default", "extern"];
const DECLARING: [&str; 7] = ["enum", "fn", "mod", "struct", "trait", "type", "union"];

/// The words that are rejected anywhere in a name.
const NEVER: [&str; 6] = ["helper", "helpers", "manager", "util", "utils", "misc"];

/// The words that are rejected at the end of a type or module; before another word they can be useful.
const NEVER_LAST: [&str; 6] = ["base", "common", "data", "impl", "info", "service"];

/// Rejects vague words in names that Rust files declare.
pub fn check(file: &SourceFile) -> Vec<Finding> {
    if !file.is_rust() {
        return Vec::new();
    }
    let finding = |(index, line)| {
        let (kind, name) = declared(line)?;
        let problem = problem(kind, name)?;
        Some(Finding::of_line(&file.path, index, format!("{kind} {name}: {problem}")))
    };
    file.text.lines().enumerate().filter_map(finding).collect()
}

/// Returns the keyword and the name that a line declares, if any.
pub fn declared(line: &str) -> Option<(&str, &str)> {
    let mut words = line.trim_start().split_ascii_whitespace();
    let kind = words.find(|word| !QUALIFIERS.contains(word) && !word.starts_with("pub("))?;
    let name = words.next().filter(|_| DECLARING.contains(&kind))?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    Some((kind, &name[..end]))
}

fn problem(kind: &str, name: &str) -> Option<String> {
    if ALLOWED.contains(&(kind, name)) {
        return None;
    }
    if kind == "fn" && name.starts_with("get_") {
        return Some("a function that returns x is called x".to_owned());
    }
    let words = words(name);
    if let Some(word) = words.iter().find(|word| NEVER.contains(&word.as_str())) {
        return Some(format!("{word:?} says nothing: name what it does"));
    }
    let last = words.last().filter(|word| kind != "fn" && NEVER_LAST.contains(&word.as_str()))?;
    Some(format!("{last:?} at the end says nothing: name what it is"))
}

/// Splits a name in snake case or camel case into words in lower case.
pub fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter == '_' || letter.is_uppercase() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter != '_') {
            word.extend(letter.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Names that are given by others.
const ALLOWED: [(&str, &str); 6] = [
    // `X509CertificateInfo` of the service API.
    ("struct", "CertificateInfo"),
    // The content of `dev.json`.
    ("struct", "DevInfo"),
    ("mod", "info"),
    // The service API.
    ("mod", "service"),
    // Of the traits `http_body::Body` and `tower_service::Service`.
    ("type", "Data"),
    ("type", "Service"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_line(line: &str, expected: Option<&str>) {
        let file = SourceFile { path: "a.rs".to_owned(), text: line.to_owned() };
        let found = check(&file).pop().map(|finding| finding.problem);
        assert_eq!(found.as_deref(), expected, "{line}");
    }

    #[test]
    fn names() {
        check_line(
            "pub struct StoreManager {",
            Some("struct StoreManager: \"manager\" says nothing: name what it does"),
        );
        check_line("mod utils;", Some("mod utils: \"utils\" says nothing: name what it does"));
        check_line(
            "    pub(crate) async fn get_x(&self) {",
            Some("fn get_x: a function that returns x is called x"),
        );
        check_line(
            "struct TwinData<'a>(&'a str);",
            Some("struct TwinData: \"data\" at the end says nothing: name what it is"),
        );
        check_line("fn device_data() {}", None);
        check_line("pub struct DataPlane;", None);
        check_line("pub struct CertificateInfo {", None);
        check_line("let manager = 1;", None);
        check_line("/// A struct Manager of things.", None);
    }
}
