//! The request for a WebSocket, and its answer.

use axum::{body::Body, response::Response};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version,
    header::{CONTENT_TYPE, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE},
};
use tokio_tungstenite::tungstenite::{
    Error, error::ProtocolError, handshake::server::create_response_with_body,
};

/// Returns whether a request is one for a WebSocket. Other requests with an `Upgrade` header are answered as if they had none
/// (RFC 9110 §7.8).
pub(crate) fn is_upgrade_request<B>(request: &Request<B>) -> bool {
    request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && listed(request.headers(), &UPGRADE).any(|protocol| protocol.eq_ignore_ascii_case("websocket"))
}

/// Returns the answer that switches to the first subprotocol of the client that is `served`, and its index in there. Extensions
/// that the client offers (permessage-deflate) are declined by not naming them.
pub(crate) fn accept<B: hyper::body::Body>(
    request: &Request<B>,
    served: &[&str],
) -> Result<(usize, Response), Refusal> {
    let (index, name) = negotiate_subprotocol(request.headers(), served)?;
    if !request.body().is_end_stream() {
        return Err(Refusal::Body);
    }
    let mut response = create_response_with_body(request, Body::empty)?;
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name);
    Ok((index, response))
}

/// Why a WebSocket is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("a WebSocket handshake has no body")]
    Body,
    #[error(transparent)]
    Handshake(#[from] Error),
    #[error("a WebSocket here speaks {0}: Sec-WebSocket-Protocol must offer it")]
    Subprotocol(String),
}

impl Refusal {
    /// Returns the answer to the client.
    pub(crate) fn response(&self) -> Response {
        let mut response = Response::new(Body::from(format!("{self}\n")));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if let Refusal::Handshake(Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader)) = self {
            *response.status_mut() = StatusCode::UPGRADE_REQUIRED; // RFC 6455 §4.2.2
            response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }
}

/// Returns the subprotocol in the client's own spelling: the C SDK writes `MQTT`, the others `mqtt`.
fn negotiate_subprotocol(headers: &HeaderMap, served: &[&str]) -> Result<(usize, HeaderValue), Refusal> {
    let known = |offered: &str| {
        let index = served.iter().position(|name| name.eq_ignore_ascii_case(offered))?;
        Some((index, HeaderValue::from_str(offered).ok()?))
    };
    let found = listed(headers, &SEC_WEBSOCKET_PROTOCOL).find_map(known);
    found.ok_or_else(|| Refusal::Subprotocol(served.join(" or ")))
}

/// Returns the elements of a header that is a list, over all its lines.
fn listed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a handshake as SDKs send it, but for `replaced`; a header replaced with "" is left out.
    fn request(replaced: &[(&'static str, &str)]) -> Request<Body> {
        let usual = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), // RFC 6455 §1.3
            ("sec-websocket-protocol", "mqtt"),
        ];
        let mut request = Request::builder().uri("/$iothub/websocket").body(Body::empty()).unwrap();
        for (name, value) in usual.iter().chain(replaced) {
            request.headers_mut().remove(*name);
            if !value.is_empty() {
                request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
            }
        }
        request
    }

    const BOTH: [&str; 2] = ["mqtt", "AMQPWSB10"];

    #[test]
    fn the_spelling_of_the_client_is_repeated() {
        let check = |offered: &str, served: &[&str], taken: &str| {
            let (index, answer) = accept(&request(&[("sec-websocket-protocol", offered)]), served).unwrap();
            assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
            assert_eq!(answer.headers()["sec-websocket-protocol"], taken, "{offered}");
            assert_eq!(answer.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
            assert!(served[index].eq_ignore_ascii_case(taken), "{offered}");
        };
        check("mqtt", &BOTH, "mqtt");
        check("MQTT", &BOTH, "MQTT");
        check("AMQPWSB10", &BOTH, "AMQPWSB10");
        check("mqttv3.1, AMQPWSB10,  Mqtt ", &BOTH, "AMQPWSB10");
        check("mqttv3.1, AMQPWSB10,  Mqtt ", &["mqtt"], "Mqtt");
    }

    #[test]
    fn extensions_are_declined() {
        let offer = ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits");
        let (_, answer) = accept(&request(&[offer]), &BOTH).unwrap();
        assert!(!answer.headers().contains_key("sec-websocket-extensions"));
    }

    #[test]
    fn invalid_handshakes_are_refused_with_the_reason() {
        let check = |replaced: (&'static str, &str), status: u16, reason: &str| {
            let refusal = accept(&request(&[replaced]), &["mqtt"]).unwrap_err();
            let answer = refusal.response();
            assert_eq!(answer.status(), status, "{replaced:?}");
            assert!(refusal.to_string().contains(reason), "{replaced:?}: {refusal}");
            assert_eq!(answer.headers().contains_key("sec-websocket-version"), status == 426, "{replaced:?}");
        };
        check(("sec-websocket-protocol", ""), 400, "speaks mqtt: Sec-WebSocket-Protocol must offer it");
        check(
            ("sec-websocket-protocol", "mqttv3.1"),
            400,
            "speaks mqtt: Sec-WebSocket-Protocol must offer it",
        );
        check(("sec-websocket-protocol", "AMQPWSB10"), 400, "speaks mqtt: ");
        check(("sec-websocket-version", "8"), 426, "Sec-WebSocket-Version");
        check(("sec-websocket-version", ""), 426, "Sec-WebSocket-Version");
        check(("sec-websocket-key", "c2hvcnQ="), 400, "Sec-WebSocket-Key");
        check(("sec-websocket-key", ""), 400, "Sec-WebSocket-Key");
        check(("connection", "keep-alive"), 400, "Connection");
        let with_body = request(&[]).map(|_| Body::from("x"));
        assert!(matches!(accept(&with_body, &BOTH), Err(Refusal::Body)));
    }

    #[test]
    fn other_requests_are_not_for_websockets() {
        let check = |expected: bool, request: Request<Body>| {
            assert_eq!(is_upgrade_request(&request), expected, "{request:?}")
        };
        check(true, request(&[]));
        check(true, request(&[("upgrade", "h2c, WebSocket")]));
        check(false, request(&[("upgrade", "")]));
        check(false, request(&[("upgrade", "h2c")]));
        let mut post = request(&[]);
        *post.method_mut() = Method::POST;
        check(false, post);
        let mut old = request(&[]);
        *old.version_mut() = Version::HTTP_10;
        check(false, old);
    }
}
