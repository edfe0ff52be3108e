//! The matrix of policy × current hub × chosen hub.

use certpath::Sha256Thumbprint;
use model::{
    Assignment, DesiredDevice, DeviceId, HubCredentials, HubName, ReprovisionAction, ReprovisionPolicy,
    Substatus, TwinSpec,
};
use testkit::sample;

use super::{DefaultReprovision, device_spec, reprovision};

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

/// Returns an assignment to `a.hub`, where the device moved once.
fn current() -> Assignment {
    let spec = device_spec(&desired(ReprovisionAction::Stay), None, hub("a.hub"));
    Assignment { substatus: Substatus::DeviceDataMigrated, ..spec.assignment() }
}

fn check(
    reprovision: ReprovisionAction,
    current: Option<&Assignment>,
    chosen: &str,
    expected: (Substatus, &str),
) {
    let spec = device_spec(&desired(reprovision), current, hub(chosen));
    let twin = match &spec.twin {
        TwinSpec::Keep { .. } => "keep",
        TwinSpec::Initialize(_) => "seed",
        TwinSpec::Migrate { .. } => "carry",
    };
    assert_eq!((spec.substatus, twin), expected, "{reprovision:?} from {current:?} to {chosen}");
    assert_eq!((spec.twin.initial(), spec.hub.as_str()), (&sample::twin(), chosen));
}

#[test]
fn substatus_and_twin_follow_from_policy_and_hub() {
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
        // Only if its hub was unlinked.
        (Stay, here.as_ref(), "b.hub", (DeviceDataMigrated, "carry")),
        (Migrate, here.as_ref(), "b.hub", (DeviceDataMigrated, "carry")),
        (Reset, here.as_ref(), "b.hub", (DeviceDataReset, "seed")),
    ] {
        check(policy, from, chosen, expected);
    }
}

#[test]
fn a_device_with_another_device_id_starts_as_a_new_one() {
    let renamed = Assignment { device_id: DeviceId::parse("old").unwrap(), ..current() };
    for policy in [ReprovisionAction::Stay, ReprovisionAction::Migrate, ReprovisionAction::Reset] {
        for chosen in ["a.hub", "b.hub"] {
            check(policy, Some(&renamed), chosen, (Substatus::InitialAssignment, "seed"));
        }
    }
}

#[test]
fn without_a_policy_the_api_version_decides() {
    use ReprovisionAction::{Migrate, Reset, Stay};
    for (policy, old_api, new_api) in [
        (Some(ReprovisionPolicy::Migrate), Migrate, Migrate),
        (Some(ReprovisionPolicy::Reset), Reset, Reset),
        (Some(ReprovisionPolicy::Stay { migrate_device_data: true }), Stay, Stay),
        (Some(ReprovisionPolicy::Stay { migrate_device_data: false }), Stay, Stay),
        (None, Stay, Migrate),
    ] {
        assert_eq!(reprovision(policy, DefaultReprovision::Stay), old_api, "{policy:?}");
        assert_eq!(reprovision(policy, DefaultReprovision::Migrate), new_api, "{policy:?}");
    }
}
