//! Blocking and unblocking certificates.

use std::path::PathBuf;

use anyhow::{Context, bail};
use certpath::{Sha256Thumbprint, encoding::Object};
use clap::Args;
use fleet::ServiceClient;
use model::Certificate;
use serde_json::{Value, json};

use super::read_base64;
use crate::{commands::service::ServiceArgs, output};

/// Block a certificate: of a CA, an intermediate, or a single device.
///
/// The block refuses this certificate and every path through it, even with a rewritten signature. It does not cover other
/// certificates for the same key, such as renewed or cross-signed ones; --key blocks the key itself.
///
/// The block applies from the next registration on, to certificates of devices, of enrollments, and of stored CAs. Upload a
/// CA certificate before you block it if devices do not send it.
#[derive(Args)]
#[command(after_help = "Examples:
  muster certificate block --dev .muster factory-7 --reason 'key lost in the flood'
      a CA certificate of the instance, by name
  muster certificate block --dev .muster --file device-9.pem --reason stolen
  muster certificate block --dev .muster --thumbprint 5F0C…E1 --reason stolen
  muster certificate block --dev .muster factory-7 --key --reason 'key published'
      every certificate with the same key, including renewed and cross-signed ones")]
pub struct BlockArgs {
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    which: Which,
    /// Block the key: every certificate with it, from any CA. Requires a name or --file.
    #[arg(long, conflicts_with = "thumbprint")]
    key: bool,
    /// The reason, which the log names when the certificate is used.
    #[arg(long)]
    reason: String,
}

/// Remove the block of a certificate.
#[derive(Args)]
#[command(after_help = "Examples:
  muster certificate unblock --dev .muster factory-7
  muster certificate unblock --dev .muster --thumbprint 5F0C…E1")]
pub struct UnblockArgs {
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    which: Which,
}

/// The arguments for one certificate.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The name of a CA certificate of the instance.
    name: Option<String>,
    /// The certificate, PEM or DER.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The SHA-256 thumbprint of the certificate, 64 hex digits.
    #[arg(long, value_name = "HEX", value_parser = Sha256Thumbprint::parse)]
    thumbprint: Option<Sha256Thumbprint>,
}

impl Which {
    /// Returns the thumbprint, and the certificate if it is known.
    async fn find(&self, client: &mut ServiceClient) -> anyhow::Result<(Sha256Thumbprint, Option<String>)> {
        let text = match (&self.name, &self.file, &self.thumbprint) {
            (.., Some(thumbprint)) => return Ok((thumbprint.clone(), None)),
            (_, Some(file), _) => read_base64(file, Object::Certificate)?,
            (Some(name), ..) => {
                let shown = client.ca_certificate(name).await?;
                let certificate = shown.pointer("/properties/certificate").and_then(Value::as_str);
                certificate.context("the reply has no certificate")?.to_owned()
            }
            (None, None, None) => bail!("a name, --file or --thumbprint is required"),
        };
        Ok((Certificate::parse(&text)?.thumbprint().clone(), Some(text)))
    }
}

pub async fn block(args: BlockArgs) -> anyhow::Result<()> {
    let mut client = args.service.client()?;
    let (thumbprint, certificate) = args.which.find(&mut client).await?;
    let mut block = json!({"reason": args.reason, "certificate": certificate});
    if args.key {
        block["key"] = true.into();
    }
    output::json(&client.block(thumbprint.as_str(), &block).await?)
}

pub async fn unblock(args: UnblockArgs) -> anyhow::Result<()> {
    let mut client = args.service.client()?;
    let (thumbprint, _) = args.which.find(&mut client).await?;
    client.unblock(thumbprint.as_str()).await?;
    output::line(format_args!("unblocked {thumbprint}"))
}
