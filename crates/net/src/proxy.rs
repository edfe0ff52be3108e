//! The PROXY protocol, versions 1 and 2: how a load balancer reports the client whose connection it forwards.
//!
//! The header comes before everything else, TLS included, in one segment or several. What follows it belongs to the
//! client, so only the header is taken from the socket.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpStream,
};

/// Why bytes are not a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProxyError {
    /// The first bytes are those of another protocol.
    #[error("no PROXY header")]
    Missing,
    /// Version 1: the line breaks the rules, or is longer than 107 bytes.
    #[error("a malformed PROXY line")]
    Line,
    /// Version 2: another version, command or family, addresses that are cut off, or more than 2 KiB.
    #[error("a malformed binary PROXY header")]
    Binary,
}

/// The result of parsing the bytes so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// More bytes are needed.
    Incomplete,
    /// The header takes this many bytes. Without a source, the proxy connects for itself, for example to check health.
    Header { len: usize, source: Option<SocketAddr> },
}

/// Parses the header at the start of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    if starts_like(bytes, SIGNATURE) {
        if bytes.len() < FIXED_BYTES { Ok(Parsed::Incomplete) } else { parse_binary(bytes) }
    } else if starts_like(bytes, LINE_START) {
        parse_line(bytes)
    } else {
        Err(ProxyError::Missing)
    }
}

/// Returns whether `bytes` and `start` are equal up to the length of the shorter one.
fn starts_like(bytes: &[u8], start: &[u8]) -> bool {
    let common = bytes.len().min(start.len());
    bytes[..common] == start[..common]
}

/// Parses a header of version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n`.
fn parse_line(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    let within = &bytes[..bytes.len().min(MAX_LINE_BYTES)];
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < MAX_LINE_BYTES { Ok(Parsed::Incomplete) } else { Err(ProxyError::Line) };
    };
    let line = within[..end].strip_suffix(b"\r").ok_or(ProxyError::Line)?;
    let line = str::from_utf8(line).map_err(|_| ProxyError::Line)?;
    let fields: Vec<&str> = line.split(' ').collect();
    let source = match fields[..] {
        [_, "UNKNOWN", ..] => None,
        [_, "TCP4", from, to, from_port, to_port] => {
            Some(source::<Ipv4Addr>([from, to], [from_port, to_port])?)
        }
        [_, "TCP6", from, to, from_port, to_port] => {
            Some(source::<Ipv6Addr>([from, to], [from_port, to_port])?)
        }
        _ => return Err(ProxyError::Line),
    };
    Ok(Parsed::Header { len: end + 1, source })
}

fn source<A: std::str::FromStr + Into<IpAddr>>(
    [from, to]: [&str; 2],
    ports: [&str; 2],
) -> Result<SocketAddr, ProxyError> {
    let address = |text: &str| text.parse::<A>().map_err(|_| ProxyError::Line);
    let [from_port, _] = ports.map(|text| text.parse::<u16>().ok());
    address(to)?;
    ports[1].parse::<u16>().map_err(|_| ProxyError::Line)?;
    Ok(SocketAddr::new(address(from)?.into(), from_port.ok_or(ProxyError::Line)?))
}

/// Parses a header of version 2: signature, version and command, family, length; then addresses, ports and extensions.
fn parse_binary(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    let (version_and_command, family) = (bytes[SIGNATURE.len()], bytes[SIGNATURE.len() + 1]);
    let length = usize::from(u16::from_be_bytes([bytes[FIXED_BYTES - 2], bytes[FIXED_BYTES - 1]]));
    let len = FIXED_BYTES + length;
    if !matches!(version_and_command, LOCAL | PROXY) || len > MAX_BINARY_BYTES {
        return Err(ProxyError::Binary);
    }
    let Some(body) = bytes.get(FIXED_BYTES..len) else { return Ok(Parsed::Incomplete) };
    let source = match (version_and_command, family) {
        (LOCAL, _) => None,
        (_, UNSPECIFIED) => None,
        (_, TCP_OVER_IPV4) => Some(addresses::<4, 12>(body)?),
        (_, TCP_OVER_IPV6) => Some(addresses::<16, 36>(body)?),
        _ => return Err(ProxyError::Binary),
    };
    Ok(Parsed::Header { len, source })
}

/// Parses source and destination address of `A` bytes each, then their ports: `ALL` bytes.
fn addresses<const A: usize, const ALL: usize>(body: &[u8]) -> Result<SocketAddr, ProxyError>
where
    IpAddr: From<[u8; A]>,
{
    let all = body.first_chunk::<ALL>().ok_or(ProxyError::Binary)?;
    let source = all.first_chunk::<A>().ok_or(ProxyError::Binary)?;
    let port = u16::from_be_bytes([all[2 * A], all[2 * A + 1]]);
    Ok(SocketAddr::new(IpAddr::from(*source), port))
}

/// A stream whose bytes can be peeked at.
pub(crate) trait Peek: AsyncRead + Unpin {
    /// Waits for bytes and copies some without taking them; returns 0 at the end of the stream.
    fn peek(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;
}

impl Peek for TcpStream {
    async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        TcpStream::peek(self, buffer).await
    }
}

/// Takes the header from a stream, and nothing that follows it.
pub(crate) async fn take_header<S: Peek>(stream: &mut S) -> io::Result<Option<SocketAddr>> {
    let mut header = Vec::new();
    loop {
        let mut peeked = [0; PEEK_BYTES];
        let count = stream.peek(&mut peeked).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let before = header.len();
        header.extend_from_slice(&peeked[..count]);
        let parsed = parse(&header).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let taken = match parsed {
            Parsed::Incomplete => count,
            Parsed::Header { len, .. } => len - before,
        };
        stream.read_exact(&mut peeked[..taken]).await?;
        if let Parsed::Header { source, .. } = parsed {
            return Ok(source);
        }
    }
}

const LINE_START: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, length.
const FIXED_BYTES: usize = 16;

/// Version 2 and its commands.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The longest line that the specification allows, with its CRLF.
const MAX_LINE_BYTES: usize = 107;

/// More than any proxy sends: extensions carry host names and unique IDs.
const MAX_BINARY_BYTES: usize = 2048;

/// Bytes of one peek.
const PEEK_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use proptest::prelude::*;
    use tokio::io::ReadBuf;

    use super::*;

    /// Bytes that arrive in segments.
    struct Segments(VecDeque<Vec<u8>>);

    impl Segments {
        fn new(bytes: &[u8], cuts: &[usize]) -> Segments {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            cuts.dedup();
            Segments(cuts.windows(2).map(|ends| bytes[ends[0]..ends[1]].to_vec()).collect())
        }

        fn rest(&self) -> Vec<u8> {
            self.0.iter().flatten().copied().collect()
        }
    }

    impl AsyncRead for Segments {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if let Some(first) = self.0.front_mut() {
                let count = first.len().min(buffer.remaining());
                buffer.put_slice(&first[..count]);
                first.drain(..count);
                if first.is_empty() {
                    self.0.pop_front();
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    impl Peek for Segments {
        async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(first) = self.0.front() else { return Ok(0) };
            let count = first.len().min(buffer.len());
            buffer[..count].copy_from_slice(&first[..count]);
            Ok(count)
        }
    }

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, body].concat()
    }

    /// Generates a header and the source that it names.
    fn header() -> impl Strategy<Value = (Vec<u8>, Option<SocketAddr>)> {
        let v4 = (any::<[u8; 4]>(), any::<u16>());
        let v6 = (any::<[u8; 16]>(), any::<u16>());
        let extensions = prop::collection::vec(any::<u8>(), 0..300);
        prop_oneof![
            v4.prop_map(|(from, port)| {
                let source = SocketAddr::new(from.into(), port);
                (format!("PROXY TCP4 {} 192.0.2.1 {port} 443\r\n", source.ip()).into_bytes(), Some(source))
            }),
            v6.prop_map(|(from, port)| {
                let source = SocketAddr::new(from.into(), port);
                (format!("PROXY TCP6 {} 2001:db8::1 {port} 443\r\n", source.ip()).into_bytes(), Some(source))
            }),
            Just((b"PROXY UNKNOWN\r\n".to_vec(), None)),
            (v4, extensions.clone()).prop_map(|((from, port), more)| {
                let body = [&from[..], &[192, 0, 2, 1], &port.to_be_bytes(), &[1, 187], &more].concat();
                (binary(PROXY, TCP_OVER_IPV4, &body), Some(SocketAddr::new(from.into(), port)))
            }),
            (v6, extensions.clone()).prop_map(|((from, port), more)| {
                let body = [&from[..], &[0; 16], &port.to_be_bytes(), &[1, 187], &more].concat();
                (binary(PROXY, TCP_OVER_IPV6, &body), Some(SocketAddr::new(from.into(), port)))
            }),
            extensions.prop_map(|more| (binary(LOCAL, UNSPECIFIED, &more), None)),
        ]
    }

    proptest! {
        /// A header may be split over segments in any way, and the bytes after it are not taken.
        #[test]
        fn a_header_is_taken_from_any_segments(
            (bytes, expected) in header(),
            follows in prop::collection::vec(any::<u8>(), 0..400),
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            let mut stream = Segments::new(&[&bytes[..], &follows].concat(), &cuts);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let source = runtime.block_on(take_header(&mut stream)).unwrap();
            prop_assert_eq!(source, expected);
            prop_assert_eq!(stream.rest(), follows);
        }

        /// Each proper prefix is incomplete, and arbitrary bytes do not panic.
        #[test]
        fn an_incomplete_header_waits_for_more((bytes, source) in header(), other in prop::collection::vec(any::<u8>(), 0..200)) {
            for len in 1..bytes.len() {
                prop_assert_eq!(parse(&bytes[..len]), Ok(Parsed::Incomplete));
            }
            prop_assert_eq!(parse(&bytes), Ok(Parsed::Header { len: bytes.len(), source }));
            let _ = parse(&other);
            let _ = parse(&[SIGNATURE, &other].concat());
            let _ = parse(&[LINE_START, &other].concat());
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        let long_line = [&b"PROXY UNKNOWN "[..], &[b'x'; 100]].concat();
        let too_long = binary(PROXY, TCP_OVER_IPV4, &[0; MAX_BINARY_BYTES]);
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], ProxyError::Missing),
            (b"\x16\x03\x01", ProxyError::Missing), // a ClientHello
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", ProxyError::Line),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", ProxyError::Line),
            (b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", ProxyError::Line),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", ProxyError::Line),
            (b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", ProxyError::Line),
            (&long_line, ProxyError::Line),
            (&too_long, ProxyError::Binary),
            (&binary(0x31, TCP_OVER_IPV4, &[0; 12]), ProxyError::Binary),
            (&binary(PROXY, 0x12, &[0; 12]), ProxyError::Binary), // UDP
            (&binary(PROXY, TCP_OVER_IPV6, &[0; 12]), ProxyError::Binary),
        ] {
            assert_eq!(parse(bytes), Err(expected), "{bytes:?}");
        }
    }
}
