//! Bulk operations: one mode for up to ten enrollments.

use model::{BulkItem, EnrollmentGroupId, GroupDraft, IfMatch, IndividualDraft, RegistrationId};
use serde_json::Value;

use super::{
    condition::parse_if_match,
    group, individual,
    members::{self, BodyError, Members, Object},
};

#[derive(Clone, Copy)]
enum Mode {
    Create,
    Update,
    UpdateIfMatchEtag,
    Delete,
}

const MODES: [(&str, Mode); 4] = [
    ("create", Mode::Create),
    ("update", Mode::Update),
    ("updateIfMatchETag", Mode::UpdateIfMatchEtag),
    ("delete", Mode::Delete),
];

/// Parses a bulk operation on individual enrollments: `BulkEnrollmentOperation`.
pub fn parse_individual_bulk(body: &[u8]) -> Result<BulkItems<IndividualDraft, RegistrationId>, BodyError> {
    parse(body, ("enrollments", "registrationId"), individual::read, individual::read_id)
}

/// Parses a bulk operation on enrollment groups: `BulkEnrollmentGroupOperation`.
pub fn parse_group_bulk(body: &[u8]) -> Result<BulkItems<GroupDraft, EnrollmentGroupId>, BodyError> {
    parse(body, ("enrollmentGroups", "enrollmentGroupId"), group::read, group::read_id)
}

/// The items of a bulk operation, in order.
pub type BulkItems<D, I> = Vec<Result<BulkItem<D, I>, UnreadableItem>>;

/// An item of a bulk operation that cannot be parsed. It does not affect the other items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableItem {
    /// The item's ID as sent; empty if it has none.
    pub id: String,
    /// The error.
    pub error: BodyError,
}

fn parse<D, I>(
    body: &[u8],
    names: (&str, &str),
    read: impl Fn(&Members<'_>) -> Result<D, BodyError>,
    read_id: impl Fn(&Members<'_>) -> Result<I, BodyError>,
) -> Result<BulkItems<D, I>, BodyError> {
    let body = members::parse_json(body)?;
    let body = Members::of_body(&body)?;
    let mode = body.required("mode", body.word("mode", &MODES)?)?;
    let item = |item: &Members<'_>| match mode {
        Mode::Create => Ok(BulkItem::Create(read(item)?)),
        // In this mode the hosted service accepts any etag, but treats an item without one as a conflict
        // (recorded).
        Mode::Update => {
            let etag = item.parsed("etag", |text| Ok::<_, BodyError>(text.to_owned()))?;
            Ok(BulkItem::Replace(read(item)?, etag.map(|_| IfMatch::Any)))
        }
        Mode::UpdateIfMatchEtag => {
            let if_match = item.required("etag", item.parsed("etag", parse_if_match)?)?;
            Ok(BulkItem::Replace(read(item)?, Some(if_match)))
        }
        // Clients send whole enrollments, of which only the ID counts.
        Mode::Delete => Ok(BulkItem::Delete(read_id(item)?)),
    };
    read_items(&body, names, item)
}

/// Reads the items of a list, in order. The error of an item has its ID.
pub(super) fn read_items<T>(
    body: &Members<'_>,
    (list, id_name): (&str, &str),
    read: impl Fn(&Members<'_>) -> Result<T, BodyError>,
) -> Result<Vec<Result<T, UnreadableItem>>, BodyError> {
    let unreadable =
        |id: Option<&str>, error| UnreadableItem { id: id.unwrap_or_default().to_owned(), error };
    let item = |members: Result<Members<'_>, BodyError>| {
        let members = members.map_err(|error| unreadable(None, error))?;
        let id = members.value(id_name).and_then(Value::as_str);
        read(&members).map_err(|error| unreadable(id, error))
    };
    let items = body.required(list, body.items(list)?)?;
    Ok(items.into_iter().map(item).collect())
}

/// The error of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkError {
    /// The item's ID.
    pub id: String,
    /// The error code: six digits, the first three of which are an HTTP status.
    pub code: u32,
    /// The message for the caller, one sentence.
    pub message: String,
}

/// Writes the result; `id_name` is `registrationId` or `enrollmentGroupId`. `errors` is present even if it is empty:
/// the Java SDK requires it.
pub fn bulk_result_json(id_name: &str, errors: &[BulkError]) -> Value {
    let error = |error: &BulkError| {
        let mut json = Object::default();
        put_error(&mut json, id_name, error);
        json.into_value()
    };
    let mut json = Object::default();
    json.put("isSuccessful", errors.is_empty()).put("errors", errors.iter().map(error).collect::<Vec<_>>());
    json.into_value()
}

/// Writes the members of an error.
pub(super) fn put_error(json: &mut Object, id_name: &str, error: &BulkError) {
    json.put(id_name, error.id.as_str())
        .put("errorCode", error.code)
        .put("errorStatus", error.message.as_str());
}
