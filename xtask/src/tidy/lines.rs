//! Forbidden texts in lines.

use super::{Finding, tree::SourceFile};

/// The crates that are not part of the product.
const NOT_PRODUCT: [&str; 3] = ["crates/bench/", "crates/memory-engine/", "crates/testkit/"];

/// The places that escape text, and the calls that are allowed only there.
const ESCAPED_BY: [(&str, &[&str]); 2] = [
    ("crates/muster/src/output.rs", &[concat!("pr", "int!("), concat!("pr", "intln!("), "io::stdout()"]),
    ("crates/server/src/logging/", &[concat!("tracing_", "subscriber")]),
];

// In two parts, so that this file does not violate its own rule.
const DEFERRED: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const IGNORE: &str = concat!("#[", "ignore");
const MACHINE_PATHS: [&str; 4] =
    [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/wo", "rk/")];

/// The home folder that documents may show.
const EXAMPLE: &str = "you/";

/// Rejects deferred work without an issue, ignored tests, paths of one machine, and unescaped output.
pub fn check(file: &SourceFile) -> Vec<Finding> {
    let problems = |(index, line)| {
        let of = [deferred_work(line), ignored_test(file, line), machine_path(line), unescaped(file, line)];
        of.into_iter().flatten().map(move |problem| Finding::of_line(&file.path, index, problem))
    };
    file.text.lines().enumerate().flat_map(problems).collect()
}

fn deferred_work(line: &str) -> Option<String> {
    let words = line.split(|c: char| !c.is_ascii_alphanumeric());
    let mark = words.into_iter().find(|word| DEFERRED.contains(word))?;
    let names_issue = line.split('#').skip(1).any(|after| after.starts_with(|c: char| c.is_ascii_digit()));
    (!names_issue).then(|| format!("{mark} without an issue: write {mark} #123, or do it"))
}

fn ignored_test(file: &SourceFile, line: &str) -> Option<String> {
    let ignored = file.is_rust() && line.trim_start().starts_with(IGNORE);
    ignored.then(|| "an ignored test: fix or delete it".to_owned())
}

fn machine_path(line: &str) -> Option<String> {
    let of_one_machine = |path: &&&str| line.split(**path).skip(1).any(|after| !after.starts_with(EXAMPLE));
    let path = MACHINE_PATHS.iter().find(of_one_machine)?;
    Some(format!("{path} is a path on one machine: use a relative path"))
}

/// Rejects output of text except in the two places that escape it.
fn unescaped(file: &SourceFile, line: &str) -> Option<String> {
    let is_product = file.path.starts_with("crates/") && file.path.contains("/src/") && !file.is_test();
    let is_exempt = NOT_PRODUCT.iter().any(|folder| file.path.starts_with(folder));
    let by = ESCAPED_BY.iter().find(|(_, names)| names.iter().any(|name| line.contains(name)));
    let (place, _) = by.filter(|(place, _)| is_product && !is_exempt && !file.path.starts_with(place))?;
    Some(format!("unescaped output: only {place} may do this"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_line(path: &str, line: &str, found: bool) {
        let file = SourceFile { path: path.to_owned(), text: format!("//! Story.\n{line}\n") };
        let findings = check(&file);
        assert_eq!(!findings.is_empty(), found, "{line}: {findings:?}");
        assert!(findings.iter().all(|finding| finding.line == Some(2)));
    }

    #[test]
    fn lines() {
        let [later, broken, _] = DEFERRED;
        check_line("a.rs", &format!("// {later}: tidy up"), true);
        check_line("a.md", &format!("{broken} (see issue)"), true);
        check_line("a.rs", &format!("// {later} #12: tidy up"), false);
        check_line("a.rs", &format!("let {later}S = 1;"), false);
        check_line("a.rs", &format!("    {IGNORE}]"), true);
        check_line("a.rs", &format!("    {IGNORE} = \"slow\"]"), true);
        check_line("a.md", &format!("no {IGNORE}] here"), false);
        for path in MACHINE_PATHS {
            check_line("a.py", &format!("DIR = '{path}x'"), true);
        }
        for (_, names) in ESCAPED_BY {
            for name in names {
                check_line("crates/hub/src/a.rs", &format!("x({name}"), true);
                check_line("crates/hub/tests/it/a.rs", &format!("x({name}"), false);
                check_line("crates/bench/src/a.rs", &format!("x({name}"), false);
            }
        }
        check_line("crates/muster/src/output.rs", ESCAPED_BY[0].1[0], false);
        check_line("crates/muster/src/output.rs", ESCAPED_BY[1].1[0], true);
        check_line("a.md", &format!("{}you/.muster", MACHINE_PATHS[0]), false);
        check_line("a.rs", "/etc/muster/muster.toml in framework/x", false);
    }
}
