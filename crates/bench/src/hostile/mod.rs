//! What hostile peers cost the server: the CPU of a refusal, the memory of a connection that has proven nothing, and
//! what honest devices notice of a crowd of strangers.

mod crowd;
mod memory;
mod refusals;
mod stranger;

pub use crowd::{Crowd, Load};
pub use memory::Unproven;
pub use refusals::Refused;

use crate::load::Size;

/// All that was measured.
pub struct Hostile {
    /// Refusals by evidence and number of groups.
    pub refusals: Vec<Refused>,
    /// Connections that have proven nothing.
    pub unproven: Vec<Unproven>,
    /// Honest devices beside strangers.
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
