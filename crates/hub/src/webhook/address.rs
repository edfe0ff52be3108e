//! The address of a webhook.

use http::Uri;

/// The parts of a webhook's URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// A name, or an IP address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Unchanged from the URL: the query may hold an access key.
    pub(super) path_and_query: String,
}

impl Address {
    /// Parses an https URL; returns `None` for any other text.
    pub(super) fn parse(url: &str) -> Option<Address> {
        let uri: Uri = url.parse().ok()?;
        let is_https = uri.scheme_str().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
        let authority = uri.authority().filter(|authority| is_https && !authority.as_str().contains('@'))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        Some(Address {
            host: host.to_ascii_lowercase(),
            port: authority.port_u16().unwrap_or(443),
            path_and_query: uri.path_and_query().map_or("/".to_owned(), ToString::to_string),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_into_parts() {
        let check = |url: &str, expected: Option<(&str, u16, &str)>| {
            let found = Address::parse(url);
            let parts = found.as_ref().map(|it| (it.host.as_str(), it.port, it.path_and_query.as_str()));
            assert_eq!(parts, expected, "{url}");
        };
        check(
            "https://Web.Hook/api/Choose?code=a%2Fb==",
            Some(("web.hook", 443, "/api/Choose?code=a%2Fb==")),
        );
        check("HTTPS://web.hook:8443", Some(("web.hook", 8443, "/")));
        check("https://web.hook?code=1", Some(("web.hook", 443, "/?code=1")));
        check("https://127.0.0.1:1/x", Some(("127.0.0.1", 1, "/x")));
        check("https://[::1]:1/x", Some(("::1", 1, "/x")));
        for url in ["http://web.hook/", "https://", "https://me@web.hook/", "https://a:b:c/", "/api", ""] {
            check(url, None);
        }
    }
}
