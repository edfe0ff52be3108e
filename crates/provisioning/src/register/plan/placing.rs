//! The order that puts a device on a hub, by where it lives and what becomes of its data.

use model::{Assignment, DesiredDevice, DeviceSpec, HubName, Reprovision, Substatus, TwinSpec};

/// The order that has a device live at this hub.
///
/// Another device ID is another device: it starts at its hub as a new one, and the old one stays where it is, as with
/// the hosted service. One name is never on two hubs.
pub(in crate::register) fn place(
    wish: &DesiredDevice,
    standing: Option<&Assignment>,
    hub: HubName,
) -> DeviceSpec {
    let Some(at) = standing.filter(|at| at.device_id == wish.device_id) else {
        return order(wish, hub, Substatus::InitialAssignment, TwinSpec::Seed(wish.initial_twin.clone()));
    };
    let start = wish.initial_twin.clone();
    let (substatus, twin) = match (at.hub == hub, wish.reprovision) {
        (_, Reprovision::Reset) => (Substatus::DeviceDataReset, TwinSpec::Seed(start)),
        (true, Reprovision::Stay) => (at.substatus, TwinSpec::Keep { if_lost: start }),
        (true, Reprovision::Migrate) => {
            (Substatus::ReprovisionedToInitialAssignment, TwinSpec::Keep { if_lost: start })
        }
        (false, Reprovision::Stay | Reprovision::Migrate) => {
            (Substatus::DeviceDataMigrated, TwinSpec::Carry { if_lost: start })
        }
    };
    order(wish, hub, substatus, twin)
}

fn order(wish: &DesiredDevice, hub: HubName, substatus: Substatus, twin: TwinSpec) -> DeviceSpec {
    DeviceSpec {
        hub,
        device_id: wish.device_id.clone(),
        substatus,
        credentials: wish.credentials.clone(),
        iot_edge: wish.iot_edge,
        twin,
        told: Vec::new(),
        existing: Default::default(),
    }
}
