//! What commands print. Everything passes here: the program may not use `println!` and its like (see `main.rs`).
//!
//! Peers, and operators of the same service, chose much of what is shown, so each text is escaped by [`PeerText`]. And
//! a reader that has enough, as in `muster … | head`, is no error: what follows is thrown away, and the command ends with the
//! exit status that it would have had.

use std::fmt::{self, Display, Write as _};
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use model::PeerText;
use serde::Serialize;

/// The longest line: a key of a TPM, or the longest error with all its causes, is shorter by far.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// Whether the reader of the output was still there when a command wrote last.
static HAS_READER: AtomicBool = AtomicBool::new(true);

/// Returns whether output is still read. Commands that would print without end stop when it is not.
pub fn has_reader() -> bool {
    HAS_READER.load(Ordering::Relaxed)
}

/// Prints one line.
pub fn line(text: impl Display) -> anyhow::Result<()> {
    written(io::stdout(), &format!("{}\n", PeerText::new(text, MAX_LINE_BYTES)))
}

/// Prints a text line by line.
pub fn lines(text: &str) -> anyhow::Result<()> {
    text.split('\n').try_for_each(line)
}

/// Prints JSON, indented, in which what a terminal would act on is escaped in JSON's own way.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    written(io::stdout(), &format!("{}\n", visible_json(&serde_json::to_string_pretty(value)?)))
}

/// Prints JSON on one line.
pub fn json_line(value: &impl Serialize) -> anyhow::Result<()> {
    written(io::stdout(), &format!("{}\n", visible_json(&serde_json::to_string(value)?)))
}

/// Prints a table whose cells are escaped, which those of `commands::table::Table` and of reports of numbers are.
pub fn table(table: &impl SafeTable) -> anyhow::Result<()> {
    written(io::stdout(), &format!("{}\n", table.drawn()))
}

/// A table without raw text of peers in its cells.
pub trait SafeTable {
    /// The table as it is printed.
    fn drawn(&self) -> String;
}

/// Prints a text that is part of the program.
pub fn own_text(text: &'static str) -> anyhow::Result<()> {
    written(io::stdout(), text)
}

/// Says something beside the output, on standard error. Where nobody listens, nothing is said.
pub fn note(text: impl Display) {
    let _ = written(io::stderr(), &format!("{}\n", PeerText::new(text, MAX_LINE_BYTES)));
}

fn written(mut to: impl Write, text: &str) -> anyhow::Result<()> {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            HAS_READER.store(false, Ordering::Relaxed);
            Ok(())
        }
        written => written.context("cannot write to standard output"),
    }
}

/// The same JSON without a character that would not be shown as it is, but for the ends of its lines.
fn visible_json(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter == '\n' || PeerText::shows(letter) {
            visible.push(letter);
        } else {
            // Outside of strings JSON has none of these, so that an escape is right wherever one is.
            let _ = escape_utf16(&mut visible, letter);
        }
    }
    visible
}

fn escape_utf16(out: &mut String, letter: char) -> fmt::Result {
    let mut units = [0; 2];
    letter.encode_utf16(&mut units).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_says_the_same_without_what_a_terminal_acts_on() {
        let text = "\u{1b}[2J\u{9b}\u{202e}\u{2028}\n\u{e0041}é\u{3164}\"\\";
        let value = serde_json::json!({ text: [text, 1, null] });
        let visible = visible_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(visible.chars().all(|letter| letter == '\n' || PeerText::shows(letter)), "{visible}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&visible).unwrap(), value);
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error() {
        struct Pipe(ErrorKind);
        impl Write for Pipe {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(written(Pipe(ErrorKind::BrokenPipe), "x").is_ok());
        assert!(written(Pipe(ErrorKind::StorageFull), "x").is_err());
    }
}
