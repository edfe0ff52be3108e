//! `muster certificate upload`, `show` and `delete`.

use std::path::PathBuf;

use certpath::encoding::Object;
use clap::Args;
use fleet::Upload;

use super::read_base64;
use crate::{commands::service::ServiceArgs, output};

/// Upload a CA certificate, root or intermediate.
#[derive(Args)]
#[command(after_help = "Examples:
  muster certificate upload --dev .muster plant-root root.pem
  muster certificate upload --dev .muster plant-root new-root.pem --replace
  muster certificate upload --dev .muster factory-7 factory-7.pem --verified
      marks it as verified, without proof of possession")]
pub struct UploadArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The name of the CA certificate, by which enrollments refer to it.
    name: String,
    /// The certificate, PEM or DER.
    file: PathBuf,
    /// Replace an existing certificate of this name.
    #[arg(long)]
    replace: bool,
    /// Mark it as verified, without proof of possession.
    #[arg(long)]
    verified: bool,
}

/// Show a CA certificate and its revocation settings as JSON.
#[derive(Args)]
#[command(after_help = "Example:
  muster certificate show --dev .muster plant-root")]
pub struct ShowArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The name of the CA certificate.
    name: String,
}

/// Delete a CA certificate and its revocation lists. Enrollments that refer to it then refuse their devices.
#[derive(Args)]
#[command(after_help = "Example:
  muster certificate delete --dev .muster plant-root")]
pub struct DeleteArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The name of the CA certificate.
    name: String,
}

pub async fn upload(args: UploadArgs) -> anyhow::Result<()> {
    let certificate = read_base64(&args.file, Object::Certificate)?;
    let upload = Upload {
        name: &args.name,
        certificate: &certificate,
        is_verified: args.verified.then_some(true),
        if_match: args.replace.then_some("*"),
    };
    output::json(&args.service.client()?.put_ca_certificate(upload).await?)
}

pub async fn show(args: ShowArgs) -> anyhow::Result<()> {
    let mut client = args.service.client()?;
    let mut shown = client.ca_certificate(&args.name).await?;
    shown["revocation"] = client.revocation(&args.name).await?;
    output::json(&shown)
}

pub async fn delete(args: DeleteArgs) -> anyhow::Result<()> {
    args.service.client()?.delete_ca_certificate(&args.name).await?;
    output::line(format_args!("deleted {}", args.name))
}
