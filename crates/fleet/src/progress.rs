//! Progress on standard error: a bar on a terminal, about ten plain lines elsewhere.

use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressStyle};

const TEMPLATE: &str = "{msg} [{bar:40}] {pos}/{len} {per_sec} {elapsed}";
const LINES: u64 = 10;

/// The progress of a number of equal steps.
#[derive(Debug)]
pub struct Progress {
    label: &'static str,
    total: u64,
    done: u64,
    bar: ProgressBar,
}

impl Progress {
    /// Starts at zero of `total` steps.
    pub fn start(label: &'static str, total: usize) -> Progress {
        let total = u64::try_from(total).unwrap_or(u64::MAX);
        let bar = ProgressBar::new(total);
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(label);
        Progress { label, total, done: 0, bar }
    }

    /// Counts one step.
    pub fn step(&mut self) {
        self.advance(1);
    }

    /// Counts several steps.
    pub fn advance(&mut self, steps: u64) {
        let before = self.done;
        self.done += steps;
        self.bar.inc(steps);
        if self.bar.is_hidden() && is_worth_a_line(before, self.done, self.total) {
            // Standard error may be closed.
            let _ = writeln!(io::stderr(), "{}: {} of {}", self.label, self.done, self.total);
        }
    }

    /// Counts steps until this many are done.
    pub fn advance_to(&mut self, done: u64) {
        self.advance(done.min(self.total).saturating_sub(self.done));
    }

    /// Ends the progress. The bar remains on the terminal.
    pub fn finish(self) {
        self.bar.abandon();
    }
}

/// Returns whether steps get a line: the last one does, and one in each tenth of the total.
fn is_worth_a_line(before: u64, done: u64, total: u64) -> bool {
    let tenth = (total / LINES).max(1);
    before < done && (done == total || done / tenth > before / tenth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_ten_lines_are_written_for_any_total() {
        for (total, lines) in [(1, 1), (3, 3), (10, 10), (1000, 10), (1005, 11)] {
            assert_eq!(
                (1..=total).filter(|done| is_worth_a_line(done - 1, *done, total)).count(),
                lines,
                "{total}"
            );
        }
    }
}
