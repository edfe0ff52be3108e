//! HAProxy in front of the nodes: TCP, nothing sticky, and a node that is not ready gets no connections.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
};

use testkit::node::Ports;

/// Where Debian installs it, which is not in the path of every user.
const DEBIAN: &str = "/usr/sbin/haproxy";

/// A running HAProxy, which ends on drop.
pub struct HaProxy {
    pub ports: Ports,
    process: Child,
}

impl HaProxy {
    /// Starts it on these ports, before these nodes.
    pub fn on(ports: Ports, folder: &Path, nodes: &[Ports]) -> HaProxy {
        let config = folder.join("haproxy.cfg");
        std::fs::write(&config, configuration(ports, nodes)).unwrap();
        let program = if Path::new(DEBIAN).exists() { DEBIAN } else { "haproxy" };
        let log = File::create(folder.join("haproxy.log")).unwrap();
        // In the foreground, so that it is this process that is killed.
        let mut command = Command::new(program);
        command.arg("-db").arg("-f").arg(config).stdin(Stdio::null());
        let process = command.stdout(log.try_clone().unwrap()).stderr(log).spawn();
        HaProxy { ports, process: process.expect("HAProxy is not installed: run tests/install") }
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(ports: Ports, nodes: &[Ports]) -> String {
    let servers = |port: fn(&Ports) -> u16, check: &dyn Fn(usize) -> String| -> String {
        let server = |(number, ports): (usize, &Ports)| {
            format!("  server node{number} 127.0.0.1:{} {}\n", port(ports), check(number))
        };
        nodes.iter().enumerate().map(server).collect()
    };
    let track = |number: usize| format!("track https/node{number}");
    let checked = servers(|ports| ports.https, &|_| "check check-ssl verify none".to_owned());
    let (mqtts, amqps) = (servers(|ports| ports.mqtts, &track), servers(|ports| ports.amqps, &track));
    format!(
        "global\n  maxconn 1000\ndefaults\n  mode tcp\n  balance roundrobin\n  timeout connect 1s\n  timeout client 60s\n  \
         timeout server 60s\n  timeout check 2s\n  option redispatch\n  retries 3\n  \
         default-server inter 300ms fall 2 rise 1 on-marked-down shutdown-sessions\n\
         listen https\n  bind 127.0.0.1:{}\n  option httpchk GET /readyz\n{checked}\
         listen mqtts\n  bind 127.0.0.1:{}\n{mqtts}listen amqps\n  bind 127.0.0.1:{}\n{amqps}",
        ports.https, ports.mqtts, ports.amqps
    )
}
