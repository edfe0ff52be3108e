//! The trust of an instance: CA certificates, revocation lists and blocks. They are few enough to be kept in memory, and
//! consulted for every device.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use certpath::{Authorities, Authority, CertificateParts, KeyHash, NameKey, Sha256Thumbprint, TbsHash};

use crate::{
    Block, BlockScope, CaCertificate, CaReference, HttpUrl, ListId, RevocationList, RevocationPolicy,
};

/// The CA certificates of an instance, their revocation lists, and the certificates that are blocked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trust {
    certificates: BTreeMap<CaReference, Arc<CaCertificate>>,
    by_subject: HashMap<NameKey, Vec<Arc<CaCertificate>>>,
    lists: BTreeMap<CaReference, BTreeMap<ListId, Arc<RevocationList>>>,
    blocks: Blocks,
}

/// The blocks of an instance, indexed by the hashes that match certificates.
#[derive(Clone, Debug, Default, PartialEq)]
struct Blocks {
    all: BTreeMap<Sha256Thumbprint, Arc<Block>>,
    by_tbs: HashMap<TbsHash, Vec<Arc<Block>>>,
    by_key: HashMap<KeyHash, Vec<Arc<Block>>>,
    /// The number of blocks by thumbprint only.
    by_thumbprint: usize,
}

impl Blocks {
    /// Returns the block of a certificate. Only hashes by which there are blocks are computed.
    fn of(&self, certificate: &CertificateParts<'_>) -> Option<&Arc<Block>> {
        let by_thumbprint = || {
            let thumbprints = if self.by_thumbprint == 0 { Vec::new() } else { certificate.thumbprints() };
            thumbprints.iter().find_map(|thumbprint| self.all.get(thumbprint))
        };
        first(&self.by_tbs, || certificate.tbs_hash())
            .or_else(|| first(&self.by_key, || certificate.key_hash()))
            .or_else(by_thumbprint)
    }

    fn put(&mut self, block: Arc<Block>) {
        self.delete(&block.thumbprint);
        match &block.scope {
            BlockScope::Thumbprint => self.by_thumbprint += 1,
            BlockScope::Certificate(tbs) => {
                self.by_tbs.entry(tbs.clone()).or_default().push(Arc::clone(&block));
            }
            BlockScope::Key { key, .. } => {
                self.by_key.entry(key.clone()).or_default().push(Arc::clone(&block));
            }
        }
        self.all.insert(block.thumbprint.clone(), block);
    }

    fn delete(&mut self, thumbprint: &Sha256Thumbprint) {
        let Some(gone) = self.all.remove(thumbprint) else { return };
        match &gone.scope {
            BlockScope::Thumbprint => self.by_thumbprint -= 1,
            BlockScope::Certificate(tbs) => forget(&mut self.by_tbs, tbs, thumbprint),
            BlockScope::Key { key, .. } => forget(&mut self.by_key, key, thumbprint),
        }
    }
}

/// Returns a block under this hash, which is computed only if there are any.
fn first<K: Eq + std::hash::Hash>(
    blocks: &HashMap<K, Vec<Arc<Block>>>,
    hash: impl FnOnce() -> K,
) -> Option<&Arc<Block>> {
    if blocks.is_empty() { None } else { blocks.get(&hash())?.first() }
}

/// Removes the block of a thumbprint from those under one hash.
fn forget<K: Eq + std::hash::Hash>(
    blocks: &mut HashMap<K, Vec<Arc<Block>>>,
    hash: &K,
    thumbprint: &Sha256Thumbprint,
) {
    let Some(same) = blocks.get_mut(hash) else { return };
    same.retain(|block| block.thumbprint != *thumbprint);
    if same.is_empty() {
        blocks.remove(hash);
    }
}

impl Trust {
    /// Returns the CA certificate of this name.
    pub fn certificate(&self, name: &CaReference) -> Option<&Arc<CaCertificate>> {
        self.certificates.get(name)
    }

    /// Returns all CA certificates, by name.
    pub fn certificates(&self) -> impl ExactSizeIterator<Item = &Arc<CaCertificate>> {
        self.certificates.values()
    }

    /// Returns the CA certificates with this subject, a distinguished name in DER, however that is written.
    pub fn of_subject(&self, subject: &[u8]) -> &[Arc<CaCertificate>] {
        self.by_subject.get(&NameKey::of(subject)).map_or(&[], Vec::as_slice)
    }

    /// Returns the revocation lists that are stored under the name of a CA.
    pub fn lists_under(&self, authority: &CaReference) -> impl Iterator<Item = &Arc<RevocationList>> {
        self.lists.get(authority).into_iter().flat_map(BTreeMap::values)
    }

    /// Returns the revocation lists that this CA certificate's key signed.
    pub fn lists_of(&self, ca: &CaCertificate) -> impl Iterator<Item = &Arc<RevocationList>> {
        let signer = ca.certificate.thumbprint();
        self.lists_under(&ca.name).filter(move |list| list.signed_by == *signer)
    }

    /// Returns all revocation lists, by the name of their CA.
    pub fn lists(&self) -> impl Iterator<Item = &Arc<RevocationList>> {
        self.lists.values().flat_map(BTreeMap::values)
    }

    /// Returns the block that is stored under a thumbprint.
    pub fn block(&self, thumbprint: &Sha256Thumbprint) -> Option<&Arc<Block>> {
        self.blocks.all.get(thumbprint)
    }

    /// Returns the block that matches a certificate in whatever form: by its signed part, by its key if the key is blocked, or
    /// by a thumbprint if the block has no more.
    pub fn block_of(&self, certificate: &CertificateParts<'_>) -> Option<&Arc<Block>> {
        self.blocks.of(certificate)
    }

    /// Returns all blocks, by thumbprint.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = &Arc<Block>> {
        self.blocks.all.values()
    }

    /// Adds a CA certificate, or replaces the one of its name.
    pub fn put_certificate(&mut self, certificate: Arc<CaCertificate>) {
        self.forget_subject(&certificate.name);
        let subject = NameKey::of(certificate.certificate.subject());
        let same_subject = self.by_subject.entry(subject).or_default();
        same_subject.push(Arc::clone(&certificate));
        same_subject.sort_by(|left, right| left.name.cmp(&right.name));
        // Not just `insert`, which would keep the spelling of the name that was there.
        self.certificates.remove(&certificate.name);
        self.certificates.insert(certificate.name.clone(), certificate);
    }

    /// Removes a CA certificate. Its revocation lists stay.
    pub fn delete_certificate(&mut self, name: &CaReference) {
        self.forget_subject(name);
        self.certificates.remove(name);
    }

    /// Adds a revocation list, or replaces the one of its CA and ID.
    pub fn put_list(&mut self, list: Arc<RevocationList>) {
        self.lists.entry(list.authority.clone()).or_default().insert(list.id.clone(), list);
    }

    /// Removes one revocation list of a CA.
    pub fn delete_list(&mut self, authority: &CaReference, id: &ListId) {
        let Some(lists) = self.lists.get_mut(authority) else { return };
        lists.remove(id);
        if lists.is_empty() {
            self.lists.remove(authority);
        }
    }

    /// Adds a block, or replaces the one of its certificate.
    pub fn put_block(&mut self, block: Arc<Block>) {
        self.blocks.put(block);
    }

    /// Removes the block that is stored under a thumbprint.
    pub fn delete_block(&mut self, thumbprint: &Sha256Thumbprint) {
        self.blocks.delete(thumbprint);
    }

    fn authority<'a>(&'a self, ca: &'a CaCertificate) -> Authority<'a> {
        Authority {
            name: ca.name.as_str(),
            der: ca.certificate.der(),
            parts: ca.certificate.parts(),
            requires_list: ca.revocation.policy == RevocationPolicy::Hard,
            list_uris: ca.revocation.fetched_from.iter().map(HttpUrl::as_str).collect(),
            lists: self.lists_of(ca).map(|list| &list.crl).collect(),
        }
    }

    fn forget_subject(&mut self, name: &CaReference) {
        let Some(gone) = self.certificates.get(name) else { return };
        let subject = NameKey::of(gone.certificate.subject());
        let left = self.by_subject.get_mut(&subject).map(|same| {
            same.retain(|certificate| certificate.name != *name);
            same.len()
        });
        if left == Some(0) {
            self.by_subject.remove(&subject);
        }
    }
}

impl Authorities for Trust {
    fn can_refuse(&self) -> bool {
        let is_strict = |ca: &Arc<CaCertificate>| ca.revocation.policy == RevocationPolicy::Hard;
        self.blocks().len() > 0 || self.lists().next().is_some() || self.certificates().any(is_strict)
    }

    fn block_reason(&self, certificate: &CertificateParts<'_>) -> Option<&str> {
        self.block_of(certificate).map(|block| block.reason.as_str())
    }

    fn with_subject(&self, subject: &[u8]) -> Vec<Authority<'_>> {
        self.of_subject(subject).iter().map(|ca| self.authority(ca)).collect()
    }
}
