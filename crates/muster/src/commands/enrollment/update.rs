//! `muster enrollment update`, `enable` and `disable`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use clap::Args;
use fleet::{EnrollmentKind, OperatorError, ServiceClient};
use serde_json::{Map, Value};

use super::{Which, settings::read_members};
use crate::output;

/// The number of tries to read, change and write the enrollment.
const ATTEMPTS: usize = 2;

/// Members that only the service writes. A file made from `muster enrollment show` has them.
const READ_ONLY: [&str; 6] = [
    "registrationId",
    "enrollmentGroupId",
    "registrationState",
    "etag",
    "createdDateTimeUtc",
    "lastUpdatedDateTimeUtc",
];

/// Change single members of an enrollment.
///
/// The command reads the enrollment, changes it, and writes it back if it is unchanged. After a concurrent change it tries
/// once more, then fails.
#[derive(Args)]
#[command(after_help = "Examples:
  muster enrollment update --dev .muster device-1 --set deviceId=boiler --set 'capabilities={\"iotEdge\": true}'
  muster enrollment update --dev .muster device-1 --set deviceId=null
      null removes a member
  muster enrollment update --dev .muster --group line-1 --settings settings.json
      with {\"allocationPolicy\": \"geoLatency\"} in settings.json")]
pub struct UpdateArgs {
    #[command(flatten)]
    which: Which,
    /// The name of a member in the service API, and its new value: JSON, or plain text; repeatable.
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment, required_unless_present = "settings")]
    set: Vec<(String, Value)>,
    /// A JSON file with new values of members; --set overrides it.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// Admit the devices of a disabled enrollment again.
#[derive(Args)]
#[command(after_help = "Examples:
  muster enrollment enable --dev .muster device-1
  muster enrollment enable --dev .muster --group line-1")]
pub struct EnableArgs {
    #[command(flatten)]
    which: Which,
}

/// Disable an enrollment, so that its devices are refused.
///
/// Devices that register get the status `disabled`. Devices at hubs do not change; disable them there as well to cut them off.
#[derive(Args)]
#[command(after_help = "Examples:
  muster enrollment disable --dev .muster device-1
  muster enrollment disable --dev .muster --group line-1")]
pub struct DisableArgs {
    #[command(flatten)]
    which: Which,
}

/// Runs `update`.
pub async fn update(args: UpdateArgs) -> anyhow::Result<ExitCode> {
    let kind = args.which.kind();
    let mut changes = args.settings.map_or(Ok(Map::new()), |file| read_members(kind, &file))?;
    changes.extend(args.set);
    if let Some(name) = kind.shape().unknown_member(&changes) {
        bail!("an {kind} has no member {name}");
    }
    printed(&write(&args.which, &changes).await?)
}

/// Runs `enable`.
pub async fn enable(args: EnableArgs) -> anyhow::Result<ExitCode> {
    printed(&write(&args.which, &status("enabled")).await?)
}

/// Runs `disable`.
pub async fn disable(args: DisableArgs) -> anyhow::Result<ExitCode> {
    printed(&write(&args.which, &status("disabled")).await?)
}

fn status(word: &str) -> Map<String, Value> {
    Map::from_iter([("provisioningStatus".to_owned(), word.into())])
}

/// Parses `NAME=VALUE`. A value that is not JSON becomes a string.
fn assignment(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
}

fn printed(enrollment: &Value) -> anyhow::Result<ExitCode> {
    output::json(enrollment)?;
    Ok(ExitCode::SUCCESS)
}

/// Changes members of an enrollment, and returns it.
pub(super) async fn write(which: &Which, changes: &Map<String, Value>) -> anyhow::Result<Value> {
    let (kind, id) = (which.kind(), which.id.as_str());
    let mut client = which.service.client()?;
    for _ in 0..ATTEMPTS {
        let read = read_whole(&mut client, (kind, id)).await?;
        let etag = read.get("etag").and_then(Value::as_str).context("the reply has no etag")?;
        let changed = merged(&read, changes)?;
        match client.put_enrollment((kind, id), &changed.into(), Some(etag)).await {
            Err(OperatorError::Refused(refusal)) if refusal.status == 412 => {}
            written => return Ok(written?),
        }
    }
    bail!("{id} was not changed: it was changed concurrently {ATTEMPTS} times; check it and try again")
}

/// Reads an enrollment with its symmetric keys, so that writing it back keeps all members.
async fn read_whole(
    client: &mut ServiceClient,
    (kind, id): (EnrollmentKind, &str),
) -> anyhow::Result<Map<String, Value>> {
    let mut read = client.read_enrollment(kind, id).await?;
    if read["attestation"]["type"] == "symmetricKey" {
        read["attestation"] = client.attestation(kind, id).await?;
    }
    match read {
        Value::Object(members) => Ok(members),
        _ => bail!("the reply is not an enrollment"),
    }
}

/// Replaces these members of the enrollment. Fails for a read-only member with another value.
fn merged(read: &Map<String, Value>, changes: &Map<String, Value>) -> anyhow::Result<Map<String, Value>> {
    let mut merged = read.clone();
    merged.remove("registrationState");
    for (name, value) in changes {
        let own = READ_ONLY.into_iter().find(|own| own.eq_ignore_ascii_case(name));
        match own {
            Some("registrationState") => {}
            Some(own) if read.get(own) == Some(value) => {}
            Some("etag") => bail!("the enrollment was changed since its etag was read"),
            Some(own) => bail!("{own} is read-only"),
            None => {
                merged.retain(|member, _| !member.eq_ignore_ascii_case(name));
                merged.insert(name.clone(), value.clone());
            }
        }
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_change_replaces_only_its_own_member() {
        let read =
            object(json!({"registrationId": "a", "etag": "\"1\"", "deviceId": "b", "registrationState": {}}));
        let check = |changes: Value, expected: Result<Value, &str>| {
            let merged = merged(&read, &object(changes.clone())).map_err(|error| error.to_string());
            assert_eq!(merged, expected.map(object).map_err(str::to_owned), "{changes}");
        };
        let whole =
            |device_id: Value| Ok(json!({"registrationId": "a", "etag": "\"1\"", "deviceId": device_id}));
        check(json!({}), whole(json!("b")));
        check(json!({"deviceId": "c"}), whole(json!("c")));
        check(json!({"deviceId": null}), whole(json!(null)));
        check(
            json!({"etag": "\"1\"", "registrationId": "a", "registrationState": {"status": "x"}}),
            whole(json!("b")),
        );
        check(json!({"etag": "\"0\""}), Err("the enrollment was changed since its etag was read"));
        check(json!({"registrationId": "z"}), Err("registrationId is read-only"));
        let other_case = merged(&read, &object(json!({"DEVICEID": "c"}))).unwrap();
        assert_eq!((other_case.get("deviceId"), other_case.get("DEVICEID")), (None, Some(&json!("c"))));
    }

    #[test]
    fn values_are_json_or_plain_text() {
        for (text, value) in [
            ("a=b", json!("b")),
            ("a=1", json!(1)),
            ("a=\"1\"", json!("1")),
            ("a={\"b\": null}", json!({"b": null})),
            ("a=", json!("")),
            ("a=b=c", json!("b=c")),
        ] {
            assert_eq!(assignment(text), Ok(("a".to_owned(), value)), "{text}");
        }
        assert!(assignment("a").is_err());
    }
}
