//! What every request asks for, kept in memory: the instances, their groups, and what they know of CAs.
//!
//! They are few, unlike enrollments and registrations, which are never kept here. A snapshot that is in use is never
//! changed; a commit makes the next one from a copy, which shares all that stays.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use model::{
    Authorities, Block, CaCertificate, CaReference, EnrollmentGroup, EnrollmentGroupId, GroupAttestation,
    GroupCertificates, HostName, IdScope, Instance, ListId, RevocationList, Sha256Thumbprint,
};
use provisioning::ports::{Change, Page, PageRequest};

/// All instances at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    instances: HashMap<IdScope, Held>,
    hosts: HashMap<HostName, IdScope>,
}

/// One instance, its number in the tables, and what is kept with it.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) number: i64,
    pub(crate) instance: Arc<Instance>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) authorities: Arc<Authorities>,
}

/// The groups of one instance, and the ways in which devices lead to them.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    by_id: BTreeMap<Box<str>, Arc<EnrollmentGroup>>,
    symmetric_key: Arc<[Arc<EnrollmentGroup>]>,
    referring: Arc<[Arc<EnrollmentGroup>]>,
    by_subject: HashMap<Box<[u8]>, Vec<Arc<EnrollmentGroup>>>,
}

/// A change that a commit made to what is kept here.
#[derive(Debug, Clone)]
pub(crate) enum Kept {
    PutGroup(Arc<EnrollmentGroup>),
    DeleteGroup(EnrollmentGroupId),
    PutCertificate(Arc<CaCertificate>),
    DeleteCertificate(CaReference),
    PutRevocationList(Arc<RevocationList>),
    DeleteRevocationList(CaReference, ListId),
    PutBlock(Arc<Block>),
    DeleteBlock(Sha256Thumbprint),
}

impl Kept {
    pub(crate) fn of(change: &Change) -> Option<Kept> {
        match change {
            Change::PutGroup(group) => Some(Kept::PutGroup(Arc::new(EnrollmentGroup::clone(group)))),
            Change::DeleteGroup(id) => Some(Kept::DeleteGroup(id.clone())),
            Change::PutCertificate(certificate) => {
                Some(Kept::PutCertificate(Arc::new(CaCertificate::clone(certificate))))
            }
            Change::DeleteCertificate(name) => Some(Kept::DeleteCertificate(name.clone())),
            Change::PutRevocationList(list) => {
                Some(Kept::PutRevocationList(Arc::new(RevocationList::clone(list))))
            }
            Change::DeleteRevocationList(name, id) => {
                Some(Kept::DeleteRevocationList(name.clone(), id.clone()))
            }
            Change::PutBlock(block) => Some(Kept::PutBlock(Arc::new(Block::clone(block)))),
            Change::DeleteBlock(thumbprint) => Some(Kept::DeleteBlock(thumbprint.clone())),
            Change::PutIndividual(_)
            | Change::DeleteIndividual(_)
            | Change::PutRegistration(_)
            | Change::DeleteRegistration(_)
            | Change::PutCleanup(_)
            | Change::DeleteCleanup(_) => None,
        }
    }

    fn is_of_group(&self) -> bool {
        matches!(self, Kept::PutGroup(_) | Kept::DeleteGroup(_))
    }

    /// Makes the change, if it is one of CAs.
    fn apply(&self, authorities: &mut Authorities) {
        match self {
            Kept::PutGroup(_) | Kept::DeleteGroup(_) => {}
            Kept::PutCertificate(certificate) => authorities.put_certificate(Arc::clone(certificate)),
            Kept::DeleteCertificate(name) => authorities.delete_certificate(name),
            Kept::PutRevocationList(list) => authorities.put_list(Arc::clone(list)),
            Kept::DeleteRevocationList(name, id) => authorities.delete_list(name, id),
            Kept::PutBlock(block) => authorities.put_block(Arc::clone(block)),
            Kept::DeleteBlock(thumbprint) => authorities.delete_block(thumbprint),
        }
    }
}

impl Snapshot {
    pub(crate) fn instance(&self, scope: &IdScope) -> Option<&Held> {
        self.instances.get(scope)
    }

    pub(crate) fn scope_of(&self, host: &HostName) -> Option<&IdScope> {
        self.hosts.get(host)
    }

    /// All instances, by ID scope.
    pub(crate) fn instances(&self) -> Vec<Arc<Instance>> {
        let mut all: Vec<_> = self.instances.values().map(|held| Arc::clone(&held.instance)).collect();
        all.sort_by(|left, right| left.id_scope.cmp(&right.id_scope));
        all
    }

    /// Puts an instance in place of the one with the same ID scope; what is kept with that one stays.
    pub(crate) fn put_instance(&mut self, number: i64, instance: Instance) {
        let scope = instance.id_scope.clone();
        let before = self.instances.remove(&scope);
        for host in before.iter().flat_map(|held| &held.instance.service_hosts) {
            self.hosts.remove(host);
        }
        self.hosts.extend(instance.service_hosts.iter().map(|host| (host.clone(), scope.clone())));
        let (groups, authorities) = before.map(|held| (held.groups, held.authorities)).unwrap_or_default();
        self.instances.insert(scope, Held { number, instance: Arc::new(instance), groups, authorities });
    }

    /// Makes these changes of what is kept with one instance.
    pub(crate) fn change(&mut self, scope: &IdScope, changes: &[Kept]) {
        let Some(held) = self.instances.get_mut(scope) else { return };
        if changes.iter().any(Kept::is_of_group) {
            held.groups = Arc::new(held.groups.with(changes));
        }
        if !changes.iter().all(Kept::is_of_group) {
            let authorities = Arc::make_mut(&mut held.authorities);
            changes.iter().for_each(|change| change.apply(authorities));
        }
    }
}

impl Groups {
    pub(crate) fn group(&self, id: &EnrollmentGroupId) -> Option<Arc<EnrollmentGroup>> {
        self.by_id.get(&*id.key()).cloned()
    }

    pub(crate) fn page(&self, page: &PageRequest) -> Page<EnrollmentGroup> {
        let start = page.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.by_id.range::<str, _>((start, Bound::Unbounded)).peekable();
        let (mut items, mut last) = (Vec::new(), None);
        while items.len() < page.limit.max(1) {
            let Some((id, group)) = rest.next() else { break };
            items.push(EnrollmentGroup::clone(group));
            last = Some(id);
        }
        let more = rest.peek().is_some();
        Page { items, next: last.filter(|_| more).map(|id| id.to_string()) }
    }

    pub(crate) fn symmetric_key(&self) -> Arc<[Arc<EnrollmentGroup>]> {
        Arc::clone(&self.symmetric_key)
    }

    pub(crate) fn signing_as(&self, subjects: &[&[u8]]) -> Vec<Arc<EnrollmentGroup>> {
        let found = subjects.iter().filter_map(|subject| self.by_subject.get(*subject));
        let mut groups: Vec<_> = found.flatten().cloned().collect();
        groups.sort_by(|left, right| left.group_id.cmp(&right.group_id));
        groups.dedup_by(|left, right| left.group_id == right.group_id);
        groups
    }

    pub(crate) fn referring(&self) -> Arc<[Arc<EnrollmentGroup>]> {
        Arc::clone(&self.referring)
    }

    fn with(&self, changes: &[Kept]) -> Groups {
        let mut by_id = self.by_id.clone();
        for change in changes {
            if let Kept::PutGroup(group) = change {
                by_id.insert(group.group_id.key().into(), Arc::clone(group));
            } else if let Kept::DeleteGroup(id) = change {
                by_id.remove(&*id.key());
            }
        }
        Groups::of(by_id)
    }

    fn of(by_id: BTreeMap<Box<str>, Arc<EnrollmentGroup>>) -> Groups {
        let mut groups = Groups::default();
        let (mut symmetric_key, mut referring) = (Vec::new(), Vec::new());
        for group in by_id.values() {
            match &group.attestation {
                GroupAttestation::SymmetricKey(_) => symmetric_key.push(Arc::clone(group)),
                GroupAttestation::X509(GroupCertificates::Signing(pair)) => {
                    for certificate in pair.iter() {
                        let same_subject = groups.by_subject.entry(certificate.subject().into()).or_default();
                        same_subject.push(Arc::clone(group));
                    }
                }
                GroupAttestation::X509(GroupCertificates::CaReferences(_)) => {
                    referring.push(Arc::clone(group));
                }
            }
        }
        Groups { by_id, symmetric_key: symmetric_key.into(), referring: referring.into(), ..groups }
    }
}
