//! Session keys: which requests belong to one conversation, so that they are served by one account.
//!
//! Explicit ids come first. Otherwise the key is a digest of the parts of the request that stay the
//! same while a conversation grows: system, tools, first user message, as they were sent: a cache marker
//! that moves on from the first message makes another session. Every key is scoped by group, platform and
//! user: no client can choose another tenant's session, and users with the same system prompt do not
//! share one.

use sha2::{Digest, Sha256};

use crate::ids::{GroupId, SessionKey, UserId};
use crate::roster::Platform;

/// How much of each part counts, in bytes from its beginning. Its whole length counts too.
pub const PART_MAX: usize = 1024;
/// How much of an explicit id counts, in bytes.
pub const EXPLICIT_MAX: usize = 255;

/// To whom a session belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The group of the key.
    pub group: GroupId,
    /// The platform of the route.
    pub platform: Platform,
    /// The user.
    pub user: UserId,
}

/// The parts of a request that do not change while its conversation grows, as raw bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefix<'a> {
    /// The system prompt.
    pub system: &'a [u8],
    /// The tool definitions.
    pub tools: &'a [u8],
    /// The first user message.
    pub first_user: &'a [u8],
}

/// The key of a session that the client names itself; `None` for an empty or blank id.
#[must_use]
pub fn explicit(scope: Scope, id: &str) -> Option<SessionKey> {
    let id = id.trim().as_bytes();
    if id.is_empty() {
        return None;
    }
    let mut hash = scoped(scope, b'e');
    part(&mut hash, &id[..id.len().min(EXPLICIT_MAX)], id.len());
    Some(key(hash))
}

/// The key of a session known by its beginning; `None` if there is nothing to know it by.
#[must_use]
pub fn by_prefix(scope: Scope, prefix: Prefix<'_>) -> Option<SessionKey> {
    let parts = [prefix.system, prefix.tools, prefix.first_user];
    if parts.iter().all(|p| p.is_empty()) {
        return None;
    }
    let mut hash = scoped(scope, b'p');
    for bytes in parts {
        part(&mut hash, &bytes[..bytes.len().min(PART_MAX)], bytes.len());
    }
    Some(key(hash))
}

/// The session id in an Anthropic `metadata.user_id`: the first `session_` followed by 36 characters
/// of `[0-9a-f-]`.
#[must_use]
pub fn in_user_id(user_id: &str) -> Option<&str> {
    const MARK: &str = "session_";
    const LEN: usize = 36;
    let mut rest = user_id;
    while let Some(at) = rest.find(MARK) {
        let after = &rest[at + MARK.len()..];
        let id = after.get(..LEN);
        let is_id = |id: &&str| {
            id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'-')
        };
        if let Some(id) = id.filter(is_id) {
            return Some(id);
        }
        rest = after;
    }
    None
}

fn scoped(scope: Scope, kind: u8) -> Sha256 {
    let platform = match scope.platform {
        Platform::Anthropic => 1u8,
        Platform::OpenAi => 2,
        Platform::Gemini => 3,
        Platform::Antigravity => 4,
    };
    let mut hash = Sha256::new();
    hash.update([kind, platform]);
    hash.update(scope.group.0.to_be_bytes());
    hash.update(scope.user.0.to_be_bytes());
    hash
}

/// The length goes first, so that no two lists of parts have the same bytes.
fn part(hash: &mut Sha256, bytes: &[u8], whole_len: usize) {
    hash.update((whole_len as u64).to_be_bytes());
    hash.update(bytes);
}

fn key(hash: Sha256) -> SessionKey {
    let digest = hash.finalize();
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    SessionKey(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const SCOPE: Scope =
        Scope { group: GroupId(1), platform: Platform::Anthropic, user: UserId(1) };
    const ID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

    #[test]
    fn the_session_in_a_user_id_is_found_wherever_it_stands() {
        let user_id = alloc::format!("user_1_account__session_{ID}");
        assert_eq!(in_user_id(&user_id), Some(ID));
        assert_eq!(in_user_id(&alloc::format!("session_no session_{ID}more")), Some(ID));
        assert_eq!(in_user_id("session_0f8fad5b"), None);
        assert_eq!(in_user_id(&alloc::format!("session_{}", ID.to_uppercase())), None);
        assert_eq!(in_user_id("session_ä".repeat(9).as_str()), None);
    }

    #[test]
    fn a_blank_id_is_no_session() {
        assert_eq!(explicit(SCOPE, " \t"), None);
        assert_eq!(by_prefix(SCOPE, Prefix::default()), None);
    }

    #[test]
    fn keys_differ_by_group_platform_user_kind_and_content() {
        let base = explicit(SCOPE, ID);
        assert_ne!(base, explicit(Scope { group: GroupId(2), ..SCOPE }, ID));
        assert_ne!(base, explicit(Scope { platform: Platform::Gemini, ..SCOPE }, ID));
        assert_ne!(base, explicit(Scope { user: UserId(2), ..SCOPE }, ID));
        assert_ne!(base, explicit(SCOPE, "another"));
        assert_eq!(base, explicit(SCOPE, &alloc::format!(" {ID} ")), "blanks around do not count");
        let by = |system: &'static [u8], tools: &'static [u8]| {
            by_prefix(SCOPE, Prefix { system, tools, first_user: b"" })
        };
        assert_ne!(by(b"ab", b""), by(b"a", b"b"), "parts do not run into each other");
        assert_ne!(by(b"ab", b""), by(b"", b"ab"));
    }

    #[test]
    fn a_part_counts_by_its_beginning_and_its_length() {
        let long = vec![b'x'; PART_MAX + 10];
        let mut other_end = long.clone();
        other_end[PART_MAX] = b'y';
        let of = |system: &[u8]| by_prefix(SCOPE, Prefix { system, ..Prefix::default() });
        assert_eq!(of(&long), of(&other_end));
        assert_ne!(of(&long), of(&long[..PART_MAX + 9]));
        for at in [0, PART_MAX - 1] {
            let mut other_start = long.clone();
            other_start[at] = b'y';
            assert_ne!(of(&long), of(&other_start), "{at}");
        }
    }
}
