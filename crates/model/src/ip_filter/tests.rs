//! Tests of the IP filter, the pure decision against a naive reference.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::SymmetricKey;

const APIS: [FilteredApi; 2] = [FilteredApi::Device, FilteredApi::Service];

fn instance(public_network_access: PublicNetworkAccess, rules: Vec<IpFilterRule>) -> Instance {
    let key = SymmetricKey::from_bytes(&[1; 32]).unwrap();
    let stored = serde_json::json!({
        "id_scope": "0ne1", "name": "plant", "service_hosts": [], "allocation_policy": "hashed", "access_policies": [],
        "linked_hubs": [], "require_verified_ca": true, "operation_key": key.to_base64(),
        "configured": {"allocation_policy": "hashed", "linked_hubs": []},
    });
    let stored: Instance = serde_json::from_value(stored).unwrap();
    Instance { public_network_access, ip_filter: IpFilter::new(rules).unwrap(), ..stored }
}

fn rule(name: &str, action: IpFilterAction, mask: &str, target: IpFilterTarget) -> IpFilterRule {
    IpFilterRule {
        name: IpFilterName::parse(name).unwrap(),
        action,
        mask: IpMask::parse(mask).unwrap(),
        target,
    }
}

/// The bits of an address, and how many there are.
fn bits(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{:032b}", address.to_bits()),
        IpAddr::V6(address) => format!("{:0128b}", address.to_bits()),
    }
}

/// The reference: texts of bits are compared.
fn matches_naively(mask: &str, address: IpAddr) -> bool {
    let (network, prefix) = mask.split_once('/').unwrap_or((mask, "128"));
    let prefix: usize = prefix.parse().unwrap();
    let (network, address) = (bits(network.parse().unwrap()), bits(address));
    let is_for_all = network.len() == 32 && prefix == 0;
    let prefix = prefix.min(network.len());
    is_for_all || network.len() == address.len() && network[..prefix] == address[..prefix]
}

/// Addresses that are near to each other, so that masks match some of them.
fn addresses() -> impl Strategy<Value = IpAddr> {
    let v4 = |bits: u32| IpAddr::V4(Ipv4Addr::from_bits(bits));
    let v6 = |bits: u128| IpAddr::V6(Ipv6Addr::from_bits(bits));
    prop_oneof![
        any::<u32>().prop_map(v4),
        (0..32u32).prop_map(move |bit| v4(0xC000_0207 ^ 1 << bit)),
        any::<u128>()
            .prop_map(v6)
            .prop_filter("is written as IPv4", |address| address.to_canonical() == *address),
        (0..128u32).prop_map(move |bit| v6(0x2001_0db8 << 96 ^ 1 << bit)),
        prop::sample::select(vec![
            "127.0.0.1",
            "10.9.8.7",
            "172.31.0.1",
            "172.32.0.1",
            "169.254.3.4",
            "::1",
            "fd00::7",
            "fe80::9",
            "::"
        ])
        .prop_map(|text| text.parse().unwrap()),
    ]
}

fn masks() -> impl Strategy<Value = String> {
    addresses().prop_flat_map(|address| {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        prop_oneof![
            Just(address.to_string()),
            (0..=longest).prop_map(move |prefix| format!("{address}/{prefix}")),
            prop::sample::select(vec![0, 1, longest - 1, longest])
                .prop_map(move |prefix| format!("{address}/{prefix}")),
        ]
    })
}

fn actions() -> impl Strategy<Value = IpFilterAction> {
    prop::sample::select(vec![IpFilterAction::Accept, IpFilterAction::Reject])
}

fn targets() -> impl Strategy<Value = IpFilterTarget> {
    prop::sample::select(vec![IpFilterTarget::All, IpFilterTarget::ServiceApi, IpFilterTarget::DeviceApi])
}

proptest! {
    /// Compared with a reference, for all targets; an IPv4 address in the form of IPv6 is the same caller.
    #[test]
    fn the_first_rule_that_matches_decides(
        rules in prop::collection::vec((masks(), actions(), targets()), 0..8),
        address in addresses(),
    ) {
        let numbered = rules.iter().enumerate();
        let parsed = numbered.map(|(number, (mask, action, target))| rule(&number.to_string(), *action, mask, *target));
        let instance = instance(PublicNetworkAccess::Enabled, parsed.collect());
        let mapped = match address {
            IpAddr::V4(address) => IpAddr::V6(address.to_ipv6_mapped()),
            IpAddr::V6(_) => address,
        };
        for api in APIS {
            let is_for = |target: &IpFilterTarget| match target {
                IpFilterTarget::All => true,
                IpFilterTarget::ServiceApi => api == FilteredApi::Service,
                IpFilterTarget::DeviceApi => api == FilteredApi::Device,
            };
            let decides = |(mask, _, target): &&(String, _, _)| is_for(target) && matches_naively(mask, address);
            let refused = rules.iter().find(decides).is_some_and(|(_, action, _)| *action == IpFilterAction::Reject);
            prop_assert_eq!(instance.address_refusal(address, api).is_some(), refused, "{} {:?}", address, api);
            prop_assert_eq!(instance.address_refusal(mapped, api), instance.address_refusal(address, api));
        }
    }

    #[test]
    fn masks_are_written_as_they_are_read(mask in masks()) {
        let parsed = IpMask::parse(&mask).unwrap();
        prop_assert_eq!(parsed.to_string(), mask);
    }

    #[test]
    fn texts_that_are_no_masks_are_refused(text in "[0-9a-f.:/+ -]{0,20}") {
        if let Ok(mask) = IpMask::parse(&text) {
            prop_assert_eq!(IpMask::parse(&mask.to_string()), Ok(mask));
        }
    }
}

#[test]
fn mistakes_in_masks_are_refused() {
    for text in [
        "",
        "/",
        "10.0.0.0/",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/255.0.0.0",
        "10.0.0/8",
        "host",
        "10.0.0.0/+8",
        "10.0.0.0/8/8",
    ] {
        assert_eq!(IpMask::parse(text), Err(IpMaskError::Syntax), "{text}");
    }
    for text in ["::ffff:10.0.0.0", "::ffff:10.0.0.0/104"] {
        assert_eq!(IpMask::parse(text), Err(IpMaskError::MappedAddress), "{text}");
    }
}

#[test]
fn without_public_network_access_only_private_addresses_are_admitted() {
    let closed = instance(PublicNetworkAccess::Disabled, Vec::new());
    let private = [
        "127.0.0.1",
        "127.9.9.9",
        "10.0.0.0",
        "10.255.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.168.0.1",
        "169.254.1.1",
        "::1",
        "fc00::",
        "fdff:ffff::1",
        "fe80::1",
        "::ffff:10.0.0.1",
    ];
    let public = [
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.169.0.1",
        "100.64.0.1",
        "0.0.0.0",
        "2001:db8::1",
        "fbff::1",
        "fe00::1",
        "::",
        "::ffff:8.8.8.8",
    ];
    for api in APIS {
        for address in private {
            assert_eq!(closed.address_refusal(address.parse().unwrap(), api), None, "{address}");
        }
        for address in public {
            assert!(closed.address_refusal(address.parse().unwrap(), api).is_some(), "{address}");
        }
    }
    let rules = vec![
        rule("public", IpFilterAction::Accept, "8.8.8.8", IpFilterTarget::All),
        rule("others", IpFilterAction::Reject, "10.0.0.0/8", IpFilterTarget::All),
    ];
    let both = instance(PublicNetworkAccess::Disabled, rules);
    let text = |address: &str| {
        both.address_refusal(address.parse().unwrap(), FilteredApi::Device).map(|it| it.to_string())
    };
    assert_eq!(
        text("8.8.8.8").unwrap(),
        "public network access is disabled, and 8.8.8.8 is not a private address"
    );
    assert_eq!(text("10.0.0.9").unwrap(), "the IP filter rule others rejects 10.0.0.9");
    assert_eq!(text("192.168.0.1"), None);
}

#[test]
fn a_filter_has_a_bounded_number_of_rules_with_different_names() {
    let rules = |count: usize| -> Vec<IpFilterRule> {
        let accept =
            |number| rule(&format!("r{number}"), IpFilterAction::Accept, "10.0.0.1", IpFilterTarget::All);
        (0..count).map(accept).collect()
    };
    assert!(IpFilter::new(rules(IpFilter::MAX_RULES)).is_ok());
    assert_eq!(IpFilter::new(rules(101)), Err(IpFilterError::Number(101)));
    let mut twice = rules(2);
    twice[1].name = IpFilterName::parse("R0").unwrap();
    assert!(matches!(IpFilter::new(twice), Err(IpFilterError::Name(_))));
}
