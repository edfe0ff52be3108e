//! Tests of the configuration file: what is read, and which mistakes are named.

use std::num::NonZeroU32;

use model::{ExistingDevices, RegistrationOwnership};

use super::*;

#[test]
fn the_example_is_valid() {
    let config = Config::parse(EXAMPLE).unwrap();
    assert_eq!(config.instances.len(), 1);
    assert_eq!(config.embedded_hubs.len(), 2);
    let links = &config.instances[0].linked_hubs;
    let remote = links.iter().filter(|link| matches!(link.target, LinkTarget::Remote(_)));
    assert_eq!((links.len(), remote.count()), (3, 1));
}

/// Settings whose default is none, or follows from another setting. Their lines are examples.
const WITHOUT_DEFAULT: &str = "ca domain epoch_file file geoip host https hubs ip_filter_rule issuer keep_attempts_days latency_network latency_region listen \
    location master_key_file max_devices \
    max_registrations_per_minute max_unproven_per_address mqtts operations provisioning \
    resource_group signing_key store subscription syslog unproven webhook_key";

#[test]
fn commented_settings_of_the_example_are_known_and_show_their_defaults() {
    let shown =
        |text: &str| format!("{:?}", Config { text: FileText::default(), ..Config::parse(text).unwrap() });
    let (defaults, mut checked) = (shown(EXAMPLE), 0);
    for line in EXAMPLE.lines() {
        let setting = line.strip_prefix("# ").and_then(|text| text.split_once(" = "));
        let Some((key, _)) = setting.filter(|(key, _)| !key.contains(' ')) else { continue };
        // They need the table or the setting before them.
        let needs_others =
            ["instance", "jwks_file", "network", "region", "role", "store_ca", "store_password", "value"]
                .contains(&key);
        if needs_others || line.starts_with("# hubs = {") {
            continue;
        }
        let with_it = shown(&EXAMPLE.replacen(line, &line[2..], 1));
        let has_default = !WITHOUT_DEFAULT.split_whitespace().any(|name| name == key);
        assert_eq!(with_it == defaults, has_default, "{line}");
        checked += 1;
    }
    assert!(checked > 30, "{checked}");
}

#[test]
fn registrations_are_movable_by_default() {
    let rule = |text: &str| Config::parse(text).unwrap().instances[0].registrations;
    assert_eq!(rule(EXAMPLE), RegistrationOwnership::Movable);
    let first_come = EXAMPLE.replace("# registrations = \"movable\"", "registrations = \"first-come\"");
    assert_eq!(rule(&first_come), RegistrationOwnership::FirstCome);
}

#[test]
fn registrations_are_not_limited_by_default() {
    let limit = |text: &str| Config::parse(text).unwrap().instances[0].max_registrations_per_minute;
    assert_eq!(limit(EXAMPLE), None);
    let limited = EXAMPLE.replace("# max_registrations_per_minute", "max_registrations_per_minute");
    assert_eq!(limit(&limited).map(NonZeroU32::get), Some(6000));
}

#[test]
fn existing_devices_are_adopted_by_default() {
    let rule = |text: &str| Config::parse(text).unwrap().instances[0].existing_devices;
    assert_eq!(rule(EXAMPLE), ExistingDevices::Adopt);
    let refuse = EXAMPLE.replace("# existing_devices = \"adopt\"", "existing_devices = \"refuse\"");
    assert_eq!(rule(&refuse), ExistingDevices::Refuse);
}

/// The table stands in clear.
#[test]
fn there_is_no_search_table_by_default() {
    let settings = |text: &str| Config::parse(text).unwrap().search.settings();
    assert_eq!(settings(EXAMPLE), None);
    let with_table = EXAMPLE.replace("# table = false", "table = true");
    assert_eq!(settings(&with_table).map(|it| it.with_tags), Some(false));
}

#[test]
fn a_byte_order_mark_before_the_file_is_ignored() {
    assert_eq!(Config::parse(&format!("\u{FEFF}{EXAMPLE}")).unwrap().instances.len(), 1);
}

#[test]
fn mistakes_are_reported_with_their_line() {
    let cases = [
        ("retry_after_secs = 3", "retry_after = 3", "unknown field `retry_after`"),
        ("retry_after_secs = 3", "retry_after_secs = \"soon\"", "expected u32"),
        ("retry_after_secs = 3", "retry_after_secs = 9", "2 to 5"),
        ("weight = 1", "weight = 1001", "allocation weight must be 1 to 1000"),
        ("id_scope = \"0ne00000001\"", "id_scope = \"a b\"", "ID scope must be"),
        ("https = \"10.0.0.10:443\"", "https = \"everywhere\"", "invalid socket address"),
        ("name = \"hub1\"", "name = \"../hub1\"", "letters, digits, hyphens"),
        (
            "# registrations = \"movable\"",
            "registrations = \"firstcome\"",
            "expected `movable` or `first-come`",
        ),
        (
            "# public_network_access = \"enabled\"",
            "public_network_access = \"off\"",
            "expected `enabled` or `disabled`",
        ),
        (
            "# ip_filter_rule = [{ name = \"plant\"",
            "ip_filter_rule = [{ name = \"others\"",
            "two rules have the name others",
        ),
        ("# quotas = { preset = \"off\" }", "quotas = { preset = \"aws\" }", "expected `off` or `azure`"),
        ("# quotas = { preset = \"off\" }", "quotas = { devices = 7 }", "unknown variant `devices`"),
        ("# max_registrations_per_minute = 6000", "max_registrations_per_minute = 0", "nonzero u32"),
        ("# takeover_secs = 20", "takeover_secs = 9", "10 to 600"),
        ("[attempts]\n# 1 to 3650\n# keep_days = 30", "[attempts]\nkeep_days = 0", "1 to 3650"),
        ("# refused_per_minute = 120", "refused_per_minute = 0", "1 to 100000"),
        ("# syslog = \"udp://127.0.0.1:514\"", "syslog = \"127.0.0.1\"", "is not udp://HOST:PORT"),
        ("# max_connections = 50000", "max_connections_per_address = 0", "1 to 1000000"),
    ];
    for (right, wrong, expected) in cases {
        assert!(EXAMPLE.contains(right), "{right}");
        let error = format!("{:#}", Config::parse(&EXAMPLE.replacen(right, wrong, 1)).unwrap_err());
        assert!(error.contains(expected) && error.contains("line"), "{wrong}: {error}");
    }
}

#[test]
fn listeners_must_have_different_addresses() {
    let check = |right: &str, wrong: &str, expected: Option<&str>| {
        assert!(EXAMPLE.contains(right), "{right}");
        let outcome = Config::parse(&EXAMPLE.replacen(right, wrong, 1)).unwrap().check_addresses();
        match (outcome, expected) {
            (Ok(()), None) => {}
            (Err(error), Some(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (outcome, expected) => panic!("{wrong}: {outcome:?}, expected {expected:?}"),
        }
    };
    let listen = "https = \"10.0.0.10:443\"";
    check(listen, listen, None);
    check(listen, "https = \"0.0.0.0:8443\"", None);
    check(listen, "https = \"0.0.0.0:443\"", Some("10.0.0.11:443, but [listen] has 0.0.0.0:443"));
    check(listen, "https = \"[::]:443\"", Some("\"hub1\" has the address 10.0.0.11:443"));
    check(listen, "https = \"10.0.0.12:443\"", Some("\"hub2\" has the address 10.0.0.12:443"));
    check(listen, "https = \"10.0.0.10:8883\"", Some("[listen] has the address 10.0.0.10:8883"));
    check("https = \"10.0.0.11:443\"", "https = \"10.0.0.11:0\"", None);
    let metrics = "# listen = \"127.0.0.1:9100\"";
    check(metrics, "listen = \"127.0.0.1:9100\"", None);
    check(metrics, "listen = \"10.0.0.12:443\"", Some("[metrics] has the address 10.0.0.12:443"));
}

#[test]
fn sections_that_need_a_restart_are_named() {
    let running = Config::parse(EXAMPLE).unwrap();
    for (right, wrong, expected) in [
        ("retry_after_secs = 3", "retry_after_secs = 4", &["device"][..]),
        ("https = \"10.0.0.10:443\"", "https = \"10.0.0.10:8443\"", &["listen"]),
        ("weight = 1", "weight = 7", &["instance"]),
        ("# domain = \"dps.example\"", "domain = \"other.example\"", &[]),
        ("# roles_claim", "audiences = [\"other\"]\n# roles_claim", &[]),
        ("rights = \"", "rights = \"ServiceConfig, ", &[]),
    ] {
        assert!(EXAMPLE.contains(right), "{right}");
        let changed = Config::parse(&EXAMPLE.replacen(right, wrong, 1)).unwrap();
        assert_eq!(changed.sections_needing_restart(&running), expected, "{wrong}");
    }
}

const POLICY_AGAIN: &str = "[[instance.access_policy]]
name = \"ProvisioningServiceOwner\"
primary_key = \"env:A\"
secondary_key = \"env:B\"
rights = \"EnrollmentRead\"

[[instance.linked_hub]]";

/// Resources with the same name could not be told apart.
const INSTANCE_AGAIN: &str = "[[instance]]
name = \"PLANT\"
id_scope = \"0ne00000002\"
service_hosts = [\"other.example\"]

[[embedded_hub]]";

#[test]
fn names_must_be_unique_and_exist() {
    let cases = [
        ("embedded_hub = \"hub1\"", "embedded_hub = \"other\"", "no [[embedded_hub]] has this name"),
        ("name = \"hub2\"", "name = \"hub1\"", "occurs twice"),
        ("name = \"hub2\"", "name = \"HUB1\"", "occurs twice"),
        ("embedded_hub = \"hub2\"", "embedded_hub = \"hub1\"", "occurs twice"),
        ("[\"dps.plant.example\"]", "[]", "service_hosts is empty"),
        ("[[embedded_hub]]", INSTANCE_AGAIN, "name of [[instance]] must be unique"),
        ("[[instance.linked_hub]]", POLICY_AGAIN, "\"ProvisioningServiceOwner\" occurs twice"),
    ];
    for (right, wrong, expected) in cases {
        assert!(EXAMPLE.contains(right), "{right}");
        let error = format!("{:#}", Config::parse(&EXAMPLE.replacen(right, wrong, 1)).unwrap_err());
        assert!(error.contains(expected), "{wrong}: {error}");
    }
}

#[test]
fn no_id_scope_is_the_first_word_of_another_path() {
    let routes = service_api::routes().map(|(_, path)| path);
    let paths = routes.chain(["/subscriptions/x".to_owned(), "/Health".to_owned()]);
    for path in paths {
        let word = path.split('/').nth(1).unwrap();
        let text = EXAMPLE.replacen("id_scope = \"0ne00000001\"", &format!("id_scope = \"{word}\""), 1);
        let error = format!("{:#}", Config::parse(&text).unwrap_err());
        assert!(error.contains("is reserved for paths of other endpoints"), "{path}: {error}");
    }
}
