//! The SQL of listings, as far as engines share it.

use model::StatusKind;
use provisioning::ports::PageRequest;

use crate::engine::{AttemptRows, Listing};

/// A parameter of the filter.
pub(crate) enum ListingValue {
    Number(i64),
    Text(String),
}

impl Listing {
    /// Returns the filter of the rows of an instance; its parameters are [`values`](Self::values), from the third on.
    pub(crate) fn filter(&self) -> &'static str {
        match self {
            Listing::Individuals(_) | Listing::Cleanups(_) | Listing::Registrations(_) => "id > ?3",
            Listing::RegistrationsOf(..) => "group_id = ?4 AND id > ?3",
            Listing::RegistrationsIn(StatusKind::Assigned, _) => "status = 'assigned' AND id > ?3",
            // The index holds only these, which the SQL must say for it to be used.
            Listing::RegistrationsIn(..) => "status = ?4 AND status <> 'assigned' AND id > ?3",
            Listing::Expiring(..) => "expires <= ?3",
            Listing::Attempts(AttemptRows { id: None, .. }) => "number < ?3",
            Listing::Attempts(_) => "number < ?3 AND id = ?4",
            Listing::Due(..) => "hub = ?4 AND due <= ?3",
        }
    }

    /// Returns the columns of the rows: ID, document, and the number of those that the listing continues after.
    pub(crate) fn columns(&self) -> &'static str {
        if self.is_numbered() { "id, document, number" } else { "id, document" }
    }

    /// Whether the listing continues after numbers.
    pub(crate) fn is_numbered(&self) -> bool {
        matches!(self, Listing::Attempts(_))
    }

    /// Returns the order of the rows.
    pub(crate) fn order(&self) -> &'static str {
        match self {
            Listing::Expiring(..) => "expires, id",
            Listing::Due(..) => "due",
            Listing::Attempts(_) => "number DESC",
            _ => "id",
        }
    }

    /// Returns the parameters of the filter.
    pub(crate) fn values(&self) -> Vec<ListingValue> {
        let after = |page: &PageRequest| ListingValue::Text(page.after.clone().unwrap_or_default());
        match self {
            Listing::Individuals(page) | Listing::Cleanups(page) | Listing::Registrations(page) => {
                vec![after(page)]
            }
            Listing::RegistrationsOf(group, page) => vec![after(page), ListingValue::Text(group.clone())],
            Listing::RegistrationsIn(StatusKind::Assigned, page) => vec![after(page)],
            Listing::RegistrationsIn(status, page) => {
                vec![after(page), ListingValue::Text(status.name().to_owned())]
            }
            Listing::Expiring(until, _) => vec![ListingValue::Number(until.unix_seconds())],
            Listing::Attempts(rows) => {
                let below = ListingValue::Number(rows.below());
                std::iter::once(below).chain(rows.id.clone().map(ListingValue::Text)).collect()
            }
            Listing::Due(hub, now, _) => {
                vec![ListingValue::Number(now.ticks()), ListingValue::Text(hub.to_string())]
            }
        }
    }
}
