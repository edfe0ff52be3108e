//! Clients of WebSockets: what is a stream of bytes arrives as it is, however it is cut, and nothing makes the server
//! send what is no frame.

use net::websocket::BinaryStream;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    runtime::{Builder, Runtime},
};

use crate::packets::MAX_PACKET;

/// The first byte chooses whether the rest are frames, or bytes that are to be put into frames.
pub fn run(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            if choice & 1 == 0 {
                any_frames(rest).await;
            } else {
                binary_frames(rest, 1 + usize::from(choice >> 1)).await;
            }
        });
    });
}

/// Whatever the client sends: no more comes out than went in, and the server answers in frames.
async fn any_frames(frames: &[u8]) {
    let (mut client, mut server) = conversation(frames).await;
    client.shutdown().await.expect("a pipe");
    let mut arrived = Vec::new();
    // Errors are for the client to make: text, frames out of order, too large ones.
    let _ = server.read_to_end(&mut arrived).await;
    assert!(arrived.len() <= frames.len());
    let _ = server.write_all(b"hello").await;
    let _ = server.shutdown().await;
    unframe(&heard(client, server).await);
}

/// A client that sends `bytes` in frames of `length` bytes, some of them parts of messages, some with a ping in front.
async fn binary_frames(bytes: &[u8], length: usize) {
    let mut frames = Vec::new();
    let mut opcode = BINARY;
    for chunk in bytes.chunks(length) {
        if chunk[0] & 2 != 0 {
            frame(FIN | PING, &chunk[..chunk.len().min(125)], &mut frames);
        }
        let last = if chunk[0] & 1 != 0 { FIN } else { 0 };
        frame(last | opcode, chunk, &mut frames);
        opcode = if last == FIN { BINARY } else { CONTINUATION };
    }
    if opcode == CONTINUATION {
        frame(FIN | CONTINUATION, b"", &mut frames);
    }
    let (client, mut server) = conversation(&frames).await;
    let mut arrived = vec![0; bytes.len()];
    server.read_exact(&mut arrived).await.expect("all bytes arrive");
    assert_eq!(arrived, bytes);
    server.write_all(&arrived).await.expect("there is room");
    server.shutdown().await.expect("there is room");
    assert_eq!(unframe(&heard(client, server).await), bytes);
}

/// A client that has sent `frames`, and the server's end.
async fn conversation(frames: &[u8]) -> (DuplexStream, BinaryStream<DuplexStream>) {
    let (mut client, server) = tokio::io::duplex(4 * MAX_PACKET);
    client.write_all(frames).await.expect("there is room");
    (client, BinaryStream::new(server, MAX_PACKET).await)
}

/// What the client hears until the server is gone.
async fn heard(mut client: DuplexStream, server: BinaryStream<DuplexStream>) -> Vec<u8> {
    drop(server);
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.expect("a pipe");
    heard
}

/// Appends a frame as clients send it (RFC 6455 §5.2).
fn frame(first: u8, payload: &[u8], frames: &mut Vec<u8>) {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    match payload.len() {
        length @ ..126 => frames.extend([first, 0x80 | length as u8]),
        length => frames.extend([&[first, 0x80 | 126][..], &(length as u16).to_be_bytes()].concat()),
    }
    frames.extend(mask);
    frames.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// The content of the binary messages; everything is a frame that servers send, and a close is the last one.
fn unframe(mut heard: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    let mut closed = false;
    while let [first, second, rest @ ..] = heard {
        assert!(!closed, "something after the close");
        assert!(*second <= 126, "masked, or longer than the server's messages");
        let (length, rest) = match (second, rest) {
            (126, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            (length, rest) => (usize::from(*length), rest),
        };
        let (payload, rest) = rest.split_at(length);
        assert_eq!(first & 0xF0, FIN, "the server neither fragments nor compresses");
        match first & 0x0F {
            BINARY => content.extend_from_slice(payload),
            CLOSE => closed = true,
            PONG => assert!(length <= 125),
            other => panic!("servers do not send opcode {other}"),
        }
        heard = rest;
    }
    assert!(heard.is_empty(), "half a frame");
    content
}

const CONTINUATION: u8 = 0x0;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
/// Set in the first byte of a message's last frame.
const FIN: u8 = 0x80;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().build().expect("a runtime");
}
