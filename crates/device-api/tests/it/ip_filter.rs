//! The IP filter of an instance, over every transport and behind a proxy.

use std::net::IpAddr;

use model::{
    Instance, IpFilter, IpFilterAction, IpFilterName, IpFilterRule, IpFilterTarget, IpMask,
    PublicNetworkAccess, RefusalReason,
};
use net::Transport;
use testkit::{sample, tpm::Kind};

use crate::{
    challenged::{TurnedAway, challenged},
    lines::{Line, Said},
    tpm::TpmDevice,
    world::{Device, OTHER_SCOPE, ProxyVersion, SCOPE, World, individual},
};

/// Clients, the last of which is the second one in the form of IPv6.
const CLIENTS: [&str; 5] = ["10.1.2.3", "203.0.113.7", "2001:db8::7", "fd00::7", "::ffff:203.0.113.7"];

/// `(rules, public network access, which of the clients are admitted)`. Each rule is `action mask target`.
const CASES: &[(&[&str], PublicNetworkAccess, [bool; 5])] = {
    use PublicNetworkAccess::{Disabled, Enabled};
    &[
        (&[], Enabled, [true; 5]),
        (&[], Disabled, [true, false, false, true, false]),
        (&["reject 203.0.113.0/24 all"], Enabled, [true, false, true, true, false]),
        (&["reject 203.0.113.0/24 all"], Disabled, [true, false, false, true, false]),
        (&["accept 10.0.0.0/8 all", "reject 0.0.0.0/0 all"], Enabled, [true, false, false, false, false]),
        (&["accept 203.0.113.7 deviceApi", "reject 203.0.113.7 all"], Enabled, [true; 5]),
        (&["reject 0.0.0.0/0 serviceApi"], Enabled, [true; 5]),
        (
            &["accept 2001:db8::/32 deviceApi", "reject ::/0 deviceApi"],
            Enabled,
            [true, true, true, false, true],
        ),
        (
            &["reject 10.1.2.3/32 deviceApi", "accept 10.1.2.3 all"],
            Disabled,
            [false, false, false, true, false],
        ),
    ]
};

fn filter(rules: &[&str]) -> IpFilter {
    let rule = |(number, text): (usize, &&str)| {
        let parts: Vec<&str> = text.split(' ').collect();
        IpFilterRule {
            name: IpFilterName::parse(format!("rule-{number}")).unwrap(),
            action: if parts[0] == "accept" { IpFilterAction::Accept } else { IpFilterAction::Reject },
            mask: IpMask::parse(parts[1]).unwrap(),
            target: match parts[2] {
                "all" => IpFilterTarget::All,
                "serviceApi" => IpFilterTarget::ServiceApi,
                _ => IpFilterTarget::DeviceApi,
            },
        }
    };
    IpFilter::new(rules.iter().enumerate().map(rule).collect()).unwrap()
}

async fn set(world: &World, rules: &[&str], public_network_access: PublicNetworkAccess) {
    let ip_filter = filter(rules);
    world.change(SCOPE, |instance| Instance { ip_filter, public_network_access, ..instance }).await;
}

fn check_refused(said: &Said, what: &str) {
    assert_eq!((said.status, said.error_code(), said.retry_after_secs), (401, Some(401_002), None), "{what}");
    assert_eq!(said.json["message"], "Unauthorized", "{what}: without a hint");
}

/// Returns the reasons and addresses of the refused attempts of a device, newest first.
async fn attempts(world: &World, id: &str) -> Vec<(Option<RefusalReason>, Option<IpAddr>)> {
    let instance = world.store.instance(&sample::scope(SCOPE)).await.unwrap().unwrap();
    let attempts = world.provisioning.attempts(&instance, &sample::registration_id(id)).await.unwrap().items;
    attempts.iter().map(|attempt| (attempt.reason(), attempt.address)).collect()
}

/// Over each transport, by both versions of the PROXY protocol.
#[tokio::test]
async fn only_addresses_that_the_instance_admits_are_served() {
    let world = World::behind_proxy().await;
    for (number, (rules, access, admitted)) in CASES.iter().enumerate() {
        set(&world, rules, *access).await;
        for transport in Transport::ALL {
            let device = world.device(&format!("{transport:?}-{number}")).await;
            for (at, (client, admitted)) in CLIENTS.iter().zip(admitted).enumerate() {
                let version = [ProxyVersion::One, ProxyVersion::Two][(number + at + transport as usize) % 2];
                let what = format!("{rules:?} {access:?} {transport:?} {client} {version:?}");
                world.come_from(client.parse().unwrap(), version);
                let mut line = Line::open(&world, transport, &device, None).await;
                let said = line.register().await;
                match admitted {
                    true => assert_eq!(line.poll(said.operation_id()).await.status, 200, "{what}"),
                    false => check_refused(&said, &what),
                }
            }
        }
    }
}

/// A change counts at once for connections that are open, and for polls too; no other instance is affected.
#[tokio::test]
async fn a_change_counts_on_open_connections() {
    let world = World::behind_proxy().await;
    world.come_from("203.0.113.7".parse().unwrap(), ProxyVersion::Two);
    world.write(OTHER_SCOPE, provisioning::ports::Change::PutIndividual(Box::new(individual("other")))).await;
    for transport in Transport::ALL {
        set(&world, &[], PublicNetworkAccess::Enabled).await;
        let device = world.device(&format!("{transport:?}")).await;
        let mut lines = Vec::new();
        for _ in 0..2 {
            lines.push(Line::open(&world, transport, &device, None).await);
        }
        let operation = lines[0].register().await.operation_id().to_owned();
        assert_eq!(lines[1].poll(&operation).await.status, 200, "{transport:?}");
        set(&world, &["reject 203.0.113.0/24 deviceApi"], PublicNetworkAccess::Enabled).await;
        check_refused(&lines[0].register().await, &format!("register {transport:?}"));
        check_refused(&lines[1].poll(&operation).await, &format!("poll {transport:?}"));
        let other = Device::new(OTHER_SCOPE, "other", sample::key(10));
        Line::open(&world, transport, &other, None).await.register().await.assigned();
    }
}

/// The address is judged before the credential, and the attempt names the rule.
#[tokio::test]
async fn a_refused_address_is_recorded_whatever_the_device_presents() {
    let world = World::behind_proxy().await;
    set(&world, &["reject 203.0.113.7 deviceApi"], PublicNetworkAccess::Enabled).await;
    let client = "203.0.113.7".parse().unwrap();
    world.come_from(client, ProxyVersion::One);
    for transport in Transport::ALL {
        let device = world.device(&format!("{transport:?}")).await;
        for key in [10, 99] {
            let device = device.with_key(sample::key(key));
            check_refused(&Line::open(&world, transport, &device, None).await.register().await, &device.id);
        }
        let expected = (Some(RefusalReason::IpFilter), Some(client));
        assert_eq!(attempts(&world, &device.id).await, [expected; 2], "{transport:?}");

        let tpm = TpmDevice::enrolled(&world, Kind::P256, individual(&format!("tpm-{transport:?}"))).await;
        let device = Device::new(SCOPE, &tpm.name, sample::key(1));
        match challenged(&world, transport, &device, &tpm).await {
            Err(TurnedAway::With(said)) => check_refused(&said, &tpm.name),
            Err(TurnedAway::Silently(code)) => assert_eq!(code, codec::amqp::SaslCode::Auth, "{transport:?}"),
            Ok(_) => panic!("{transport:?}: a challenge"),
        }
        assert_eq!(attempts(&world, &tpm.name).await, [expected], "{transport:?}");
    }
    let instance = sample::scope(SCOPE);
    let answers = world.api.answers();
    let of_instance = answers.iter().find(|answers| answers.id_scope.as_ref() == Some(&instance)).unwrap();
    let refused = Transport::ALL.map(|it| of_instance.count(it, device_api::Outcome::AddressRefused));
    assert_eq!(refused, [3; 5]);
}
