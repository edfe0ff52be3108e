//! A transaction of one or more batches, in two round trips.
//!
//! ```text
//!   lock   ──► BEGIN; the row of the lane, moved; the rows that the batches are about, locked: a SELECT for each table
//!   decide ──► outcomes, and what is written (pure)
//!   write  ──► a statement for each table and kind of change; usage; log; COMMIT
//! ```
//!
//! Batches are decided in their order, each as if the ones before it had been committed. A row that does not exist cannot be
//! locked: when another transaction creates it in between, the insertion fails, and the transaction is repeated.

mod decide;
mod lock;
mod sql;
#[cfg(test)]
mod tests;
mod write;

pub(super) use self::{
    decide::decide,
    lock::{LaneRow, lock},
    write::write,
};

use crate::batch::RowKey;

/// Where a row is: the number of its instance, and its key.
type RowId<'a> = (i32, &'a RowKey);
