//! What every request asks for, kept in memory: the instances and their groups.
//!
//! Both are few, unlike enrollments and registrations, which are never kept here. A snapshot that is in use is never
//! changed; a commit makes the next one from a copy, which shares all that stays.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use model::{
    EnrollmentGroup, EnrollmentGroupId, GroupAttestation, GroupCertificates, HostName, IdScope, Instance,
};
use provisioning::ports::{Change, Page, PageRequest};

/// All instances at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    instances: HashMap<IdScope, Held>,
    hosts: HashMap<HostName, IdScope>,
}

/// One instance, its number in the tables, and its groups.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) number: i64,
    pub(crate) instance: Arc<Instance>,
    pub(crate) groups: Arc<Groups>,
}

/// The groups of one instance, and the ways in which devices lead to them.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    by_id: BTreeMap<Box<str>, Arc<EnrollmentGroup>>,
    symmetric_key: Arc<[Arc<EnrollmentGroup>]>,
    by_subject: HashMap<Box<[u8]>, Vec<Arc<EnrollmentGroup>>>,
}

/// A change that a commit made to the groups.
#[derive(Debug, Clone)]
pub(crate) enum GroupChange {
    Put(Arc<EnrollmentGroup>),
    Delete(EnrollmentGroupId),
}

impl GroupChange {
    pub(crate) fn of(change: &Change) -> Option<GroupChange> {
        match change {
            Change::PutGroup(group) => Some(GroupChange::Put(Arc::new(EnrollmentGroup::clone(group)))),
            Change::DeleteGroup(id) => Some(GroupChange::Delete(id.clone())),
            Change::PutIndividual(_)
            | Change::DeleteIndividual(_)
            | Change::PutRegistration(_)
            | Change::DeleteRegistration(_) => None,
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

    /// Puts an instance in place of the one with the same ID scope; that one's groups stay.
    pub(crate) fn put_instance(&mut self, number: i64, instance: Instance) {
        let scope = instance.id_scope.clone();
        let before = self.instances.remove(&scope);
        for host in before.iter().flat_map(|held| &held.instance.service_hosts) {
            self.hosts.remove(host);
        }
        self.hosts.extend(instance.service_hosts.iter().map(|host| (host.clone(), scope.clone())));
        let groups = before.map(|held| held.groups).unwrap_or_default();
        self.instances.insert(scope, Held { number, instance: Arc::new(instance), groups });
    }

    /// Makes these changes of one instance's groups.
    pub(crate) fn change_groups(&mut self, scope: &IdScope, changes: &[GroupChange]) {
        if let Some(held) = self.instances.get_mut(scope) {
            held.groups = Arc::new(held.groups.with(changes));
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

    fn with(&self, changes: &[GroupChange]) -> Groups {
        let mut by_id = self.by_id.clone();
        for change in changes {
            match change {
                GroupChange::Put(group) => by_id.insert(group.group_id.key().into(), Arc::clone(group)),
                GroupChange::Delete(id) => by_id.remove(&*id.key()),
            };
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
                        let same_subject = groups.by_subject.entry(certificate.subject().into()).or_default();
                        same_subject.push(Arc::clone(group));
                    }
                }
                GroupAttestation::X509(GroupCertificates::CaReferences(_)) => {}
            }
        }
        Groups { by_id, symmetric_key: symmetric_key.into(), ..groups }
    }
}
