//! The program's server half: configuration, and the wiring of everything that runs. It knows everything and decides
//! nothing.

pub mod app;
pub mod config;
pub mod dev;
pub mod logging;
mod ports;
mod web;
