//! Reads listings of a store to their end.

use provisioning::ports::{Page, PageRequest, StoreError};

/// Records that are read at a time.
pub(crate) const PAGE: usize = 500;

/// Reads a listing page by page, and hands each page over.
pub(crate) async fn each_page<T>(
    read: impl AsyncFn(PageRequest) -> Result<Page<T>, StoreError>,
    mut take: impl AsyncFnMut(Vec<T>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let page = read(PageRequest { after, limit: PAGE }).await?;
        take(page.items).await?;
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}
