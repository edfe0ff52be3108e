//! Listings.

use std::{num::NonZeroUsize, process::ExitCode};

use clap::Args;

use super::table::Table;
use crate::output::{self, Format, OutputArgs};

/// Prints a listing as JSON or as a table. A note says if there are more items than the limit.
pub fn print(listing: &fleet::Listing, format: Format, rows: &Rows<'_>) -> anyhow::Result<ExitCode> {
    match format {
        Format::Json => output::json(&listing.items)?,
        Format::Text if listing.items.is_empty() => output::line(rows.if_none)?,
        Format::Text => {
            let mut table = Table::new(rows.header);
            listing.items.iter().map(rows.row).for_each(|cells| table.add_row(cells));
            output::table(&table)?;
        }
    }
    if listing.more {
        output::note(format_args!(
            "muster: only the first {} are shown; raise --limit for more",
            listing.items.len()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// A listing as a table, with one row per item.
pub struct Rows<'a> {
    /// The titles of the columns.
    pub header: &'a [&'a str],
    /// Makes the cells of an item.
    pub row: fn(&serde_json::Value) -> Vec<String>,
    /// The text for an empty listing.
    pub if_none: &'a str,
}

/// Prints the count of a search.
pub fn print_count(count: u64, format: Format) -> anyhow::Result<ExitCode> {
    match format {
        Format::Json => output::json(&serde_json::json!({"count": count}))?,
        Format::Text => output::line(count)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The arguments of all listings.
#[derive(Args)]
pub struct ListingArgs {
    /// The maximum number of items. Default: all.
    #[arg(long, value_name = "NUMBER", alias = "top")]
    pub limit: Option<NonZeroUsize>,
    #[command(flatten)]
    pub output: OutputArgs,
}
