//! Linking hubs, with the check of the key at the hub.

use std::collections::BTreeMap;

use model::{AccessDraft, AllocationWeight, LinkDraft, OperationKind};
use provisioning::{
    Error,
    link::Check,
    ports::{HubError, HubRight},
};
use testkit::sample;

use super::counted;
use crate::register::world::{HUBS, SCOPE, World};

fn draft() -> LinkDraft {
    let policy = "iothubowner".to_owned();
    LinkDraft {
        name: sample::hub_name(HUBS[2]),
        access: Some(AccessDraft { port: 443, policy, key: Some(sample::key(1)), ca: Vec::new() }),
        location: "there".into(),
        weight: AllocationWeight::default(),
        takes_new_devices: true,
        max_devices: None,
    }
}

#[tokio::test]
async fn a_link_is_stored_only_if_its_key_has_all_rights_or_is_not_checked() {
    let lacking = || Ok(vec![HubRight::RegistryWrite]);
    let away = || Err(HubError::Refused("away".into()));
    for (rights, check, refusal) in [
        (Ok(Vec::new()), Check::First, None),
        (lacking(), Check::First, Some("the key is not accepted for")),
        (away(), Check::First, Some("refuses the check: away")),
        (lacking(), Check::Skip, None),
        (away(), Check::Skip, None),
    ] {
        let world = World::new().await;
        world.hub(HUBS[2]).lack(rights);
        let (instance, by) = (world.instance(SCOPE).await, sample::operator());
        let linked = world.provisioning.link_hub(&instance, &by, (draft(), check), None).await;
        let after = world.instance(SCOPE).await;
        let links = world.provisioning.linked_hubs(&after).unwrap();
        let names: Vec<_> = links.iter().map(|link| link.hub.name.to_string()).collect();
        match refusal {
            None => {
                assert_eq!(linked.unwrap(), links[2]);
                assert_eq!(names, HUBS);
                assert_eq!(
                    counted(&world, SCOPE).await,
                    BTreeMap::from([(OperationKind::LinkedHubChange, 1)])
                );
            }
            Some(text) => {
                assert!(
                    matches!(&linked, Err(Error::Invalid(message)) if message.contains(text)),
                    "{linked:?}"
                );
                assert_eq!(names, HUBS[..2]);
                assert_eq!(counted(&world, SCOPE).await, BTreeMap::new());
            }
        }
    }
}
