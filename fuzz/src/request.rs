//! HTTP requests as readable text: a line `METHOD target`, header lines, an empty line, the body.

use axum::body::Body;
use http::{HeaderName, HeaderValue, Method, Request, Uri};

/// The request that `input` spells; `None` for what an HTTP server refuses before anyone sees it.
pub fn parse(input: &[u8]) -> Option<Request<Body>> {
    let end = input.windows(2).position(|two| two == b"\n\n");
    let (head, body) = end.map_or((input, &[][..]), |end| (&input[..end], &input[end + 2..]));
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = lines.next()?;
    let space = first.iter().position(|byte| *byte == b' ')?;
    let mut request = Request::new(Body::from(body.to_vec()));
    *request.method_mut() = Method::from_bytes(&first[..space]).ok()?;
    *request.uri_mut() = Uri::try_from(&first[space + 1..]).ok()?;
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        request.headers_mut().append(name, value);
    }
    Some(request)
}

/// Adds a header unless the request has it.
pub fn add(request: &mut Request<Body>, name: &'static str, value: impl AsRef<str>) {
    if let (false, Ok(value)) = (request.headers().contains_key(name), HeaderValue::from_str(value.as_ref()))
    {
        request.headers_mut().insert(name, value);
    }
}
