//! Who may call which route, decided before any handler runs.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{Method, Uri, header::AUTHORIZATION};
use percent_encoding::percent_decode_str;

use crate::{access::Denied, config::Right, hub::Hub};

use super::answer::Refusal;

/// Lets a request through if its token allows one of the rights that the route asks for.
pub async fn admit(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    match check(&hub, &request) {
        Ok(()) => next.run(request).await,
        Err(denied) => {
            tracing::debug!(%denied, method = %request.method(), path = request.uri().path(), "refused");
            Refusal::unauthorized(&hub).into_response()
        }
    }
}

fn check(hub: &Hub, request: &Request) -> Result<(), Denied> {
    let token = request.headers().get(AUTHORIZATION).ok_or(Denied::NoCredentials)?;
    let token = token.to_str().map_err(|_| Denied::NoCredentials)?;
    let path = percent_decode_str(request.uri().path()).decode_utf8_lossy();
    let now = hub.now();
    let mut verdict = Err(Denied::Right);
    for right in sufficient(request.method(), request.uri()) {
        verdict = hub.core.doors.admit_caller(token, *right, &path, now);
        if verdict != Err(Denied::Right) {
            break;
        }
    }
    verdict
}

/// The rights of which one is enough. Routes that do not exist ask for any: whoever may not come in
/// does not learn which routes there are.
fn sufficient(method: &Method, uri: &Uri) -> &'static [Right] {
    use Right::{RegistryRead, RegistryWrite, ServiceConnect};
    let mut segments = uri.path().split('/').skip(1);
    match (segments.next(), segments.next(), segments.next()) {
        (Some("devices"), Some("query"), None) if *method == Method::POST => &[ServiceConnect, RegistryRead],
        (Some("devices"), Some(_), Some("commands")) => &[ServiceConnect],
        (Some("devices"), _, _) if *method == Method::GET => &[RegistryRead],
        (Some("devices"), _, _) => &[RegistryWrite],
        (Some("messages" | "twins"), _, _) => &[ServiceConnect],
        _ => &[RegistryRead, ServiceConnect],
    }
}
