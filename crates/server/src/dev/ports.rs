//! Which ports an emulator takes, and taking them.

use std::net::Ipv4Addr;

use anyhow::{Context, bail};

use super::info::DevPorts;
use crate::{app::Sockets, config::ListenConfig};

/// Which ports an emulator takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortChoice {
    /// The standard ones if they may be bound and are free, otherwise the high ones.
    Either,
    /// 443, 8883 and 5671, which every SDK dials.
    Standard,
    /// 8443, 18883 and 15671, for which no privilege is needed.
    High,
    /// Any that are free: for tests and demonstrations that must not collide.
    Free,
}

/// The ports that SDKs dial.
const STANDARD: DevPorts = DevPorts { https: 443, mqtts: 8883, amqps: 5671 };
/// Ports that need no privilege.
const HIGH: DevPorts = DevPorts { https: 8443, mqtts: 18883, amqps: 15671 };

/// How often free ports are looked for: one that is free on one address may be taken on another.
const ATTEMPTS: usize = 50;

/// Bound sockets and the ports they have.
pub(super) struct Taken {
    pub(super) ports: DevPorts,
    pub(super) device: Sockets,
    pub(super) hubs: Vec<Sockets>,
}

/// Binds the same ports on the device endpoint's address and on every hub's.
pub(super) fn take(choice: PortChoice, device: Ipv4Addr, hubs: &[Ipv4Addr]) -> anyhow::Result<Taken> {
    match choice {
        PortChoice::Standard => bind_all(STANDARD, device, hubs).context(
            "the standard ports cannot be taken: they need root, CAP_NET_BIND_SERVICE, or \
             `sysctl net.ipv4.ip_unprivileged_port_start=0`; or use --ports high",
        ),
        PortChoice::High => bind_all(HIGH, device, hubs),
        PortChoice::Either => bind_all(STANDARD, device, hubs).or_else(|reason| {
            tracing::warn!("the standard ports cannot be taken ({reason:#}), so the high ones are");
            bind_all(HIGH, device, hubs)
        }),
        PortChoice::Free => (0..ATTEMPTS)
            .find_map(|_| free_ports(device).and_then(|ports| bind_all(ports, device, hubs)).ok())
            .context("no ports are free on all addresses"),
    }
}

fn bind_all(ports: DevPorts, device: Ipv4Addr, hubs: &[Ipv4Addr]) -> anyhow::Result<Taken> {
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
    Ok(Taken { ports, device: bind(device)?, hubs })
}

/// Ports that are free on one address at this moment.
fn free_ports(address: Ipv4Addr) -> anyhow::Result<DevPorts> {
    let listen = || std::net::TcpListener::bind((address, 0));
    let (https, mqtts, amqps) = (listen()?, listen()?, listen()?);
    let port = |listener: &std::net::TcpListener| listener.local_addr().map(|addr| addr.port());
    match [port(&https)?, port(&mqtts)?, port(&amqps)?] {
        ports if ports.contains(&0) => bail!("no port was given"),
        [https, mqtts, amqps] => Ok(DevPorts { https, mqtts, amqps }),
    }
}
