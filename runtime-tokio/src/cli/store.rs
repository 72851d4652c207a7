//! What operators ask of the store that gateways share, from outside of any of them.

use std::io;

use sluice_engine::store::StoreReply;
use sluice_engine::{Attempt, LeaseId, NodeId, RequestId, StoreFault};
use sluice_storage::redis::RedisStore;

use crate::config::{Config, Store};
use crate::serve::block_on;
use crate::store::{connect, options};

/// The store that the configuration names, to be looked into from outside.
///
/// # Errors
/// It is in a gateway's memory, or cannot be used.
pub(super) async fn open(config: &Config) -> io::Result<RedisStore> {
    match &config.store {
        Store::Memory => {
            let admin = config.server.admin_listen.as_ref();
            let whom = match admin {
                Some(admin) => format!("ask it: GET /debug/gates at {admin}"),
                None => "set server.admin_listen, and ask it: GET /debug/gates".to_owned(),
            };
            Err(io::Error::other(format!(
                "server.store = \"memory\": only the gateway itself knows who holds and waits for \
                 what; {whom}"
            )))
        }
        Store::Redis(url) => connect(url, &options(&config.redis)).await,
    }
}

/// A lease's name, as logs and `sluice gates` have it.
///
/// # Errors
/// It is none.
pub(super) fn lease(text: &str) -> Result<LeaseId, String> {
    let parsed = || {
        let mut parts = text.split('.');
        let node = NodeId(parts.next()?.strip_prefix('n')?.parse().ok()?);
        let request = RequestId(parts.next()?.strip_prefix('r')?.parse().ok()?);
        let attempt = Attempt(parts.next()?.strip_prefix('a')?.parse().ok()?);
        parts.next().is_none().then_some(LeaseId { node, request, attempt })
    };
    parsed().ok_or_else(|| {
        "must be nNODE.rREQUEST.aATTEMPT, as \"sluice gates\" has it, such as \
         n1790000000000000.r7.a1"
            .to_owned()
    })
}

/// Takes a lease out of its slot or line: the ledger's `Leave`, as its own node would send it.
#[expect(clippy::print_stdout, reason = "what a command answers belongs on standard output")]
pub(super) fn release(config: &Config, lease: LeaseId) -> io::Result<()> {
    block_on(async {
        let store = open(config).await?;
        let lines = sluice_storage::Watch::lines(&store).await.map_err(unanswered)?;
        let held = lines.iter().flat_map(|line| line.held.iter().map(|(lease, ..)| *lease));
        let waiting = lines.iter().flat_map(|line| line.waiting.iter().map(|(lease, ..)| *lease));
        if !held.chain(waiting).any(|known| known == lease) {
            return Err(io::Error::other(format!(
                "{lease} holds nothing and waits for nothing; see \"sluice gates\""
            )));
        }
        match store.release(lease).await {
            Ok(StoreReply::Done) => {}
            Ok(StoreReply::Lost) => {
                return Err(io::Error::other(format!(
                    "the session of {} has ended: what it holds is freed by the gateways \
                     themselves, within seconds",
                    lease.node
                )));
            }
            Ok(_) => return Err(unanswered(StoreFault::Unknown)),
            Err(fault) => return Err(unanswered(fault)),
        }
        // For whoever looks later who did it.
        tracing::warn!(%lease, "released by an operator");
        println!("released {lease}");
        Ok(())
    })
}

/// The store did not answer.
pub(super) fn unanswered(fault: StoreFault) -> io::Error {
    let may = match fault {
        StoreFault::Refused | StoreFault::Away => "nothing was done",
        StoreFault::Unknown => "it may have been done nevertheless; see \"sluice gates\"",
    };
    io::Error::other(format!("Redis does not answer: {may}; see \"sluice doctor\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_written_as_it_is_shown() {
        let id = LeaseId { node: NodeId(7), request: RequestId(8), attempt: Attempt(9) };
        assert_eq!(lease(&id.to_string()), Ok(id));
        for bad in ["", "n1.r2", "n1.r2.a3.x", "1.2.3", "n1.r2.a70000", "n-1.r2.a3"] {
            assert!(lease(bad).is_err(), "{bad}");
        }
    }
}
