//! Enrollments for the measurements, written straight into a stopped service's store.

use std::path::Path;

use durable::Sealer;
use model::{
    EnrollmentSettings, Etag, IdScope, IndividualAttestation, IndividualEnrollment, Record, RegistrationId,
    SymmetricKey, SymmetricKeyPair, Timestamp,
};
use provisioning::ports::{Change, Commit, Expect, Store};
use store::EmbeddedStore;

/// Enrollments per commit.
const BATCH: usize = 1000;

/// The registration ID of an enrollment.
pub fn registration_id(number: usize) -> anyhow::Result<RegistrationId> {
    Ok(RegistrationId::parse(format!("enrolled-{number:08}"))?)
}

/// The device key of an enrollment.
pub fn device_key(id: &RegistrationId) -> anyhow::Result<SymmetricKey> {
    Ok(SymmetricKey::from_bytes(&[42; 32])?.derive(id.as_str()))
}

/// Writes individual enrollments with symmetric keys.
pub async fn individual_enrollments(dir: &Path, scope: &str, count: usize) -> anyhow::Result<()> {
    let sealer = Sealer::load_or_create(&dir.join("master.key"))?;
    let store = EmbeddedStore::open(&dir.join("muster.db"), sealer)?;
    let scope = IdScope::parse(scope)?;
    for from in (0..count).step_by(BATCH) {
        let changes = (from..(from + BATCH).min(count)).map(|number| {
            let enrollment = enrollment(registration_id(number)?)?;
            Ok((Expect::Anything, Change::PutIndividual(Box::new(enrollment))))
        });
        let changes = changes.collect::<anyhow::Result<_>>()?;
        store.commit(&scope, Commit { changes, operation: None }).await?;
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
