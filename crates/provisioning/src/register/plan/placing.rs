//! The order that puts a device on a hub, by where it lives and what becomes of its data.

use model::{Assignment, DesiredDevice, DeviceSpec, HubName, ReprovisionAction, Substatus, TwinSpec};

/// The order that has a device live at this hub.
///
/// Another device ID is another device: it starts at its hub as a new one, and the old one stays where it is, as with
/// the hosted service. One name is never on two hubs.
pub(in crate::register) fn place(
    desired: &DesiredDevice,
    current: Option<&Assignment>,
    hub: HubName,
) -> DeviceSpec {
    let Some(at) = current.filter(|at| at.device_id == desired.device_id) else {
        return spec(
            desired,
            hub,
            Substatus::InitialAssignment,
            TwinSpec::Initialize(desired.initial_twin.clone()),
        );
    };
    let start = desired.initial_twin.clone();
    let (substatus, twin) = match (at.hub == hub, desired.reprovision) {
        (_, ReprovisionAction::Reset) => (Substatus::DeviceDataReset, TwinSpec::Initialize(start)),
        (true, ReprovisionAction::Stay) => (at.substatus, TwinSpec::Keep { initial: start }),
        (true, ReprovisionAction::Migrate) => {
            (Substatus::ReprovisionedToInitialAssignment, TwinSpec::Keep { initial: start })
        }
        (false, ReprovisionAction::Stay | ReprovisionAction::Migrate) => {
            (Substatus::DeviceDataMigrated, TwinSpec::Migrate { initial: start })
        }
    };
    spec(desired, hub, substatus, twin)
}

fn spec(desired: &DesiredDevice, hub: HubName, substatus: Substatus, twin: TwinSpec) -> DeviceSpec {
    DeviceSpec {
        hub,
        device_id: desired.device_id.clone(),
        substatus,
        credentials: desired.credentials.clone(),
        iot_edge: desired.iot_edge,
        twin,
        sent: Vec::new(),
        existing: Default::default(),
    }
}
