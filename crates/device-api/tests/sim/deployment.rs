//! How a world's service is deployed.

/// What the processes of the service store in, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deployment {
    /// One process on the embedded store, an SQLite file.
    Embedded,
    /// Several nodes on one database, each with connections, a snapshot, a runner and a clock of its own.
    Cluster,
}

impl Deployment {
    /// Half of all seeds have a cluster.
    pub fn of(seed: u64) -> Deployment {
        if seed.is_multiple_of(2) { Deployment::Embedded } else { Deployment::Cluster }
    }

    /// Returns the number of processes.
    pub fn nodes(self) -> u64 {
        match self {
            Deployment::Embedded => 1,
            Deployment::Cluster => 3,
        }
    }
}
