//! Names of things. Every id is its own type, so that two numbers in a row cannot be swapped.

use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($inner:ty) $tag:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($tag, "{}"), self.0)
            }
        }
    )*};
}

ids! {
    /// One engine's incarnation: minted by the store at `Join`, never reused.
    NodeId(u64) "n";
    /// A request, minted by the caller, strictly increasing per engine.
    RequestId(u64) "r";
    /// One try of a request: 0 is the user's slot, 1… the account attempts.
    Attempt(u16) "a";
    /// A user of the gateway. Stable over restarts and nodes.
    UserId(u64) "user-";
    /// An upstream account. Stable over restarts and nodes.
    AccountId(u64) "account-";
    /// A group: the accounts that a user's key may use.
    GroupId(u64) "group-";
    /// The accounts that can serve one (group, platform, model).
    PoolId(u64) "pool-";
    /// A model, as a digest of its name.
    ModelId(u64) "model-";
    /// The node's call number, strictly increasing. Names a store call, and orders the operations on one lease.
    Ask(u64) "#";
    /// A ticket's place in order: the lesser is served first. Drawn by the store, unique but for the attempts of one request.
    Tag(u64) "t";
}

/// Something with a limit: a user or an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GateId {
    /// A user's gate.
    User(UserId),
    /// An account's gate.
    Account(AccountId),
}

impl fmt::Display for GateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => id.fmt(f),
            Self::Account(id) => id.fmt(f),
        }
    }
}

/// Names one claim for ever. Every store operation is idempotent by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId {
    /// The engine that asks.
    pub node: NodeId,
    /// The request it asks for.
    pub request: RequestId,
    /// 0 for the user's slot, 1… for the account attempts.
    pub attempt: Attempt,
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.node, self.request, self.attempt)
    }
}

/// The session a request belongs to: a digest scoped by group and user, see [`crate::session`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionKey(pub [u8; 16]);

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn names_are_shown_as_logs_have_them() {
        assert_eq!(format!("{}", GateId::User(UserId(5))), "user-5");
        assert_eq!(format!("{}", GateId::Account(AccountId(6))), "account-6");
        let lease = LeaseId { node: NodeId(1), request: RequestId(2), attempt: Attempt(3) };
        assert_eq!(format!("{lease}"), "n1.r2.a3");
        let key = SessionKey([0x0a; 16]);
        assert_eq!(format!("{key}"), "0a".repeat(16));
        assert_eq!(format!("{key:?}"), format!("SessionKey({key})"));
    }
}
