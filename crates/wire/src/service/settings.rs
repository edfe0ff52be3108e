//! The members that individual enrollments and enrollment groups share.

use model::{
    AllocationPolicy, CertificatePolicy, CustomAllocation, Day, EnrollmentSettings, HubName, InitialTwin,
    ProvisioningStatus, Record, ReprovisionFlags, ReprovisionPolicy,
};
use serde_json::Value;

use super::members::{BodyError, Members, Object};

const STATUSES: [(&str, ProvisioningStatus); 2] =
    [("enabled", ProvisioningStatus::Enabled), ("disabled", ProvisioningStatus::Disabled)];

const POLICIES: [(&str, AllocationPolicy); 4] = [
    ("hashed", AllocationPolicy::Hashed),
    ("geoLatency", AllocationPolicy::GeoLatency),
    ("static", AllocationPolicy::Static),
    ("custom", AllocationPolicy::Custom),
];

/// The first version of the request to custom allocation webhooks.
const FIRST_WEBHOOK_VERSION: &str = "2018-09-01";

/// Parses the shared members. Dates, the etag and the registration state are set by the service, and ignored here.
pub(super) fn read(enrollment: &Members<'_>) -> Result<EnrollmentSettings, BodyError> {
    let status = enrollment.word("provisioningStatus", &STATUSES)?;
    let capabilities = enrollment.object("capabilities")?;
    Ok(EnrollmentSettings {
        provisioning_status: status.unwrap_or_default(),
        iot_edge: capabilities.map(|it| it.flag("iotEdge")).transpose()?.map(Option::unwrap_or_default),
        initial_twin: initial_twin(enrollment)?,
        reprovision_policy: reprovision_policy(enrollment)?,
        allocation_policy: enrollment.word("allocationPolicy", &POLICIES)?,
        hubs: enrollment.list("iotHubs", HubName::parse)?.unwrap_or_default(),
        hub: enrollment.parsed("iotHubHostName", HubName::parse)?,
        custom_allocation: custom_allocation(enrollment)?,
        certificate_policy: certificate_policy(enrollment)?,
        managed_by: enrollment.parsed("managedBy", tool_name)?,
    })
}

pub(super) fn initial_twin(enrollment: &Members<'_>) -> Result<Option<InitialTwin>, BodyError> {
    let Some(twin) = enrollment.object("initialTwin")? else { return Ok(None) };
    let properties = twin.object("properties")?;
    let tags = twin.collection("tags")?.map(|tags| tags.as_map().clone());
    let desired = properties.map(|it| it.collection("desired")).transpose()?.flatten();
    let desired = desired.map(|desired| desired.as_map().clone());
    let checked = InitialTwin::checked(tags, desired);
    checked.map(Some).map_err(|refusal| enrollment.refuse("initialTwin", refusal))
}

/// Parses the reprovision policy. Absent members of a policy have the documented default, true.
fn reprovision_policy(enrollment: &Members<'_>) -> Result<Option<ReprovisionPolicy>, BodyError> {
    let Some(policy) = enrollment.object("reprovisionPolicy")? else { return Ok(None) };
    let flags = ReprovisionFlags {
        update_hub_assignment: policy.flag("updateHubAssignment")?.unwrap_or(true),
        migrate_device_data: policy.flag("migrateDeviceData")?.unwrap_or(true),
    };
    Ok(Some(flags.into()))
}

fn custom_allocation(enrollment: &Members<'_>) -> Result<Option<CustomAllocation>, BodyError> {
    let Some(custom) = enrollment.object("customAllocationDefinition")? else { return Ok(None) };
    let webhook_url = custom.parsed("webhookUrl", webhook_url)?;
    let api_version = custom.parsed("apiVersion", webhook_version)?;
    Ok(Some(CustomAllocation {
        webhook_url: custom.required("webhookUrl", webhook_url)?,
        api_version: custom.required("apiVersion", api_version)?,
    }))
}

/// Checks the URL of a webhook, which is called as written: its scheme and host, its length, and that it is printable
/// ASCII.
fn webhook_url(text: &str) -> Result<String, &'static str> {
    const SCHEME: &str = "https://";
    let rest =
        text.get(..SCHEME.len()).filter(|it| it.eq_ignore_ascii_case(SCHEME)).and(text.get(SCHEME.len()..));
    let authority = rest.and_then(|rest| rest.split(['/', '?']).next()).unwrap_or_default();
    // A user name would disguise the host; a fragment is never sent.
    let has_host =
        authority.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[') && !authority.contains('@');
    let fits = has_host && text.len() <= 2048 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if fits { Ok(text.to_owned()) } else { Err("must be an absolute https URL of at most 2048 characters") }
}

fn webhook_version(text: &str) -> Result<String, &'static str> {
    let date = text.strip_suffix("-preview").unwrap_or(text);
    let known = date.len() == FIRST_WEBHOOK_VERSION.len() && Day::parse(date).is_ok();
    if known && date >= FIRST_WEBHOOK_VERSION {
        Ok(text.to_owned())
    } else {
        Err("must be a version from 2018-09-01-preview on")
    }
}

/// Parses the certificate policy: `credentialPolicyName` of service API 2025-07-01-preview, and the other names of
/// 2026-11-01.
fn certificate_policy(enrollment: &Members<'_>) -> Result<CertificatePolicy, BodyError> {
    Ok(CertificatePolicy {
        credential_policy: enrollment.parsed("credentialPolicyName", credential_policy_name)?,
        namespace: enrollment.parsed("namespaceName", namespace_name)?,
        authority: enrollment.parsed("certificateAuthorityName", resource_name)?,
        policy: enrollment.parsed("certificatePolicyName", resource_name)?,
    })
}

/// Checks the name of the tool that manages an enrollment.
fn tool_name(text: &str) -> Result<String, &'static str> {
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(text.to_owned()) } else { Err("must be 1 to 64 printable ASCII characters without spaces") }
}

fn credential_policy_name(text: &str) -> Result<String, &'static str> {
    let fits = text.len() <= 128 && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err("must be at most 128 characters") }
}

fn namespace_name(text: &str) -> Result<String, &'static str> {
    let fits = (3..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !(text.starts_with('-') || text.ends_with('-'));
    if fits {
        Ok(text.to_owned())
    } else {
        Err("must be 3 to 64 lower-case letters, digits and inner hyphens")
    }
}

fn resource_name(text: &str) -> Result<String, &'static str> {
    let fits = (3..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !text.starts_with('-');
    if fits {
        Ok(text.to_owned())
    } else {
        Err("must be 3 to 63 letters, digits and hyphens, no hyphen first")
    }
}

/// Writes the shared members, including the etag and the dates of the record.
pub(super) fn write(json: &mut Object, settings: &EnrollmentSettings, record: &Record) {
    json.put_some("capabilities", settings.iot_edge.map(|edge| one("iotEdge", edge)))
        .put_some("iotHubHostName", settings.hub.as_ref().map(HubName::as_str))
        .put_some("initialTwin", settings.initial_twin.as_ref().map(twin_json))
        .put("etag", format!("\"{}\"", record.etag))
        .put("provisioningStatus", word(&STATUSES, settings.provisioning_status))
        .put_some("reprovisionPolicy", settings.reprovision_policy.map(reprovision_json))
        .put("createdDateTimeUtc", record.created.to_string())
        .put("lastUpdatedDateTimeUtc", record.last_updated.to_string())
        .put_some("allocationPolicy", settings.allocation_policy.map(|policy| word(&POLICIES, policy)))
        .put_some("iotHubs", hubs_json(&settings.hubs))
        .put_some("customAllocationDefinition", settings.custom_allocation.as_ref().map(custom_json));
    let names = &settings.certificate_policy;
    json.put_some("credentialPolicyName", names.credential_policy.as_deref())
        .put_some("namespaceName", names.namespace.as_deref())
        .put_some("certificateAuthorityName", names.authority.as_deref())
        .put_some("certificatePolicyName", names.policy.as_deref())
        .put_some("managedBy", settings.managed_by.as_deref());
}

fn hubs_json(hubs: &[HubName]) -> Option<Vec<&str>> {
    (!hubs.is_empty()).then(|| hubs.iter().map(HubName::as_str).collect())
}

fn word<T: Copy + PartialEq>(words: &'static [(&'static str, T)], meaning: T) -> &'static str {
    words.iter().find(|(_, it)| *it == meaning).map_or("", |(word, _)| *word)
}

fn one(name: &str, value: impl Into<Value>) -> Value {
    let mut json = Object::default();
    json.put(name, value);
    json.into_value()
}

fn twin_json(twin: &InitialTwin) -> Value {
    let mut json = Object::default();
    json.put_some("tags", twin.tags.as_ref().map(|tags| tags.as_map().clone())).put_some(
        "properties",
        twin.desired.as_ref().map(|desired| one("desired", desired.as_map().clone())),
    );
    json.into_value()
}

fn reprovision_json(policy: ReprovisionPolicy) -> Value {
    let ReprovisionFlags { update_hub_assignment, migrate_device_data } = policy.into();
    let mut json = Object::default();
    json.put("updateHubAssignment", update_hub_assignment).put("migrateDeviceData", migrate_device_data);
    json.into_value()
}

fn custom_json(custom: &CustomAllocation) -> Value {
    let mut json = Object::default();
    json.put("webhookUrl", custom.webhook_url.as_str()).put("apiVersion", custom.api_version.as_str());
    json.into_value()
}
