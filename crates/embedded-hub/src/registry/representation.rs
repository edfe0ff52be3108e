//! Devices and twins as the REST API represents them.

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{Generation, Timestamp};
use wire::hub::{ConnectionState, Device, TwinProperties};

use crate::{
    connections::LiveConnection,
    failure::HubFailure,
    registry::identity::Identity,
    storage::{LastSeen, StoredDevice},
    twins::twin::{MetadataDetail, Twin},
};

/// Returns a device; `live` is its connection.
pub fn device(device: StoredDevice, live: Option<&LiveConnection>) -> Device {
    let StoredDevice { id, identity, seen, waiting, .. } = device;
    let seen = with_connection(seen, live);
    Device {
        device_id: id.into(),
        generation_id: Some(ticks_since_year_one(identity.generation)),
        etag: Some(identity_etag(&identity)),
        connection_state: Some(connection_state(live)),
        status: Some(identity.status),
        status_reason: identity.status_reason.clone(),
        connection_state_updated_time: Some(time_or_never(seen.state_at)),
        status_updated_time: Some(time_or_never(identity.status_changed)),
        last_activity_time: Some(time_or_never(seen.active_at)),
        cloud_to_device_message_count: Some(waiting),
        authentication: Some(identity.credentials.to_wire()),
        capabilities: Some(identity.capabilities()),
        parent_scopes: (!identity.parent_scopes.is_empty()).then_some(identity.parent_scopes),
        device_scope: identity.device_scope,
    }
}

/// Returns a device's twin; `live` is its connection.
pub fn twin(device: StoredDevice, live: Option<&LiveConnection>) -> wire::hub::Twin {
    let StoredDevice { id, identity, twin, seen, waiting, model } = device;
    let seen = with_connection(seen, live);
    wire::hub::Twin {
        device_id: id.into(),
        etag: twin_etag(&twin),
        device_etag: identity_etag(&identity),
        status: identity.status,
        status_update_time: time_or_never(identity.status_changed),
        connection_state: connection_state(live),
        last_activity_time: time_or_never(seen.active_at),
        cloud_to_device_message_count: waiting,
        authentication_type: identity.credentials.kind(),
        x509_thumbprint: identity.credentials.thumbprints(),
        model_id: model.unwrap_or_default(),
        version: twin.version,
        properties: TwinProperties {
            desired: twin.desired.for_service(MetadataDetail::TimesAndVersions),
            reported: twin.reported.for_service(MetadataDetail::Times),
        },
        tags: twin.tags,
        capabilities: identity.capabilities(),
        status_reason: identity.status_reason,
    }
}

/// Returns the etag of an identity: base64 of the counter in decimal, like the hosted hub's.
pub fn identity_etag(identity: &Identity) -> String {
    STANDARD.encode(identity.etag.to_string())
}

/// Returns the etag of a twin: base64 of the counter in eight bytes, like the hosted hub's.
pub fn twin_etag(twin: &Twin) -> String {
    STANDARD.encode(twin.etag.to_be_bytes())
}

/// Returns a time, or the beginning of the year 1: models of C# have no null.
fn time_or_never(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |time| time.to_string())
}

fn connection_state(live: Option<&LiveConnection>) -> ConnectionState {
    if live.is_some() { ConnectionState::Connected } else { ConnectionState::Disconnected }
}

/// Returns the recorded activity of a device, with that of its connection.
fn with_connection(seen: LastSeen, live: Option<&LiveConnection>) -> LastSeen {
    let Some(live) = live else { return seen };
    LastSeen {
        state_at: seen.state_at.max(Some(live.since)),
        active_at: seen.active_at.max(Some(live.active_at())),
        telemetry: seen.telemetry + live.telemetry(),
    }
}

/// Returns the generation of a device, as the registry represents it.
pub fn generation(identity: &Identity) -> Result<Generation, HubFailure> {
    let ticks = ticks_since_year_one(identity.generation);
    Generation::parse(ticks).map_err(|error| HubFailure::Broken(error.to_string()))
}

/// Returns ticks of 100 ns since the year 1, as the generations of the hosted hub.
fn ticks_since_year_one(ticks: i64) -> String {
    (ticks + 621_355_968_000_000_000).to_string()
}
