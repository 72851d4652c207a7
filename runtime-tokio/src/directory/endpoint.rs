//! Where upstreams live, and the way to them.
//!
//! What is wrong with an address is told without the address: a password may stand in it.

use std::fmt;
use std::net::Ipv6Addr;

use crate::config::Secret;

/// A place that speaks HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether TLS comes first.
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// What stands before every path; empty, or with a slash at its beginning only.
    pub prefix: String,
}

impl Endpoint {
    /// Reads `https://host[:port][/prefix]`, or `http://`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(url: &str) -> Result<Self, String> {
        let schemes = [("https://", true), ("http://", false)];
        let found = schemes.iter().find_map(|(begin, tls)| Some((*tls, url.strip_prefix(begin)?)));
        let (tls, rest) = found.ok_or("does not begin with https:// or http://")?;
        let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err("has a user in it; credentials have fields of their own".to_owned());
        }
        let (host, port) = host_and_port(authority)?;
        let prefix = prefix.trim_end_matches('/');
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/%!$&'()*+,;=:@".contains(&b);
        if !prefix.bytes().all(plain) {
            return Err("has characters in its prefix that do not belong there".to_owned());
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
        Ok(Self { tls, host, port: port.unwrap_or_else(|| Self::default_port(tls)), prefix })
    }

    const fn default_port(tls: bool) -> u16 {
        if tls { 443 } else { 80 }
    }

    /// For the `host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = bracketed(&self.host);
        if self.port == Self::default_port(self.tls) {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// Host and port, as a proxy is asked for it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", bracketed(&self.host), self.port)
    }
}

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyScheme {
    /// HTTP `CONNECT`.
    Http,
    /// HTTP `CONNECT` within TLS.
    Https,
    /// SOCKS version 5; the proxy looks names up.
    Socks5,
}

/// The way to an account. If it fails, nothing is sent another way.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// What it speaks.
    pub scheme: ProxyScheme,
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User and password, decoded.
    pub credentials: Option<(String, Secret)>,
}

/// The longest user name and password that SOCKS 5 can carry, in bytes.
const SOCKS5_CREDENTIAL_MAX: usize = 255;

impl Proxy {
    /// Reads `http://`, `https://` or `socks5://`, then `[user:password@]host:port`. Characters of
    /// user and password may be percent-encoded.
    ///
    /// # Errors
    /// What is wrong with it, without any of it.
    pub fn parse(url: &Secret) -> Result<Self, String> {
        let schemes = [
            ("http://", ProxyScheme::Http),
            ("https://", ProxyScheme::Https),
            ("socks5://", ProxyScheme::Socks5),
        ];
        let whole = "must be http://, https:// or socks5://, then [USER:PASSWORD@]HOST:PORT";
        let wrong = |why: &str| format!("{why}; it {whole}");
        let found = schemes
            .iter()
            .find_map(|(begin, scheme)| Some((*scheme, url.expose().strip_prefix(begin)?)));
        let (scheme, rest) = found.ok_or_else(|| wrong("has no scheme that is known"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, authority) = match rest.rsplit_once('@') {
            None => (None, rest),
            Some((credentials, authority)) => (Some(credentials), authority),
        };
        let (host, port) = host_and_port(authority).map_err(|why| wrong(&why))?;
        let port = port.ok_or_else(|| wrong("has no port"))?;
        let credentials = credentials.map(|text| credentials_of(text, scheme)).transpose();
        Ok(Self { scheme, host, port, credentials: credentials.map_err(|why| wrong(&why))? })
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port, credentials } = self;
        let credentials = credentials.as_ref().map(|_| "Secret");
        let mut debug = f.debug_struct("Proxy");
        debug.field("scheme", scheme).field("host", host).field("port", port);
        debug.field("credentials", &credentials).finish()
    }
}

fn credentials_of(text: &str, scheme: ProxyScheme) -> Result<(String, Secret), String> {
    let (user, password) = text.split_once(':').ok_or("has a user without a password")?;
    let decode = |text: &str| {
        let text = percent_decoded(text).ok_or("has a bad percent-encoding before the @")?;
        let size = 1..=SOCKS5_CREDENTIAL_MAX;
        if text.contains(char::is_control) {
            Err("has control characters before the @")
        } else if scheme == ProxyScheme::Socks5 && !size.contains(&text.len()) {
            Err("has a user or password that SOCKS 5 cannot carry: 1 to 255 bytes")
        } else {
            Ok(text)
        }
    };
    let (user, password) = (decode(user)?, decode(password)?);
    if scheme != ProxyScheme::Socks5 && user.contains(':') {
        return Err("has a colon in its user, which HTTP cannot carry".to_owned());
    }
    Ok((user, Secret::new(password)))
}

/// Reads `host[:port]`, the host being a name, an IPv4 address or an IPv6 address in brackets.
fn host_and_port(authority: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("has a bracket that does not close")?;
            let address: Ipv6Addr = host.parse().map_err(|_| "has a bad IPv6 address")?;
            (address.to_string(), after)
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            let host = &authority[..end];
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            if !(1..=253).contains(&host.len()) || !host.bytes().all(plain) {
                return Err("has no host, or one with characters that do not belong".to_owned());
            }
            (host.to_ascii_lowercase(), &authority[end..])
        }
    };
    if port.is_empty() {
        return Ok((host, None));
    }
    let digits = port.strip_prefix(':').filter(|port| port.bytes().all(|b| b.is_ascii_digit()));
    let port = digits.and_then(|port| port.parse().ok()).filter(|port| *port > 0);
    port.map(|port| (host, Some(port))).ok_or_else(|| "has a port not from 1 to 65535".to_owned())
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Undoes percent-encoding; `None` where it is none, or not of UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (code, rest) = piece.split_at_checked(2)?;
        let digits = code.bytes().all(|b| b.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(code, 16).ok().filter(|_| digits)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_scheme_host_port_and_prefix() {
        let parse = |url| Endpoint::parse(url).map(|e| (e.tls, e.host, e.port, e.prefix)).ok();
        let is = |tls, host: &str, port, prefix: &str| {
            Some((tls, host.to_owned(), port, prefix.to_owned()))
        };
        assert_eq!(parse("http://h"), is(false, "h", 80, ""));
        assert_eq!(parse("https://Api.Example.com/"), is(true, "api.example.com", 443, ""));
        assert_eq!(parse("http://h:81/"), is(false, "h", 81, ""));
        assert_eq!(parse("https://[::1]:81/a/b/"), is(true, "::1", 81, "/a/b"));
        for bad in [
            "h",
            "ftp://h",
            "http://",
            "http://:80",
            "http://u@h",
            "http://h:x",
            "http://h:",
            "http://h:0",
            "http://h:+1",
            "http://h:99999",
            "http://::1",
            "http://[::1",
            "http://[h]",
            "http://h?key=1",
            "http://h/a?b",
            "http://h/a b",
            "http://hé",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_host_header_leaves_the_usual_port_out() {
        for url in ["http://h", "https://h", "http://h:443", "https://h:80", "https://[::1]:1"] {
            let endpoint = Endpoint::parse(url).expect(url);
            assert!(url.ends_with(&format!("://{}", endpoint.authority())), "{url}");
        }
        let usual = Endpoint::parse("https://h:443").expect("good");
        assert_eq!(usual.authority(), "h");
    }

    fn proxy(url: &str) -> Result<Proxy, String> {
        Proxy::parse(&Secret::new(url.to_owned()))
    }

    #[test]
    fn a_proxy_is_scheme_credentials_host_and_port() {
        let plain = proxy("http://h:3128").expect("good");
        assert_eq!((plain.scheme, &*plain.host, plain.port), (ProxyScheme::Http, "h", 3128));
        assert!(plain.credentials.is_none());
        let full = proxy("socks5://us%40er:p:%2Fw%25@[::1]:1080/").expect("good");
        assert_eq!((full.scheme, &*full.host, full.port), (ProxyScheme::Socks5, "::1", 1080));
        let (user, password) = full.credentials.expect("given");
        assert_eq!((&*user, password.expose()), ("us@er", "p:/w%"));
        let empty = proxy("https://user:@h:1").expect("good").credentials.expect("given");
        assert_eq!(empty.1.expose(), "");
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_being_shown() {
        let long = format!("socks5://{}:hunter2@h:1", "u".repeat(256));
        for bad in [
            "",
            "h:1",
            "ftp://u:hunter2@h:1",
            "socks5h://u:hunter2@h:1",
            "http://u:hunter2@h",
            "http://u:hunter2@:1",
            "http://u:hunter2@h:0",
            "http://u:hunter2@h:1/path",
            "http://hunter2@h:1",
            "http://u%3A:hunter2@h:1",
            "http://u:hunter2%@h:1",
            "http://u:hunter2%+1@h:1",
            "http://u:hunter2%ff@h:1",
            "http://u:hunter2%0a@h:1",
            "socks5://u:@h:1",
            "http://u:p@hunter2/@h/:1",
            &long,
        ] {
            let why = proxy(bad).expect_err(bad);
            assert!(why.ends_with("[USER:PASSWORD@]HOST:PORT"), "{why}");
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn credentials_of_a_proxy_are_not_shown() {
        let shown = format!("{:?}", proxy("http://bob:hunter2@h:1").expect("good"));
        assert!(shown.contains("credentials: Some") && shown.contains("\"h\""), "{shown}");
        assert!(!shown.contains("bob") && !shown.contains("hunter2"), "{shown}");
    }
}
