//! Where a Redis is, as an operator writes it.

use std::fmt;

use fred::types::config::Config;
use url::Url;

/// The URL of a Redis that makes sense. Shown without its passwords, also by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    text: String,
    shown: String,
}

/// What a URL begins with, and what that means.
const SCHEMES: [&str; 7] = [
    "redis",
    "rediss",
    "redis-cluster",
    "rediss-cluster",
    "redis-sentinel",
    "rediss-sentinel",
    "redis+unix",
];

/// How a URL is written, for messages.
const FORM: &str = "it must be redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// for TLS, \
                    redis-cluster:// or rediss-cluster:// for a cluster, or \
                    redis+unix://[USER:PASSWORD@host]/PATH";

/// Stands where a password was.
const HIDDEN: &str = "***";

impl RedisUrl {
    /// Makes sense of a text.
    ///
    /// # Errors
    /// What is wrong with it, and how it must be; never a piece of the text itself, which may hold a
    /// password.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains('#') {
            // Most likely in a password, which would end there.
            return Err("has a # in it; in a user or a password it is written %23".into());
        }
        let url = Url::parse(text).map_err(|error| format!("is no URL ({error}); {FORM}"))?;
        if !SCHEMES.contains(&url.scheme()) {
            return Err(format!("has another scheme than those of a Redis; {FORM}"));
        }
        if url.scheme() == "redis+unix" && url.path().len() < 2 {
            return Err(format!("names no socket; {FORM}"));
        }
        // What the client says about it may repeat a piece of it.
        Config::from_url(text).map_err(|_| format!("is no URL of a Redis; {FORM}"))?;
        let shown = shown(url);
        Ok(Self { text: text.to_owned(), shown })
    }

    /// The whole text, to be connected with and nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
}

fn shown(mut url: Url) -> String {
    if url.password().is_some() {
        // A URL that has a password can have another one.
        let _ = url.set_password(Some(HIDDEN));
    }
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    if !pairs.is_empty() {
        let shown = pairs.iter().map(|(name, value)| {
            (name, if name.to_lowercase().contains("password") { HIDDEN } else { value })
        });
        url.query_pairs_mut().clear().extend_pairs(shown);
    }
    url.into()
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (text, want) in [
            ("redis://127.0.0.1:6379/1", "redis://127.0.0.1:6379/1"),
            ("redis://:SECRET@h", "redis://:***@h"),
            ("rediss://gate:SECRET%23@h:1", "rediss://gate:***@h:1"),
            ("redis+unix:///run/redis.sock", "redis+unix:///run/redis.sock"),
            ("redis+unix:///s", "redis+unix:///s"),
            ("redis+unix://gate:SECRET@host/run/s", "redis+unix://gate:***@host/run/s"),
            (
                "redis-sentinel://u:SECRET@h?sentinelServiceName=m&sentinelPassword=SECRET",
                "redis-sentinel://u:***@h?sentinelServiceName=m&sentinelPassword=***",
            ),
        ] {
            let url = RedisUrl::parse(text).expect(text);
            assert_eq!(url.to_string(), want);
            assert_eq!(format!("{url:?}"), format!("RedisUrl({want})"));
            assert_eq!(url.expose(), text);
        }
    }

    #[test]
    fn what_is_no_url_of_a_redis_is_told_without_repeating_it() {
        for text in [
            "",
            "SECRET",
            "http://u:SECRET@h",
            "redis://u:SECRET@",
            "redis://u:SECRET#x@h",
            "redis://u:SECRET@h:99999",
            "redis://h/SECRET",
            "redis-cluster://h?node=SECRET",
            "redis-sentinel://u:SECRET@h",
            "redis+unix://",
        ] {
            let why = RedisUrl::parse(text).expect_err(text);
            assert!(!why.contains("SECRET"), "{text}: {why}");
        }
    }
}
