//! A store behind a bad road: what happens to each operation is drawn from a seed.
//!
//! Runs on tokio's time, so that a paused or simulated clock drives it. An operation that is to be
//! applied after its sender was told `Unknown` goes on as a task of its own, as a command left in a
//! dead socket would.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sluice_engine::ledger::LineView;
use sluice_engine::rng::Seed;
use sluice_engine::store::Instance;
use sluice_engine::{Span, StoreFault, StoreOp, StoreReply, Time};
use tokio::time::{Instant, sleep};

use crate::fate::{Fate, Rates};
use crate::{GrantSink, Store, Watch};

/// See the module's documentation. Needs a tokio runtime with time.
pub struct FaultyStore<S> {
    road: Arc<Road<S>>,
    rates: Rates,
    seed: Seed,
    sent: AtomicU64,
}

/// What late applications need of it.
struct Road<S> {
    store: S,
    /// The store's time at `since`.
    start: Time,
    since: Instant,
}

/// Grants are drawn as another sender than operations.
const GRANTS: u64 = 1;
const OPERATIONS: u64 = 0;

impl<S: Store> FaultyStore<S> {
    /// `store`, whose clock shows `start` now, behind a road with these rates of mishaps.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a road has a clock of its own, tokio's")]
    pub fn new(store: S, start: Time, seed: Seed, rates: Rates) -> Self {
        let road = Arc::new(Road { store, start, since: Instant::now() });
        Self { road, rates, seed, sent: AtomicU64::new(0) }
    }

    /// The store at the end of the road.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.road.store
    }

    fn next_fate(&self) -> Fate {
        let n = self.sent.fetch_add(1, Ordering::Relaxed);
        self.rates.fate(self.seed, OPERATIONS, n)
    }
}

impl<S: Store> Road<S> {
    async fn apply(&self, op: StoreOp) -> Result<StoreReply, StoreFault> {
        let elapsed = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        match self.store.try_now(self.start + Span(elapsed), op) {
            Ok(reply) => Ok(reply),
            Err(op) => self.store.run(op).await,
        }
    }
}

impl<S: Store> Store for FaultyStore<S> {
    async fn run(&self, op: StoreOp) -> Result<StoreReply, StoreFault> {
        match self.next_fate() {
            Fate::Answered { there, back, twice } => {
                sleep(duration(there)).await;
                let again = twice.then(|| op.clone());
                let reply = self.road.apply(op).await;
                if let Some(op) = again {
                    // What the second application answers reaches nobody.
                    drop(self.road.apply(op).await);
                }
                sleep(duration(back)).await;
                reply
            }
            Fate::Refused { told } => {
                sleep(duration(told)).await;
                Err(StoreFault::Refused)
            }
            Fate::Unknown { told, first, second } => {
                for at in [first, second].into_iter().flatten() {
                    let (road, op) = (self.road.clone(), op.clone());
                    drop(tokio::spawn(async move {
                        sleep(duration(at)).await;
                        drop(road.apply(op).await);
                    }));
                }
                sleep(duration(told)).await;
                Err(StoreFault::Unknown)
            }
        }
    }
}

impl<S: Watch> Watch for FaultyStore<S> {
    /// Grants come late, or never, as operations do; they are only hints.
    fn subscribe(&self, instance: Instance, sink: GrantSink) {
        let (rates, seed, pushed) = (self.rates, self.seed, AtomicU64::new(0));
        let bad: GrantSink = Arc::new(move |grant| {
            let n = pushed.fetch_add(1, Ordering::Relaxed);
            if let Fate::Answered { there, .. } = rates.fate(seed, GRANTS, n) {
                let sink = sink.clone();
                drop(tokio::spawn(async move {
                    sleep(duration(there)).await;
                    sink(grant);
                }));
            }
        });
        self.road.store.subscribe(instance, bad);
    }

    fn view(&self) -> Option<Vec<LineView>> {
        self.road.store.view()
    }
}

fn duration(span: Span) -> Duration {
    Duration::from_micros(span.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStore;
    use sluice_engine::store::{Enter, Grant, Limit, PROTOCOL, Version, Want};
    use sluice_engine::{Ask, Attempt, LeaseId, RequestId, UserId};
    use std::sync::Mutex;

    /// Notes when which operation is applied.
    #[derive(Default)]
    struct Note(Mutex<Vec<(Time, u32)>>);

    impl Store for Note {
        fn try_now(&self, now: Time, op: StoreOp) -> Result<StoreReply, StoreOp> {
            let StoreOp::Reap { max } = op else { return Err(op) };
            self.0.lock().expect("no panic").push((now, max));
            Ok(StoreReply::Reaped { more: false })
        }

        async fn run(&self, _op: StoreOp) -> Result<StoreReply, StoreFault> {
            unreachable!("every operation of these tests is answered at once")
        }
    }

    fn rates() -> Rates {
        Rates {
            refused: 100,
            lost: 100,
            late: 100,
            twice: 100,
            ..Rates::healthy(Span::from_ms(50))
        }
    }

    /// What 200 operations, sent at once, are answered; and what the store saw.
    async fn run(seed: u64) -> (Vec<Result<StoreReply, StoreFault>>, Vec<(Time, u32)>) {
        let store = Arc::new(FaultyStore::new(Note::default(), Time(7), Seed(seed), rates()));
        let send = |max| {
            let store = store.clone();
            tokio::spawn(async move { store.run(StoreOp::Reap { max }).await })
        };
        let sent: Vec<_> = (0..200).map(send).collect();
        let mut told = Vec::new();
        for one in sent {
            told.push(one.await.expect("no operation panics"));
        }
        sleep(duration(rates().late_max + rates().timeout)).await;
        let seen = store.inner().0.lock().expect("no panic").clone();
        (told, seen)
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_depends_on_the_seed_alone() {
        assert_eq!(run(1).await, run(1).await);
        assert_ne!(run(1).await, run(2).await);
    }

    #[tokio::test(start_paused = true)]
    async fn every_kind_of_mishap_happens_and_is_told_as_what_it_is() {
        let (told, seen) = run(3).await;
        let times = |max| seen.iter().filter(|(_, m)| *m == max).count();
        let mut kinds = [0; 6];
        for (max, told) in (0..).zip(&told) {
            let kind = match (told, times(max)) {
                (Err(StoreFault::Refused), 0) => 0,
                (Err(StoreFault::Unknown), 0) => 1,
                (Err(StoreFault::Unknown), 1) => 2,
                (Err(StoreFault::Unknown), 2) => 3,
                (Ok(_), 1) => 4,
                (Ok(_), 2) => 5,
                other => panic!("operation {max}: {other:?}"),
            };
            kinds[kind] += 1;
        }
        assert!(kinds.iter().all(|&n| n > 0), "{kinds:?}");
        assert!(seen.windows(2).any(|w| w[0].1 > w[1].1), "operations overtake each other");
        assert!(seen.iter().all(|(at, _)| *at >= Time(7)), "the store's own time is counted from");
    }

    #[tokio::test(start_paused = true)]
    async fn grants_come_late_to_whom_they_concern_and_the_view_at_once() {
        let rates = Rates { delay_max: Span::from_secs(3_600), ..Rates::healthy(Span::ZERO) };
        let store = FaultyStore::new(MemoryStore::new(Time(7)), Time(7), Seed(1), rates);
        let heard: Arc<Mutex<Vec<Grant>>> = Arc::default();
        let told = heard.clone();
        let sink: GrantSink = Arc::new(move |grant| told.lock().expect("no panic").push(grant));
        store.subscribe(Instance("one".into()), sink);
        let now = |op| store.inner().try_now(Time(7), op).expect("in memory");
        let (instance, replaces) = (Instance("one".into()), None);
        let join = StoreOp::Join { instance, replaces, resume: false, protocol: PROTOCOL };
        let StoreReply::Joined { node, .. } = now(join) else { panic!("nothing is in its way") };
        let lease = |request| LeaseId { node, request: RequestId(request), attempt: Attempt(0) };
        let enter = |request| {
            let (user, limit, version) = (UserId(1), Limit::Slots(1), Version::default());
            let want = Want::User { user, limit, version, line_max: 1 };
            let (lease, ask, patience) = (lease(request), Ask(1), Some(Span::from_secs(9_999)));
            StoreOp::Enter(Enter { lease, ask, want, tag: None, patience, ttl: None })
        };
        let (_held, _waits) = (now(enter(1)), now(enter(2)));
        now(StoreOp::Leave { lease: lease(1), mark: None, fence: false });
        let view = store.view().expect("a store in memory tells at once");
        assert_eq!(view[0].held[0].0, lease(2));
        sleep(Duration::from_millis(1)).await;
        assert!(heard.lock().expect("no panic").is_empty(), "it is on its way");
        sleep(Duration::from_secs(3_600)).await;
        let heard: Vec<_> = heard.lock().expect("no panic").iter().map(|g| g.lease).collect();
        assert_eq!(heard, [lease(2)]);
    }
}
