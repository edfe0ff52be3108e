//! Chooses and binds the ports of an emulator.

use std::net::Ipv4Addr;

use anyhow::{Context, bail};

use super::info::DevPorts;
use crate::{app::Sockets, config::ListenConfig};

/// The ports that SDKs use.
const STANDARD: DevPorts = DevPorts { https: 443, mqtts: 8883, amqps: 5671 };
/// Ports that need no privilege.
const HIGH: DevPorts = DevPorts { https: 8443, mqtts: 18883, amqps: 15671 };

/// The number of tries to find free ports: a port that is free on one address may be in use on another.
const ATTEMPTS: usize = 50;

/// The choice of an emulator's ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortChoice {
    /// The standard ports if they are available, otherwise the high ones.
    Either,
    /// 443, 8883 and 5671, which every SDK uses.
    Standard,
    /// 8443, 18883 and 15671, which need no privilege.
    High,
    /// Any free ports, for concurrent tests and demos.
    Free,
}

/// Bound sockets and their ports.
pub(super) struct BoundPorts {
    pub(super) ports: DevPorts,
    pub(super) device: Sockets,
    pub(super) hubs: Vec<Sockets>,
}

/// Binds the same ports on the device endpoint's address and on every hub's.
pub(super) fn bind(choice: PortChoice, device: Ipv4Addr, hubs: &[Ipv4Addr]) -> anyhow::Result<BoundPorts> {
    match choice {
        PortChoice::Standard => bind_all(STANDARD, device, hubs).context(
            "cannot bind the standard ports: run as root, with CAP_NET_BIND_SERVICE, or after \
             `sysctl net.ipv4.ip_unprivileged_port_start=0`; or use --ports high",
        ),
        PortChoice::High => bind_all(HIGH, device, hubs),
        PortChoice::Either => bind_all(STANDARD, device, hubs).or_else(|reason| {
            tracing::warn!("cannot bind the standard ports ({reason:#}); using the high ports");
            bind_all(HIGH, device, hubs)
        }),
        PortChoice::Free => (0..ATTEMPTS)
            .find_map(|_| free_ports(device).and_then(|ports| bind_all(ports, device, hubs)).ok())
            .context("cannot find ports that are free on all addresses"),
    }
}

fn bind_all(ports: DevPorts, device: Ipv4Addr, hubs: &[Ipv4Addr]) -> anyhow::Result<BoundPorts> {
    let bind = |address: Ipv4Addr| {
        let on_port = |port| (address, port).into();
        let DevPorts { https, mqtts, amqps } = ports;
        Sockets::bind(&ListenConfig {
            https: on_port(https),
            mqtts: on_port(mqtts),
            amqps: on_port(amqps),
            ..ListenConfig::default()
        })
    };
    let hubs = hubs.iter().map(|address| bind(*address)).collect::<anyhow::Result<_>>()?;
    Ok(BoundPorts { ports, device: bind(device)?, hubs })
}

/// Finds ports that are currently free on an address.
fn free_ports(address: Ipv4Addr) -> anyhow::Result<DevPorts> {
    let listen = || std::net::TcpListener::bind((address, 0));
    let (https, mqtts, amqps) = (listen()?, listen()?, listen()?);
    let port = |listener: &std::net::TcpListener| listener.local_addr().map(|addr| addr.port());
    match [port(&https)?, port(&mqtts)?, port(&amqps)?] {
        ports if ports.contains(&0) => bail!("no port was given"),
        [https, mqtts, amqps] => Ok(DevPorts { https, mqtts, amqps }),
    }
}
