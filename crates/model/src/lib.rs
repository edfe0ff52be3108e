//! The nouns of Muster: identifiers, enrollments, registrations, instances and linked hubs.
//!
//! Every type here is parsed: a value that exists is valid, and code that holds one trusts it.
//! There is no IO, no clock and no randomness in this crate, so that anything may depend on it.
//! Through serde the same types are the stored form; the public JSON lives in the `wire` crate. What is read from certificates
//! and revocation lists has its types in `certpath`.

mod address;
mod attestation;
mod attestation_digest;
mod block;
mod ca_certificate;
mod certificate;
mod change_log;
mod claim;
mod cleanup;
mod cleanup_hold;
mod client_chain;
mod crl_addresses;
mod decision;
mod device_spec;
mod draft;
mod enrollment;
mod explanation;
mod hmac_sha256;
mod http_url;
mod identity;
mod ids;
mod instance;
mod ip_filter;
mod key;
mod key_use;
mod latency;
mod latency_table;
mod lease;
mod link;
mod peer_text;
mod quotas;
mod rate;
mod raw_json;
mod refusal_reason;
mod registration;
mod registration_ids;
mod resource;
mod retention;
mod revocation_list;
mod search;
mod time;
mod tpm;
mod tries;
mod trust;
mod twin;
mod twin_integers;
pub mod twin_rules;
mod usage;
mod webhook;

pub use address::{HostPort, HostPortError};
pub use attestation::{
    GroupAttestation, GroupCertificates, IndividualAttestation, IndividualCertificates, Pair,
    SymmetricKeyPair, TpmAttestation,
};
pub use attestation_digest::AttestationDigest;
pub use block::{Block, BlockScope};
pub use ca_certificate::{CaCertificate, RevocationPolicy, RevocationSettings};
pub use certificate::{Certificate, CertificateError, CertificateInfo};
pub use change_log::{
    Actor, Attribution, CursorError, Job, LogCursor, LogEntry, LogKind, LogOperation, LogPosition,
};
pub use claim::{
    Audience, CheckedClaim, ClaimRefusal, DerivedClaim, Extent, KeyedPolicy, PolicyRefusal, SignedClaim,
    without_port,
};
pub use cleanup::{Cleanup, CleanupCause, Residue};
pub use cleanup_hold::{CleanupHold, HoldReason};
pub use client_chain::ChainTooLong;
pub use crl_addresses::{CrlAddresses, TooManyAddresses};
pub use decision::{
    Because, Candidate, CandidateLink, Chosen, Decision, DecisionEnd, DecisionOutcome, DecisionResult,
    Decisions, Exclusion, PolicyOf, Returning,
};
pub use device_spec::{
    AllocationRequest, DesiredDevice, DeviceSpec, HubCredentials, PendingStep, ReprovisionAction, SpecDigest,
    TwinSpec,
};
pub use draft::{
    BulkItem, CaCertificateDraft, CertificateDraft, GroupAttestationDraft, GroupDraft, IfMatch, ImportRule,
    IndividualAttestationDraft, IndividualDraft, KeysDraft, RegistrationIdsDraft,
};
pub use enrollment::{
    AllocationPolicy, CertificatePolicy, CustomAllocation, Enrollment, EnrollmentGroup, EnrollmentSettings,
    IndividualEnrollment, ProvisioningStatus, Record, ReprovisionFlags, ReprovisionPolicy,
};
pub use explanation::{Admission, Attempt, ConsideredEnrollment, Explanation, Fit};
pub use http_url::{HttpUrl, HttpUrlError, Scheme};
pub use identity::{Identity, Issuer, IssuerError, Role, Subject, SubjectError, UnknownRole};
pub use ids::{
    BlockReason, CaReference, DeviceId, EnrollmentGroupId, Etag, Generation, HostName, HubName, IdError,
    IdScope, IpFilterName, OperationId, PolicyName, RegistrationId, ResourceName, VerificationCode,
};
pub use instance::{
    AccessPolicy, AllocationWeight, ExistingDevices, Instance, OutOfRange, RegistrationOwnership, Right,
    Rights, UnknownRight, resource_name,
};
pub use ip_filter::{
    AddressRefusal, FilteredApi, IpFilter, IpFilterAction, IpFilterError, IpFilterRule, IpFilterTarget,
    IpMask, IpMaskError, PublicNetworkAccess,
};
pub use key::{KeyError, SymmetricKey};
pub use key_use::{KeySelection, KeySlot, KeyStanding, KeyUse};
pub use latency::{
    HubProbe, LastProbe, Latency, LatencyEstimate, LatencyReport, LatencyRow, LatencySource, SeenFrom,
};
pub use latency_table::{LatenciesByHub, LatencyTable, TableError};
pub use lease::LeaseToken;
pub use link::{AccessDraft, Configured, DefaultsDraft, HubAccess, HubEndpoint, LinkDraft, LinkedHub};
pub use peer_text::PeerText;
pub use quotas::{OtherSetting, Quota, QuotaPreset, Quotas};
pub use rate::{RateLimit, RateLimiter};
pub use raw_json::RawJson;
pub use refusal_reason::RefusalReason;
pub use registration::{
    Assignment, AttestedBy, Challenge, EnrollmentRef, Failure, FailureReason, LastAttestation, Registration,
    Status, StatusKind, Substatus, TpmHandover,
};
pub use registration_ids::{PatternError, RegistrationIds};
pub use resource::{
    Deletion, InstanceDraft, LabelError, ManagedBy, PolicyDraft, ResourceFacts, ResourceKey, WebhookKeyDraft,
};
pub use retention::{KeepDays, KeepDaysError};
pub use revocation_list::{ListId, RevocationList};
pub use search::{
    BuildPosition, Condition, DeviceIdPrefix, EnrollmentSearch, IdPrefix, MAX_TAGS, MAX_TERM_BYTES, Period,
    RegistrationSearch, Search, SearchProgress, SearchTerm, Searchable, SearchedKind, TagCondition,
};
pub use time::{Day, TimeError, Timestamp};
pub use tpm::{EndorsementKey, StorageRootKey, TpmIdentity, TpmKeyError, TpmPublicKey};
pub use tries::{FailedTry, Tries};
pub use trust::Trust;
pub use twin::{Carried, InitialTwin, Properties, TwinCollection};
pub use twin_integers::with_exact_integers;
pub use usage::{OperationKind, UsageRow};
pub use webhook::{HubDeviceRef, Presented, WebhookAnswer, WebhookReply, WebhookRequest};
