//! Blocking certificates.

use model::{Block, BlockReason, Instance, Sha256Thumbprint};

use super::MAX_ATTEMPTS;
use crate::{
    Error, Provisioning, RecordKind,
    ports::{Change, Expect, Outcome},
};

/// Most blocks of an instance: they are kept in memory, about 400 bytes each. Many devices of one CA are better shut out
/// by its revocation list.
pub const MAX_BLOCKS: usize = 10_000;

impl Provisioning {
    /// Blocks a certificate, or gives another reason for a block that is there. It counts from the next registration on.
    pub async fn block(
        &self,
        instance: &Instance,
        thumbprint: &Sha256Thumbprint,
        reason: &BlockReason,
        subject: Option<&str>,
    ) -> Result<Block, Error> {
        for _ in 0..MAX_ATTEMPTS {
            let authorities = self.authorities(instance).await?;
            let stored = authorities.block(thumbprint);
            if stored.is_none() && authorities.blocks().len() >= MAX_BLOCKS {
                return Err(Error::Invalid(format!(
                    "the service instance has {MAX_BLOCKS} blocked certificates, which is as many as it takes"
                )));
            }
            let block = Block {
                thumbprint: thumbprint.clone(),
                reason: reason.clone(),
                subject: subject.map(str::to_owned).or_else(|| stored.and_then(|it| it.subject.clone())),
                record: self.next(stored.map(|stored| &stored.record))?,
            };
            let expect = stored.map_or(Expect::Absent, |it| Expect::Version(it.record.etag.clone()));
            let put = vec![(expect, Change::PutBlock(Box::new(block.clone())))];
            if self.commit_free(instance, put).await? == Outcome::Applied {
                return Ok(block);
            }
        }
        Err(Error::Busy)
    }

    /// Lifts a block.
    pub async fn unblock(&self, instance: &Instance, thumbprint: &Sha256Thumbprint) -> Result<(), Error> {
        let delete = vec![(Expect::Present, Change::DeleteBlock(thumbprint.clone()))];
        match self.commit_free(instance, delete).await? {
            Outcome::Applied => Ok(()),
            _ => Err(Error::NotFound(RecordKind::Block)),
        }
    }
}
