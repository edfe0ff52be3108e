//! Tables of replies of the service.

use std::fmt::Display;

use comfy_table::{CellAlignment, presets};
use model::PeerText;
use serde_json::Value;

use crate::output::SafeTable;

/// The longest cell; longer ones are cut. `--json` prints them whole.
const MAX_CELL_BYTES: usize = 1000;

/// A table whose cells are escaped.
pub struct Table(comfy_table::Table);

impl Table {
    /// Makes an empty table.
    pub fn new(header: &[&str]) -> Table {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header.iter().map(cell));
        Table(table)
    }

    /// Adds a row, and escapes its cells.
    pub fn add_row(&mut self, cells: impl IntoIterator<Item: Display>) {
        self.0.add_row(cells.into_iter().map(cell));
    }

    /// Aligns these columns to the right, as for numbers.
    pub fn right(mut self, columns: &[usize]) -> Table {
        for column in columns {
            if let Some(column) = self.0.column_mut(*column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self
    }
}

impl SafeTable for Table {
    fn render(&self) -> String {
        self.0.to_string()
    }
}

/// Reports of fleets. Their cells are numbers and parsed names.
impl SafeTable for comfy_table::Table {
    fn render(&self) -> String {
        self.to_string()
    }
}

fn cell(text: impl Display) -> String {
    PeerText::new(text, MAX_CELL_BYTES).into_string()
}

/// Formats the text or number at a JSON pointer; empty if it is absent.
pub fn text(shown: &Value, pointer: &str) -> String {
    shown.pointer(pointer).map(word).unwrap_or_default()
}

/// Formats a text or a number; empty for null.
pub fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Removes the fraction of seconds from a timestamp.
pub fn seconds(instant: &str) -> String {
    instant.split_once('.').map_or(instant.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}
