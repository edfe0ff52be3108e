//! Reads listings and usage.

use model::{Day, OperationKind, UsageRow};
use provisioning::ports::StoreError;
use tokio_postgres::{Error, Row, types::ToSql};

use super::queries::Queries;
use crate::{
    broken,
    engine::{FoundRow, Listing, PageRows},
    listing::ListingValue,
};

/// Returns the rows of a listing, and whether there are more.
pub(super) async fn scan(
    queries: &Queries,
    instance: i32,
    listing: &Listing,
) -> Result<(Vec<FoundRow>, bool), StoreError> {
    let (table, columns) = (listing.table().name(), listing.columns());
    let (filter, order) = (listing.filter(), listing.order());
    let sql =
        format!("SELECT {columns} FROM {table} WHERE instance = ?1 AND {filter} ORDER BY {order} LIMIT ?2");
    let limit = listing.limit() as i64 + 1;
    let values = listing.values();
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&instance, &limit];
    parameters.extend(values.iter().map(|value| -> &(dyn ToSql + Sync) {
        match value {
            ListingValue::Number(number) => number,
            ListingValue::Text(text) => text,
        }
    }));
    let rows = queries.query(&sql.replace('?', "$"), &parameters).await?;
    page(&rows, listing).map_err(broken)
}

fn page(rows: &[Row], listing: &Listing) -> Result<(Vec<FoundRow>, bool), Error> {
    let mut page = PageRows::new(listing.limit());
    for row in rows {
        if page.is_full() {
            return Ok((page.into_rows(), true));
        }
        let number = if listing.is_numbered() { Some(row.try_get(2)?) } else { None };
        page.push(FoundRow { id: row.try_get(0)?, number, document: Ok(row.try_get(1)?) });
    }
    Ok((page.into_rows(), false))
}

/// Returns the operations from the first to the last day; of a count that cannot be read, what identifies it.
pub(super) async fn usage(
    queries: &Queries,
    instance: i32,
    (from, to): (Day, Day),
) -> Result<Vec<Result<UsageRow, String>>, StoreError> {
    let rows = queries.query(USAGE, &[&instance, &from.number(), &to.number()]).await?;
    rows.iter().map(usage_row).collect::<Result<_, _>>().map_err(broken)
}

fn usage_row(row: &Row) -> Result<Result<UsageRow, String>, Error> {
    let (day, kind, count): (i32, String, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let read = OperationKind::from_name(&kind).zip(u64::try_from(count).ok());
    let usage = read.map(|(kind, count)| UsageRow { day: Day::from_number(day), kind, count });
    Ok(usage.ok_or_else(|| format!("{day} {kind:?}")))
}

const USAGE: &str = "
    SELECT day, kind, sum(count)::bigint FROM usage WHERE instance = $1 AND day BETWEEN $2 AND $3 GROUP BY day, kind";
