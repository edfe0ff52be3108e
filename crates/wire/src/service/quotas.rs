//! Quotas of instances: `properties.muster.quotas` of a resource, and the report of `GET /quotas`. Additions of Muster.

use std::collections::BTreeMap;

use model::{Instance, Quota, QuotaPreset, Quotas};
use serde_json::{Value, json};

use super::members::{BodyError, Members, Object};

const PRESETS: [(&str, QuotaPreset); 2] = [("off", QuotaPreset::Off), ("azure", QuotaPreset::Azure)];

/// How much of a quota is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedQuota {
    /// The quota.
    pub quota: Quota,
    /// The number of records, or of events that the limit permits at once; `None` if it is not known, or is one of each device.
    pub used: Option<u64>,
}

/// Parses the member `quotas`: all quotas of an instance.
pub(super) fn parse_quotas(ours: &Members<'_>) -> Result<Option<Quotas>, BodyError> {
    let Some(members) = ours.object("quotas")? else { return Ok(None) };
    let mut numbers = BTreeMap::new();
    for quota in Quota::ALL {
        let number = members.integer(quota.name())?.map(u32::try_from).transpose();
        let number = number.map_err(|_| members.refuse(quota.name(), "is too large"))?;
        numbers.extend(number.map(|number| (quota, number)));
    }
    let preset = members.word("preset", &PRESETS)?.unwrap_or_default();
    Quotas::new(preset, numbers).map(Some).map_err(|error| ours.refuse("quotas", error))
}

/// Writes the quotas of an instance.
pub(super) fn quotas_json(quotas: &Quotas) -> Value {
    let mut json = Object::default();
    json.put("preset", preset_word(quotas.preset()));
    for (quota, number) in quotas.numbers() {
        json.put(quota.name(), *number);
    }
    json.into_value()
}

/// Writes the report of quotas: `{"preset", "quotas": [{"name", "limit", "windowSeconds", "used"}]}`. Members without a value are
/// left out.
pub fn quota_report_json(instance: &Instance, used: &[UsedQuota]) -> Value {
    let row = |row: &UsedQuota| {
        let mut json = Object::default();
        json.put("name", row.quota.name())
            .put_some("limit", instance.limit(row.quota).map(|limit| limit.get()))
            .put_some("windowSeconds", row.quota.window().map(|window| window.as_secs()))
            .put_some("used", row.used);
        json.into_value()
    };
    let rows: Vec<Value> = used.iter().map(row).collect();
    json!({"preset": preset_word(instance.quotas.preset()), "quotas": rows})
}

fn preset_word(preset: QuotaPreset) -> &'static str {
    PRESETS.iter().find(|(_, it)| *it == preset).map_or("", |(word, _)| word)
}
