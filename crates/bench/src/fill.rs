//! Writes enrollments for the measurements directly into a store.

use std::path::Path;

use anyhow::{Context, ensure};
use durable::Sealer;
use fleet::Progress;
use futures_util::{StreamExt, stream};
use model::{
    CaCertificate, EnrollmentGroup, EnrollmentSettings, Etag, GroupAttestation, GroupCertificates, IdScope,
    IndividualAttestation, IndividualEnrollment, Pair, Record, RegistrationId, RevocationSettings,
    SymmetricKey, SymmetricKeyPair, Timestamp,
};
use provisioning::ports::{Change, Commit, Commits, Expect};
use store::{EmbeddedStore, PostgresStore, postgres::Settings};
use testkit::{ca::Authority, sample};

/// The number of enrollments per commit.
const BATCH: usize = 1000;

/// The number of batches that are sealed while one is written.
const CONCURRENT: usize = 4;

/// Returns the registration ID of an enrollment.
pub fn registration_id(number: usize) -> anyhow::Result<RegistrationId> {
    Ok(RegistrationId::parse(format!("enrolled-{number:08}"))?)
}

/// Returns the device key of an enrollment.
pub fn device_key(id: &RegistrationId) -> anyhow::Result<SymmetricKey> {
    Ok(SymmetricKey::from_bytes(&[42; 32])?.derive(id.as_str()))
}

/// Writes individual enrollments with symmetric keys.
pub async fn individual_enrollments(dir: &Path, scope: &str, count: usize) -> anyhow::Result<()> {
    let changes = (0..count).map(|number| {
        let enrollment = enrollment(registration_id(number)?)?;
        Ok(Change::PutIndividual(Box::new(enrollment)))
    });
    write(dir, scope, changes).await
}

/// Writes the same enrollments into an empty PostgreSQL database. Nodes may be running.
pub async fn shared_enrollments(url: &str, key: &Path, scope: &str, count: usize) -> anyhow::Result<()> {
    let store = PostgresStore::connect(Settings::parse(url)?, Sealer::load(key)?).await?;
    let scope = IdScope::parse(scope)?;
    let mut progress = Progress::start("writing enrollments", count);
    let batches = (0..count).step_by(BATCH).map(|first| {
        let (store, scope, last) = (store.clone(), scope.clone(), count.min(first + BATCH));
        tokio::spawn(async move {
            let enrollments = (first..last).map(|number| enrollment(registration_id(number)?));
            let enrollments = enrollments.collect::<anyhow::Result<Vec<_>>>()?;
            ensure!(store.import_individuals(&scope, enrollments).await?, "the database has enrollments");
            Ok(last - first)
        })
    });
    let mut written = stream::iter(batches).buffer_unordered(CONCURRENT);
    while let Some(batch) = written.next().await {
        (0..batch??).for_each(|_| progress.step());
    }
    progress.finish();
    Ok(())
}

/// Writes this number of enrollment groups of each kind, with different keys: by symmetric key, by signing certificate, and
/// by reference to a CA certificate, which is also written.
pub async fn groups(dir: &Path, scope: &str, count: usize) -> anyhow::Result<()> {
    let changes = (0..count).flat_map(|number| {
        let signing = Authority::root(&signing_ca_name(number)).certificate();
        let name = format!("ca-{number:04}");
        let authority = Authority::root(&name).certificate();
        let ca = CaCertificate { is_verified: true, ..sample::ca_certificate(&name, &authority) };
        let ca = CaCertificate { revocation: RevocationSettings::default(), ..ca };
        let references = Pair::new(Some(ca.name.clone()), None).map(GroupCertificates::CaReferences);
        let of_reference = references.map(|references| EnrollmentGroup {
            attestation: GroupAttestation::X509(references),
            ..sample::group(&format!("by-reference-{number:04}"))
        });
        let key = SymmetricKey::from_bytes(&[42; 32]).map(|key| key.derive(&name));
        let of_key = key.map(|key| EnrollmentGroup {
            attestation: GroupAttestation::SymmetricKey(SymmetricKeyPair {
                primary: key.clone(),
                secondary: key,
            }),
            ..sample::group(&format!("by-key-{number:04}"))
        });
        let of_signing = sample::signing_group(&format!("by-signing-{number:04}"), &signing, None);
        [
            Ok(Change::PutCertificate(Box::new(ca))),
            Ok(Change::PutGroup(Box::new(of_signing))),
            of_reference.map(|group| Change::PutGroup(Box::new(group))).context("no reference"),
            of_key.map(|group| Change::PutGroup(Box::new(group))).map_err(Into::into),
        ]
    });
    write(dir, scope, changes).await
}

/// Returns the common name of the CA of a group by signing certificate.
pub fn signing_ca_name(number: usize) -> String {
    format!("signing-{number:04}")
}

async fn write(
    dir: &Path,
    scope: &str,
    changes: impl Iterator<Item = anyhow::Result<Change>>,
) -> anyhow::Result<()> {
    let sealer = Sealer::load_or_create(&dir.join("master.key"))?;
    let store = EmbeddedStore::open(&dir.join("muster.db"), sealer)?;
    let scope = IdScope::parse(scope)?;
    let mut changes = changes.map(|change| anyhow::Ok((Expect::Anything, change?))).peekable();
    while changes.peek().is_some() {
        let changes = changes.by_ref().take(BATCH).collect::<anyhow::Result<_>>()?;
        store.commit(&scope, Commit { changes, ..Commit::by(sample::by()) }).await?;
    }
    store.close().await;
    Ok(())
}

fn enrollment(id: RegistrationId) -> anyhow::Result<IndividualEnrollment> {
    let key = device_key(&id)?;
    let now = Timestamp::from_unix_seconds(1_800_000_000);
    Ok(IndividualEnrollment {
        registration_id: id,
        device_id: None,
        attestation: IndividualAttestation::SymmetricKey(SymmetricKeyPair {
            primary: key.clone(),
            secondary: key,
        }),
        device_information: None,
        settings: EnrollmentSettings::default(),
        record: Record { etag: Etag::parse("filled")?, created: now, last_updated: now },
    })
}
