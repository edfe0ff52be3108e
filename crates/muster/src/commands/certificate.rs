//! `muster certificate`.

use std::path::Path;
use std::process::ExitCode;

use base64::{Engine, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand};

use super::target::read;

mod block;
mod crl;
mod keep;
mod list;
mod verify;

/// Keep the CAs that devices' certificates lead to: upload, prove, block, revoke, and see what expires.
///
/// A CA certificate of the instance completes what devices leave out, can be named by enrollments (caReferences), and
/// once verified vouches for the signing certificates of groups.
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

/// A certificate or list as the service takes it: PEM as it stands in the file, or base64 of what is not text.
pub fn read_text(file: &Path) -> anyhow::Result<String> {
    Ok(String::from_utf8(read(file)?).unwrap_or_else(|error| STANDARD.encode(error.as_bytes())))
}
