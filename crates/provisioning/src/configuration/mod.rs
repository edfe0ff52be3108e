//! What devices are judged by, kept in memory: the instances, their enrollment groups, and their trust.
//!
//! They are few, unlike enrollments and registrations, which no store keeps in memory. All of it is of one moment and pure
//! data: a verb takes the [`Snapshot`] from its store once, and looks things up in it without waiting. A store makes the next
//! snapshot from the last one, which shares all that stays.

mod groups;
mod instance_writer;
mod snapshot;

use std::sync::Arc;

use certpath::Sha256Thumbprint;
pub use groups::Groups;
pub use instance_writer::{InstanceUpdate, InstanceWriter};
use model::{
    Block, CaCertificate, CaReference, EnrollmentGroup, EnrollmentGroupId, ListId, RevocationList, Trust,
};
pub use snapshot::Snapshot;

use crate::{
    RecordKind,
    ports::{DamagedRecord, Page, PageRequest, StoreError},
};

/// What the devices of one instance are judged by. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Configuration {
    groups: Arc<Groups>,
    trust: Arc<Trust>,
    unreadable: Arc<[DamagedRecord]>,
}

/// A change of one record of a configuration.
#[derive(Debug, Clone)]
pub enum ConfigurationChange {
    /// Writes an enrollment group.
    PutGroup(Arc<EnrollmentGroup>),
    /// Deletes an enrollment group.
    DeleteGroup(EnrollmentGroupId),
    /// Writes a CA certificate.
    PutCertificate(Arc<CaCertificate>),
    /// Deletes a CA certificate.
    DeleteCertificate(CaReference),
    /// Writes a revocation list.
    PutRevocationList(Arc<RevocationList>),
    /// Deletes a revocation list of a CA.
    DeleteRevocationList(CaReference, ListId),
    /// Writes a block.
    PutBlock(Arc<Block>),
    /// Deletes a block.
    DeleteBlock(Sha256Thumbprint),
}

impl Configuration {
    /// Returns the enrollment groups that can be read.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Returns the CA certificates, revocation lists and blocks that can be read.
    pub fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// Returns the groups, CA certificates, revocation lists and blocks that cannot be read, and may decide otherwise than
    /// those that can.
    pub fn unreadable(&self) -> &[DamagedRecord] {
        &self.unreadable
    }

    /// Returns an enrollment group. Fails if it exists and cannot be read.
    pub fn group(&self, id: &EnrollmentGroupId) -> Result<Option<&Arc<EnrollmentGroup>>, StoreError> {
        let is_it = |record: &&DamagedRecord| record.is(RecordKind::EnrollmentGroup, id.as_str());
        match self.unreadable.iter().find(is_it) {
            Some(record) => Err(StoreError::Damaged(record.clone())),
            None => Ok(self.groups.get(id)),
        }
    }

    /// Returns a page of enrollment groups in the order of their lower-case IDs.
    pub fn group_page(&self, request: &PageRequest) -> Page<EnrollmentGroup> {
        let mut page = self.groups.page(request);
        let is_of_page = |record: &&DamagedRecord| {
            record.kind == RecordKind::EnrollmentGroup
                && request.after.as_ref().is_none_or(|after| record.id > *after)
                && page.next.as_ref().is_none_or(|next| record.id <= *next)
        };
        page.damaged = self.unreadable.iter().filter(is_of_page).cloned().collect();
        page
    }

    /// Makes these changes. A record that could not be read before is not damaged any more.
    pub fn apply(&mut self, changes: &[ConfigurationChange]) {
        if changes.iter().any(ConfigurationChange::is_of_group) {
            self.groups = Arc::new(self.groups.with(changes));
        }
        if !changes.iter().all(ConfigurationChange::is_of_group) {
            let trust = Arc::make_mut(&mut self.trust);
            changes.iter().for_each(|change| change.apply(trust));
        }
        if !self.unreadable.is_empty() {
            let stays = |record: &&DamagedRecord| !changes.iter().any(|change| change.replaces(record));
            self.unreadable = self.unreadable.iter().filter(stays).cloned().collect();
        }
    }

    /// Adds records that cannot be read.
    pub fn add_unreadable(&mut self, records: impl IntoIterator<Item = DamagedRecord>) {
        self.unreadable = self.unreadable.iter().cloned().chain(records).collect();
    }
}

impl ConfigurationChange {
    fn is_of_group(&self) -> bool {
        matches!(self, ConfigurationChange::PutGroup(_) | ConfigurationChange::DeleteGroup(_))
    }

    /// Whether a damaged record is the one that this changes.
    fn replaces(&self, damaged: &DamagedRecord) -> bool {
        use ConfigurationChange as Change;
        match self {
            Change::PutGroup(group) => damaged.is(RecordKind::EnrollmentGroup, group.group_id.as_str()),
            Change::DeleteGroup(id) => damaged.is(RecordKind::EnrollmentGroup, id.as_str()),
            Change::PutCertificate(ca) => damaged.is(RecordKind::CaCertificate, ca.name.as_str()),
            Change::DeleteCertificate(name) => damaged.is(RecordKind::CaCertificate, name.as_str()),
            Change::PutRevocationList(list) => damaged.list_of(&list.authority).as_ref() == Some(&list.id),
            Change::DeleteRevocationList(name, id) => damaged.list_of(name).as_ref() == Some(id),
            Change::PutBlock(block) => damaged.is(RecordKind::Block, block.thumbprint.as_str()),
            Change::DeleteBlock(thumbprint) => damaged.is(RecordKind::Block, thumbprint.as_str()),
        }
    }

    /// Makes the change, if it is one of trust.
    fn apply(&self, trust: &mut Trust) {
        use ConfigurationChange as Change;
        match self {
            Change::PutGroup(_) | Change::DeleteGroup(_) => {}
            Change::PutCertificate(certificate) => trust.put_certificate(Arc::clone(certificate)),
            Change::DeleteCertificate(name) => trust.delete_certificate(name),
            Change::PutRevocationList(list) => trust.put_list(Arc::clone(list)),
            Change::DeleteRevocationList(name, id) => trust.delete_list(name, id),
            Change::PutBlock(block) => trust.put_block(Arc::clone(block)),
            Change::DeleteBlock(thumbprint) => trust.delete_block(thumbprint),
        }
    }
}

#[cfg(test)]
mod tests {
    use testkit::sample;

    use super::*;

    fn damaged(kind: RecordKind, id: &str) -> DamagedRecord {
        DamagedRecord { kind, id: id.to_owned(), reason: "altered".to_owned() }
    }

    #[test]
    fn a_record_that_is_written_or_deleted_is_not_damaged_any_more() {
        let mut configuration = Configuration::default();
        let (group, ca, list) =
            (RecordKind::EnrollmentGroup, RecordKind::CaCertificate, RecordKind::RevocationList);
        let records = [(group, "line"), (group, "other"), (ca, "root"), (list, "root"), (list, "root\nl2")];
        configuration.add_unreadable(records.map(|(kind, id)| damaged(kind, id)));
        let line = sample::group_id("Line");
        assert!(matches!(configuration.group(&line), Err(StoreError::Damaged(it)) if it.id == "line"));
        assert_eq!(configuration.group(&sample::group_id("none")).unwrap(), None);

        configuration.apply(&[
            ConfigurationChange::PutGroup(Arc::new(sample::group("Line"))),
            ConfigurationChange::DeleteCertificate(sample::ca_reference("ROOT")),
            ConfigurationChange::DeleteRevocationList(sample::ca_reference("root"), ListId::named("l2")),
        ]);
        assert!(configuration.group(&line).unwrap().is_some());
        let left: Vec<_> = configuration.unreadable().iter().map(|it| it.id.as_str()).collect();
        assert_eq!(left, ["other", "root"], "the first list of the CA is damaged still");
    }

    #[test]
    fn a_page_names_the_damaged_groups_between_its_ends() {
        let mut configuration = Configuration::default();
        let groups = ["b", "d"].map(|id| ConfigurationChange::PutGroup(Arc::new(sample::group(id))));
        configuration.apply(&groups);
        configuration.add_unreadable(["a", "c", "e"].map(|id| damaged(RecordKind::EnrollmentGroup, id)));
        let mut request = PageRequest { after: None, limit: 1 };
        let mut pages = Vec::new();
        loop {
            let page = configuration.group_page(&request);
            let damaged: Vec<_> = page.damaged.iter().map(|it| it.id.clone()).collect();
            pages.push((page.items[0].group_id.to_string(), damaged));
            request.after = page.next;
            if request.after.is_none() {
                break;
            }
        }
        let page = |id: &str, damaged: &[&str]| {
            (id.to_owned(), damaged.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(pages, [page("b", &["a"]), page("d", &["c", "e"])]);
    }
}
