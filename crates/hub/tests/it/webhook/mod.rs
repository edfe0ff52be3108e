//! The webhook client against real HTTPS servers.

mod asking;
mod server;
