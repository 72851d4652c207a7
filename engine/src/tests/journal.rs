//! What was recorded replays to the same actions.

use super::world::World;
use crate::journal::Journal;
use crate::store::Limit;
use crate::{Engine, Outcome, Policy, Span};

fn lived() -> World {
    let mut w = World::new(Policy::fair(), &[Limit::Slots(2), Limit::Slots(1)]);
    for n in 0..40 {
        let r = w.arrive_in_session(n % 5);
        w.pass(Span::from_ms(150));
        w.hint();
        if w.account_of(r).is_some() {
            w.start(r);
            let failed = Outcome::ServerError { status: 500 };
            w.end(r, if n % 3 == 0 { failed } else { Outcome::Completed });
        }
    }
    w
}

#[test]
fn a_journal_replays_from_any_snapshot_in_it() {
    let w = lived();
    assert_eq!(w.journal.segments().count(), 3, "it keeps the newest only");
    assert_eq!(w.journal.replay(), Ok(()));
}

#[test]
fn a_journal_survives_being_written_down() {
    let w = lived();
    let bytes = postcard::to_allocvec(&w.journal).expect("plain data");
    let read: Journal = postcard::from_bytes(&bytes).expect("what was written");
    assert_eq!(read.digest(), w.journal.digest());
    assert_eq!(read.replay(), Ok(()));
}

#[test]
fn a_replay_that_goes_another_way_says_where() {
    let w = lived();
    let segment = w.journal.segments().nth(1).expect("there are three");
    let mut changed = segment.clone();
    let removed = changed.events.remove(5);
    drop(removed);
    let error = changed.replay().map(|_| ()).expect_err("an event is missing");
    assert!((5..changed.events.len()).contains(&error), "diverges at {error}");
}

#[test]
fn an_engine_survives_being_written_down() {
    let w = lived();
    let bytes = postcard::to_allocvec(&w.engine).expect("plain data");
    let read: Engine = postcard::from_bytes(&bytes).expect("what was written");
    assert_eq!(postcard::to_allocvec(&read).expect("plain data"), bytes);
    assert_eq!(read.next_timeout(), w.engine.next_timeout());
}
