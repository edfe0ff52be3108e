//! Rules of the repository that neither the compiler nor clippy checks. One module per rule.

mod floors;
mod imports;
mod limits;
mod lines;
mod map;
mod names;
mod retired;
mod shape;
mod tree;

use std::{fmt, path::Path};

/// A violation of a rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// The path, relative to the root; for a rule about a crate, its manifest.
    path: String,
    /// The line, counted from 1; `None` for the whole file.
    line: Option<usize>,
    /// The problem, and how to solve it.
    problem: String,
}

/// Checks all rules, and returns the violations.
pub fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let files = tree::read(root)?;
    let mut findings = floors::check(&floors::edges(root)?);
    for file in &files {
        findings.extend(shape::check(file));
        findings.extend(imports::check(file));
        findings.extend(names::check(file));
        findings.extend(lines::check(file));
    }
    findings.extend(limits::check(&files));
    findings.extend(map::check(&files));
    findings.extend(retired::check(&files));
    Ok(findings)
}

impl Finding {
    fn of_file(path: &str, problem: impl Into<String>) -> Finding {
        Finding { path: path.to_owned(), line: None, problem: problem.into() }
    }

    /// Makes a finding about a line; `index` counts from 0.
    fn of_line(path: &str, index: usize, problem: impl Into<String>) -> Finding {
        Finding { path: path.to_owned(), line: Some(index + 1), problem: problem.into() }
    }
}

/// Formats the finding like a compiler, so that editors find the place.
impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(formatter, "{}:{line}: {}", self.path, self.problem),
            None => write!(formatter, "{}: {}", self.path, self.problem),
        }
    }
}
