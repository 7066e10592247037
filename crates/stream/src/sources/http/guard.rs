//! Which requests are refused by their head alone.

use std::net::IpAddr;

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::http::HeaderValue;

use super::body::Refused;
use crate::access::Tokens;

/// What a server asks of a head.
#[derive(Debug)]
pub(super) struct Guard {
    /// A request needs one of these, if there are any.
    tokens: Tokens,
    /// Whether only this machine reaches the server.
    is_local: bool,
    /// The name that it was asked to listen on.
    name: String,
}

impl Guard {
    pub(super) fn new(tokens: Tokens, is_local: bool, address: &str) -> Guard {
        Guard { tokens, is_local, name: host_of(address).to_owned() }
    }

    /// Refuses requests that a web page of another site made its reader's browser send: such a page has another
    /// origin, or a name of its own that leads to this machine (DNS rebinding), which is in `Host` then.
    pub(super) fn check_site(&self, headers: &HeaderMap) -> Result<(), Refused> {
        if let Some(origin) = single(headers, ORIGIN)?
            && !is_here(origin.split_once("://").map_or(origin, |(_, host)| host))
        {
            return Err((403, "web pages of other sites may not send events".into()));
        }
        // A page knows no token; and what other machines call this one is not known.
        let any = !self.is_local || !self.tokens.is_empty();
        match single(headers, HOST)? {
            Some(host) if !any && !is_here(host) && host_of(host) != self.name => {
                let what = format!(
                    "the Host is `{host}`, and this server is localhost; requests under other \
                     names need a token"
                );
                Err((403, what))
            }
            _ => Ok(()),
        }
    }

    /// Refuses requests without a token, where they need one.
    pub(super) fn check_token(&self, headers: &HeaderMap) -> Result<(), Refused> {
        if self.tokens.is_empty() {
            return Ok(());
        }
        let given = single(headers, AUTHORIZATION)?.and_then(|value| value.split_once(' '));
        match given {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                match self.tokens.has(token.trim().as_bytes()) {
                    true => Ok(()),
                    false => Err((401, "the token is not one of this server's".into())),
                }
            }
            _ => Err((401, "send a token of this server: Authorization: Bearer TOKEN".into())),
        }
    }

    /// Whether anyone who can connect may know what the server does.
    pub(super) fn is_open(&self) -> bool {
        self.tokens.is_empty()
    }
}

/// The value of a header that comes once at most: of two, one reader takes the first and another the last.
fn single(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Refused> {
    let mut values = headers.get_all(&name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err((400, format!("there are two headers {name}")));
    }
    let text = |value: &HeaderValue| format!("the header {name} is {value:?}");
    first.map(|value| value.to_str().map_err(|_| (400, text(value)))).transpose()
}

/// A host without its port, in brackets if it is an address of IPv6.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Whether `authority` names this machine.
fn is_here(authority: &str) -> bool {
    let host = host_of(authority);
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&str, &str)]) -> HeaderMap {
        let parse = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().ok(), value.parse::<HeaderValue>().ok())
        };
        let all = all.iter().map(parse);
        HeaderMap::from_iter(all.filter_map(|(name, value)| name.zip(value)))
    }

    fn appended(name: HeaderName, values: [&'static str; 2]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn hosts_and_origins_are_of_this_machine() {
        for here in ["localhost", "LocalHost:80", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:8080"]
        {
            assert!(is_here(here), "{here}");
        }
        for other in [
            "localhost.example.com",
            "127.0.0.1.example.com:80",
            "example.com",
            "10.0.0.1",
            "[::2]",
            "[::1].example.com",
            "localhost:x",
            "null",
            "",
        ] {
            assert!(!is_here(other), "{other}");
        }
        let guard = Guard::new(Tokens::default(), true, "learner.internal:8080");
        let status = |all: &[(&str, &str)]| guard.check_site(&headers(all)).map_err(|e| e.0);
        assert_eq!(status(&[]), Ok(()));
        assert_eq!(status(&[("host", "localhost:8080")]), Ok(()));
        assert_eq!(status(&[("host", "learner.internal:8080")]), Ok(()));
        assert_eq!(status(&[("host", "example.com")]), Err(403));
        assert_eq!(status(&[("origin", "http://localhost:3000")]), Ok(()));
        assert_eq!(status(&[("origin", "http://learner.internal:8080")]), Err(403));
        assert_eq!(status(&[("origin", "null")]), Err(403));
        let here = "http://localhost";
        for (name, two) in [(ORIGIN, [here, here]), (HOST, ["localhost", "localhost"])] {
            assert_eq!(guard.check_site(&appended(name, two)).map_err(|e| e.0), Err(400));
        }
        let remote = Guard::new(Tokens::default(), false, "0.0.0.0:80");
        assert!(remote.check_site(&headers(&[("host", "example.com")])).is_ok());
        assert!(remote.check_site(&headers(&[("origin", "https://example.com")])).is_err());
    }

    #[test]
    #[allow(clippy::unwrap_used)]
    fn tokens_are_bearers() {
        let tokens = Tokens::parse("0123456789abcdef").unwrap();
        let guard = Guard::new(tokens, true, "127.0.0.1:80");
        let status =
            |value: &str| guard.check_token(&headers(&[("authorization", value)])).map_err(|e| e.0);
        assert_eq!(status("Bearer 0123456789abcdef"), Ok(()));
        assert_eq!(status("bearer  0123456789abcdef "), Ok(()));
        for wrong in
            ["", "Bearer", "Bearer x", "Basic 0123456789abcdef", "0123456789abcdef", "Bearer "]
        {
            assert_eq!(status(wrong), Err(401), "{wrong}");
        }
        assert_eq!(guard.check_token(&HeaderMap::new()).map_err(|e| e.0), Err(401));
        let two = appended(AUTHORIZATION, ["Bearer 0123456789abcdef", "Bearer x"]);
        assert_eq!(guard.check_token(&two).map_err(|e| e.0), Err(400));
        assert!(guard.check_site(&headers(&[("host", "example.com")])).is_ok());
    }
}
