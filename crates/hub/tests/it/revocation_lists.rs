//! The client of servers that publish revocation lists.

use hub::RevocationListClient;
use model::{HttpUrl, Timestamp};
use provisioning::ports::RevocationListSource;
use testkit::{ca::Authority, crl::Revocations};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Returns the result of a fetch from a server that replies this.
async fn fetch(status: &str, body: &[u8]) -> Result<certpath::Crl, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/root.crl", listener.local_addr().unwrap());
    let head = format!(
        "HTTP/1.1 {status}\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let reply = [head.as_bytes(), body].concat();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let read = stream.read(&mut request).await.unwrap();
        assert!(request[..read].starts_with(b"GET /root.crl HTTP/1.1\r\n"));
        stream.write_all(&reply).await.unwrap();
    };
    let (client, address) = (RevocationListClient::default(), HttpUrl::parse(&address).unwrap());
    tokio::join!(client.fetch(&address), server).0
}

#[tokio::test]
async fn a_list_is_fetched_and_everything_else_is_a_problem() {
    let made = Revocations::made_at(5, Timestamp::from_unix_seconds(1_795_392_000));
    let list = made.signed_by(&Authority::root("Root"));
    assert_eq!(fetch("200 OK", list.der()).await.unwrap().number().as_deref(), Some("05"));
    for (status, body, expected) in [
        ("404 Not Found", &b""[..], "the server answered 404"),
        ("302 Found", b"", "the server answered 302"),
        ("200 OK", b"<html>", "cannot be read"),
    ] {
        let problem = fetch(status, body).await.unwrap_err();
        assert!(problem.contains(expected), "{problem}");
    }
}
