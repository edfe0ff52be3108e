//! How listings are printed.

use std::process::ExitCode;

use super::table::Table;
use crate::output;

/// Prints a listing: as JSON, or as a table of rows with a word where there are none, or more.
pub fn print(listing: &fleet::Listing, form: Form<'_>) -> anyhow::Result<ExitCode> {
    match form {
        Form::Json => output::json(&listing.items)?,
        Form::Table { if_none, .. } if listing.items.is_empty() => output::line(if_none)?,
        Form::Table { header, row, .. } => {
            let mut table = Table::new(header);
            listing.items.iter().map(row).for_each(|cells| table.add_row(cells));
            output::table(&table)?;
        }
    }
    if listing.more {
        output::note("there are more: --top shows them");
    }
    Ok(ExitCode::SUCCESS)
}

/// How a listing is printed.
pub enum Form<'a> {
    /// As the service shows it.
    Json,
    /// A row for each item.
    Table {
        /// The columns' names.
        header: &'a [&'a str],
        /// What stands in them.
        row: fn(&serde_json::Value) -> Vec<String>,
        /// What is said when there is no item.
        if_none: &'a str,
    },
}

/// What `--top` is when nobody says: more than a screen holds, and still read in a moment.
pub const TOP: &str = "200";
