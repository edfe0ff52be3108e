//! Checks that `docs/limits.md` names every bound.

use std::collections::BTreeSet;

use super::{Finding, tree::SourceFile};

const PAGE: &str = "docs/limits.md";

/// The file whose types have the bounds of connections as members.
const SETTINGS: &str = "crates/net/src/limits.rs";

/// The crates that hold nothing for peers.
const BESIDE: [&str; 5] = ["bench", "fleet", "memory-engine", "muster", "testkit"];

/// The types of bounds.
const NUMBERS: [&str; 9] = ["i32", "i64", "u8", "u16", "u32", "u64", "usize", "Option<usize>", "Room"];

/// Checks that every bound in the code has a row on the page, and that the page names no removed one.
pub fn check(files: &[SourceFile]) -> Vec<Finding> {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else {
        return vec![Finding::of_file(PAGE, "is missing: what each bound costs")];
    };
    let named: BTreeSet<&str> = page.text.split('`').skip(1).step_by(2).collect();
    let product = || files.iter().filter(|file| owner(file).is_some());
    let missing = product().flat_map(bounds).filter(|(_, name)| !named.contains(name.as_str()));
    let mut findings: Vec<Finding> = missing
        .map(|(path, name)| Finding::of_file(path, format!("{name} has no row in {PAGE}: say what it costs")))
        .collect();
    let all: BTreeSet<String> = product().flat_map(constants).collect();
    let gone = named.iter().filter(|name| name.contains("::") && !all.contains(**name));
    findings.extend(gone.map(|name| Finding::of_file(PAGE, format!("{name} is gone"))));
    findings
}

/// Returns the crate of a file of product code.
fn owner(file: &SourceFile) -> Option<&str> {
    let (owner, inside) = file.path.strip_prefix("crates/")?.split_once('/')?;
    let is_product = inside.starts_with("src/") && file.is_rust() && !file.is_test();
    (is_product && !BESIDE.contains(&owner)).then_some(owner)
}

/// Returns the bounds in a file: constants that begin with `MAX`, and the settings of connections.
fn bounds(file: &SourceFile) -> Vec<(&str, String)> {
    let declared = file.text.lines().filter_map(|line| {
        let (name, kind) = declared(line)?;
        let is_bound = name.starts_with("MAX") && NUMBERS.contains(&kind);
        is_bound.then(|| format!("{}::{name}", owner(file).unwrap_or_default()))
    });
    let settings = file.text.lines().filter(|_| file.path == SETTINGS).filter_map(|line| {
        let (name, kind) = line.strip_prefix("    pub ")?.trim_end_matches(',').split_once(": ")?;
        (NUMBERS.contains(&kind) && !name.contains('(')).then(|| name.to_owned())
    });
    declared.chain(settings).map(|name| (file.path.as_str(), name)).collect()
}

/// Returns the constants and types in a file, prefixed with the crate.
fn constants(file: &SourceFile) -> Vec<String> {
    let owner = owner(file).unwrap_or_default();
    let types =
        file.text.lines().filter_map(|line| line.strip_prefix("pub struct ")?.split([' ', '(']).next());
    let constants = file.text.lines().filter_map(|line| declared(line).map(|(name, _)| name));
    constants.chain(types).map(|name| format!("{owner}::{name}")).collect()
}

/// Returns the name and the type of a constant.
fn declared(line: &str) -> Option<(&str, &str)> {
    let (before, after) = line.split_once("const ")?;
    let is_declaration = before.trim().is_empty() || before.trim_start().starts_with("pub");
    let (name, rest) = after.split_once(": ").filter(|_| is_declaration)?;
    Some((name, rest.split([' ', ';']).next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_page(page: &str, code: &[(&str, &str)], expected: &[&str]) {
        let file = |(path, text): &(&str, &str)| SourceFile { path: (*path).into(), text: (*text).into() };
        let files: Vec<_> = code.iter().chain(&[(PAGE, page)]).map(file).collect();
        let found: Vec<String> = check(&files).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn pages() {
        let hub = ("crates/hub/src/a.rs", "const MAX_CALLS: usize = 3;\nconst MAX_IDLE: Duration = X;\n");
        check_page("| `hub::MAX_CALLS` |", &[hub], &[]);
        check_page(
            "",
            &[hub],
            &["crates/hub/src/a.rs: hub::MAX_CALLS has no row in docs/limits.md: say what it costs"],
        );
        check_page("`hub::MAX_CALLS` `hub::KEPT`", &[hub], &["docs/limits.md: hub::KEPT is gone"]);
        let associated = ("crates/model/src/k.rs", "    pub const MAX_BYTES: usize = 64;\n");
        check_page("`model::MAX_BYTES`", &[associated], &[]);
        let settings =
            (SETTINGS, "    pub max_frame: usize,\n    pub idle: Duration,\n    pub fn x(a: usize)\n");
        check_page("`max_frame`", &[settings], &[]);
        check_page(
            "",
            &[settings],
            &["crates/net/src/limits.rs: max_frame has no row in docs/limits.md: say what it costs"],
        );
        let beside = [
            ("crates/bench/src/a.rs", "const MAX_X: usize = 3;"),
            ("crates/hub/tests/it/a.rs", "const MAX_X: u8 = 3;"),
        ];
        check_page("", &beside, &[]);
    }
}
