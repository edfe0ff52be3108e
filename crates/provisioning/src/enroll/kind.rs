//! The trait of both kinds of enrollment, so that each verb is written once.

use std::fmt;

use async_trait::async_trait;
use model::{
    EnrollmentGroup, EnrollmentGroupId, GroupAttestation, GroupAttestationDraft, GroupDraft, IdScope,
    IndividualAttestation, IndividualAttestationDraft, IndividualDraft, IndividualEnrollment, KeysDraft,
    Quota, Record, RegistrationId, Searchable, SearchedKind, SymmetricKeyPair,
};

use super::{
    deletion::{self, EnrollmentChanges},
    merge::{self, Stamp},
    warnings::Entered,
};
use crate::{
    Error, RecordKind,
    ports::{Change, DamagedRecord, Expect, Page, PageRequest, Store, StoreError},
};

/// How many symmetric-key groups an instance may have. A device does not name its group, so each costs up to two trial MACs (about
/// 1 µs) per registration.
pub const MAX_SYMMETRIC_KEY_GROUPS: usize = 1000;

/// How many X.509 groups an instance may have. Stores keep groups in memory, at about 10 KB each.
pub const MAX_X509_GROUPS: usize = 1000;

/// An individual enrollment or an enrollment group.
#[async_trait]
pub trait Enrollment: Searchable + Clone + fmt::Debug + PartialEq + Send + Sync + 'static {
    /// The ID that addresses it.
    type Id: Clone + fmt::Debug + fmt::Display + Eq + Send + Sync;
    /// What an operator sends to write it.
    type Draft: Clone + Send + Sync;

    /// Its name in errors.
    const KIND: RecordKind;

    /// Its kind in the search table; `None` if that has no such records.
    const SEARCHED: Option<SearchedKind>;

    /// Parses an ID in lower case.
    fn parse_key(key: &str) -> Option<Self::Id>;

    /// Returns the ID that a draft is for.
    fn drafted_id(draft: &Self::Draft) -> &Self::Id;

    /// Returns what a draft becomes; see [`merge`].
    fn merge(draft: Self::Draft, stored: Option<&Self>, stamp: &Stamp<'_>) -> Result<Self, Error>;

    /// Returns its ID.
    fn enrollment_id(&self) -> &Self::Id;

    /// Returns its version and dates.
    fn record(&self) -> &Record;

    /// Returns the enrollment with this version and these dates.
    fn with_record(self, record: Record) -> Self;

    /// Returns the symmetric keys that its devices attest by.
    fn symmetric_keys(&self) -> Option<&SymmetricKeyPair>;

    /// Returns a new version of the enrollment with these keys as its attestation.
    fn with_symmetric_keys(self, keys: SymmetricKeyPair, record: Record) -> Self;

    /// Returns the keys of a draft; `None` if it is for another mechanism.
    fn drafted_keys(draft: &Self::Draft) -> Option<&KeysDraft>;

    /// Whether both have the same attestation mechanism.
    fn attests_like(&self, other: &Self) -> bool;

    /// Returns the certificates that it contains or names.
    fn entered(&self) -> Entered<'_>;

    /// Returns the change that writes it.
    fn put(self) -> Change;

    /// Returns the changes that delete the enrollment with this ID, and what is deleted with it.
    async fn deletion(
        store: &dyn Store,
        scope: &IdScope,
        id: Self::Id,
        expect: Expect,
    ) -> Result<EnrollmentChanges, StoreError>;

    /// Loads the enrollment with this ID.
    async fn load(store: &dyn Store, scope: &IdScope, id: &Self::Id) -> Result<Option<Self>, StoreError>;

    /// Loads a page of all enrollments of this kind.
    async fn list(store: &dyn Store, scope: &IdScope, page: PageRequest) -> Result<Page<Self>, StoreError>;

    /// Returns the quota that it counts for.
    fn quota(&self) -> Quota;

    /// Returns how many more like this one the instance may have; `None` if there is no limit. Approximate, because it is read before
    /// the commit, and concurrent creations do not see each other.
    async fn room(&self, store: &dyn Store, scope: &IdScope) -> Result<Option<usize>, StoreError>;
}

#[async_trait]
impl Enrollment for IndividualEnrollment {
    type Id = RegistrationId;
    type Draft = IndividualDraft;

    const KIND: RecordKind = RecordKind::Enrollment;

    const SEARCHED: Option<SearchedKind> = Some(SearchedKind::Enrollment);

    fn parse_key(key: &str) -> Option<RegistrationId> {
        RegistrationId::parse(key).ok()
    }

    fn drafted_id(draft: &IndividualDraft) -> &RegistrationId {
        &draft.registration_id
    }

    fn merge(draft: IndividualDraft, stored: Option<&Self>, stamp: &Stamp<'_>) -> Result<Self, Error> {
        merge::individual(draft, stored, stamp)
    }

    fn enrollment_id(&self) -> &RegistrationId {
        &self.registration_id
    }

    fn record(&self) -> &Record {
        &self.record
    }

    fn with_record(self, record: Record) -> Self {
        Self { record, ..self }
    }

    fn symmetric_keys(&self) -> Option<&SymmetricKeyPair> {
        self.attestation.symmetric_keys()
    }

    fn with_symmetric_keys(self, keys: SymmetricKeyPair, record: Record) -> Self {
        IndividualEnrollment { attestation: IndividualAttestation::SymmetricKey(keys), record, ..self }
    }

    fn drafted_keys(draft: &IndividualDraft) -> Option<&KeysDraft> {
        match &draft.attestation {
            IndividualAttestationDraft::SymmetricKey(keys) => Some(keys),
            _ => None,
        }
    }

    fn attests_like(&self, other: &Self) -> bool {
        std::mem::discriminant(&self.attestation) == std::mem::discriminant(&other.attestation)
    }

    fn entered(&self) -> Entered<'_> {
        self.into()
    }

    fn put(self) -> Change {
        Change::PutIndividual(Box::new(self))
    }

    async fn deletion(
        store: &dyn Store,
        scope: &IdScope,
        id: RegistrationId,
        expect: Expect,
    ) -> Result<EnrollmentChanges, StoreError> {
        deletion::of_individual(store, scope, id, expect).await
    }

    async fn load(
        store: &dyn Store,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Option<Self>, StoreError> {
        store.individual(scope, id).await
    }

    async fn list(store: &dyn Store, scope: &IdScope, page: PageRequest) -> Result<Page<Self>, StoreError> {
        store.individuals(scope, page).await
    }

    fn quota(&self) -> Quota {
        Quota::Enrollments
    }

    async fn room(&self, _: &dyn Store, _: &IdScope) -> Result<Option<usize>, StoreError> {
        Ok(None)
    }
}

#[async_trait]
impl Enrollment for EnrollmentGroup {
    type Id = EnrollmentGroupId;
    type Draft = GroupDraft;

    const KIND: RecordKind = RecordKind::EnrollmentGroup;

    /// Groups are in memory.
    const SEARCHED: Option<SearchedKind> = None;

    fn parse_key(key: &str) -> Option<EnrollmentGroupId> {
        EnrollmentGroupId::parse(key).ok()
    }

    fn drafted_id(draft: &GroupDraft) -> &EnrollmentGroupId {
        &draft.group_id
    }

    fn merge(draft: GroupDraft, stored: Option<&Self>, stamp: &Stamp<'_>) -> Result<Self, Error> {
        merge::group(draft, stored, stamp)
    }

    fn enrollment_id(&self) -> &EnrollmentGroupId {
        &self.group_id
    }

    fn record(&self) -> &Record {
        &self.record
    }

    fn with_record(self, record: Record) -> Self {
        Self { record, ..self }
    }

    fn symmetric_keys(&self) -> Option<&SymmetricKeyPair> {
        self.attestation.symmetric_keys()
    }

    fn with_symmetric_keys(self, keys: SymmetricKeyPair, record: Record) -> Self {
        EnrollmentGroup { attestation: GroupAttestation::SymmetricKey(keys), record, ..self }
    }

    fn drafted_keys(draft: &GroupDraft) -> Option<&KeysDraft> {
        match &draft.attestation {
            GroupAttestationDraft::SymmetricKey(keys) => Some(keys),
            _ => None,
        }
    }

    fn attests_like(&self, other: &Self) -> bool {
        std::mem::discriminant(&self.attestation) == std::mem::discriminant(&other.attestation)
    }

    fn entered(&self) -> Entered<'_> {
        self.into()
    }

    fn put(self) -> Change {
        Change::PutGroup(Box::new(self))
    }

    /// The registrations through a group stay, however many there are.
    async fn deletion(
        _: &dyn Store,
        _: &IdScope,
        id: EnrollmentGroupId,
        expect: Expect,
    ) -> Result<EnrollmentChanges, StoreError> {
        Ok(EnrollmentChanges::one(expect, Change::DeleteGroup(id)))
    }

    async fn load(
        store: &dyn Store,
        scope: &IdScope,
        id: &EnrollmentGroupId,
    ) -> Result<Option<Self>, StoreError> {
        Ok(store.configuration(scope).await?.group(id)?.map(|group| EnrollmentGroup::clone(group)))
    }

    async fn list(store: &dyn Store, scope: &IdScope, page: PageRequest) -> Result<Page<Self>, StoreError> {
        Ok(store.configuration(scope).await?.group_page(&page))
    }

    fn quota(&self) -> Quota {
        match self.attestation {
            GroupAttestation::SymmetricKey(_) => Quota::SymmetricKeyGroups,
            GroupAttestation::X509(_) => Quota::X509Groups,
        }
    }

    async fn room(&self, store: &dyn Store, scope: &IdScope) -> Result<Option<usize>, StoreError> {
        let configuration = store.configuration(scope).await?;
        let groups = configuration.groups();
        let with_keys = groups.with_symmetric_keys().len();
        if let GroupAttestation::SymmetricKey(_) = self.attestation {
            return Ok(Some(MAX_SYMMETRIC_KEY_GROUPS.saturating_sub(with_keys)));
        }
        let is_group = |record: &&DamagedRecord| record.kind == RecordKind::EnrollmentGroup;
        let damaged = configuration.unreadable().iter().filter(is_group).count();
        let with_certificates = groups.all().len() - with_keys + damaged;
        Ok(Some(MAX_X509_GROUPS.saturating_sub(with_certificates)))
    }
}
