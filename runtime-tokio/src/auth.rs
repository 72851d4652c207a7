//! Who asks: finding the key in a request, and its owner.
//!
//! Keys are known by their SHA-256 alone. The hashes of what is presented and what is stored are
//! compared in constant time, after a look-up by a prefix of the presented one's hash, which a
//! caller cannot choose.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use sluice_engine::{GroupId, UserId};

use crate::protocol::error::ApiError;

/// The SHA-256 of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

/// Whose a key is, and what it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyOwner {
    /// The user.
    pub user: UserId,
    /// The group whose accounts it may use.
    pub group: GroupId,
}

impl KeyHash {
    /// The hash of this key.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Makes a key of 256 random bits, and returns it: it is nowhere else.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn new_key() -> io::Result<String> {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let mut key = "sk-".to_owned();
        for three in bytes.chunks(3) {
            let bits = three.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte));
            // Two bytes at the end make three characters; the last takes what is left of them.
            let bits = bits << (8 * (3 - three.len()));
            let characters = (0..=three.len()).map(|n| ALPHABET[bits >> (18 - 6 * n) & 63]);
            key.extend(characters.map(char::from));
        }
        Ok(key)
    }

    /// Reads 64 hex digits.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&hex[at..at + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// As 64 hex digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn prefix(self) -> [u8; 8] {
        self.0[..8].try_into().expect("8 of 32 bytes")
    }

    fn same(self, other: Self) -> bool {
        let differing = self.0.iter().zip(other.0).fold(0, |acc, (a, b)| acc | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

/// All keys.
#[derive(Debug, Default)]
pub struct Keys(BTreeMap<[u8; 8], Vec<(KeyHash, KeyOwner)>>);

impl Keys {
    /// These keys.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = (KeyHash, KeyOwner)>) -> Self {
        let mut by_prefix: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (hash, owner) in keys {
            by_prefix.entry(hash.prefix()).or_default().push((hash, owner));
        }
        Self(by_prefix)
    }

    /// Whose the request's key is.
    ///
    /// # Errors
    /// What a client without a good key is to be told.
    pub fn authenticate(&self, headers: &HeaderMap, query: &str) -> Result<KeyOwner, ApiError> {
        let Some(key) = extract(headers, query) else {
            return Err(ApiError::unauthorized("API key is required"));
        };
        let hash = KeyHash::of(&key);
        let near = self.0.get(&hash.prefix()).into_iter().flatten();
        let mut owner = None;
        for (known, whose) in near {
            if known.same(hash) {
                owner = Some(*whose);
            }
        }
        owner.ok_or(ApiError::unauthorized("Invalid API key"))
    }
}

/// The key in a request: the first of `authorization: Bearer`, `x-api-key`, `x-goog-api-key`, and
/// the query's `key` and `api_key` that is not empty.
fn extract<'a>(headers: &'a HeaderMap, query: &'a str) -> Option<Cow<'a, str>> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = header(AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
    let parameter = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| unescape(value)).next()
    };
    let headers = [bearer, header("x-api-key"), header("x-goog-api-key")];
    let found = headers.into_iter().flatten().map(str::trim).find(|key| !key.is_empty());
    let named = || ["key", "api_key"].into_iter().filter_map(parameter).find(|key| !key.is_empty());
    found.map(Cow::Borrowed).or_else(named)
}

/// Undoes percent-encoding; what is not well encoded stays as it is.
pub(crate) fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = code.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            (_, _) => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(headers: &[(&'static str, &'static str)], query: &str) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a header"));
        }
        extract(&map, query).map(Cow::into_owned)
    }

    #[test]
    fn the_first_source_that_is_not_empty_wins() {
        let all = [("authorization", "Bearer a"), ("x-api-key", "b"), ("x-goog-api-key", "c")];
        let query = "x=1&api_key=e&key=d%2B1";
        assert_eq!(found(&all, query).as_deref(), Some("a"));
        assert_eq!(found(&all[1..], query).as_deref(), Some("b"));
        assert_eq!(found(&all[2..], query).as_deref(), Some("c"));
        assert_eq!(found(&[], query).as_deref(), Some("d+1"));
        assert_eq!(found(&[], "key=&api_key=e").as_deref(), Some("e"));
        assert_eq!(found(&[("authorization", "Basic a")], "key=d").as_deref(), Some("d"));
        assert_eq!(found(&[("authorization", "bearer a"), ("x-api-key", " ")], ""), None);
    }

    #[test]
    fn a_key_is_known_by_its_hash() {
        let owner = KeyOwner { user: UserId(1), group: GroupId(2) };
        let hash = KeyHash::of("sk-1");
        let keys = Keys::new([(KeyHash::from_hex(&hash.to_hex()).expect("hex"), owner)]);
        let ask = |key| keys.authenticate(&HeaderMap::new(), key);
        assert_eq!(ask("key=sk-1"), Ok(owner));
        assert_eq!(ask("key=sk-2").map_err(|e| e.status), Err(401));
        assert_eq!(ask("").map_err(|e| e.message), Err("API key is required".into()));
    }

    #[test]
    fn a_new_key_is_256_random_bits_in_an_alphabet_that_urls_bear() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..64 {
            let key = KeyHash::new_key().expect("randomness");
            let bits = key.strip_prefix("sk-").expect("it begins so");
            assert_eq!(bits.len(), 43, "{key}");
            assert!(bits.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{key}");
            seen.extend(bits.bytes());
            assert_eq!(unescape(&key), key, "it stands for itself in a query");
        }
        assert_eq!(seen.len(), 64, "the whole alphabet is used");
    }

    #[test]
    fn a_hash_is_64_hex_digits() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(KeyHash::of("").to_hex(), empty);
        for bad in ["", "e3", &empty[1..], &empty.replace('e', "g")] {
            assert_eq!(KeyHash::from_hex(bad), None, "{bad}");
        }
    }
}
