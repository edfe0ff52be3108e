//! Makes the device spec for a hub, from the current assignment and the reprovision policy.

use model::{Assignment, DesiredDevice, DeviceSpec, HubName, ReprovisionAction, Substatus, TwinSpec};

/// Returns the spec that assigns a device to this hub.
///
/// Another device ID is another device: it starts at its hub as a new one, and the old one stays where it is, as in the hosted
/// service. The same device ID is never left on two hubs.
pub(in crate::register) fn device_spec(
    desired: &DesiredDevice,
    current: Option<&Assignment>,
    hub: HubName,
) -> DeviceSpec {
    let initial = desired.initial_twin.clone();
    let same_device = current.filter(|at| at.device_id == desired.device_id);
    let (substatus, twin) = match (same_device, desired.reprovision) {
        (None, _) => (Substatus::InitialAssignment, TwinSpec::Initialize(initial)),
        (Some(_), ReprovisionAction::Reset) => (Substatus::DeviceDataReset, TwinSpec::Initialize(initial)),
        (Some(at), _) if at.hub != hub => (Substatus::DeviceDataMigrated, TwinSpec::Migrate { initial }),
        (Some(at), ReprovisionAction::Stay) => (at.substatus, TwinSpec::Keep { initial }),
        (Some(_), ReprovisionAction::Migrate) => {
            (Substatus::ReprovisionedToInitialAssignment, TwinSpec::Keep { initial })
        }
    };
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
