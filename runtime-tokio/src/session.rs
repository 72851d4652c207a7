//! Which session a request belongs to.

use sha2::{Digest, Sha256};
use sluice_engine::{GroupId, SessionKey, UserId};

use crate::protocol::anthropic::Skim;

/// The most bytes of one part that are hashed; its length is hashed too.
const PART_BYTES_MAX: usize = 4096;

/// The session of a request: by the id that the client gives, else by the parts of the conversation
/// that stay the same while it grows. Scoped by group and user, so that nobody shares another's.
pub(crate) fn session_key(group: GroupId, user: UserId, skim: &Skim<'_>) -> Option<SessionKey> {
    let mut hash = Sha256::new();
    hash.update(group.0.to_be_bytes());
    hash.update(user.0.to_be_bytes());
    if let Some(id) = skim.user_id.as_deref().and_then(explicit) {
        hash.update(b"id");
        hash.update(id.as_bytes());
    } else {
        if skim.system.is_none() && skim.first_user.is_none() {
            return None;
        }
        for part in [skim.system, skim.tools, skim.first_user] {
            let part = part.unwrap_or_default().as_bytes();
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(&part[..part.len().min(PART_BYTES_MAX)]);
        }
    }
    Some(SessionKey(hash.finalize()[..16].try_into().expect("16 of 32 bytes")))
}

/// What follows `session_`: 36 characters of lower-case hex and dashes.
fn explicit(user_id: &str) -> Option<&str> {
    const LEN: usize = 36;
    let starts = user_id.match_indices("session_").map(|(at, word)| at + word.len());
    let ids = starts.filter_map(|at| user_id.get(at..at + LEN));
    ids.into_iter().find(|id| id.bytes().all(|b| b.is_ascii_digit() || b"abcdef-".contains(&b)))
}
