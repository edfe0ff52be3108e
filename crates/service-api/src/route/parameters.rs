//! The query parameters of searches.

use model::{AttestedBy, LogKind, ProvisioningStatus, RefusalReason, StatusKind, Substatus};
use wire::service::MAX_PAGE_ITEMS;

use super::{ParameterKind, QueryParameter};

/// IDs of enrollments and registrations.
const ENROLLMENT_ID: &str = "^[A-Za-z0-9-](?:[A-Za-z0-9._:-]{0,126}[A-Za-z0-9-])?$";

const ID_PREFIX: QueryParameter = QueryParameter {
    name: "prefix",
    kind: ParameterKind::Pattern("^[A-Za-z0-9._:-]{1,128}$"),
    description: "Only those whose ID begins so, in any case.",
};

/// Of listings of enrollments.
pub(super) const PREFIX: &[QueryParameter] = &[ID_PREFIX];

const DEVICE_PREFIX: QueryParameter = QueryParameter {
    name: "devicePrefix",
    kind: ParameterKind::Pattern("^[A-Za-z0-9:.+%_#*?!(),=@;$'-]{1,128}$"),
    description: "Only those whose device ID at the hub begins so, in any case.",
};

const MECHANISM: QueryParameter = QueryParameter {
    name: "mechanism",
    kind: ParameterKind::OneOf(|| AttestedBy::ALL.map(AttestedBy::name).to_vec()),
    description: "Only those with this attestation mechanism.",
};

const CREATED_SINCE: QueryParameter = QueryParameter {
    name: "createdSince",
    kind: ParameterKind::Time,
    description: "Only those that were created then or later.",
};

const CREATED_UNTIL: QueryParameter = QueryParameter {
    name: "createdUntil",
    kind: ParameterKind::Time,
    description: "Only those that were not created after then.",
};

const UPDATED_SINCE: QueryParameter = QueryParameter {
    name: "updatedSince",
    kind: ParameterKind::Time,
    description: "Only those that changed then or later.",
};

const UPDATED_UNTIL: QueryParameter = QueryParameter {
    name: "updatedUntil",
    kind: ParameterKind::Time,
    description: "Only those that did not change after then.",
};

const HUB_NAME: ParameterKind = ParameterKind::Pattern("^[A-Za-z0-9_-]+([.][A-Za-z0-9_-]+)*$");

/// Of registrations.
pub(super) const REGISTRATION_SEARCH: &[QueryParameter] = &[
    QueryParameter {
        name: "status",
        kind: ParameterKind::OneOf(|| StatusKind::ALL.map(StatusKind::name).to_vec()),
        description: "Only registrations of this status.",
    },
    QueryParameter {
        name: "substatus",
        kind: ParameterKind::OneOf(|| Substatus::ALL.map(Substatus::name).to_vec()),
        description: "Only registrations of devices that got to their hub so.",
    },
    QueryParameter {
        name: "group",
        kind: ParameterKind::Pattern(ENROLLMENT_ID),
        description: "Only registrations through this enrollment group.",
    },
    ID_PREFIX,
    DEVICE_PREFIX,
    QueryParameter { name: "hub", kind: HUB_NAME, description: "Only registrations of devices at this hub." },
    MECHANISM,
    QueryParameter {
        name: "errorCode",
        kind: ParameterKind::Pattern("^[0-9]{1,9}$"),
        description: "Only registrations that failed with this code.",
    },
    QueryParameter {
        name: "key",
        kind: ParameterKind::OneOf(|| vec!["primary", "secondary"]),
        description: "Only registrations of devices that used this key of their enrollment last.",
    },
    CREATED_SINCE,
    CREATED_UNTIL,
    UPDATED_SINCE,
    UPDATED_UNTIL,
];

/// Of individual enrollments, and of enrollment groups.
pub(super) const ENROLLMENT_SEARCH: &[QueryParameter] = &[
    ID_PREFIX,
    DEVICE_PREFIX,
    QueryParameter { name: "hub", kind: HUB_NAME, description: "Only enrollments that name this hub." },
    QueryParameter {
        name: "status",
        kind: ParameterKind::OneOf(|| ProvisioningStatus::ALL.map(ProvisioningStatus::name).to_vec()),
        description: "Only enrollments of this provisioning status.",
    },
    MECHANISM,
    QueryParameter {
        name: "tag",
        kind: ParameterKind::Text,
        description: "Only enrollments whose initial twin has this tag with this value, such as location.building=43.",
    },
    CREATED_SINCE,
    CREATED_UNTIL,
    UPDATED_SINCE,
    UPDATED_UNTIL,
];

/// Of refused attempts.
pub(super) const ATTEMPT_SEARCH: &[QueryParameter] = &[
    QueryParameter {
        name: "after",
        kind: ParameterKind::Pattern("^[0-9]{1,18}$"),
        description: "Only attempts after this position, which an earlier reply ended with.",
    },
    QueryParameter {
        name: "since",
        kind: ParameterKind::Time,
        description: "Only attempts that are not older.",
    },
    QueryParameter {
        name: "until",
        kind: ParameterKind::Time,
        description: "Only attempts that are not newer.",
    },
    QueryParameter {
        name: "reason",
        kind: ParameterKind::OneOf(|| RefusalReason::ALL.iter().map(|reason| reason.name()).collect()),
        description: "Only attempts that were refused for this reason.",
    },
    QueryParameter {
        name: "key",
        kind: ParameterKind::Pattern(ENROLLMENT_ID),
        description: "Only attempts of the device with this registration ID.",
    },
    QueryParameter {
        name: "limit",
        kind: ParameterKind::UpTo(MAX_PAGE_ITEMS),
        description: "The maximum number of attempts that are examined; 100 if absent.",
    },
];

/// Of the change log.
pub(super) const LOG_FILTER: &[QueryParameter] = &[
    QueryParameter {
        name: "after",
        kind: ParameterKind::Pattern("^[0-9a-f]{1,16}-[0-9a-f]{1,16}([.][0-9a-f]{1,16}-[0-9a-f]{1,16})*$"),
        description: "Only changes after this position, which an earlier reply ended with.",
    },
    QueryParameter {
        name: "since",
        kind: ParameterKind::Time,
        description: "Only changes that are not older.",
    },
    QueryParameter {
        name: "kind",
        kind: ParameterKind::OneOf(|| LogKind::ALL.iter().map(|kind| kind.name()).collect()),
        description: "Only changes of this kind of record.",
    },
    QueryParameter {
        name: "key",
        kind: ParameterKind::Text,
        description: "Only changes of the record with this ID or name, in any case.",
    },
    QueryParameter {
        name: "actor",
        kind: ParameterKind::Text,
        description: "Only changes by the access policy, subject of a token, device or job with this name, in any case.",
    },
    QueryParameter {
        name: "limit",
        kind: ParameterKind::UpTo(MAX_PAGE_ITEMS),
        description: "The maximum number of changes; 100 if absent.",
    },
];
