//! Blocks of certificates.

use certpath::{CertificateParts, Sha256Thumbprint};
use model::{Actor, Block, BlockReason, BlockScope, Certificate, Instance, LogOperation, Record, Trust};

use super::MAX_ATTEMPTS;
use crate::{
    Error, Provisioning, RecordKind,
    ports::{Change, Expect, Outcome},
};

/// The most blocks of an instance: they are kept in memory, about 400 bytes each. To exclude many devices of one CA, use its
/// revocation list.
pub const MAX_BLOCKS: usize = 10_000;

/// A block as an operator requests it.
#[derive(Debug, Clone)]
pub struct BlockDraft {
    /// The certificate.
    pub thumbprint: Sha256Thumbprint,
    /// The reason.
    pub reason: BlockReason,
    /// The certificate itself, if the operator has it.
    pub certificate: Option<Certificate>,
    /// Whether every certificate with its key is blocked; `None` keeps the stored value.
    pub key: Option<bool>,
}

impl Provisioning {
    /// Blocks a certificate, or changes a stored block. It applies from the next registration on.
    pub async fn block(&self, instance: &Instance, by: &Actor, draft: &BlockDraft) -> Result<Block, Error> {
        for _ in 0..MAX_ATTEMPTS {
            let trust = self.readable_trust(instance, RecordKind::Block, draft.thumbprint.as_str()).await?;
            let stored = trust.block(&draft.thumbprint);
            if stored.is_none() && trust.blocks().len() >= MAX_BLOCKS {
                return Err(Error::Invalid(format!(
                    "the service instance has {MAX_BLOCKS} blocked certificates, which is the maximum"
                )));
            }
            let record = self.next(stored.map(|stored| &stored.record))?;
            let block = blocking(draft, stored.map(AsRef::as_ref), &trust, record)?;
            let expect = stored.map_or(Expect::Absent, |it| Expect::Version(it.record.etag.clone()));
            let put = vec![(expect, Change::PutBlock(Box::new(block.clone())))];
            let by = self.by(by, LogOperation::BlockPut);
            if self.commit_unmetered(instance, by, put).await? == Outcome::Applied {
                return Ok(block);
            }
        }
        Err(Error::Busy)
    }

    /// Removes a block.
    pub async fn unblock(
        &self,
        instance: &Instance,
        by: &Actor,
        thumbprint: &Sha256Thumbprint,
    ) -> Result<(), Error> {
        let delete = vec![(Expect::Present, Change::DeleteBlock(thumbprint.clone()))];
        let by = self.by(by, LogOperation::BlockDelete);
        match self.commit_unmetered(instance, by, delete).await? {
            Outcome::Applied => Ok(()),
            _ => Err(Error::NotFound(RecordKind::Block)),
        }
    }
}

/// Returns the block that results from a draft and the stored block. If the certificate is given or stored as a CA's, the block
/// identifies it by its signed part.
fn blocking(
    draft: &BlockDraft,
    stored: Option<&Block>,
    trust: &Trust,
    record: Record,
) -> Result<Block, Error> {
    let is_blocked = |certificate: &&Certificate| *certificate.thumbprint() == draft.thumbprint;
    let given = draft.certificate.as_ref();
    let known = trust.certificates().map(|ca| &ca.certificate);
    let certificate = given.or_else(|| known.into_iter().find(is_blocked));
    let parts = certificate.and_then(Certificate::parts);
    let subject = certificate.map(|certificate| certificate.info().subject_name.clone());
    let key = match draft.key {
        None => stored.and_then(|stored| stored.scope.key().cloned()),
        Some(false) => None,
        Some(true) => {
            let key = parts.as_ref().map(CertificateParts::key_hash);
            Some(key.or_else(|| stored?.scope.key().cloned()).ok_or_else(no_key)?)
        }
    };
    let tbs = parts.as_ref().map(CertificateParts::tbs_hash);
    let tbs = tbs.or_else(|| stored?.scope.certificate().cloned());
    Ok(Block {
        thumbprint: draft.thumbprint.clone(),
        reason: draft.reason.clone(),
        subject: subject.or_else(|| stored?.subject.clone()),
        scope: BlockScope::new(tbs, key),
        record,
    })
}

fn no_key() -> Error {
    Error::Invalid(
        "key: a thumbprint does not tell the key of a certificate; send the certificate, too".into(),
    )
}
