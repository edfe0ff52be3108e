//! What every request asks for, kept in memory: the instances, their groups, and what they know of CAs.
//!
//! They are few, unlike enrollments and registrations, which are never kept here. A snapshot that is in use is never
//! changed; the next one is made from a copy, which shares all that stays, by reading the change log (`refresh.rs`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use model::{
    Block, CaCertificate, CaReference, EnrollmentGroup, EnrollmentGroupId, GroupAttestation,
    GroupCertificates, HostName, IdScope, Instance, ListId, NameKey, RevocationList, Sha256Thumbprint, Trust,
};
use provisioning::RecordKind;
use provisioning::ports::{DamagedRecord, Page, PageRequest, StoreError};

/// All instances at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// The position of the newest change of configuration that is in it.
    pub(crate) position: i64,
    instances: HashMap<IdScope, Held>,
    /// Those that are not served, with what is kept with them.
    absent: HashMap<IdScope, (Absence, Kin)>,
    /// Those that this handle does not serve, whatever is read of them.
    set_aside: HashSet<IdScope>,
    hosts: HashMap<HostName, IdScope>,
}

/// One instance, and what is kept with it.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) instance: Arc<Instance>,
    pub(crate) kin: Kin,
}

/// Why an instance that has a row is not served.
#[derive(Debug, Clone)]
pub(crate) enum Absence {
    /// Its document cannot be read.
    Damaged(DamagedRecord),
    /// The configuration does not have it.
    SetAside,
    /// Its document was given up; the next one that is written takes over what belongs to it.
    GivenUp,
}

/// The number of an instance in the tables, and what of its records is kept in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kin {
    pub(crate) number: i64,
    pub(crate) groups: Arc<Groups>,
    pub(crate) trust: Arc<Trust>,
    /// The records that belong to these and cannot be read.
    pub(crate) unreadable: Arc<[DamagedRecord]>,
}

/// The groups of one instance, and the ways in which devices lead to them.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    by_id: BTreeMap<Box<str>, Arc<EnrollmentGroup>>,
    symmetric_key: Arc<[Arc<EnrollmentGroup>]>,
    by_ca: BTreeMap<CaReference, Vec<Arc<EnrollmentGroup>>>,
    named_cas: Arc<[CaReference]>,
    by_subject: HashMap<NameKey, Vec<Arc<EnrollmentGroup>>>,
}

/// A change of what is kept here.
#[derive(Debug, Clone)]
pub(crate) enum SnapshotChange {
    PutGroup(Arc<EnrollmentGroup>),
    DeleteGroup(EnrollmentGroupId),
    PutCertificate(Arc<CaCertificate>),
    DeleteCertificate(CaReference),
    PutRevocationList(Arc<RevocationList>),
    DeleteRevocationList(CaReference, ListId),
    PutBlock(Arc<Block>),
    DeleteBlock(Sha256Thumbprint),
}

impl SnapshotChange {
    /// The record that it is about: what was damaged there is not any more.
    fn replaces(&self, damaged: &DamagedRecord) -> bool {
        match self {
            SnapshotChange::PutGroup(group) => {
                damaged.is(RecordKind::EnrollmentGroup, group.group_id.as_str())
            }
            SnapshotChange::DeleteGroup(id) => damaged.is(RecordKind::EnrollmentGroup, id.as_str()),
            SnapshotChange::PutCertificate(it) => damaged.is(RecordKind::CaCertificate, it.name.as_str()),
            SnapshotChange::DeleteCertificate(name) => {
                damaged.is(RecordKind::CaCertificate, name.as_str()) || damaged.list_of(name).is_some()
            }
            SnapshotChange::PutRevocationList(it) => damaged.list_of(&it.authority).as_ref() == Some(&it.id),
            SnapshotChange::DeleteRevocationList(name, id) => damaged.list_of(name).as_ref() == Some(id),
            SnapshotChange::PutBlock(it) => damaged.is(RecordKind::Block, it.thumbprint.as_str()),
            SnapshotChange::DeleteBlock(thumbprint) => damaged.is(RecordKind::Block, thumbprint.as_str()),
        }
    }

    fn is_of_group(&self) -> bool {
        matches!(self, SnapshotChange::PutGroup(_) | SnapshotChange::DeleteGroup(_))
    }

    /// Makes the change, if it is one of CAs.
    fn apply(&self, trust: &mut Trust) {
        match self {
            SnapshotChange::PutGroup(_) | SnapshotChange::DeleteGroup(_) => {}
            SnapshotChange::PutCertificate(certificate) => trust.put_certificate(Arc::clone(certificate)),
            SnapshotChange::DeleteCertificate(name) => trust.delete_certificate(name),
            SnapshotChange::PutRevocationList(list) => trust.put_list(Arc::clone(list)),
            SnapshotChange::DeleteRevocationList(name, id) => trust.delete_list(name, id),
            SnapshotChange::PutBlock(block) => trust.put_block(Arc::clone(block)),
            SnapshotChange::DeleteBlock(thumbprint) => trust.delete_block(thumbprint),
        }
    }
}

impl Snapshot {
    /// The instance with this ID scope, if there is one; an error when there is and it cannot be read.
    pub(crate) fn instance(&self, scope: &IdScope) -> Result<Option<&Held>, StoreError> {
        match self.absent.get(scope) {
            Some((Absence::Damaged(record), _)) => Err(StoreError::Damaged(record.clone())),
            Some((Absence::GivenUp | Absence::SetAside, _)) | None => Ok(self.instances.get(scope)),
        }
    }

    /// The instance that has this host name. Any of the damaged ones may have one that no other has.
    pub(crate) fn scope_of(&self, host: &HostName) -> Result<Option<&IdScope>, StoreError> {
        let damaged = self.absent.values().find_map(|(absence, _)| match absence {
            Absence::Damaged(record) => Some(record),
            Absence::GivenUp | Absence::SetAside => None,
        });
        match (self.hosts.get(host), damaged) {
            (None, Some(record)) => Err(StoreError::Damaged(record.clone())),
            (found, _) => Ok(found),
        }
    }

    /// A snapshot without instances, for a handle that serves as few.
    pub(crate) fn without_instances(&self) -> Snapshot {
        Snapshot { set_aside: self.set_aside.clone(), ..Snapshot::default() }
    }

    /// Puts an instance that was read, with what is kept with it, unless it is not to be served.
    pub(crate) fn put_loaded(&mut self, instance: Instance, kin: Kin) {
        let scope = instance.id_scope.clone();
        if self.set_aside.contains(&scope) {
            return self.put_absent(scope, Absence::SetAside, kin);
        }
        self.put_instance(kin.number, instance);
        if let Some(held) = self.instances.get_mut(&scope) {
            held.kin = kin;
        }
    }

    /// Puts an instance that is not served, with what is kept with it.
    pub(crate) fn put_absent(&mut self, scope: IdScope, absence: Absence, kin: Kin) {
        self.instances.remove(&scope);
        self.hosts.retain(|_, owner| *owner != scope);
        self.absent.insert(scope, (absence, kin));
    }

    /// All instances, by ID scope.
    pub(crate) fn instances(&self) -> Vec<Arc<Instance>> {
        let mut all: Vec<_> = self.instances.values().map(|held| Arc::clone(&held.instance)).collect();
        all.sort_by(|left, right| left.id_scope.cmp(&right.id_scope));
        all
    }

    /// Puts an instance in place of the one with the same ID scope; what is kept with that one stays.
    fn put_instance(&mut self, number: i64, instance: Instance) {
        let scope = instance.id_scope.clone();
        let before = self.instances.remove(&scope);
        for host in before.iter().flat_map(|held| &held.instance.service_hosts) {
            self.hosts.remove(host);
        }
        self.hosts.extend(instance.service_hosts.iter().map(|host| (host.clone(), scope.clone())));
        let given_up = self.absent.remove(&scope).map(|(_, kin)| kin);
        let kin = Kin { number, ..before.map(|held| held.kin).or(given_up).unwrap_or_default() };
        self.instances.insert(scope, Held { instance: Arc::new(instance), kin });
    }

    /// Stops serving an instance.
    pub(crate) fn set_aside(&mut self, scope: &IdScope) {
        self.set_aside.insert(scope.clone());
        if let Some(held) = self.instances.get(scope) {
            self.put_absent(scope.clone(), Absence::SetAside, held.kin.clone());
        }
    }

    /// The ID scope of the instance with this number, served or not.
    pub(crate) fn scope_of_number(&self, number: i64) -> Option<&IdScope> {
        let served = self.instances.iter().map(|(scope, held)| (scope, &held.kin));
        let absent = self.absent.iter().map(|(scope, (_, kin))| (scope, kin));
        served.chain(absent).find(|(_, kin)| kin.number == number).map(|(scope, _)| scope)
    }

    /// What is kept with an instance, served or not.
    pub(crate) fn kin_of(&mut self, scope: &IdScope) -> Option<&mut Kin> {
        let absent = self.absent.get_mut(scope).map(|(_, kin)| kin);
        absent.or_else(|| self.instances.get_mut(scope).map(|held| &mut held.kin))
    }
}

impl Kin {
    pub(crate) fn change(&mut self, changes: &[SnapshotChange]) {
        if changes.iter().any(SnapshotChange::is_of_group) {
            self.groups = Arc::new(self.groups.with(changes));
        }
        if !changes.iter().all(SnapshotChange::is_of_group) {
            let trust = Arc::make_mut(&mut self.trust);
            changes.iter().for_each(|change| change.apply(trust));
        }
        if !self.unreadable.is_empty() {
            let stays = |damaged: &&DamagedRecord| !changes.iter().any(|change| change.replaces(damaged));
            self.unreadable = self.unreadable.iter().filter(stays).cloned().collect();
        }
    }

    /// Refuses to say of a record that it is not there when it cannot be read.
    pub(crate) fn reject_unreadable(&self, kind: RecordKind, id: &str) -> Result<(), StoreError> {
        let found = self.unreadable.iter().find(|damaged| damaged.is(kind, id));
        found.map_or(Ok(()), |damaged| Err(StoreError::Damaged(damaged.clone())))
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
        Page { items, next: last.filter(|_| more).map(|id| id.to_string()), ..Page::default() }
    }

    pub(crate) fn symmetric_key(&self) -> Arc<[Arc<EnrollmentGroup>]> {
        Arc::clone(&self.symmetric_key)
    }

    pub(crate) fn signing_as(&self, subjects: &[&[u8]]) -> Vec<Arc<EnrollmentGroup>> {
        // A device may name one issuer ten times, which must not cost it ten times.
        let names: HashSet<_> = subjects.iter().map(|subject| NameKey::of(subject)).collect();
        each_once(names.iter().filter_map(|name| self.by_subject.get(name)))
    }

    pub(crate) fn naming(&self, cas: &[CaReference]) -> Vec<Arc<EnrollmentGroup>> {
        let cas: HashSet<_> = cas.iter().collect();
        each_once(cas.iter().filter_map(|ca| self.by_ca.get(*ca)))
    }

    pub(crate) fn named_cas(&self) -> Arc<[CaReference]> {
        Arc::clone(&self.named_cas)
    }

    fn with(&self, changes: &[SnapshotChange]) -> Groups {
        let mut by_id = self.by_id.clone();
        for change in changes {
            if let SnapshotChange::PutGroup(group) = change {
                by_id.insert(group.group_id.key().into(), Arc::clone(group));
            } else if let SnapshotChange::DeleteGroup(id) = change {
                by_id.remove(&*id.key());
            }
        }
        Groups::of(by_id)
    }

    fn of(by_id: BTreeMap<Box<str>, Arc<EnrollmentGroup>>) -> Groups {
        let mut groups = Groups::default();
        let mut symmetric_key = Vec::new();
        for group in by_id.values() {
            match &group.attestation {
                GroupAttestation::SymmetricKey(_) => symmetric_key.push(Arc::clone(group)),
                GroupAttestation::X509(GroupCertificates::Signing(pair)) => {
                    for certificate in pair.iter() {
                        let same_subject =
                            groups.by_subject.entry(NameKey::of(certificate.subject())).or_default();
                        same_subject.push(Arc::clone(group));
                    }
                }
                GroupAttestation::X509(GroupCertificates::CaReferences(names)) => {
                    for name in names.iter() {
                        groups.by_ca.entry(name.clone()).or_default().push(Arc::clone(group));
                    }
                }
            }
        }
        let named_cas = groups.by_ca.keys().cloned().collect();
        Groups { by_id, symmetric_key: symmetric_key.into(), named_cas, ..groups }
    }
}

/// Groups by ID, each once. A list is in this order already, and most lookups find one.
fn each_once<'a>(lists: impl Iterator<Item = &'a Vec<Arc<EnrollmentGroup>>>) -> Vec<Arc<EnrollmentGroup>> {
    let lists: Vec<_> = lists.map(Vec::as_slice).collect();
    let mut groups = lists.concat();
    if lists.len() > 1 {
        groups.sort_by(|left, right| left.group_id.cmp(&right.group_id));
    }
    groups.dedup_by(|left, right| Arc::ptr_eq(left, right));
    groups
}
