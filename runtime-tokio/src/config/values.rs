//! The values that fields of the file have.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sluice_engine::store::Limit;
use toml::de::DeValue;

use super::read::{Node, Read, Reader, Wrong, name};
use crate::auth::KeyHash;
use crate::directory::Endpoint;

/// A value, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOrMany<T>(pub Vec<T>);

/// How many requests at once: a number from 1, `"unlimited"` or `"closed"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency(pub Limit);

/// The most requests at once that a number may say.
const SLOTS_MAX: u32 = 1_000_000;

impl Read for Concurrency {
    fn must() -> String {
        format!("must be a whole number from 1 to {SLOTS_MAX}, \"unlimited\" or \"closed\"")
    }

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Result<Self, Wrong> {
        match node.get_ref().as_str() {
            Some("unlimited") => Ok(Self(Limit::Unlimited)),
            Some("closed") => Ok(Self(Limit::Closed)),
            Some(_) => Err(Wrong::Kind),
            None => match u32::read(node, reader)? {
                n @ 1..=SLOTS_MAX => Ok(Self(Limit::Slots(n))),
                _ => Err(Wrong::Kind),
            },
        }
    }

    fn stand_in() -> Self {
        Self(Limit::Closed)
    }
}

/// Whole numbers.
macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Read for $type {
            fn must() -> String {
                format!("must be a whole number from {} to {}", Self::MIN, Self::MAX)
            }

            fn read(node: &Node<'_>, _: &mut Reader<'_>) -> Result<Self, Wrong> {
                let number = node.get_ref().as_integer().ok_or(Wrong::Kind)?;
                Self::from_str_radix(number.as_str(), number.radix()).map_err(|_| Wrong::Kind)
            }

            fn stand_in() -> Self {
                0
            }
        }
    )*};
}

integers! { u16 u32 u64 usize i64 }

impl Read for bool {
    fn must() -> String {
        "must be true or false, without quotes".to_owned()
    }

    fn read(node: &Node<'_>, _: &mut Reader<'_>) -> Result<Self, Wrong> {
        node.get_ref().as_bool().ok_or(Wrong::Kind)
    }

    fn stand_in() -> Self {
        false
    }
}

impl Read for String {
    fn must() -> String {
        "must be text in quotes".to_owned()
    }

    fn read(node: &Node<'_>, _: &mut Reader<'_>) -> Result<Self, Wrong> {
        node.get_ref().as_str().map(str::to_owned).ok_or(Wrong::Kind)
    }

    fn stand_in() -> Self {
        Self::new()
    }
}

impl Read for PathBuf {
    fn must() -> String {
        "must be a path in quotes".to_owned()
    }

    fn read(node: &Node<'_>, _: &mut Reader<'_>) -> Result<Self, Wrong> {
        let path = node.get_ref().as_str().filter(|path| !path.is_empty() && !path.contains('\0'));
        path.map(Self::from).ok_or(Wrong::Kind)
    }

    fn stand_in() -> Self {
        Self::new()
    }
}

impl<T: Read> Read for Vec<T> {
    fn must() -> String {
        "must be a list, in brackets".to_owned()
    }

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Result<Self, Wrong> {
        let nodes = node.get_ref().as_array().ok_or(Wrong::Kind)?;
        Ok(reader.list(nodes))
    }

    fn stand_in() -> Self {
        Self::new()
    }

    // It may be a key where a list of keys belongs.
    fn shown(_: &Node<'_>) -> Option<String> {
        None
    }
}

impl<T: Read> Read for OneOrMany<T> {
    fn must() -> String {
        format!("{}, or a list of such, not empty", T::must())
    }

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Result<Self, Wrong> {
        match node.get_ref() {
            DeValue::Array(nodes) if nodes.is_empty() => Err(Wrong::Kind),
            DeValue::Array(nodes) => Ok(Self(reader.list(nodes))),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Table(_) => T::read(node, reader).map(|one| Self(vec![one])),
        }
    }

    fn stand_in() -> Self {
        Self(Vec::new())
    }
}

/// From names to names.
impl Read for BTreeMap<String, String> {
    fn must() -> String {
        "must be a table: { \"NAME\" = \"UPSTREAM'S NAME\", … }".to_owned()
    }

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Result<Self, Wrong> {
        let table = node.get_ref().as_table().ok_or(Wrong::Kind)?;
        let mut map = Self::new();
        for (key, node) in table {
            let from = key.get_ref();
            let to = reader.member(from, key.span().start, |reader| {
                if let Some(why) = name().refusal(&from.to_string()) {
                    reader.refuse(None, why);
                }
                reader.value(node, name())
            });
            map.insert(from.to_string(), to.unwrap_or_else(String::stand_in));
        }
        Ok(map)
    }

    fn stand_in() -> Self {
        Self::new()
    }
}

impl Read for KeyHash {
    fn must() -> String {
        "must be the SHA-256 of a key, 64 hex digits in quotes: see \"sluice key\"".to_owned()
    }

    fn read(node: &Node<'_>, _: &mut Reader<'_>) -> Result<Self, Wrong> {
        node.get_ref().as_str().and_then(Self::from_hex).ok_or(Wrong::Kind)
    }

    fn stand_in() -> Self {
        Self::of("")
    }

    // It may be the key itself.
    fn shown(_: &Node<'_>) -> Option<String> {
        None
    }
}

impl Read for Endpoint {
    fn must() -> String {
        "must be https://HOST[:PORT][/PREFIX] or http://HOST[:PORT][/PREFIX], in quotes".to_owned()
    }

    fn read(node: &Node<'_>, _: &mut Reader<'_>) -> Result<Self, Wrong> {
        let url = node.get_ref().as_str().ok_or(Wrong::Kind)?;
        Self::parse(url).map_err(|why| Wrong::Because(format!("{why}; it {}", Self::must())))
    }

    fn stand_in() -> Self {
        Self { tls: true, host: String::new(), port: 0, prefix: String::new() }
    }

    // Somebody may have written a password or a key into it.
    fn shown(node: &Node<'_>) -> Option<String> {
        let url = node.get_ref().as_str()?;
        (!url.contains(['@', '?', '#'])).then(|| super::finding::quoted(url))
    }
}
