//! How listings are printed.

use std::{num::NonZeroUsize, process::ExitCode};

use clap::Args;

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
        output::note(format_args!("muster: these are the first {}: there are more", listing.items.len()));
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

/// How much of a listing is printed, and how.
#[derive(Args)]
pub struct ListingArgs {
    /// The first ones only. Without it the listing has all, page after page.
    #[arg(long, value_name = "NUMBER", alias = "top")]
    pub limit: Option<NonZeroUsize>,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}
