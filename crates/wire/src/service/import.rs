//! Imports of enrollments, an addition of Muster: enrollments become what their JSON says.

use model::{GroupDraft, ImportRule, IndividualDraft};
use serde_json::Value;

use super::{
    bulk::{BulkError, UnreadableItem, put_error, read_items},
    group, individual,
    members::{self, BodyError, Members, Object},
};

/// An import.
pub struct ImportBody<D> {
    /// The drafts, in order, of the items that can be parsed.
    pub items: Vec<Result<D, UnreadableItem>>,
    /// What to do with enrollments that exist.
    pub rule: ImportRule,
}

/// Parses `{"enrollments": [IndividualEnrollment], "replace"?, "generateKeys"?, "dryRun"?}`.
pub fn parse_individual_import(body: &[u8]) -> Result<ImportBody<IndividualDraft>, BodyError> {
    parse(body, ("enrollments", "registrationId"), individual::read)
}

/// Parses `{"enrollmentGroups": [EnrollmentGroup], "replace"?, "generateKeys"?, "dryRun"?}`.
pub fn parse_group_import(body: &[u8]) -> Result<ImportBody<GroupDraft>, BodyError> {
    parse(body, ("enrollmentGroups", "enrollmentGroupId"), group::read)
}

fn parse<D>(
    body: &[u8],
    names: (&str, &str),
    read: impl Fn(&Members<'_>) -> Result<D, BodyError>,
) -> Result<ImportBody<D>, BodyError> {
    let body = members::parse_json(body)?;
    let body = Members::of_body(&body)?;
    let flag = |name| Ok::<_, BodyError>(body.flag(name)?.unwrap_or(false));
    let rule = ImportRule {
        replaces: flag("replace")?,
        generates_keys: flag("generateKeys")?,
        is_dry_run: flag("dryRun")?,
    };
    Ok(ImportBody { items: read_items(&body, names, read)?, rule })
}

/// How many enrollments an import created, replaced and left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImportCounts {
    /// Those that it created.
    pub created: u64,
    /// Those that it replaced.
    pub replaced: u64,
    /// Those that were as they should be.
    pub unchanged: u64,
}

/// Writes `{"created", "replaced", "unchanged", "errors": [{"index", id_name, "errorCode", "errorStatus"}]}`; an index counts the
/// items from 0.
pub fn import_result_json(id_name: &str, counts: ImportCounts, errors: &[(usize, BulkError)]) -> Value {
    let error = |(index, error): &(usize, BulkError)| {
        let mut json = Object::default();
        json.put("index", *index);
        put_error(&mut json, id_name, error);
        json.into_value()
    };
    let mut json = Object::default();
    json.put("created", counts.created)
        .put("replaced", counts.replaced)
        .put("unchanged", counts.unchanged)
        .put("errors", errors.iter().map(error).collect::<Vec<_>>());
    json.into_value()
}
