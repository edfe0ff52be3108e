//! Output of commands. `main.rs` denies `println!` and the like, so that all output goes through here.
//!
//! Much of the output was chosen by peers and other operators, so [`PeerText`] escapes each text. A closed pipe, as in
//! `muster … | head`, is not an error: further output is dropped, and the exit status stays the same.

use std::{
    fmt::{self, Display, Write as _},
    io::{self, ErrorKind, Write},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::Context;
use clap::{
    ArgAction, Args,
    builder::{BoolValueParser, TypedValueParser},
};
use model::PeerText;
use serde::Serialize;

/// The longest line. TPM keys and the longest errors with all causes are far shorter.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// Whether the last write of a command found a reader.
static HAS_READER: AtomicBool = AtomicBool::new(true);

/// Returns whether output is still read. Commands that would print without end stop when it is not.
pub fn has_reader() -> bool {
    HAS_READER.load(Ordering::Relaxed)
}

/// The form of a command's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON, for programs.
    Json,
    /// Text, for people.
    Text,
}

/// Parses the flag `--json`.
pub fn json_flag() -> impl TypedValueParser<Value = Format> {
    BoolValueParser::new().map(|is_given| if is_given { Format::Json } else { Format::Text })
}

/// The argument of commands that print a table or JSON.
#[derive(Args)]
pub struct OutputArgs {
    /// Print JSON instead of a table.
    #[arg(id = "json", long, action = ArgAction::SetTrue, value_parser = json_flag())]
    pub format: Format,
}

/// Prints one line to standard output.
pub fn line(text: impl Display) -> anyhow::Result<()> {
    write_text(io::stdout(), &format!("{}\n", PeerText::new(text, MAX_LINE_BYTES)))
}

/// Prints a text of several lines.
pub fn lines(text: &str) -> anyhow::Result<()> {
    text.split('\n').try_for_each(line)
}

/// Prints indented JSON. Characters that a terminal would interpret become JSON escapes.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    write_text(io::stdout(), &format!("{}\n", visible_json(&serde_json::to_string_pretty(value)?)))
}

/// Prints JSON on one line, with the same escapes.
pub fn json_line(value: &impl Serialize) -> anyhow::Result<()> {
    write_text(io::stdout(), &format!("{}\n", visible_json(&serde_json::to_string(value)?)))
}

/// Prints a table whose cells are escaped.
pub fn table(table: &impl SafeTable) -> anyhow::Result<()> {
    write_text(io::stdout(), &format!("{}\n", table.render()))
}

/// A table without raw peer text in its cells.
pub trait SafeTable {
    /// Renders the table.
    fn render(&self) -> String;
}

/// Prints a constant of the program, unescaped.
pub fn own_text(text: &'static str) -> anyhow::Result<()> {
    write_text(io::stdout(), text)
}

/// Prints a line to standard error; a failure to do so is ignored.
pub fn note(text: impl Display) {
    let _ = write_text(io::stderr(), &format!("{}\n", PeerText::new(text, MAX_LINE_BYTES)));
}

fn write_text(mut to: impl Write, text: &str) -> anyhow::Result<()> {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            HAS_READER.store(false, Ordering::Relaxed);
            Ok(())
        }
        result => result.context("cannot write to standard output"),
    }
}

/// Escapes invisible characters in JSON, except line ends.
fn visible_json(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter == '\n' || PeerText::shows(letter) {
            visible.push(letter);
        } else {
            // JSON has such characters only within strings, where escapes are valid.
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
    fn json_escapes_terminal_control_characters_and_keeps_its_value() {
        let text = "\u{1b}[2J\u{9b}\u{202e}\u{2028}\n\u{e0041}é\u{3164}\"\\";
        let value = serde_json::json!({ text: [text, 1, null] });
        let visible = visible_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(visible.chars().all(|letter| letter == '\n' || PeerText::shows(letter)), "{visible}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&visible).unwrap(), value);
    }

    #[test]
    fn a_closed_pipe_is_not_an_error() {
        struct Pipe(ErrorKind);
        impl Write for Pipe {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(write_text(Pipe(ErrorKind::BrokenPipe), "x").is_ok());
        assert!(write_text(Pipe(ErrorKind::StorageFull), "x").is_err());
    }
}
