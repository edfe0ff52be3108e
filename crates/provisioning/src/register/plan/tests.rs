//! The whole matrix: policy × the hub where the device lives × the hub that was chosen.

use certpath::Sha256Thumbprint;
use model::{
    Assignment, DesiredDevice, DeviceId, HubCredentials, HubName, ReprovisionAction, ReprovisionPolicy,
    Substatus, TwinSpec,
};
use testkit::sample;

use super::{DefaultReprovision, place, reprovision};

fn desired(reprovision: ReprovisionAction) -> DesiredDevice {
    DesiredDevice {
        device_id: DeviceId::parse("dev-1").unwrap(),
        credentials: HubCredentials::Certificate(Sha256Thumbprint::of(b"leaf")),
        iot_edge: false,
        initial_twin: sample::twin(),
        reprovision,
    }
}

fn hub(name: &str) -> HubName {
    sample::hub_name(name)
}

/// Lives at `a.hub`, where it once moved to.
fn current() -> Assignment {
    let spec = place(&desired(ReprovisionAction::Stay), None, hub("a.hub"));
    Assignment { substatus: Substatus::DeviceDataMigrated, ..spec.assignment() }
}

fn check(
    reprovision: ReprovisionAction,
    current: Option<&Assignment>,
    chosen: &str,
    expected: (Substatus, &str),
) {
    let spec = place(&desired(reprovision), current, hub(chosen));
    let twin = match &spec.twin {
        TwinSpec::Keep { .. } => "keep",
        TwinSpec::Initialize(_) => "seed",
        TwinSpec::Migrate { .. } => "carry",
    };
    assert_eq!((spec.substatus, twin), expected, "{reprovision:?} from {current:?} to {chosen}");
    assert_eq!((spec.twin.initial(), spec.hub.as_str()), (&sample::twin(), chosen));
}

#[test]
fn the_matrix() {
    use ReprovisionAction::{Migrate, Reset, Stay};
    use Substatus::{
        DeviceDataMigrated, DeviceDataReset, InitialAssignment, ReprovisionedToInitialAssignment,
    };
    let here = Some(current());
    for (policy, from, chosen, expected) in [
        (Stay, None, "a.hub", (InitialAssignment, "seed")),
        (Migrate, None, "a.hub", (InitialAssignment, "seed")),
        (Reset, None, "a.hub", (InitialAssignment, "seed")),
        (Stay, here.as_ref(), "a.hub", (DeviceDataMigrated, "keep")),
        (Migrate, here.as_ref(), "a.hub", (ReprovisionedToInitialAssignment, "keep")),
        (Reset, here.as_ref(), "a.hub", (DeviceDataReset, "seed")),
        // Only when its hub was unlinked.
        (Stay, here.as_ref(), "b.hub", (DeviceDataMigrated, "carry")),
        (Migrate, here.as_ref(), "b.hub", (DeviceDataMigrated, "carry")),
        (Reset, here.as_ref(), "b.hub", (DeviceDataReset, "seed")),
    ] {
        check(policy, from, chosen, expected);
    }
}

#[test]
fn another_device_id_is_a_new_device() {
    let renamed = Assignment { device_id: DeviceId::parse("old").unwrap(), ..current() };
    for policy in [ReprovisionAction::Stay, ReprovisionAction::Migrate, ReprovisionAction::Reset] {
        for chosen in ["a.hub", "b.hub"] {
            check(policy, Some(&renamed), chosen, (Substatus::InitialAssignment, "seed"));
        }
    }
}

#[test]
fn policies_and_api_versions() {
    use ReprovisionAction::{Migrate, Reset, Stay};
    let stored = |update_hub_assignment, migrate_device_data| {
        Some(ReprovisionPolicy { update_hub_assignment, migrate_device_data })
    };
    for (policy, old_api, new_api) in [
        (stored(true, true), Migrate, Migrate),
        (stored(true, false), Reset, Reset),
        (stored(false, true), Stay, Stay),
        (stored(false, false), Stay, Stay),
        (None, Stay, Migrate),
    ] {
        assert_eq!(reprovision(policy, DefaultReprovision::Stay), old_api, "{policy:?}");
        assert_eq!(reprovision(policy, DefaultReprovision::Migrate), new_api, "{policy:?}");
    }
}
