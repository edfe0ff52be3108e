//! What is stored of one device, read together: a request makes one read of a database that may be far away.

use std::sync::Arc;

use async_trait::async_trait;
use model::{Cleanup, HubDeviceRef, IdScope, IndividualEnrollment, Instance, Registration, RegistrationId};

use super::{DamagedRecord, StoreError};
use crate::configuration::Configuration;

/// Reads the records of devices together, as they are at one moment.
#[async_trait]
pub trait Devices: Send + Sync {
    /// Returns what is stored of a registration ID, and the instance with its configuration, as new as every write that was
    /// acknowledged. Returns `None` if there is no such instance; fails if that cannot be read.
    async fn device(&self, scope: &IdScope, id: &RegistrationId)
    -> Result<Option<DeviceRecords>, StoreError>;

    /// Returns what is stored of a device at a hub which this registration is to have.
    async fn hub_device(
        &self,
        hub_device: &HubDeviceRef,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<HubDeviceRecords, StoreError>;
}

/// A record, if it exists and can be read.
pub type Found<T> = Result<Option<T>, DamagedRecord>;

/// What is stored of a registration ID, and what its device is judged by.
#[derive(Debug, Clone)]
pub struct DeviceRecords {
    /// The registration ID as it was asked for.
    pub registration_id: RegistrationId,
    /// The instance.
    pub instance: Arc<Instance>,
    /// The groups and the trust of the instance.
    pub configuration: Configuration,
    /// The registration.
    pub registration: Found<Registration>,
    /// The individual enrollment.
    pub individual: Found<IndividualEnrollment>,
}

impl DeviceRecords {
    /// Returns the registration. Fails if it cannot be read.
    pub fn registration(&self) -> Result<Option<&Registration>, StoreError> {
        self.registration.as_ref().map(Option::as_ref).map_err(|record| StoreError::Damaged(record.clone()))
    }
}

/// What is stored of a device at a hub.
#[derive(Debug, Clone, PartialEq)]
pub struct HubDeviceRecords {
    /// The registration, of any instance, that it belongs to, unless it is the one that was asked for.
    pub other_owner: Option<Owner>,
    /// The cleanup of the instance.
    pub cleanup: Found<Cleanup>,
}

/// The registration that a device at a hub belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its instance.
    pub id_scope: IdScope,
    /// Its ID in lower case.
    pub registration_id: RegistrationId,
}
