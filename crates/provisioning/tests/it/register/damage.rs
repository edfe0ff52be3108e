//! Damaged records: each table by each kind of damage. The service starts, reports the record, works without it, and lets it be
//! deleted; and no damage lets a device in that would be refused.

use std::path::Path;

use durable::{Sealer, rusqlite::Connection};
use model::{CaCertificate, IfMatch, RegistrationId, RevocationSettings};
use provisioning::{
    Error, RecordKind,
    attest::Evidence,
    ports::{AttemptQuery, Change, DamagedRecord, PageRequest, StoreError},
    register::RegisterOutcome,
};
use testkit::{ca::Authority, crl::Revocations, sample};

use super::{
    token::Token,
    world::{HUBS, OTHER_SCOPE, SCOPE, World, group, group_by, individual},
};
use crate::attest::case::{NOW, certificates, group_of};

/// A table, its damaged record, and the devices that are turned away.
struct Case {
    table: &'static str,
    kind: RecordKind,
    /// As it is stored.
    id: &'static str,
    /// Another record of the table, which every listing shows.
    beside: &'static str,
    /// The devices that are asked to come back.
    refused: &'static [&'static str],
}

const CASES: &[Case] = &[
    case("instances", RecordKind::Instance, "", "", &["own-1", "own-2", "member-1", "leaf-1"]),
    case("individuals", RecordKind::Enrollment, "own-1", "own-2", &["own-1"]),
    case("groups", RecordKind::EnrollmentGroup, "line", "other", &["member-1"]),
    case("certificates", RecordKind::CaCertificate, "plant", "", &["leaf-1"]),
    case("revocation_lists", RecordKind::RevocationList, "", "", &["leaf-1"]),
    case("blocks", RecordKind::Block, "", "", &["leaf-1"]),
    case("registrations", RecordKind::Registration, "member-1", "member-2", &["member-1"]),
    case("cleanups", RecordKind::Cleanup, "hub-2.example/own-1", "hub-2.example/own-2", &[]),
    case("attempts", RecordKind::Attempt, "own-1", "", &[]),
];

const fn case(
    table: &'static str,
    kind: RecordKind,
    id: &'static str,
    beside: &'static str,
    refused: &'static [&'static str],
) -> Case {
    Case { table, kind, id, beside, refused }
}

type Damage = fn(&[u8], &[u8]) -> Vec<u8>;

/// Damages a sealed document, given its context.
const DAMAGES: [(&str, Damage); 7] = [
    ("a bit", |_, sealed| flipped(sealed, sealed.len() / 2)),
    ("the version", |_, sealed| flipped(sealed, 0)),
    ("cut", |_, sealed| sealed[..sealed.len() / 2].to_vec()),
    ("emptied", |_, _| Vec::new()),
    ("another key", |context, _| Sealer::from_key([8; 32]).seal(context, b"{}")),
    ("no JSON", |context, _| Sealer::from_key([7; 32]).seal(context, b"{\"registrationId\": \"SECRET")),
    ("another JSON", |context, _| Sealer::from_key([7; 32]).seal(context, b"{\"etag\": \"SECRET\"}")),
];

fn flipped(sealed: &[u8], at: usize) -> Vec<u8> {
    let mut flipped = sealed.to_vec();
    flipped[at] ^= 0x10;
    flipped
}

#[tokio::test]
async fn damage_of_any_kind_in_any_table_is_reported_and_lets_no_device_in() {
    let root = Authority::root("Plant");
    for case in CASES {
        for (name, damage) in DAMAGES {
            let (scene, damaged) = Scene::new(&root).await.spoiled(case, damage).await;
            let label = format!("{} {name}", case.table);
            scene.check_reads(case, &damaged, &label).await;
            scene.check_devices(case, &damaged, &label).await;
            if case.kind != RecordKind::Instance {
                scene.check_deletion(case, &damaged, &label).await;
            }
        }
    }
}

/// An instance with two of nearly every record, and another instance.
struct Scene {
    world: World,
    leaf: Evidence,
}

impl Scene {
    async fn new(root: &Authority) -> Scene {
        let world = World::in_file().await;
        for id in ["own-1", "own-2"] {
            world.enroll(individual(id)).await;
            let cleanup = sample::cleanup(HUBS[1], id);
            world.enroll_in(SCOPE, Change::PutCleanup(Box::new(cleanup))).await;
        }
        world.enroll_in(OTHER_SCOPE, Change::PutIndividual(Box::new(individual("own-1")))).await;
        world.enroll_group(group("line")).await;
        let other_keys = model::GroupAttestation::SymmetricKey(sample::keys(40));
        world.enroll_group(group_by("other", other_keys)).await;
        world.enroll_group(group_by("chain", group_of("x", root).attestation)).await;
        let stored = sample::ca_certificate("plant", &root.certificate());
        let verified =
            CaCertificate { is_verified: true, revocation: RevocationSettings::default(), ..stored };
        let list = Revocations::made_at(1, NOW.plus_seconds(-60)).signed_by(root);
        let list = model::RevocationList {
            signed_by: root.certificate().thumbprint().clone(),
            ..sample::revocation_list("plant", &list)
        };
        world.enroll_in(SCOPE, Change::PutCertificate(Box::new(verified))).await;
        world.enroll_in(SCOPE, Change::PutRevocationList(Box::new(list))).await;
        let blocked = sample::block(&root.device("blocked").certificate());
        world.enroll_in(SCOPE, Change::PutBlock(Box::new(blocked))).await;
        let attempts = sample::attempts("own-1").map(|(_, attempt)| attempt);
        world.store.keep_attempts(&sample::scope(SCOPE), attempts.into()).await.unwrap();
        let scene = Scene { world, leaf: certificates(&[root.device("leaf-1").der()]) };
        for id in ["own-1", "own-2", "member-1", "member-2", "leaf-1"] {
            scene.begin(SCOPE, id).await.unwrap();
        }
        scene
    }

    /// Damages one record while the service is down, and returns its ID.
    async fn spoiled(self, case: &Case, damage: Damage) -> (Scene, String) {
        let Scene { world, leaf } = self;
        let mut id = case.id.to_owned();
        let world = world.restarted_after(|path| id = spoil(path, case, damage)).await;
        (Scene { world, leaf }, id)
    }

    fn evidence(&self, scope: &str, id: &str) -> Evidence {
        let key = if id.starts_with("member") { sample::key(20).derive(id) } else { sample::key(10) };
        match id {
            "leaf-1" => self.leaf.clone(),
            _ => Token::new(&format!("{scope}/registrations/{id}"), &key).evidence(),
        }
    }

    /// Begins a registration at an instance.
    async fn begin(&self, scope: &str, id: &str) -> Result<RegisterOutcome, Error> {
        self.world.provisioning.instance(&sample::scope(scope)).await?;
        self.world.begin_with(scope, id, self.evidence(scope, id)).await
    }

    async fn check_devices(&self, case: &Case, damaged: &str, label: &str) {
        for id in ["own-1", "own-2", "member-1", "member-2", "leaf-1"] {
            let begun = self.begin(SCOPE, id).await;
            let in_group = case.kind == RecordKind::EnrollmentGroup && id == "member-2";
            if case.refused.contains(&id) || in_group || (case.kind == RecordKind::Instance) {
                let is_reported =
                    matches!(&begun, Err(Error::Damaged(record)) if record.is(case.kind, damaged));
                assert!(is_reported, "{label}: {id}: {begun:?}");
            } else {
                assert!(begun.is_ok(), "{label}: {id}: {begun:?}");
            }
        }
        self.begin(OTHER_SCOPE, "own-1").await.unwrap();
        let unknown = self.world.begin_with(OTHER_SCOPE, "own-9", Evidence::default()).await;
        assert!(matches!(unknown, Err(Error::Unauthorized { .. })), "{label}: another instance");
    }

    /// Reads the record, its listing, and the known damage.
    async fn check_reads(&self, case: &Case, damaged: &str, label: &str) {
        let read = self.read(case.table, damaged).await;
        let is_reported = matches!(&read, Err(StoreError::Damaged(record)) if record.is(case.kind, damaged));
        assert!(is_reported || case.kind == RecordKind::Attempt, "{label}: {read:?}");
        if case.kind == RecordKind::Instance {
            let instances = self.world.store.snapshot().await.unwrap().instances();
            assert_eq!(instances.len(), 1, "{label}: {instances:?}");
        } else {
            let (ids, named) = self.list(case.table).await;
            assert!(named.iter().any(|record| record.is(case.kind, damaged)), "{label}: {named:?}");
            assert!(ids.iter().any(|id| id.eq_ignore_ascii_case(case.beside)) || case.beside.is_empty());
            assert!(!ids.iter().any(|id| id.eq_ignore_ascii_case(damaged)), "{label}: {ids:?}");
        }
        let known = self.world.store.known_damage().await.unwrap().records;
        let [(scope, record)] = known.as_slice() else { panic!("{label}: {known:?}") };
        assert!(scope == &SCOPE.to_ascii_lowercase() && record.is(case.kind, damaged), "{label}: {known:?}");
        assert!(!record.to_string().contains("SECRET"), "{label}: {record}");
    }

    async fn read(&self, table: &str, id: &str) -> Result<bool, StoreError> {
        let (store, scope) = (&self.world.store, sample::scope(SCOPE));
        let place = model::HubDeviceRef {
            hub: sample::hub_name(HUBS[1]),
            device_id: model::DeviceId::parse("own-1").unwrap(),
        };
        match table {
            "instances" => store.instance(&scope).await.map(|it| it.is_some()),
            "individuals" => {
                store.individual(&scope, &sample::registration_id(id)).await.map(|it| it.is_some())
            }
            "groups" => {
                let configuration = store.configuration(&scope).await?;
                configuration.group(&sample::group_id(id)).map(|it| it.is_some())
            }
            "registrations" => {
                store.registration(&scope, &sample::registration_id(id)).await.map(|it| it.is_some())
            }
            "cleanups" => store.cleanup(&scope, &place).await.map(|it| it.is_some()),
            _ => {
                let configuration = store.configuration(&scope).await?;
                configuration
                    .unreadable()
                    .first()
                    .map_or(Ok(false), |record| Err(StoreError::Damaged(record.clone())))
            }
        }
    }

    /// Returns the IDs of a listing, and its damaged records.
    async fn list(&self, table: &str) -> (Vec<String>, Vec<DamagedRecord>) {
        let (store, scope) = (&self.world.store, sample::scope(SCOPE));
        let all = PageRequest { after: None, limit: 1000 };
        match table {
            "individuals" => {
                let page = store.individuals(&scope, all).await.unwrap();
                (page.items.iter().map(|it| it.registration_id.to_string()).collect(), page.damaged)
            }
            "groups" => {
                let page = store.configuration(&scope).await.unwrap().group_page(&all);
                (page.items.iter().map(|it| it.group_id.to_string()).collect(), page.damaged)
            }
            "registrations" => {
                let page = store.registrations_of(&scope, &sample::group_id("line"), all).await.unwrap();
                (page.items.iter().map(|it| it.registration_id.to_string()).collect(), page.damaged)
            }
            "cleanups" => {
                let page = store.cleanups(&scope, all).await.unwrap();
                (page.items.iter().map(|it| it.residue.hub_device.key().into_owned()).collect(), page.damaged)
            }
            "attempts" => {
                let registration_id = Some(sample::registration_id("own-1"));
                let query = AttemptQuery { registration_id, page: all };
                let page = store.attempts(&scope, query).await.unwrap();
                assert_eq!(page.items.len(), 2, "one of three is damaged");
                (Vec::new(), page.damaged)
            }
            _ => (Vec::new(), store.configuration(&scope).await.unwrap().unreadable().to_vec()),
        }
    }

    /// Deletes the record without reading it; then no damage is left, also after a restart.
    async fn check_deletion(self, case: &Case, damaged: &str, label: &str) {
        if case.kind == RecordKind::Attempt {
            return; // newer ones push it out
        }
        self.delete(case.kind, damaged).await.unwrap_or_else(|error| panic!("{label}: {error}"));
        self.check_gone(case, damaged, label).await;
        let Scene { world, leaf } = self;
        let scene = Scene { world: world.restarted().await, leaf };
        scene.check_gone(case, damaged, label).await;
        for id in ["own-2", "member-2", "leaf-1"] {
            let begun = scene.begin(SCOPE, id).await;
            let group_is_gone = case.kind == RecordKind::EnrollmentGroup && id == "member-2";
            assert_eq!(begun.is_ok(), !group_is_gone, "{label}: {id}: {begun:?}");
            assert!(!matches!(begun, Err(Error::Damaged(_))), "{label}: {id}");
        }
    }

    async fn check_gone(&self, case: &Case, damaged: &str, label: &str) {
        assert!(!self.read(case.table, damaged).await.unwrap(), "{label}");
        assert_eq!(self.list(case.table).await.1, [], "{label}");
        assert_eq!(self.world.store.known_damage().await.unwrap().records, [], "{label}");
    }

    async fn delete(&self, kind: RecordKind, id: &str) -> Result<(), Error> {
        let (verbs, instance) = (&self.world.provisioning, self.world.instance(SCOPE).await);
        let registration = || RegistrationId::parse(id).unwrap();
        let name = || sample::ca_reference(id);
        match kind {
            RecordKind::Enrollment => {
                verbs
                    .delete_enrollment::<model::IndividualEnrollment>(
                        &instance,
                        &sample::operator(),
                        registration(),
                        None,
                    )
                    .await
            }
            RecordKind::EnrollmentGroup => {
                let id = sample::group_id(id);
                verbs
                    .delete_enrollment::<model::EnrollmentGroup>(&instance, &sample::operator(), id, None)
                    .await
            }
            RecordKind::Registration => {
                verbs.delete_registration(&instance, &sample::operator(), registration(), None).await
            }
            RecordKind::CaCertificate => {
                verbs.delete_ca_certificate(&instance, &sample::operator(), &name(), &IfMatch::Any).await
            }
            RecordKind::RevocationList => {
                verbs
                    .delete_revocation_lists(
                        &instance,
                        &sample::operator(),
                        &sample::ca_reference("plant"),
                        None,
                    )
                    .await
            }
            RecordKind::Block => {
                verbs
                    .unblock(&instance, &sample::operator(), &certpath::Sha256Thumbprint::parse(id).unwrap())
                    .await
            }
            RecordKind::Cleanup => {
                let (hub, device) = id.split_once('/').unwrap();
                let device_id = model::DeviceId::parse(device).unwrap();
                verbs
                    .forget_cleanup(
                        &instance,
                        &sample::operator(),
                        model::HubDeviceRef { hub: sample::hub_name(hub), device_id },
                    )
                    .await
            }
            other => panic!("{other} is not deleted"),
        }
    }
}

/// Damages one record of a table of the first instance, and returns its ID.
fn spoil(path: &Path, case: &Case, damage: Damage) -> String {
    let database = Connection::open(path).unwrap();
    let scope = SCOPE.to_ascii_lowercase();
    let (sql, id) = match case.table {
        "instances" => ("scope", scope.as_str()),
        _ => ("id", case.id),
    };
    let table = case.table;
    let of = if table == "instances" { "number" } else { "instance" };
    let find = format!(
        "SELECT rowid, {sql}, document FROM {table}
         WHERE {of} = 1 AND ({sql} = ?1 OR ?1 = '') ORDER BY rowid LIMIT 1"
    );
    let row = |row: &durable::rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let (number, found, sealed): (i64, String, Vec<u8>) = database.query_row(&find, [id], row).unwrap();
    let in_context = if table == "instances" { "" } else { &found };
    let context = format!("{table}\0{scope}\0{in_context}");
    let update = format!("UPDATE {table} SET document = ?2 WHERE rowid = ?1");
    database.execute(&update, (number, damage(context.as_bytes(), &sealed))).unwrap();
    found
}
