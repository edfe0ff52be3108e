//! Measures hostile peers: the CPU time of a refusal, the memory of an unproven connection, and the effect of many strangers
//! on honest devices.

mod crowd;
mod memory;
mod refusals;
mod stranger;

pub use crowd::{Crowd, Load};
pub use memory::Unproven;
pub use refusals::Refused;

use crate::load::Size;

/// All results.
pub struct Hostile {
    /// Refusals by evidence and number of groups.
    pub refusals: Vec<Refused>,
    /// Unproven connections.
    pub unproven: Vec<Unproven>,
    /// Honest devices while strangers are active.
    pub crowds: Vec<Crowd>,
}

/// Measures all three.
pub async fn measure(size: Size) -> anyhow::Result<Hostile> {
    Ok(Hostile {
        refusals: refusals::measure(size).await?,
        unproven: memory::measure().await?,
        crowds: crowd::measure(size).await?,
    })
}
