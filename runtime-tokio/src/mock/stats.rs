//! What the mock has seen, key by key: from the upstream's side, whatever those in between say.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use sluice_engine::Time;
use tokio::sync::Notify;
use tokio::task::yield_now;

use crate::clock::Clock;

use super::behaviour::Fault;

/// What has been seen of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests.
    pub requests: u64,
    /// Requests open now.
    pub open: u32,
    /// The most that were open at once.
    pub open_max: u32,
    /// Requests whose client went away before the answer's end.
    pub left: u64,
    /// Requests that came while as many were open as the key tolerates.
    pub violations: u64,
    /// Answers whose head was decided on, by status.
    pub answers: BTreeMap<u16, u64>,
    /// How often the account's tier was asked for, which counts as no request.
    pub tier_calls: u64,
    /// What was made to go wrong, by the fault's name.
    pub faults: BTreeMap<&'static str, u64>,
}

/// A client that went away before its answer's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Its key.
    pub key: String,
    /// When it was noticed, in microseconds since the mock's start.
    pub at: Time,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its headers, without the key.
    pub headers: hyper::HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Everything that is counted and remembered.
#[derive(Debug)]
pub(super) struct Book {
    keys: RefCell<BTreeMap<String, Stats>>,
    departures: RefCell<VecDeque<Departure>>,
    seen: RefCell<VecDeque<Seen>>,
    changed: Notify,
    clock: Clock,
}

/// Requests that are remembered,
const SEEN_MAX: usize = 64;
/// and bytes of their bodies; the last one is remembered in any case.
const SEEN_BYTES_MAX: usize = 256 << 20;
/// Departures that are remembered.
const DEPARTURES_MAX: usize = 4096;
/// Keys with counts of their own; what further keys do is counted under [`OTHERS`].
const KEYS_MAX: usize = 10_000;
const OTHERS: &str = "(others)";
/// In one turn the runtime hears of what is closed, in the next the connections' tasks act on it.
const TURNS_TO_NOTICE: usize = 4;

impl Book {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            keys: RefCell::default(),
            departures: RefCell::default(),
            seen: RefCell::default(),
            changed: Notify::new(),
            clock: Clock::starting_at(Time(0)),
        })
    }

    pub(super) fn stats(&self, key: &str) -> Stats {
        self.keys.borrow().get(key).cloned().unwrap_or_default()
    }

    pub(super) fn all(&self) -> BTreeMap<String, Stats> {
        self.keys.borrow().clone()
    }

    pub(super) fn departures(&self) -> Vec<Departure> {
        self.departures.borrow().iter().cloned().collect()
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().iter().cloned().collect()
    }

    /// Since the mock's start.
    pub(super) fn now(&self) -> Time {
        self.clock.now()
    }

    pub(super) async fn until(&self, key: &str, wanted: impl Fn(&Stats) -> bool) {
        loop {
            let changed = self.changed.notified();
            if wanted(&self.stats(key)) {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn remember(&self, seen: Seen) {
        let mut all = self.seen.borrow_mut();
        all.push_back(seen);
        let bytes = |all: &VecDeque<Seen>| all.iter().map(|seen| seen.body.len()).sum::<usize>();
        while all.len() > SEEN_MAX || (all.len() > 1 && bytes(&all) > SEEN_BYTES_MAX) {
            all.pop_front();
        }
    }

    /// The name that a key is counted under.
    pub(super) fn name_of(&self, key: &str) -> String {
        let keys = self.keys.borrow();
        let own = keys.contains_key(key) || keys.len() < KEYS_MAX;
        if own { key.to_owned() } else { OTHERS.to_owned() }
    }

    pub(super) fn change<T>(&self, name: &str, change: impl FnOnce(&mut Stats) -> T) -> T {
        let done = change(self.keys.borrow_mut().entry(name.to_owned()).or_default());
        self.changed.notify_waiters();
        done
    }

    fn depart(&self, key: &str) {
        let mut all = self.departures.borrow_mut();
        if all.len() >= DEPARTURES_MAX {
            all.pop_front();
        }
        all.push_back(Departure { key: key.to_owned(), at: self.now() });
    }
}

/// A request that has come; counts itself out when it is dropped.
pub(super) struct Open {
    book: Rc<Book>,
    name: String,
    /// Its number among those of its key, from 1.
    pub(super) n: u64,
    entered: Cell<bool>,
    ended: Cell<bool>,
}

impl Open {
    pub(super) fn new(book: &Rc<Book>, name: String) -> Self {
        let n = book.change(&name, |stats| {
            stats.requests += 1;
            stats.requests
        });
        Self { book: book.clone(), name, n, entered: Cell::new(false), ended: Cell::new(false) }
    }

    /// Counts it among those that are open at once; says whether they are more than `limit` now.
    ///
    /// A client that gives up one request and makes the next is not to be blamed for both: before
    /// a count rises to where it never was, or beyond the limit, connections that are closed
    /// already get the time to be noticed.
    pub(super) async fn enter(&self, limit: Option<u32>) -> bool {
        let beyond = |stats: &Stats| limit.is_some_and(|limit| stats.open >= limit);
        for _ in 0..TURNS_TO_NOTICE {
            let stats = self.book.stats(&self.name);
            if stats.open == 0 || (stats.open < stats.open_max && !beyond(&stats)) {
                break;
            }
            yield_now().await;
        }
        self.entered.set(true);
        self.book.change(&self.name, |stats| {
            let beyond = beyond(stats);
            stats.violations += u64::from(beyond);
            stats.open += 1;
            stats.open_max = stats.open_max.max(stats.open);
            beyond
        })
    }

    /// The request goes wrong in this way.
    pub(super) fn goes_wrong(&self, fault: &Fault) {
        self.book.change(&self.name, |stats| {
            *stats.faults.entry(fault.name()).or_default() += 1;
        });
    }

    /// An answer with this status begins.
    pub(super) fn answers(&self, status: u16) {
        self.book.change(&self.name, |stats| *stats.answers.entry(status).or_default() += 1);
    }

    /// The answer is over, as the mock means it to be: who goes away now has not left.
    pub(super) fn end(&self) {
        self.ended.set(true);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let left = !self.ended.get();
        if left {
            self.book.depart(&self.name);
        }
        self.book.change(&self.name, |stats| {
            stats.open -= u32::from(self.entered.get());
            stats.left += u64::from(left);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_does_not_grow_without_bound() {
        let book = Book::new();
        for n in 0..KEYS_MAX + 5 {
            drop(Open::new(&book, book.name_of(&format!("key-{n}"))));
            book.remember(Seen { headers: hyper::HeaderMap::new(), body: Bytes::new() });
        }
        assert_eq!(book.all().len(), KEYS_MAX + 1);
        assert_eq!(book.stats(OTHERS).left, 5);
        assert_eq!((book.departures().len(), book.seen().len()), (DEPARTURES_MAX, SEEN_MAX));
        assert_eq!(book.departures().last().map(|last| &*last.key), Some(OTHERS));
    }

    #[test]
    fn large_bodies_are_forgotten_first_but_for_the_last() {
        let book = Book::new();
        let large = Bytes::from(vec![0; SEEN_BYTES_MAX + 1]);
        for body in [Bytes::new(), large.clone(), large] {
            book.remember(Seen { headers: hyper::HeaderMap::new(), body });
        }
        assert_eq!(book.seen().len(), 1);
    }
}
