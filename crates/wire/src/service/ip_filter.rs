//! IP filter rules of instances in Azure's form (`IpFilterRule`).

use model::{
    IpFilter, IpFilterAction, IpFilterName, IpFilterRule, IpFilterTarget, IpMask, PublicNetworkAccess,
};
use serde_json::{Value, json};

use super::members::{BodyError, Members};

const ACTIONS: [(&str, IpFilterAction); 2] =
    [("Accept", IpFilterAction::Accept), ("Reject", IpFilterAction::Reject)];

const TARGETS: [(&str, IpFilterTarget); 3] = [
    ("all", IpFilterTarget::All),
    ("serviceApi", IpFilterTarget::ServiceApi),
    ("deviceApi", IpFilterTarget::DeviceApi),
];

const ACCESS: [(&str, PublicNetworkAccess); 2] =
    [("Enabled", PublicNetworkAccess::Enabled), ("Disabled", PublicNetworkAccess::Disabled)];

/// Parses the member `ipFilterRules`.
pub(super) fn parse_ip_filter(properties: &Members<'_>) -> Result<Option<IpFilter>, BodyError> {
    let Some(items) = properties.items("ipFilterRules")? else { return Ok(None) };
    let rules = items.into_iter().map(|item| rule(&item?)).collect::<Result<_, _>>()?;
    IpFilter::new(rules).map(Some).map_err(|error| properties.refuse("ipFilterRules", error))
}

fn rule(members: &Members<'_>) -> Result<IpFilterRule, BodyError> {
    Ok(IpFilterRule {
        name: members.required("filterName", members.parsed("filterName", IpFilterName::parse)?)?,
        action: members.required("action", members.word("action", &ACTIONS)?)?,
        mask: members.required("ipMask", members.parsed("ipMask", IpMask::parse)?)?,
        target: members.word("target", &TARGETS)?.unwrap_or_default(),
    })
}

/// Parses the member `publicNetworkAccess`.
pub(super) fn parse_public_access(
    properties: &Members<'_>,
) -> Result<Option<PublicNetworkAccess>, BodyError> {
    properties.word("publicNetworkAccess", &ACCESS)
}

/// Writes the value of `ipFilterRules`.
pub(super) fn ip_filter_json(filter: &IpFilter) -> Value {
    let rule = |rule: &IpFilterRule| {
        json!({
            "filterName": rule.name.as_str(),
            "action": word(&ACTIONS, &rule.action),
            "ipMask": rule.mask.to_string(),
            "target": word(&TARGETS, &rule.target),
        })
    };
    filter.rules().iter().map(rule).collect()
}

/// Returns the value of `publicNetworkAccess`.
pub(super) fn public_access_word(access: PublicNetworkAccess) -> Option<&'static str> {
    word(&ACCESS, &access)
}

fn word<T: PartialEq>(words: &[(&'static str, T)], meaning: &T) -> Option<&'static str> {
    words.iter().find(|(_, it)| it == meaning).map(|(word, _)| *word)
}
