//! Small requests that are made beside the engine: they hold no slot, bind no session and say nothing
//! of an account's health. Whom they go to is only looked up.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::Response;
use sluice_engine::roster::Platform;
use sluice_engine::store::{HomeState, Limit, StoreOp, StoreReply, Surveyed};
use sluice_engine::{AccountId, Attempt, GroupId, ModelId, Outcome, SessionKey, UserId, Verdict};
use sluice_storage::Watch;
use tokio::time::timeout_at;

use crate::billing;
use crate::clock::Clock;
use crate::directory::Account;
use crate::gateway::{Phase, Worker};
use crate::net::Net;
use crate::protocol::error::ApiError;
use crate::upstream::access::Access;
use crate::upstream::bridge::Bridge;
use crate::upstream::outgoing::Outgoing;
use crate::upstream::pool::NoAnswer;

/// How long such a request may take at one upstream.
const TIME_MAX: Duration = Duration::from_secs(30);
/// How many accounts are asked for one, if the first ones fail.
pub(super) const ACCOUNTS_MAX: usize = 3;
/// How many are looked up.
const BEST: u8 = ACCOUNTS_MAX as u8;

/// What the engine would ask of the user, too.
///
/// # Errors
/// The user is closed, or the billing says no.
pub(super) fn may_ask<N: Net, S: Watch>(
    worker: &Worker<N, S>,
    user: UserId,
) -> Result<(), ApiError> {
    let directory = worker.driver.directory();
    let refused = |verdict| ApiError::of(verdict, None).expect("it was not served");
    let limit = directory.roster.users.get(&user).map(|user| user.limit.normal());
    if limit.is_none_or(|limit| limit == Limit::Closed) {
        return Err(refused(Verdict::UserClosed));
    }
    let denied = |denial| refused(Verdict::BillingDenied(denial));
    billing::check(&directory, user).map_err(denied)
}

/// Which accounts are looked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) group: GroupId,
    pub(super) platform: Platform,
    pub(super) model: ModelId,
    /// Whose home comes first.
    pub(super) session: Option<SessionKey>,
    /// Not these.
    pub(super) excluded: Vec<AccountId>,
}

/// Who can be asked, in order: a session's home first, then by rank. Nothing is changed by looking.
///
/// # Errors
/// There is nobody, or the store cannot tell.
pub(super) async fn look<N: Net, S: Watch>(
    worker: &Worker<N, S>,
    wanted: Wanted,
) -> Result<Vec<AccountId>, ApiError> {
    let driver = &worker.driver;
    let Wanted { group, platform, model, session, excluded } = wanted;
    let refused = |verdict| ApiError::of(verdict, None).expect("it was not served");
    let directory = driver.directory();
    let pool = directory.roster.pool(group, platform, model);
    let pool = pool.ok_or_else(|| refused(Verdict::NoAccounts))?;
    let survey = StoreOp::Survey { pool: pool.id, model, session, excluded, best: BEST };
    let reply = match driver.store.try_now(driver.clock.now(), survey) {
        Ok(reply) => Ok(reply),
        Err(op) => driver.store.run(op).await,
    };
    let Ok(StoreReply::Surveyed(surveyed)) = reply else {
        return Err(refused(Verdict::StoreUnavailable));
    };
    let found = in_order(&surveyed, &pool.members);
    if found.is_empty() {
        let opens_in = surveyed.opens_in;
        return Err(refused(match opens_in {
            Some(_) => Verdict::AllShut { opens_in },
            None => Verdict::NoAccounts,
        }));
    }
    Ok(found)
}

/// The store may go by another roster than this gateway, whose `members` alone are asked.
fn in_order(surveyed: &Surveyed, members: &[AccountId]) -> Vec<AccountId> {
    let home = surveyed.home.filter(|home| matches!(home.state, HomeState::Room | HomeState::Full));
    let ranked = surveyed.best.iter().map(|candidate| candidate.account);
    // Who is full can be asked as well: no slot is wanted.
    let all = home.map(|home| home.account).into_iter().chain(ranked).chain(surveyed.first);
    let mut found = Vec::new();
    for account in all {
        if members.contains(&account) && !found.contains(&account) && found.len() < ACCOUNTS_MAX {
            found.push(account);
        }
    }
    found
}

/// An answer, read to its end.
pub(super) struct Fetched<'a> {
    access: Access<'a>,
    pub(super) head: Response<()>,
    pub(super) body: Bytes,
}

/// Asks one account and reads its answer, of at most so many bytes.
///
/// # Errors
/// There was no answer, or none that could be read to its end.
pub(super) async fn fetch<'a, N: Net, S: Watch>(
    worker: &Rc<Worker<N, S>>,
    id: AccountId,
    account: &'a Arc<Account>,
    request: &Outgoing<'_>,
    bytes_max: usize,
) -> Result<Fetched<'a>, Outcome> {
    let by = Clock::after(TIME_MAX.min(worker.total_timeout));
    // A 401 has no access token renewed: it may be about this operation alone.
    let access = Access::to(worker, id, account, by).await?;
    let (head, mut exchange) =
        worker.pool.send(&access, request, by).await.map_err(|why| match why {
            NoAnswer::Connect => Outcome::Unreachable,
            NoAnswer::Stale | NoAnswer::Broken => Outcome::ServerError { status: 502 },
            NoAnswer::HeadTimeout => Outcome::ServerError { status: 504 },
        })?;
    let mut body = BytesMut::new();
    loop {
        match timeout_at(by, exchange.chunk()).await {
            Ok(Some(Ok(chunk))) if body.len() + chunk.len() <= bytes_max => {
                body.extend_from_slice(&chunk);
            }
            Ok(None) => break,
            Ok(Some(Ok(_) | Err(_))) => return Err(Outcome::ServerError { status: 502 }),
            Err(_) => return Err(Outcome::ServerError { status: 504 }),
        }
    }
    worker.pool.keep(access.id, access.account, exchange);
    Ok(Fetched { access, head, body: body.freeze() })
}

impl Fetched<'_> {
    /// What an answer with a status other than 2xx means, and what the client is told of it.
    pub(super) fn failure<N: Net, S: Watch>(
        &self,
        worker: &Worker<N, S>,
        bridge: Bridge<'_>,
    ) -> (Outcome, Option<ApiError>) {
        let now = worker.driver.clock.now();
        bridge.failure(&self.access, &self.head, &self.body, now)
    }
}

/// What the client is told when an account failed and no other is asked.
pub(super) fn told(account: AccountId, outcome: Outcome, refusal: Option<ApiError>) -> ApiError {
    let verdict = Verdict::Upstream { account, attempt: Attempt(1), outcome };
    ApiError::of(verdict, refusal).expect("it was not served")
}

/// Does something, unless the gateway ends before it is done.
pub(super) async fn unless_closing<N: Net, S: Watch, T>(
    worker: &Worker<N, S>,
    what: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    tokio::select! {
        biased; // What comes to its own end in time is not cut off.
        done = what => done,
        () = worker.reached(Phase::Closing) => Err(super::SHUTTING_DOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_engine::Span;
    use sluice_engine::store::{Candidate, Home};

    #[test]
    fn a_home_that_can_be_asked_comes_first_and_nobody_twice() {
        let candidate =
            |n| Candidate { account: AccountId(n), priority: 0, load_pct: 0, last_assigned: 0 };
        let home = |state| Some(Home { account: AccountId(3), state, line: 0 });
        let surveyed = |home| Surveyed {
            best: [1, 2, 3].map(candidate).into_iter().collect(),
            first: Some(AccountId(1)),
            home,
            open: 3,
            opens_in: None,
        };
        let members = [1, 2, 3, 7].map(AccountId);
        let order =
            |home| in_order(&surveyed(home), &members).iter().map(|id| id.0).collect::<Vec<_>>();
        assert_eq!(order(home(HomeState::Full)), [3, 1, 2]);
        assert_eq!(order(home(HomeState::Shut(Span::from_secs(1)))), [1, 2, 3]);
        assert_eq!(order(None), [1, 2, 3]);
        let full = Surveyed { first: Some(AccountId(7)), ..Surveyed::default() };
        assert_eq!(in_order(&full, &members), [AccountId(7)]);
        assert_eq!(in_order(&full, &members[..3]), []);
    }
}
