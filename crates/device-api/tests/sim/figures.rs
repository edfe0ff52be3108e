//! What happened, in numbers.

use std::fmt;

/// Counts of one seed or many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Register calls that devices made.
    pub requests: u64,
    /// Of these, those that devices were told the end of: assigned.
    pub assigned: u64,
    /// Told that they failed, or are disabled.
    pub turned_away: u64,
    /// Operations counted for registrations and re-registrations.
    pub counted: u64,
    /// Devices that went from one hub to another.
    pub moves: u64,
    /// Devices removed from a hub that they left.
    pub removals: u64,
    /// Changes that operators made.
    pub interventions: u64,
    /// Ends of the process without notice.
    pub crashes: u64,
    /// Of these, those after which an older state of the store was restored.
    pub restores: u64,
    /// Leases that another process took over.
    pub takeovers: u64,
    /// Commits that were refused because their lease was lost.
    pub fenced: u64,
    /// Transactions that were found to have taken effect after their connection was lost.
    pub settled: u64,
    /// Calls of hubs, the store and webhooks that went wrong.
    pub faults: u64,
}

impl Figures {
    pub fn add(&mut self, other: &Figures) {
        self.requests += other.requests;
        self.assigned += other.assigned;
        self.turned_away += other.turned_away;
        self.counted += other.counted;
        self.moves += other.moves;
        self.removals += other.removals;
        self.interventions += other.interventions;
        self.crashes += other.crashes;
        self.restores += other.restores;
        self.takeovers += other.takeovers;
        self.fenced += other.fenced;
        self.settled += other.settled;
        self.faults += other.faults;
    }

    /// A world in which nothing happens shows nothing.
    pub fn demand_that_something_happened(&self) {
        for count in [
            self.assigned,
            self.turned_away,
            self.moves,
            self.removals,
            self.crashes,
            self.restores,
            self.takeovers,
            self.fenced,
            self.settled,
            self.faults,
        ] {
            assert!(count > 0, "{self}");
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { requests, assigned, turned_away, counted, moves, removals, .. } = self;
        let Figures { interventions, crashes, restores, takeovers, fenced, settled, faults, .. } = self;
        write!(
            f,
            "{requests} requests, {assigned} assigned, {turned_away} turned away, {counted} counted, {moves} moves, \
             {removals} removals, {interventions} interventions; {faults} faults and {crashes} crashes injected, of these {restores} \
             with a restore of an older state; {takeovers} leases taken over, {fenced} commits fenced, {settled} settled"
        )
    }
}
