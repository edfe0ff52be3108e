//! The service API: the JSON of requests and replies, as one superset of all API versions.
//!
//! Parsing is lenient, because clients differ: names of members and enumerated words match in any case, unknown members
//! are ignored, null and the empty string mean absent. Writing is exact: absent members are omitted, and words are
//! spelled like the hosted service's, because some clients compare them byte by byte.

mod advice;
mod attestation;
mod bulk;
mod ca_certificate;
mod certificate;
mod change_log;
mod collections;
mod condition;
mod explanation;
mod group;
mod import;
mod individual;
mod ip_filter;
mod keys;
mod latency;
mod link;
mod members;
mod page;
mod quotas;
mod registration;
mod resource;
mod schema;
mod search;
mod settings;
mod shape;
mod usage;
mod version;
mod webhook;

pub use advice::{failure_advice, refusal_advice};
pub use attestation::{Secrets, group_mechanism_json, individual_mechanism_json};
pub use bulk::{
    BulkError, BulkItems, UnreadableItem, bulk_result_json, parse_group_bulk, parse_individual_bulk,
};
pub use ca_certificate::{
    BlockBody, Code, FetchAttempt, RevocationBody, block_json, ca_certificate_json, expiring_json,
    listing_json, parse_block, parse_ca_certificate, parse_revocation, parse_verification, revocation_json,
};
pub use change_log::log_json;
pub use collections::UnreadableMember;
pub use condition::parse_if_match;
pub use explanation::{DescribedDevice, attempts_json, explanation_json, parse_described_device};
pub use group::{group_json, parse_group};
pub use import::{ImportBody, ImportCounts, import_result_json, parse_group_import, parse_individual_import};
pub use individual::{StateShown, individual_json, parse_individual};
pub use keys::parse_key_selection;
pub use latency::latency_json;
pub use link::{
    LinkError, LinkStatus, MASKED_KEY, allocation_defaults_json, link_json, parse_allocation_defaults,
    parse_ca_certificates, parse_hub_connection, parse_link,
};
pub use members::BodyError;
pub use page::{Collection, DEFAULT_PAGE_ITEMS, MAX_PAGE_ITEMS, PageError, page_limit};
pub use quotas::{UsedQuota, quota_report_json};
pub use registration::{cleanup_json, explained_registration_json, listed_registration_json};
pub use resource::{Keys, instance_json, parse_instance, parse_name, parse_policy, parse_tags, policy_json};
pub use schema::schemas;
pub use search::{
    ParameterError, enrollment_search_query, parse_enrollment_search, parse_registration_search,
    registration_search_query,
};
pub use shape::EnrollmentShape;
pub use usage::usage_json;
pub use version::ServiceApiVersion;
pub use webhook::{parse_webhook_answer, webhook_request_json};

#[cfg(test)]
mod tests;
