//! Words that leave the code one by one: their uses are counted and may only become fewer.

use std::cmp::Ordering;

use super::{Finding, names::words, tree::SourceFile};

/// Where the numbers below are.
const HERE: &str = "xtask/src/tidy/retired.rs";

/// A word that the names of things do not use any more.
struct Retired {
    /// In lower case it is retired in every name; with a capital letter in the names of types only.
    word: &'static str,
    /// Declared names that still hold it. Lower it with each rename; a word with 0 stays out.
    allowed: usize,
    /// What to write in its place.
    instead: &'static str,
}

/// A name that a file declares.
struct Declared<'a> {
    path: &'a str,
    kind: &'a str,
    name: &'a str,
    words: Vec<String>,
}

/// Checks that every word is used as often as the table says, so that the table follows each removal.
pub fn check(files: &[SourceFile]) -> Vec<Finding> {
    let names: Vec<Declared<'_>> = files.iter().filter(|file| file.is_rust()).flat_map(names).collect();
    RETIRED.iter().filter_map(|retired| problem(retired, &names)).collect()
}

fn names(file: &SourceFile) -> impl Iterator<Item = Declared<'_>> {
    let declared = |(kind, name)| Declared { path: &file.path, kind, name, words: words(name) };
    file.text.lines().filter_map(super::names::declared).map(declared)
}

fn problem(retired: &Retired, names: &[Declared<'_>]) -> Option<Finding> {
    let Retired { word, allowed, instead } = retired;
    let uses: Vec<&Declared<'_>> = names.iter().filter(|declared| retired.is_in(declared)).collect();
    let count = uses.len();
    let problem = match count.cmp(allowed) {
        Ordering::Equal => return None,
        Ordering::Less => format!("{word:?} has {count} uses left, not {allowed}: lower it"),
        Ordering::Greater => {
            let uses: Vec<String> = uses.iter().map(|it| format!("{} in {}", it.name, it.path)).collect();
            let uses = uses.join(", ");
            format!("{word:?} is retired, write {instead}; {count} uses, {allowed} allowed: {uses}")
        }
    };
    Some(Finding::of_file(HERE, problem))
}

impl Retired {
    fn is_in(&self, declared: &Declared<'_>) -> bool {
        let is_meant = !self.word.starts_with(char::is_uppercase) || TYPES.contains(&declared.kind);
        is_meant && declared.words.iter().any(|word| word.eq_ignore_ascii_case(self.word))
    }
}

const TYPES: [&str; 5] = ["enum", "struct", "trait", "type", "union"];

const fn retired(word: &'static str, allowed: usize, instead: &'static str) -> Retired {
    Retired { word, allowed, instead }
}

/// In alphabetical order. The words to write are those of the glossary in `ARCHITECTURE.md`.
const RETIRED: [Retired; 34] = [
    retired("ailment", 0, "unavailability"),
    retired("Ask", 0, "a noun, such as AllocationRequest"),
    retired("begun", 0, "a noun, such as RegisterOutcome"),
    retired("desk", 0, "assignment runner"),
    retired("door", 0, "listener"),
    retired("doors", 0, "listeners"),
    retired("Ended", 0, "a noun, such as RunOutcome"),
    retired("entrance", 0, "authorizer"),
    retired("Gate", 0, "connection limiter"),
    retired("judgement", 0, "attestation trace"),
    retired("Kept", 0, "a noun for what is kept"),
    retired("Later", 0, "retry"),
    retired("Leave", 0, "call permit"),
    retired("leaving", 0, "residue"),
    retired("Line", 2, "REST client, or device link in the embedded hub"),
    retired("nobody", 4, "what is meant: no device, no process"),
    retired("Order", 0, "device spec"),
    retired("patience", 0, "Retry-After, or timeout"),
    retired("Place", 1, "permit, hub device ref, or row ref"),
    retired("Pulse", 0, "HTTP deadlines"),
    retired("Quiet", 0, "idle timer"),
    retired("Room", 0, "limits"),
    retired("Site", 0, "HTTP services"),
    retired("somebody", 0, "what is meant: a device, an operator"),
    retired("surroundings", 0, "hub topology"),
    retired("survey", 0, "hub prober"),
    retired("sweep", 0, "reconciler"),
    retired("told", 6, "returned, reported, or sent"),
    retired("Trace", 1, "residue"),
    retired("Way", 1, "connector, or run task"),
    retired("weigh", 0, "evaluate"),
    retired("whoever", 0, "what is meant: a caller, a device"),
    retired("wish", 0, "desired device"),
    retired("Work", 0, "pending step"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_code(retired: Retired, code: &str, expected: Option<&str>) {
        let files = [SourceFile { path: "a.rs".to_owned(), text: code.to_owned() }];
        let found = problem(&retired, &files.iter().flat_map(names).collect::<Vec<_>>())
            .map(|finding| finding.problem);
        assert_eq!(found.as_deref(), expected, "{code}");
    }

    #[test]
    fn a_retired_word_may_only_become_rarer() {
        let desk = |allowed| retired("desk", allowed, "runner");
        check_code(desk(0), "let desk = Desk::new();", None);
        check_code(desk(1), "pub struct RunDesk;", None);
        let again = "\"desk\" is retired, write runner; 1 uses, 0 allowed: the_desk_opens in a.rs";
        check_code(desk(0), "    fn the_desk_opens() {}", Some(again));
        check_code(desk(2), "mod desk;", Some("\"desk\" has 1 uses left, not 2: lower it"));
    }

    #[test]
    fn a_capital_letter_retires_the_names_of_types() {
        let way = || retired("Way", 0, "connector");
        check_code(way(), "fn gives_way() {}", None);
        let again = "\"Way\" is retired, write connector; 1 uses, 0 allowed: HubWay in a.rs";
        check_code(way(), "enum HubWay {", Some(again));
    }
}
