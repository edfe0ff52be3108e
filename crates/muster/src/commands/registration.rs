//! `muster registration`.

mod attempts;
mod cleanups;
mod list;
mod one;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// See what became of devices that registered, and step in where an assignment hangs.
#[derive(Args)]
pub struct RegistrationArgs {
    #[command(subcommand)]
    command: RegistrationCommand,
}

#[derive(Subcommand)]
enum RegistrationCommand {
    List(list::ListArgs),
    Show(one::ShowArgs),
    Explain(one::ExplainArgs),
    Cancel(one::CancelArgs),
    Delete(one::DeleteArgs),
    Attempts(attempts::AttemptsArgs),
    Cleanups(cleanups::CleanupsArgs),
}

/// Runs the command.
pub async fn run(args: RegistrationArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        RegistrationCommand::List(args) => list::run(args).await,
        RegistrationCommand::Show(args) => one::show(args).await,
        RegistrationCommand::Explain(args) => one::explain(args).await,
        RegistrationCommand::Cancel(args) => one::cancel(args).await,
        RegistrationCommand::Delete(args) => one::delete(args).await,
        RegistrationCommand::Attempts(args) => attempts::run(args).await,
        RegistrationCommand::Cleanups(args) => cleanups::run(args).await,
    }
}

/// Prints a listing: as JSON, or as a table of rows with a word where there are none, or more.
fn print(listing: &fleet::Listing, form: Form<'_>) -> ExitCode {
    match form {
        Form::Json => println!("{:#}", serde_json::Value::from(listing.items.as_slice())),
        Form::Table { if_none, .. } if listing.items.is_empty() => println!("{if_none}"),
        Form::Table { header, row, .. } => {
            let mut table = super::table::new(header);
            table.add_rows(listing.items.iter().map(row));
            println!("{table}");
        }
    }
    if listing.more {
        eprintln!("there are more: --top shows them");
    }
    ExitCode::SUCCESS
}

/// How a listing is printed.
enum Form<'a> {
    Json,
    Table { header: &'a [&'a str], row: fn(&serde_json::Value) -> Vec<String>, if_none: &'a str },
}

/// What `--top` is when nobody says: more than a screen holds, and still read in a moment.
const TOP: &str = "200";
