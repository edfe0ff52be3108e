//! Blocking certificates.

use certpath::{CertificateParts, Sha256Thumbprint};
use model::{Actor, Block, BlockReason, Certificate, Instance, LogOperation, Record, Trust};

use super::MAX_ATTEMPTS;
use crate::{
    Error, Provisioning, RecordKind,
    ports::{Change, Expect, Outcome},
};

/// Most blocks of an instance: they are kept in memory, about 400 bytes each. Many devices of one CA are better shut out
/// by its revocation list.
pub const MAX_BLOCKS: usize = 10_000;

/// A block as an operator wants it.
#[derive(Debug, Clone)]
pub struct BlockDraft {
    /// The certificate.
    pub thumbprint: Sha256Thumbprint,
    /// Why.
    pub reason: BlockReason,
    /// The certificate itself, if the operator has it.
    pub certificate: Option<Certificate>,
    /// Whether every certificate with its key is meant; as it is stored when absent.
    pub key: Option<bool>,
}

impl Provisioning {
    /// Blocks a certificate, or changes a block that is there. It counts from the next registration on.
    pub async fn block(&self, instance: &Instance, by: &Actor, draft: &BlockDraft) -> Result<Block, Error> {
        self.reject_unreadable(instance, RecordKind::Block, draft.thumbprint.as_str()).await?;
        for _ in 0..MAX_ATTEMPTS {
            let trust = self.trust(instance).await?;
            let stored = trust.block(&draft.thumbprint);
            if stored.is_none() && trust.blocks().len() >= MAX_BLOCKS {
                return Err(Error::Invalid(format!(
                    "the service instance has {MAX_BLOCKS} blocked certificates, which is as many as it takes"
                )));
            }
            let record = self.next(stored.map(|stored| &stored.record))?;
            let block = blocking(draft, stored.map(AsRef::as_ref), &trust, record)?;
            let expect = stored.map_or(Expect::Absent, |it| Expect::Version(it.record.etag.clone()));
            let put = vec![(expect, Change::PutBlock(Box::new(block.clone())))];
            let by = self.by(by, LogOperation::BlockPut);
            if self.commit_free(instance, by, put).await? == Outcome::Applied {
                return Ok(block);
            }
        }
        Err(Error::Busy)
    }

    /// Lifts a block.
    pub async fn unblock(
        &self,
        instance: &Instance,
        by: &Actor,
        thumbprint: &Sha256Thumbprint,
    ) -> Result<(), Error> {
        let delete = vec![(Expect::Present, Change::DeleteBlock(thumbprint.clone()))];
        let by = self.by(by, LogOperation::BlockDelete);
        match self.commit_free(instance, by, delete).await? {
            Outcome::Applied => Ok(()),
            _ => Err(Error::NotFound(RecordKind::Block)),
        }
    }
}

/// Returns what a draft makes of the block that is stored under its thumbprint. Where a certificate is at hand, given or
/// stored as a CA's, the block knows it by what its issuer signed.
fn blocking(
    draft: &BlockDraft,
    stored: Option<&Block>,
    trust: &Trust,
    record: Record,
) -> Result<Block, Error> {
    let is_it = |certificate: &&Certificate| *certificate.thumbprint() == draft.thumbprint;
    let given = draft.certificate.as_ref();
    let known = trust.certificates().map(|ca| &ca.certificate);
    let certificate = given.or_else(|| known.into_iter().find(is_it));
    let parts = certificate.and_then(Certificate::parts);
    let subject = certificate.map(|certificate| certificate.info().subject_name.clone());
    let key = match draft.key {
        None => stored.and_then(|stored| stored.key.clone()),
        Some(false) => None,
        Some(true) => {
            let key = parts.as_ref().map(CertificateParts::key_hash);
            Some(key.or_else(|| stored?.key.clone()).ok_or_else(no_key)?)
        }
    };
    Ok(Block {
        thumbprint: draft.thumbprint.clone(),
        reason: draft.reason.clone(),
        subject: subject.or_else(|| stored?.subject.clone()),
        tbs: parts.as_ref().map(CertificateParts::tbs_hash).or_else(|| stored?.tbs.clone()),
        key,
        record,
    })
}

fn no_key() -> Error {
    Error::Invalid(
        "key: a thumbprint does not tell the key of a certificate; send the certificate, too".into(),
    )
}
