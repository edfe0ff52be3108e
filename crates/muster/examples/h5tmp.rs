//! tmp
use clap::Parser;
#[path = "../src/commands"]
mod commands { pub mod demo; pub mod device; pub mod fleet; mod target;
 pub async fn stop_signal(){ let _ = tokio::signal::ctrl_c().await; } }
#[derive(Parser)] enum P { Demo(commands::demo::DemoArgs), Fleet(commands::fleet::FleetArgs), Device(commands::device::DeviceArgs) }
#[tokio::main] async fn main()->std::process::ExitCode { let r = match P::parse(){ P::Demo(a)=>commands::demo::run(a).await, P::Fleet(a)=>commands::fleet::run(a).await, P::Device(a)=>commands::device::run(a).await}; r.unwrap_or_else(|e|{eprintln!("muster: {e:#}"); std::process::ExitCode::FAILURE}) }
