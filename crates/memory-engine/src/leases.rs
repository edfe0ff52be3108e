//! Leases, by the clock of the engine.

use std::time::Duration;

use async_trait::async_trait;
use model::{LeaseToken, Timestamp};
use provisioning::ports::{Lease, LeaseName, Leases, RunnerId, StoreError};

use crate::MemoryEngine;

#[async_trait]
impl Leases for MemoryEngine {
    async fn claim(
        &self,
        name: &LeaseName,
        holder: &RunnerId,
        time: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        let now = self.clock.now();
        let (mut content, until) = (self.content(), now.plus(time));
        if let Some((lease, end)) = content.leases.iter_mut().find(|(lease, _)| lease.name == *name) {
            if lease.holder == *holder {
                *end = until;
                return Ok(Some(Lease { left: time, ..lease.clone() }));
            }
            if *end > now {
                return Ok(None);
            }
        }
        content.leases.retain(|(lease, _)| lease.name != *name);
        content.last_token += 1;
        let token = LeaseToken::new(content.last_token);
        let lease = Lease { name: name.clone(), holder: holder.clone(), token, left: time };
        content.leases.push((lease.clone(), until));
        Ok(Some(lease))
    }

    async fn release(&self, token: LeaseToken) -> Result<(), StoreError> {
        self.content().leases.retain(|(lease, _)| lease.token != token);
        Ok(())
    }

    async fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        let now = self.clock.now();
        let left = |(lease, end): &(Lease, Timestamp)| Lease { left: end.since(now), ..lease.clone() };
        Ok(self.content().leases.iter().map(left).collect())
    }
}
