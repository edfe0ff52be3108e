//! Whether values of members stand for the same.

use model::{Certificate, InstanceDraft, Rights, WebhookKeyDraft};
use serde_json::{Value, json};
use wire::{
    sas::ConnectionString,
    service::{parse_ca_certificates, parse_instance},
};

use super::document::Kind;

/// What replies show in place of a webhook key.
const MASK: &str = "****";

/// How keys are compared that the service does not return: those of linked hubs and of webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HiddenKeys {
    /// They are no difference, so they are sent only with another change of the object.
    Kept,
    /// They are sent again.
    Sent,
}

/// Whether the stored value of a member stands for the same as that of a document. Absent members are null.
pub fn is_same(kind: Kind, path: &[&str], (old, new): (&Value, &Value), keys: HiddenKeys) -> bool {
    let member = path.last().copied().unwrap_or_default();
    if kind == Kind::Instance {
        return is_same_setting(path, (old, new), keys);
    }
    let texts = old.as_str().zip(new.as_str());
    let Some((old_text, new_text)) = texts else { return old == new };
    let both = |is_same: Option<bool>| is_same.unwrap_or(old == new);
    match (kind, member) {
        (Kind::Policy, "rights") => both(equal(Rights::parse(old_text), Rights::parse(new_text))),
        (Kind::CaCertificate, "certificate") => {
            both(equal(Certificate::parse(old_text), Certificate::parse(new_text)))
        }
        (Kind::Hub, "caCertificates") => {
            let parse = |text: &str| parse_ca_certificates(text.as_bytes());
            both(equal(parse(old_text), parse(new_text)))
        }
        (Kind::Hub, "connectionString") => {
            let parse = |text: &str| ConnectionString::parse(text).map(|it| (it.host, it.key_name));
            keys == HiddenKeys::Kept && both(equal(parse(old_text), parse(new_text)))
        }
        _ => old == new,
    }
}

fn equal<T: PartialEq, E>(old: Result<T, E>, new: Result<T, E>) -> Option<bool> {
    Some(old.ok()? == new.ok()?)
}

/// Compares two values of a setting of an instance as the service understands them: with its defaults, in its order. A value by
/// which the service changes nothing, such as that of a read-only member, is no difference.
fn is_same_setting(path: &[&str], (old, new): (&Value, &Value), keys: HiddenKeys) -> bool {
    let (Some(stored), Some(named)) = (draft(path, old), draft(path, new)) else { return old == new };
    let is_hidden =
        path.ends_with(&["webhookKey"]) && old == MASK && named.webhook_key != Some(WebhookKeyDraft::Derived);
    named == InstanceDraft::default() || named == stored || (is_hidden && keys == HiddenKeys::Kept)
}

/// Returns what the service would change for a request with this member alone; `None` if the value is invalid.
fn draft(path: &[&str], value: &Value) -> Option<InstanceDraft> {
    let mut body = json!({"sku": {"name": "S1"}, "properties": {}});
    let member = path.iter().fold(&mut body, |part, name| &mut part[*name]);
    *member = value.clone();
    parse_instance(body.to_string().as_bytes()).ok()
}
