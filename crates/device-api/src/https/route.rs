//! Parses method and path into a call.

use http::Method;
use model::{IdScope, OperationId, RegistrationId};
use percent_encoding::percent_decode_str;

use crate::error::CallError;

/// One call to one registration.
#[derive(Debug, PartialEq)]
pub(super) struct Route {
    pub(super) scope: IdScope,
    pub(super) registration_id: RegistrationId,
    pub(super) verb: Verb,
}

/// The call.
#[derive(Debug, PartialEq)]
pub(super) enum Verb {
    Register,
    Poll(OperationId),
    LookUp,
}

impl Route {
    /// Parses a path; literals match in any case, and one trailing slash is ignored.
    pub(super) fn parse(method: &Method, path: &str) -> Result<Self, CallError> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut parts = path.split('/');
        let (Some(scope), Some(literal), Some(id)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(CallError::NoRoute);
        };
        let rest: Vec<&str> = parts.collect();
        if !literal.eq_ignore_ascii_case("registrations") || rest.len() > 2 {
            return Err(CallError::NoRoute);
        }
        let verb = verb(method, &rest)?;
        Ok(Route { scope: id_scope(scope)?, registration_id: registration_id(id)?, verb })
    }
}

fn verb(method: &Method, rest: &[&str]) -> Result<Verb, CallError> {
    let is = |text: &str, literal: &str| text.eq_ignore_ascii_case(literal);
    match (rest, method) {
        ([], &Method::POST) => Ok(Verb::LookUp),
        ([last], &Method::PUT) if is(last, "register") => Ok(Verb::Register),
        ([first, id], &Method::GET) if is(first, "operations") => Ok(Verb::Poll(operation_id(id)?)),
        ([], _) => Err(CallError::Method("POST")),
        ([last], _) if is(last, "register") => Err(CallError::Method("PUT")),
        ([first, _], _) if is(first, "operations") => Err(CallError::Method("GET")),
        _ => Err(CallError::NoRoute),
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Parses an ID scope. A malformed one fails like one that no instance has.
fn id_scope(text: &str) -> Result<IdScope, CallError> {
    IdScope::parse(decoded(text)).map_err(|_| CallError::UnknownScope(text.chars().take(64).collect()))
}

fn registration_id(text: &str) -> Result<RegistrationId, CallError> {
    RegistrationId::parse(decoded(text)).map_err(|error| CallError::BadId(error.to_string()))
}

/// Parses an operation ID. A malformed one fails like one that was never issued.
fn operation_id(text: &str) -> Result<OperationId, CallError> {
    let unknown = provisioning::Error::NotFound(provisioning::RecordKind::Operation);
    OperationId::parse(decoded(text)).map_err(|_| CallError::Refused(unknown))
}

/// Returns the value of `api-version` in a query; empty if it is absent.
pub(super) fn api_version_text(query: &str) -> String {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let found = pairs.find(|(key, _)| key.eq_ignore_ascii_case("api-version"));
    found.map(|(_, value)| decoded(value)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(method: Method, path: &str) -> String {
        match Route::parse(&method, path) {
            Ok(route) => format!("{} {} {:?}", route.scope, route.registration_id, route.verb),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn routes() {
        let no_route = "there is nothing at this path";
        let (put, post) =
            ("the method is not allowed here; PUT is", "the method is not allowed here; POST is");
        let cases = [
            (Method::PUT, "/0ne1/registrations/r-1/register", "0ne1 r-1 Register"),
            (Method::PUT, "/0ne1/Registrations/Reg%3aA_b.1/Register/", "0ne1 Reg:A_b.1 Register"),
            (Method::GET, "/0ne1/registrations/r-1/operations/5.ab.c-d", "0ne1 r-1 Poll(\"5.ab.c-d\")"),
            (Method::POST, "/0ne1/registrations/r-1", "0ne1 r-1 LookUp"),
            (Method::GET, "/0ne1/registrations/r-1", post),
            (Method::GET, "/0ne1/registrations/r-1/register", put),
            (
                Method::PUT,
                "/0ne1/registrations/r-1/operations/5.a.b",
                "the method is not allowed here; GET is",
            ),
            (Method::GET, "/0ne1/registrations/r-1/operations", no_route),
            (Method::GET, "/0ne1/registrations/r-1/operations/%20", "operation not found"),
            (Method::PUT, "/0ne1/registrations/r-1/other", no_route),
            (Method::PUT, "/0ne1/registrations/r-1/register/more/still", no_route),
            (Method::PUT, "/0ne1/registrations", no_route),
            (Method::GET, "/", no_route),
            (
                Method::PUT,
                "/sc%20ope/registrations/r-1/register",
                "there is no instance with ID scope sc%20ope",
            ),
            (
                Method::PUT,
                "/0ne1/registrations/r%20/register",
                "registration ID may hold only letters, digits and - . _ :",
            ),
        ];
        for (verb, path, expected) in cases {
            assert_eq!(check(verb.clone(), path), expected, "{verb} {path}");
        }
    }

    proptest! {
        /// A path that is read names a registration, which reads back from the path in its standard form.
        #[test]
        fn routes_read_back(path in "/?[0-9a-z]{0,4}/[Rr]egistrations/[a-z%0-9.-]{0,12}(/(register|other))?/?|\\PC{0,200}") {
            if let Ok(route) = Route::parse(&Method::PUT, &path) {
                let standard = format!("/{}/registrations/{}/register", route.scope, route.registration_id);
                prop_assert_eq!(Route::parse(&Method::PUT, &standard).ok(), Some(route));
            }
        }

        #[test]
        fn versions_are_found_among_other_parameters(before in "[^&]{0,20}", version in "[0-9a-z-]{0,20}") {
            let is_other = before.split_once('=').is_none_or(|(key, _)| !key.eq_ignore_ascii_case("api-version"));
            prop_assume!(is_other);
            prop_assert_eq!(api_version_text(&format!("{before}&API-version={version}&x")), version);
            prop_assert_eq!(api_version_text(&before), "");
        }
    }
}
