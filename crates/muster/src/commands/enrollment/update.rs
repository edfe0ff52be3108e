//! `muster enrollment update`, `enable` and `disable`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use fleet::{EnrollmentKind, OperatorError, ServiceClient};
use serde_json::{Map, Value};

use super::{Which, settings::read_members};
use crate::output;

/// Change single members of an enrollment; all others stay as they are.
///
/// The enrollment is read, changed and written back as the version that was read. Should another change come in between,
/// that is done once more, and then refused.
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
    /// A member by the name that the service API has for it, and its new value: JSON, or a text as it stands. May be given
    /// several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment, required_unless_present = "settings")]
    set: Vec<(String, Value)>,
    /// A JSON file with new values of members; --set counts more.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// Let the devices of an enrollment in again.
#[derive(Args)]
#[command(after_help = "Examples:
  muster enrollment enable --dev .muster device-1
  muster enrollment enable --dev .muster --group line-1")]
pub struct EnableArgs {
    #[command(flatten)]
    which: Which,
}

/// Refuse the devices of an enrollment, and keep it.
///
/// Devices that register get the status `disabled`. At their hubs they stay as they are: to stop them there as well, disable
/// them at the hubs.
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
    write(&args.which, &changes).await
}

/// Runs `enable`.
pub async fn enable(args: EnableArgs) -> anyhow::Result<ExitCode> {
    write(&args.which, &status("enabled")).await
}

/// Runs `disable`.
pub async fn disable(args: DisableArgs) -> anyhow::Result<ExitCode> {
    write(&args.which, &status("disabled")).await
}

fn status(word: &str) -> Map<String, Value> {
    Map::from_iter([("provisioningStatus".to_owned(), word.into())])
}

/// `name=value`, the value as JSON where it is some.
fn assignment(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
}

/// How often the enrollment is read, changed and written.
const ATTEMPTS: usize = 2;

async fn write(which: &Which, changes: &Map<String, Value>) -> anyhow::Result<ExitCode> {
    let (kind, id) = (which.kind(), which.id.as_str());
    let mut client = which.service.client()?;
    for _ in 0..ATTEMPTS {
        let read = read_whole(&mut client, (kind, id)).await?;
        let etag = read.get("etag").and_then(Value::as_str).context("the service shows no etag")?;
        let changed = merged(&read, changes)?;
        match client.put_enrollment((kind, id), &changed.into(), Some(etag)).await {
            Err(OperatorError::Refused(refusal)) if refusal.status == 412 => {}
            written => {
                output::json(&written?)?;
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    bail!("{id} was not changed: other changes came in between, {ATTEMPTS} times; look at it and try again")
}

/// An enrollment as the service shows it, with its symmetric keys: what is written back says all of it.
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
        _ => bail!("the service shows no enrollment"),
    }
}

/// What the service keeps for itself. A file that was made from `muster enrollment show` has it.
const READ_ONLY: [&str; 6] = [
    "registrationId",
    "enrollmentGroupId",
    "registrationState",
    "etag",
    "createdDateTimeUtc",
    "lastUpdatedDateTimeUtc",
];

/// The enrollment with these members in place of its own.
fn merged(read: &Map<String, Value>, changes: &Map<String, Value>) -> anyhow::Result<Map<String, Value>> {
    let mut merged = read.clone();
    merged.remove("registrationState");
    for (name, value) in changes {
        let own = READ_ONLY.into_iter().find(|own| own.eq_ignore_ascii_case(name));
        match own {
            Some("registrationState") => {}
            Some(own) if read.get(own) == Some(value) => {}
            Some("etag") => bail!("the enrollment was changed since its etag was read"),
            Some(own) => bail!("{own} cannot be changed"),
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
    fn members_take_the_place_of_their_own_and_no_other() {
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
        check(json!({"registrationId": "z"}), Err("registrationId cannot be changed"));
        let other_case = merged(&read, &object(json!({"DEVICEID": "c"}))).unwrap();
        assert_eq!((other_case.get("deviceId"), other_case.get("DEVICEID")), (None, Some(&json!("c"))));
    }

    #[test]
    fn values_are_json_or_text() {
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
