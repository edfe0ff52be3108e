//! `muster certificate`.

use std::{path::Path, process::ExitCode};

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use certpath::encoding::{Object, read_object};
use clap::{Args, Subcommand};

use super::target::read;

mod block;
mod crl;
mod keep;
mod list;
mod verify;

/// Manage CA certificates, blocked certificates, revocation lists, and expiry.
///
/// A CA certificate of the instance completes chains of devices, can be referenced by enrollments (caReferences), and, once
/// verified, permits signing certificates of groups below it.
#[derive(Args)]
pub struct CertificateArgs {
    #[command(subcommand)]
    command: CertificateCommand,
}

#[derive(Subcommand)]
enum CertificateCommand {
    Upload(keep::UploadArgs),
    List(list::ListArgs),
    Show(keep::ShowArgs),
    Delete(keep::DeleteArgs),
    Verify(verify::VerifyArgs),
    Block(block::BlockArgs),
    Unblock(block::UnblockArgs),
    Crl(crl::CrlArgs),
}

/// Runs the command.
pub async fn run(args: CertificateArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        CertificateCommand::Upload(args) => keep::upload(args).await,
        CertificateCommand::List(args) => list::run(args).await,
        CertificateCommand::Show(args) => keep::show(args).await,
        CertificateCommand::Delete(args) => keep::delete(args).await,
        CertificateCommand::Verify(args) => verify::run(args).await,
        CertificateCommand::Block(args) => block::block(args).await,
        CertificateCommand::Unblock(args) => block::unblock(args).await,
        CertificateCommand::Crl(args) => crl::run(args).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the first certificate or revocation list in a file, as base64 of its DER. Other content of the file, such as a
/// private key, is not sent.
pub fn read_base64(file: &Path, object: Object) -> anyhow::Result<String> {
    let der = read_object(&read(file)?, object).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(STANDARD.encode(der))
}
