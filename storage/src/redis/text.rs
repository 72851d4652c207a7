//! How ids and numbers are written in keys, arguments and replies. All of it is text that can be
//! read by eye.
//!
//! Lua has only floating-point numbers, which end at 2^53. Ids are therefore never numbers there but
//! text: one letter for how many hexadecimal digits, then the digits. Order of text is order of
//! numbers, and two ids one behind the other can be told apart.

use sluice_engine::store::{Limit, Version};
use sluice_engine::{AccountId, Attempt, GateId, LeaseId, NodeId, RequestId, Span};

/// What a reply has that no reply of these scripts can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a reply that no script gives: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

const LENGTHS: &[u8; 17] = b"0123456789abcdefg";

pub(super) fn id(number: u64) -> String {
    let digits = format!("{number:x}");
    format!("{}{digits}", char::from(LENGTHS[digits.len()]))
}

pub(super) fn key(request: RequestId, attempt: Attempt) -> String {
    id(request.0) + &id(attempt.0.into())
}

pub(super) fn gate(gate: GateId) -> String {
    match gate {
        GateId::User(user) => format!("u{}", id(user.0)),
        GateId::Account(account) => format!("a{}", id(account.0)),
    }
}

pub(super) fn version(version: Version) -> String {
    id(version.stamp) + &id(version.digest)
}

pub(super) fn limit(limit: Limit) -> String {
    match limit.normal() {
        Limit::Closed => "0".into(),
        Limit::Slots(slots) => slots.to_string(),
        Limit::Unlimited => "-1".into(),
    }
}

/// A list in which Lua finds an id with the blanks around it.
pub(super) fn list(accounts: &[AccountId]) -> String {
    let mut list = String::new();
    for account in accounts {
        if list.is_empty() {
            list.push(' ');
        }
        list.push_str(&id(account.0));
        list.push(' ');
    }
    list
}

/// Nothing is longer, and no time later, than 2^53 µs: the year 2255.
pub(super) fn span(span: Span) -> String {
    span.0.min(SPAN_MAX.0).to_string()
}

pub(super) fn option<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map(text).unwrap_or_default()
}

/// The longest span there is in Redis.
pub(super) const SPAN_MAX: Span = Span(1 << 53);

/// Takes the next id off the text.
fn take_id(text: &mut &str) -> Result<u64, Malformed> {
    let malformed = || Malformed(format!("no id: {text:?}"));
    let first = text.bytes().next().ok_or_else(malformed)?;
    let digits = LENGTHS.iter().position(|length| *length == first).ok_or_else(malformed)?;
    let number = text.get(1..=digits).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let number = number.ok_or_else(malformed)?;
    *text = &text[digits + 1..];
    Ok(number)
}

pub(super) fn parse_id(mut text: &str) -> Result<u64, Malformed> {
    let number = take_id(&mut text)?;
    if text.is_empty() { Ok(number) } else { Err(Malformed(format!("more than an id: {text:?}"))) }
}

pub(super) fn parse_lease(node: &str, mut key: &str) -> Result<LeaseId, Malformed> {
    let node = NodeId(parse_id(node)?);
    let request = RequestId(take_id(&mut key)?);
    let attempt = u16::try_from(parse_id(key)?)
        .map_err(|_| Malformed(format!("an attempt of more than 16 bits: {key:?}")))?;
    Ok(LeaseId { node, request, attempt: Attempt(attempt) })
}

pub(super) fn parse_gate(text: &str) -> Result<GateId, Malformed> {
    match text.split_at_checked(1) {
        Some(("u", id)) => Ok(GateId::User(sluice_engine::UserId(parse_id(id)?))),
        Some(("a", id)) => Ok(GateId::Account(AccountId(parse_id(id)?))),
        Some(_) | None => Err(Malformed(format!("no gate: {text:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ordered_as_their_numbers_and_come_back() {
        let numbers = [0, 1, 9, 15, 16, 255, 256, 1_700_000_000_000_000, u64::MAX - 1, u64::MAX];
        let texts: Vec<String> = numbers.iter().map(|number| id(*number)).collect();
        assert!(texts.is_sorted());
        for (number, text) in numbers.iter().zip(&texts) {
            assert_eq!(parse_id(text), Ok(*number));
        }
    }

    #[test]
    fn ids_one_behind_the_other_are_told_apart() {
        let lease = LeaseId { node: NodeId(77), request: RequestId(0), attempt: Attempt(300) };
        assert_eq!(parse_lease(&id(77), &key(lease.request, lease.attempt)), Ok(lease));
        assert!(parse_lease(&id(77), &id(1)).is_err());
        assert!(parse_id("").is_err() && parse_id("x1").is_err() && parse_id("31").is_err());
        assert!(parse_gate("").is_err() && parse_gate("p11").is_err());
        let told = parse_gate("p11").expect_err("it is no gate").to_string();
        assert!(told.contains("p11"), "{told}");
    }
}
