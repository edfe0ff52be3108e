//! The audit trail to syslog (RFC 5424) over UDP (RFC 5426), TCP (RFC 6587, counted) or a socket of the system.

use std::{
    io::Write,
    net::{TcpStream, ToSocketAddrs, UdpSocket},
    path::PathBuf,
    process,
    str::FromStr,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use model::HostPort;
use provisioning::ports::Clock;
use serde::Deserialize;

use super::AuditOutput;
use crate::SystemClock;

/// Facility 13 (log audit), severity 5 (notice).
const PRIORITY: u8 = 13 * 8 + 5;

/// The time for a server to take a connection or a line.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// The pause after an error until syslog is asked again: lines are left out meanwhile.
const PAUSE: Duration = Duration::from_secs(5);

/// Where syslog is: `udp://HOST:514`, `tcp://HOST:601` or `unix:///dev/log`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum SyslogTarget {
    /// A datagram for each line.
    Udp(HostPort),
    /// A connection.
    Tcp(HostPort),
    /// A datagram socket of this machine.
    Unix(PathBuf),
}

impl TryFrom<String> for SyslogTarget {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for SyslogTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is not udp://HOST:PORT, tcp://HOST:PORT or unix:///PATH");
        let server = |text: &str| text.parse::<HostPort>().map_err(|_| refused());
        match text.split_once("://") {
            Some(("udp", host)) => Ok(SyslogTarget::Udp(server(host)?)),
            Some(("tcp", host)) => Ok(SyslogTarget::Tcp(server(host)?)),
            Some(("unix", path)) if path.starts_with('/') => Ok(SyslogTarget::Unix(path.into())),
            _ => Err(refused()),
        }
    }
}

/// Sends lines to syslog. Lines are left out while it cannot be reached.
pub struct Syslog {
    target: SyslogTarget,
    socket: Option<Socket>,
    /// When an attempt to connect or to send ended with an error.
    failed: Option<Instant>,
}

enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixDatagram),
}

impl Syslog {
    /// Creates the output, which connects with its first line.
    pub fn new(target: SyslogTarget) -> Syslog {
        Syslog { target, socket: None, failed: None }
    }

    fn send(&mut self, line: &str) -> anyhow::Result<()> {
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.connect()?,
        };
        let message = message(&SystemClock.now().to_string(), line);
        match &mut socket {
            Socket::Udp(socket) => socket.send(message.as_bytes()).map(drop),
            Socket::Tcp(stream) => stream.write_all(format!("{} {message}", message.len()).as_bytes()),
            #[cfg(unix)]
            Socket::Unix(socket) => socket.send(message.as_bytes()).map(drop),
        }
        .context("syslog did not take a line")?;
        self.socket = Some(socket);
        Ok(())
    }

    fn connect(&self) -> anyhow::Result<Socket> {
        match &self.target {
            SyslogTarget::Udp(server) => {
                let to = address(server, 514)?;
                let from = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(from).context("no UDP socket")?;
                socket.connect(to).context("syslog cannot be reached")?;
                socket.set_write_timeout(Some(DEADLINE)).context("no deadline")?;
                Ok(Socket::Udp(socket))
            }
            SyslogTarget::Tcp(server) => {
                let stream = TcpStream::connect_timeout(&address(server, 601)?, DEADLINE);
                let stream = stream.context("syslog cannot be reached")?;
                stream.set_write_timeout(Some(DEADLINE)).context("no deadline")?;
                Ok(Socket::Tcp(stream))
            }
            #[cfg(unix)]
            SyslogTarget::Unix(path) => {
                let socket = std::os::unix::net::UnixDatagram::unbound().context("no socket")?;
                socket.connect(path).with_context(|| format!("cannot reach {}", path.display()))?;
                socket.set_write_timeout(Some(DEADLINE)).context("no deadline")?;
                Ok(Socket::Unix(socket))
            }
            #[cfg(not(unix))]
            SyslogTarget::Unix(_) => bail!("this system has no such sockets"),
        }
    }
}

fn address(server: &HostPort, port: u16) -> anyhow::Result<std::net::SocketAddr> {
    let resolved = (server.host.as_str(), server.port.unwrap_or(port)).to_socket_addrs();
    let found = resolved.with_context(|| format!("cannot resolve {}", server.host))?.next();
    found.with_context(|| format!("{} has no address", server.host))
}

impl AuditOutput for Syslog {
    fn write(&mut self, line: &str) -> anyhow::Result<()> {
        if self.failed.is_some_and(|failed| failed.elapsed() < PAUSE) {
            bail!("syslog was not reached a moment ago");
        }
        let sent = self.send(line);
        self.failed = sent.is_err().then(Instant::now);
        sent
    }
}

/// Formats a message. Times have at most six digits of fractions (RFC 5424 §6.2.3.1).
fn message(time: &str, line: &str) -> String {
    let time = time.get(..26).map_or(time.to_owned(), |time| format!("{time}Z"));
    format!("<{PRIORITY}>1 {time} - muster {} audit - {line}", process::id())
}

#[cfg(test)]
mod tests {
    use std::{io::Read, net::TcpListener};

    use super::*;

    #[test]
    fn lines_arrive_over_udp_tcp_and_a_socket_of_the_system() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = format!("udp://{}", udp.local_addr().unwrap()).parse().unwrap();
        Syslog::new(target).write("{}").unwrap();
        let mut buffer = [0; 200];
        let length = udp.recv(&mut buffer).unwrap();
        check(std::str::from_utf8(&buffer[..length]).unwrap());

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let unix = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        Syslog::new(format!("unix://{}", path.display()).parse().unwrap()).write("{}").unwrap();
        let length = unix.recv(&mut buffer).unwrap();
        check(std::str::from_utf8(&buffer[..length]).unwrap());

        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut syslog = Syslog::new(format!("tcp://{}", tcp.local_addr().unwrap()).parse().unwrap());
        syslog.write("{}").unwrap();
        syslog.write("{}").unwrap();
        drop(syslog);
        let mut text = String::new();
        tcp.accept().unwrap().0.read_to_string(&mut text).unwrap();
        let (length, rest) = text.split_once(' ').unwrap();
        let (first, second) = rest.split_at(length.parse().unwrap());
        check(first);
        check(second.split_once(' ').unwrap().1);
    }

    fn check(message: &str) {
        let (head, body) = message.split_at(message.find(" - muster ").unwrap());
        assert!(head.starts_with("<109>1 20") && head.ends_with('Z') && head.len() == 34, "{message}");
        assert!(body.ends_with(" audit - {}"), "{message}");
    }

    #[test]
    fn targets_are_parsed() {
        for wrong in ["", "udp", "http://a", "unix://log", "udp://:514", "tcp://a:b"] {
            assert!(wrong.parse::<SyslogTarget>().is_err(), "{wrong}");
        }
        assert_eq!("unix:///dev/log".parse(), Ok(SyslogTarget::Unix("/dev/log".into())));
    }

    #[test]
    fn a_server_that_is_away_is_not_asked_with_every_line() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut syslog = Syslog::new(format!("tcp://127.0.0.1:{port}").parse().unwrap());
        assert!(format!("{:#}", syslog.write("{}").unwrap_err()).contains("cannot be reached"));
        assert!(format!("{:#}", syslog.write("{}").unwrap_err()).contains("a moment ago"));
    }

    /// A server that takes nothing costs its deadline once, and a pause follows.
    #[test]
    fn a_full_socket_of_the_system_does_not_hang() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let _unread = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::new(format!("unix://{}", path.display()).parse().unwrap());
        let begin = Instant::now();
        let failed = (0..10_000).find_map(|_| syslog.write(&"x".repeat(1000)).err()).unwrap();
        assert!(format!("{failed:#}").contains("did not take a line"), "{failed:#}");
        assert!(begin.elapsed() < 2 * DEADLINE);
        assert!(syslog.write("{}").unwrap_err().to_string().contains("a moment ago"));
    }
}
