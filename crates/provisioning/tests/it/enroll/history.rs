//! Random histories of enrollments, held against a model: what is stored, why a call is refused, and what is counted.

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use model::{
    BulkItem, EnrollmentGroup, EnrollmentSearch, Etag, GroupAttestationDraft, GroupDraft, IfMatch,
    IndividualAttestationDraft, IndividualDraft, IndividualEnrollment, Instance, KeySelection, KeySlot,
    KeysDraft, OperationKind, RegistrationIdsDraft, SymmetricKeyPair,
};
use provisioning::{
    Error,
    enroll::{Enrollment, Written},
    ports::{Clock, Entropy, PageRequest},
};
use testkit::{entropy::SeededEntropy, sample};

use super::counted;
use crate::{
    cases,
    register::world::{OTHER_SCOPE, SCOPE, World},
};

const SEEDS: u32 = 20;
const STEPS: usize = 60;
const IDS: [&str; 4] = ["a", "b", "c", "d"];

#[tokio::test]
async fn histories_of_individual_enrollments_are_those_of_the_model() {
    run::<IndividualEnrollment>().await;
}

#[tokio::test]
async fn histories_of_enrollment_groups_are_those_of_the_model() {
    run::<EnrollmentGroup>().await;
}

async fn run<E: Kind>() {
    for seed in 0..u64::from(cases(SEEDS)) {
        let world = World::new().await;
        let instance = Instance::clone(&*world.instance(SCOPE).await);
        let dice = SeededEntropy::new(seed);
        let mut history =
            History::<E> { world, instance, dice, stored: BTreeMap::new(), counted: BTreeMap::new() };
        for step in 0..STEPS {
            history.step().await;
            history.check(&format!("seed {seed}, step {step}")).await;
        }
    }
}

/// A kind of enrollment whose devices attest by symmetric keys.
trait Kind: Enrollment {
    fn id(id: &str) -> Self::Id;
    fn draft(id: &str, keys: KeysDraft) -> Self::Draft;
}

impl Kind for IndividualEnrollment {
    fn id(id: &str) -> Self::Id {
        sample::registration_id(id)
    }

    fn draft(id: &str, keys: KeysDraft) -> IndividualDraft {
        IndividualDraft {
            registration_id: sample::registration_id(id),
            device_id: None,
            attestation: IndividualAttestationDraft::SymmetricKey(keys),
            device_information: None,
            settings: Default::default(),
        }
    }
}

impl Kind for EnrollmentGroup {
    fn id(id: &str) -> Self::Id {
        sample::group_id(id)
    }

    fn draft(id: &str, keys: KeysDraft) -> GroupDraft {
        GroupDraft {
            group_id: sample::group_id(id),
            attestation: GroupAttestationDraft::SymmetricKey(keys),
            registration_ids: RegistrationIdsDraft::Kept,
            settings: Default::default(),
        }
    }
}

struct History<E> {
    world: World,
    instance: Instance,
    dice: SeededEntropy,
    /// The enrollments as they should be.
    stored: BTreeMap<&'static str, E>,
    /// The operations that should be counted.
    counted: BTreeMap<OperationKind, u64>,
}

/// The outcome that the model expects of a write.
type Expected = Result<(), Error>;

impl<E: Kind> History<E> {
    fn roll(&self, sides: usize) -> usize {
        let mut bytes = [0; 8];
        self.dice.fill(&mut bytes);
        usize::try_from(u64::from_be_bytes(bytes) % sides as u64).unwrap()
    }

    fn any_id(&self) -> &'static str {
        IDS[self.roll(IDS.len())]
    }

    /// Returns no condition, any version, the current one, or another.
    fn any_condition(&self, id: &str) -> Option<IfMatch> {
        let current = self.stored.get(id).map(|stored| stored.record().etag.clone());
        match self.roll(4) {
            0 => None,
            1 => Some(IfMatch::Any),
            2 => Some(IfMatch::Version(current.unwrap_or_else(|| sample::etag("none")))),
            _ => Some(IfMatch::Version(sample::etag("other"))),
        }
    }

    fn any_keys(&self) -> KeysDraft {
        let key = || (self.roll(2) == 0).then(|| sample::key(u8::try_from(20 + self.roll(100)).unwrap()));
        KeysDraft { primary: key(), secondary: key() }
    }

    async fn step(&mut self) {
        self.world.clock.advance(Duration::from_secs(1));
        match self.roll(8) {
            0..=2 => self.put().await,
            3 => self.delete().await,
            4 => self.regenerate().await,
            5 => self.read().await,
            6 => self.query().await,
            _ => self.bulk().await,
        }
    }

    fn count(&mut self, kind: OperationKind) {
        *self.counted.entry(kind).or_default() += 1;
    }

    /// The conditions of a put: see the table of `enroll::change`.
    fn expected_of_put(&self, id: &str, if_match: Option<&IfMatch>) -> Expected {
        match (self.version(id), if_match) {
            (None, None) | (Some(_), Some(IfMatch::Any)) => Ok(()),
            (Some(_), None) => Err(Error::Exists(E::KIND)),
            (None, Some(_)) => Err(Error::NothingToReplace(E::KIND)),
            (Some(current), Some(IfMatch::Version(version))) if current == version => Ok(()),
            (Some(_), Some(IfMatch::Version(_))) => Err(Error::PreconditionFailed(E::KIND)),
        }
    }

    fn version(&self, id: &str) -> Option<&Etag> {
        self.stored.get(id).map(|stored| &stored.record().etag)
    }

    async fn put(&mut self) {
        let (id, keys) = (self.any_id(), self.any_keys());
        let if_match = self.any_condition(id);
        let (by, draft) = (sample::operator(), E::draft(id, keys.clone()));
        let result =
            self.world.provisioning.put_enrollment::<E>(&self.instance, &by, draft, if_match.clone()).await;
        let expected = self.expected_of_put(id, if_match.as_ref());
        same(&expected, &result);
        if let Ok(written) = result {
            self.note_written(id, &keys, written);
            self.count(OperationKind::EnrollmentChange);
        }
    }

    /// Checks a written enrollment against its draft and the one before, and stores it in the model.
    fn note_written(&mut self, id: &'static str, draft: &KeysDraft, written: Written<E>) {
        let Written { enrollment, kept } = written;
        let before = self.stored.get(id);
        let (record, now) = (enrollment.record(), self.world.clock.now());
        assert_eq!(record.last_updated, now);
        assert_eq!(record.created, before.map_or(now, |before| before.record().created));
        assert_ne!(Some(&record.etag), before.map(|before| &before.record().etag));
        let (keys, old) = (enrollment.symmetric_keys().unwrap(), before.and_then(E::symmetric_keys));
        for slot in KeySlot::ALL {
            let given = match slot {
                KeySlot::Primary => &draft.primary,
                KeySlot::Secondary => &draft.secondary,
            };
            if let Some(wanted) = given.as_ref().or(old.map(|old| old.key(slot))) {
                assert_eq!(keys.key(slot), wanted);
            }
        }
        let left_out = [draft.primary.is_none(), draft.secondary.is_none()];
        let warning = match left_out {
            _ if before.is_none() => "",
            [false, false] => "",
            [true, true] => "the primary and secondary keys stayed as before",
            [true, false] => "the primary key stayed as before",
            [false, true] => "the secondary key stayed as before",
        };
        let text = kept.map(|kept| kept.to_string()).unwrap_or_default();
        assert!(text.starts_with(warning) && text.is_empty() == warning.is_empty(), "{text}, not {warning}");
        self.stored.insert(id, enrollment);
    }

    async fn delete(&mut self) {
        let id = self.any_id();
        let if_match = self.any_condition(id);
        let expected = match (self.version(id), &if_match) {
            (None, _) => Err(Error::NotFound(E::KIND)),
            (Some(current), Some(IfMatch::Version(version))) if current != version => {
                Err(Error::PreconditionFailed(E::KIND))
            }
            (Some(_), _) => Ok(()),
        };
        let (by, provisioning) = (sample::operator(), &self.world.provisioning);
        let result = provisioning.delete_enrollment::<E>(&self.instance, &by, E::id(id), if_match).await;
        same(&expected, &result);
        if result.is_ok() {
            self.stored.remove(id);
            self.count(OperationKind::EnrollmentChange);
        }
    }

    async fn regenerate(&mut self) {
        let id = self.any_id();
        let if_match = self.any_condition(id);
        let selection =
            [KeySelection::Both, KeySelection::One(KeySlot::Primary), KeySelection::One(KeySlot::Secondary)]
                [self.roll(3)];
        let expected = match (self.version(id), &if_match) {
            (None, _) => Err(Error::NotFound(E::KIND)),
            (Some(current), Some(IfMatch::Version(version))) if current != version => {
                Err(Error::PreconditionFailed(E::KIND))
            }
            (Some(_), _) => Ok(()),
        };
        let (by, selected) = (sample::operator(), (&E::id(id), selection));
        let result =
            self.world.provisioning.regenerate_keys::<E>(&self.instance, &by, selected, if_match).await;
        same(&expected, &result);
        if let Ok(replaced) = result {
            let pair = |it: &E| it.symmetric_keys().cloned().unwrap();
            let (old, new): (SymmetricKeyPair, _) = (pair(&self.stored[id]), pair(&replaced));
            for slot in KeySlot::ALL {
                let is_selected = selection.slots().any(|selected| selected == slot);
                assert_eq!(old.key(slot) != new.key(slot), is_selected, "{slot}");
            }
            self.stored.insert(id, replaced);
            self.count(OperationKind::EnrollmentChange);
        }
    }

    async fn read(&mut self) {
        let id = E::id(self.any_id());
        let provisioning = &self.world.provisioning;
        let (read, kind) = match self.roll(2) {
            0 => {
                (provisioning.read_enrollment::<E>(&self.instance, &id).await, OperationKind::EnrollmentRead)
            }
            _ => (
                provisioning.read_attestation::<E>(&self.instance, &id).await,
                OperationKind::AttestationRead,
            ),
        };
        match self.stored.get(id.to_string().as_str()) {
            None => same(&Err(Error::NotFound(E::KIND)), &read),
            Some(stored) => {
                assert_eq!(read.ok().as_ref(), Some(stored));
                self.count(kind);
            }
        }
    }

    /// Reads all pages.
    async fn query(&mut self) {
        let (limit, mut after, mut found) = (1 + self.roll(3), None, Vec::new());
        loop {
            let request = PageRequest { after, limit };
            let page = self
                .world
                .provisioning
                .list_enrollments::<E>(&self.instance, &EnrollmentSearch::default(), request)
                .await
                .unwrap()
                .page;
            self.count(OperationKind::EnrollmentQuery);
            assert!(page.items.len() <= limit && page.damaged.is_empty());
            found.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
            assert!(found.len() < self.stored.len(), "another page has more");
        }
        assert_eq!(found, self.stored.values().cloned().collect::<Vec<_>>());
    }

    async fn bulk(&mut self) {
        let (mut items, mut expected, mut keys) = (Vec::new(), Vec::<(&str, Expected)>::new(), Vec::new());
        for _ in 0..=self.roll(4) {
            let (id, drafted) = (self.any_id(), self.any_keys());
            let draft = E::draft(id, drafted.clone());
            let (item, outcome) = match self.roll(3) {
                0 => (BulkItem::Create(draft), self.expected_of_put(id, None)),
                1 => {
                    let if_match = self.any_condition(id);
                    let outcome = match (self.version(id), &if_match) {
                        (None, _) => Err(Error::NotFound(E::KIND)),
                        (Some(_), if_match) => self.expected_of_put(id, if_match.as_ref()),
                    };
                    (BulkItem::Replace(draft, if_match), outcome)
                }
                _ => {
                    let is_stored = self.stored.contains_key(id);
                    (BulkItem::Delete(E::id(id)), is_stored.then_some(()).ok_or(Error::NotFound(E::KIND)))
                }
            };
            let is_second = expected.iter().any(|(other, _)| *other == id);
            let twice = || Error::Invalid(format!("{id} occurs twice in the bulk operation"));
            expected.push((id, if is_second { Err(twice()) } else { outcome }));
            items.push(item);
            keys.push(drafted);
        }
        let by = sample::operator();
        let results =
            self.world.provisioning.change_enrollments::<E>(&self.instance, &by, items).await.unwrap();
        assert_eq!(results.len(), expected.len());
        let is_counted = expected.iter().any(|(_, expected)| expected.is_ok());
        for (((addressed, result), (id, expected)), keys) in results.into_iter().zip(expected).zip(keys) {
            assert_eq!(addressed, E::id(id));
            same(&expected, &result);
            match result {
                Ok(Some(written)) => self.note_written(id, &keys, written),
                Ok(None) => drop(self.stored.remove(id)),
                Err(_) => {}
            }
        }
        if is_counted {
            self.count(OperationKind::EnrollmentBulk);
        }
    }

    /// Nothing else was stored or counted, and nothing for the other instance.
    async fn check(&self, when: &str) {
        let (store, other) = (&*self.world.store, sample::scope(OTHER_SCOPE));
        for id in IDS {
            let stored = E::load(store, &self.instance.id_scope, &E::id(id)).await.unwrap();
            assert_eq!(stored.as_ref(), self.stored.get(id), "{when}");
            assert_eq!(E::load(store, &other, &E::id(id)).await.unwrap(), None, "{when}");
        }
        assert_eq!(counted(&self.world, SCOPE).await, self.counted, "{when}");
        assert_eq!(counted(&self.world, OTHER_SCOPE).await, BTreeMap::new(), "{when}");
    }
}

#[track_caller]
fn same<T: Debug>(expected: &Expected, result: &Result<T, Error>) {
    let text = |error: Option<&Error>| error.map(ToString::to_string);
    assert_eq!(text(result.as_ref().err()), text(expected.as_ref().err()), "{result:?}");
}
