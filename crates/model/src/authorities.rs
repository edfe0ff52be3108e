//! What an instance knows of CAs, all of it: few enough to be kept in memory, and asked by every device.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{Block, CaCertificate, CaReference, RevocationList, Sha256Thumbprint};

/// The CA certificates of an instance, their revocation lists, and the certificates that are blocked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Authorities {
    certificates: BTreeMap<CaReference, Arc<CaCertificate>>,
    by_subject: HashMap<Box<[u8]>, Vec<Arc<CaCertificate>>>,
    lists: BTreeMap<CaReference, Arc<RevocationList>>,
    blocks: BTreeMap<Sha256Thumbprint, Arc<Block>>,
}

impl Authorities {
    /// The CA certificate of this name.
    pub fn certificate(&self, name: &CaReference) -> Option<&Arc<CaCertificate>> {
        self.certificates.get(name)
    }

    /// All CA certificates by name.
    pub fn certificates(&self) -> impl ExactSizeIterator<Item = &Arc<CaCertificate>> {
        self.certificates.values()
    }

    /// The CA certificates of this subject, the DER of a distinguished name.
    pub fn of_subject(&self, subject: &[u8]) -> &[Arc<CaCertificate>] {
        self.by_subject.get(subject).map_or(&[], Vec::as_slice)
    }

    /// The revocation list that is kept under the name of a CA.
    pub fn list(&self, authority: &CaReference) -> Option<&Arc<RevocationList>> {
        self.lists.get(authority)
    }

    /// The revocation list that this CA certificate's key signed.
    pub fn list_of(&self, ca: &CaCertificate) -> Option<&Arc<RevocationList>> {
        self.list(&ca.name).filter(|list| list.signed_by == *ca.certificate.thumbprint())
    }

    /// All revocation lists by the name of their CA.
    pub fn lists(&self) -> impl ExactSizeIterator<Item = &Arc<RevocationList>> {
        self.lists.values()
    }

    /// The block of a certificate.
    pub fn block(&self, thumbprint: &Sha256Thumbprint) -> Option<&Arc<Block>> {
        self.blocks.get(thumbprint)
    }

    /// All blocks by thumbprint.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = &Arc<Block>> {
        self.blocks.values()
    }

    /// Adds a CA certificate, in place of the one of its name.
    pub fn put_certificate(&mut self, certificate: Arc<CaCertificate>) {
        self.forget_subject(&certificate.name);
        let subject = certificate.certificate.subject().into();
        let same_subject = self.by_subject.entry(subject).or_default();
        same_subject.push(Arc::clone(&certificate));
        same_subject.sort_by(|left, right| left.name.cmp(&right.name));
        // Not just `insert`, which would keep the spelling of the name that was there.
        self.certificates.remove(&certificate.name);
        self.certificates.insert(certificate.name.clone(), certificate);
    }

    /// Removes a CA certificate; its revocation list goes with it.
    pub fn delete_certificate(&mut self, name: &CaReference) {
        self.forget_subject(name);
        self.certificates.remove(name);
        self.lists.remove(name);
    }

    /// Adds a revocation list, in place of the one of its CA.
    pub fn put_list(&mut self, list: Arc<RevocationList>) {
        self.lists.insert(list.authority.clone(), list);
    }

    /// Removes the revocation list of a CA.
    pub fn delete_list(&mut self, authority: &CaReference) {
        self.lists.remove(authority);
    }

    /// Adds a block, in place of the one of its certificate.
    pub fn put_block(&mut self, block: Arc<Block>) {
        self.blocks.insert(block.thumbprint.clone(), block);
    }

    /// Removes the block of a certificate.
    pub fn delete_block(&mut self, thumbprint: &Sha256Thumbprint) {
        self.blocks.remove(thumbprint);
    }

    fn forget_subject(&mut self, name: &CaReference) {
        let Some(gone) = self.certificates.get(name) else { return };
        let subject = gone.certificate.subject();
        let left = self.by_subject.get_mut(subject).map(|same| {
            same.retain(|certificate| certificate.name != *name);
            same.len()
        });
        if left == Some(0) {
            self.by_subject.remove(subject);
        }
    }
}
