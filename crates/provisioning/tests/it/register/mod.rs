//! Registrations, with a store of either kind and hubs that fail on command.

mod attempts;
mod cascades;
mod coming_back;
mod damage;
mod failing_hubs;
mod first_time;
mod identify;
mod interrupted;
mod isolation;
mod keys;
mod operations;
mod owner;
mod ownership;
mod random;
mod records;
mod stories;
pub mod token;
mod tpm;
pub mod world;
