//! What is said when a refresh token is exchanged for an access token (RFC 6749, 5 and 6). Pure.

use std::fmt::Write as _;

use serde_json::Value;

use crate::config::{OAuth, SECRET_BYTES_MAX, Secret};

/// For longer no access token is believed to be good, in seconds: a year.
const EXPIRES_IN_SECS_MAX: u64 = 365 * 24 * 3600;
/// Bytes of the name of an error that are repeated to an operator.
const ERROR_BYTES_MAX: usize = 64;

/// What a refresh token was exchanged for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) access: Secret,
    /// In the place of the one that it was asked with.
    pub(super) refresh: Option<Secret>,
    /// For how many seconds the access token is good, if that was said.
    pub(super) expires_in_secs: Option<u64>,
}

/// Why there is no access token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The refresh token is good no more (`invalid_grant`).
    Revoked,
    /// For this reason, which holds no secret.
    Because(String),
}

/// The request: what comes before its body, and the body.
pub(super) fn request(oauth: &OAuth, refresh: &Secret) -> (String, String) {
    let mut fields = vec![
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh.expose()),
        ("client_id", &*oauth.client_id),
    ];
    fields.extend(oauth.client_secret.as_ref().map(|secret| ("client_secret", secret.expose())));
    fields.extend(oauth.scope.as_ref().map(|scope| ("scope", &**scope)));
    let body = form(&fields);
    let place = &oauth.token_url;
    let path = if place.prefix.is_empty() { "/" } else { &*place.prefix };
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\naccept: application/json\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        place.authority(),
        body.len(),
    );
    (head, body)
}

/// As browsers write forms: `application/x-www-form-urlencoded`.
fn form(fields: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in fields {
        let and = if out.is_empty() { "" } else { "&" };
        write!(out, "{and}{name}=").expect("memory takes what is written");
        for byte in value.bytes() {
            match byte {
                b' ' => out.push('+'),
                b if b.is_ascii_alphanumeric() || b"-._*".contains(&b) => out.push(b.into()),
                b => write!(out, "%{b:02X}").expect("memory takes what is written"),
            }
        }
    }
    out
}

/// What an answer with this status and body says.
///
/// # Errors
/// It grants nothing.
pub(super) fn read(status: u16, body: &[u8]) -> Result<Granted, Refused> {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let because = |why: &str| Refused::Because(format!("the token URL answered {status}{why}"));
    match (status, json["error"].as_str()) {
        (200, _) => {}
        (400 | 401, Some("invalid_grant")) => return Err(Refused::Revoked),
        (_, Some(error)) if is_name(error) => return Err(because(&format!(": {error}"))),
        (_, _) => return Err(because("")),
    }
    let bearer = |kind: &str| kind.eq_ignore_ascii_case("bearer");
    if json["token_type"].as_str().is_some_and(|kind| !bearer(kind)) {
        return Err(because(", with a token that is none of type Bearer"));
    }
    let access = token(&json["access_token"]);
    Ok(Granted {
        access: access.ok_or_else(|| because(", without a usable access_token"))?,
        refresh: token(&json["refresh_token"]),
        expires_in_secs: seconds(&json["expires_in"]).map(|secs| secs.min(EXPIRES_IN_SECS_MAX)),
    })
}

/// Whether it looks like one of the names that errors have, and so like no secret.
fn is_name(error: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b == b'_';
    (1..=ERROR_BYTES_MAX).contains(&error.len()) && error.bytes().all(plain)
}

/// A token that can be in a header.
pub(super) fn token(value: &Value) -> Option<Secret> {
    let text = value.as_str()?;
    let fits = (1..=SECRET_BYTES_MAX).contains(&(text.len() as u64));
    (fits && text.bytes().all(|b| b.is_ascii_graphic())).then(|| Secret::new(text.to_owned()))
}

/// A number of seconds, which some write as text.
fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::unescape;
    use crate::directory::Endpoint;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn oauth(url: &str) -> OAuth {
        OAuth {
            token_url: Endpoint::parse(url).expect("good"),
            client_id: "me".to_owned(),
            client_secret: None,
            scope: None,
            credential_file: "/c.json".into(),
        }
    }

    #[test]
    fn a_request_names_the_client_and_carries_the_refresh_token_in_its_body_only() {
        let (head, body) = request(&oauth("http://h:81/oauth/token"), &secret("r/1 +ü"));
        assert!(head.starts_with("POST /oauth/token HTTP/1.1\r\nhost: h:81\r\n"), "{head}");
        assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head}");
        assert!(head.ends_with("\r\n\r\n") && !head.contains("r/1"));
        let want = "grant_type=refresh_token&refresh_token=r%2F1+%2B%C3%BC&client_id=me";
        assert_eq!(body, want);
        assert_eq!(unescape("r%2F1+%2B%C3%BC"), "r/1 +ü");
        let mut full = oauth("https://h");
        full.client_secret = Some(secret("s&="));
        full.scope = Some("a b".to_owned());
        let (head, body) = request(&full, &secret("r"));
        assert!(head.starts_with("POST / HTTP/1.1\r\nhost: h\r\n"), "{head}");
        assert!(body.ends_with("&client_id=me&client_secret=s%26%3D&scope=a+b"), "{body}");
    }

    #[test]
    fn what_is_granted_is_read() {
        let granted = |body: &str| read(200, body.as_bytes()).expect("granted");
        let plain = granted(r#"{"access_token":"a"}"#);
        let want = Granted { access: secret("a"), refresh: None, expires_in_secs: None };
        assert_eq!(plain, want);
        let full = granted(
            r#"{"access_token":"a","token_type":"bearer","refresh_token":"r","expires_in":"60"}"#,
        );
        assert_eq!((full.refresh, full.expires_in_secs), (Some(secret("r")), Some(60)));
        let long = granted(r#"{"access_token":"a","expires_in":18446744073709551615}"#);
        assert_eq!(long.expires_in_secs, Some(EXPIRES_IN_SECS_MAX));
    }

    #[test]
    fn what_is_no_grant_is_told_without_what_may_be_secret() {
        let refused = |status, body: &str| match read(status, body.as_bytes()) {
            Err(Refused::Because(why)) => why,
            other => panic!("{other:?}"),
        };
        let revoked = r#"{"error":"invalid_grant","error_description":"SECRET"}"#;
        for status in [400, 401] {
            assert_eq!(read(status, revoked.as_bytes()), Err(Refused::Revoked));
        }
        assert_eq!(refused(503, revoked), "the token URL answered 503: invalid_grant");
        for (status, body) in [
            (400, r#"{"error":"SECRET"}"#),
            (500, "SECRET"),
            (307, ""),
            (200, "SECRET"),
            (200, r#"["SECRET"]"#),
            (200, r#"{"access_token":"SEC RET"}"#),
            (200, r#"{"access_token":""}"#),
            (200, r#"{"access_token":7}"#),
            (200, r#"{"access_token":"SECRET","token_type":"mac"}"#),
        ] {
            let why = refused(status, body);
            assert!(why.starts_with(&format!("the token URL answered {status}")), "{why}");
            assert!(!why.contains("SEC"), "{why}");
        }
    }
}
