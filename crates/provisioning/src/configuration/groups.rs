//! The enrollment groups of one instance, and how the evidence of a device leads to them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Bound,
    sync::Arc,
};

use certpath::NameKey;
use model::{CaReference, EnrollmentGroup, EnrollmentGroupId, GroupAttestation, GroupCertificates};

use super::ConfigurationChange;
use crate::ports::{Page, PageRequest};

/// The enrollment groups of one instance.
#[derive(Debug, Default)]
pub struct Groups {
    by_id: BTreeMap<Box<str>, Arc<EnrollmentGroup>>,
    symmetric_key: Vec<Arc<EnrollmentGroup>>,
    by_subject: HashMap<NameKey, Vec<Arc<EnrollmentGroup>>>,
    by_ca: BTreeMap<CaReference, Vec<Arc<EnrollmentGroup>>>,
}

impl Groups {
    /// Returns all groups in the order of their lower-case IDs.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &Arc<EnrollmentGroup>> {
        self.by_id.values()
    }

    /// Returns the group with this ID.
    pub fn get(&self, id: &EnrollmentGroupId) -> Option<&Arc<EnrollmentGroup>> {
        self.by_id.get(&*id.key())
    }

    /// Returns the groups whose devices prove themselves by keys derived from the group's, by ID.
    pub fn with_symmetric_keys(&self) -> &[Arc<EnrollmentGroup>] {
        &self.symmetric_key
    }

    /// Returns the groups with a signing certificate of one of these subjects, by ID. A subject is the DER of a
    /// distinguished name: the issuer of a certificate that a device presented.
    pub fn signing_as(&self, subjects: &[&[u8]]) -> Vec<Arc<EnrollmentGroup>> {
        // A device may name one issuer ten times, which must not cost it ten times.
        let names: HashSet<_> = subjects.iter().map(|subject| NameKey::of(subject)).collect();
        each_once(names.iter().filter_map(|name| self.by_subject.get(name)))
    }

    /// Returns the groups that name one of these CA certificates of the instance, by ID.
    pub fn naming(&self, cas: &[CaReference]) -> Vec<Arc<EnrollmentGroup>> {
        let cas: HashSet<_> = cas.iter().collect();
        each_once(cas.iter().filter_map(|ca| self.by_ca.get(*ca)))
    }

    /// Returns the CA certificates that groups name, whether or not the instance has them.
    pub fn named_cas(&self) -> impl Iterator<Item = &CaReference> {
        self.by_ca.keys()
    }

    pub(super) fn page(&self, request: &PageRequest) -> Page<EnrollmentGroup> {
        let start = request.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.by_id.range::<str, _>((start, Bound::Unbounded)).peekable();
        let (mut items, mut last) = (Vec::new(), None);
        while items.len() < request.limit.max(1) {
            let Some((id, group)) = rest.next() else { break };
            items.push(EnrollmentGroup::clone(group));
            last = Some(id);
        }
        let more = rest.peek().is_some();
        Page { items, next: last.filter(|_| more).map(|id| id.to_string()), ..Page::default() }
    }

    pub(super) fn with(&self, changes: &[ConfigurationChange]) -> Groups {
        let mut by_id = self.by_id.clone();
        for change in changes {
            if let ConfigurationChange::PutGroup(group) = change {
                by_id.insert(group.group_id.key().into(), Arc::clone(group));
            } else if let ConfigurationChange::DeleteGroup(id) = change {
                by_id.remove(&*id.key());
            }
        }
        Groups::of(by_id)
    }

    fn of(by_id: BTreeMap<Box<str>, Arc<EnrollmentGroup>>) -> Groups {
        let mut groups = Groups::default();
        for group in by_id.values() {
            match &group.attestation {
                GroupAttestation::SymmetricKey(_) => groups.symmetric_key.push(Arc::clone(group)),
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
        Groups { by_id, ..groups }
    }
}

/// Returns groups by ID, each once. A list is in this order already, and most lookups find one.
fn each_once<'a>(lists: impl Iterator<Item = &'a Vec<Arc<EnrollmentGroup>>>) -> Vec<Arc<EnrollmentGroup>> {
    let lists: Vec<_> = lists.map(Vec::as_slice).collect();
    let mut groups = lists.concat();
    if lists.len() > 1 {
        groups.sort_by(|left, right| left.group_id.cmp(&right.group_id));
    }
    groups.dedup_by(|left, right| Arc::ptr_eq(left, right));
    groups
}

#[cfg(test)]
mod tests {
    use model::Pair;
    use testkit::{ca::Authority, sample};

    use super::*;

    fn ids(groups: &[Arc<EnrollmentGroup>]) -> Vec<&str> {
        groups.iter().map(|group| group.group_id.as_str()).collect()
    }

    #[test]
    fn groups_are_found_by_what_their_devices_attest_with() {
        let [one, two] = ["One", "Two"].map(|name| Authority::root(name).certificate());
        let [x, y] = ["x", "y"].map(sample::ca_reference);
        let naming = |id: &str, second: Option<&CaReference>| {
            let names = Pair::new(Some(x.clone()), second.cloned()).unwrap();
            let attestation = GroupAttestation::X509(GroupCertificates::CaReferences(names));
            EnrollmentGroup { attestation, ..sample::group(id) }
        };
        let groups = [
            sample::signing_group("a", &one, Some(&two)),
            sample::signing_group("b", &one, None),
            naming("c", Some(&y)),
            naming("d", None),
            sample::group("e"),
        ];
        let put = groups.map(|group| ConfigurationChange::PutGroup(Arc::new(group)));
        let groups = Groups::default().with(&put);
        assert_eq!(ids(&groups.signing_as(&[one.subject()])), ["a", "b"]);
        assert_eq!(ids(&groups.signing_as(&[two.subject()])), ["a"]);
        assert_eq!(ids(&groups.signing_as(&[two.subject(), one.subject(), two.subject()])), ["a", "b"]);
        assert_eq!(ids(&groups.naming(std::slice::from_ref(&y))), ["c"]);
        assert_eq!(ids(&groups.naming(&[y.clone(), x.clone()])), ["c", "d"]);
        assert_eq!(ids(groups.with_symmetric_keys()), ["e"]);
        let mut named: Vec<_> = groups.named_cas().collect();
        named.sort_unstable();
        assert_eq!(named, [&x, &y]);

        let deleted = groups.with(&[ConfigurationChange::DeleteGroup(sample::group_id("C"))]);
        assert_eq!(ids(&deleted.naming(&[y, x.clone()])), ["d"]);
        assert_eq!(deleted.named_cas().collect::<Vec<_>>(), [&x]);
    }
}
