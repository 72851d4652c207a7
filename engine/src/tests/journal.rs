//! What was recorded replays to the same actions.

use super::world::World;
use crate::drive::Tap as _;
use crate::journal::Journal;
use crate::store::Limit;
use crate::{Engine, Event, Outcome, Policy, Span, drive};

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

#[test]
fn a_journal_with_an_event_that_never_was_diverges() {
    let mut w = World::new(Policy::fair(), &[Limit::Slots(1)]);
    let r = w.arrive();
    assert_ne!(w.journal.digest(), [0; 32]);
    let before = w.journal.segments().last().map_or(0, |segment| segment.events.len());
    w.journal.event(&w.engine, w.now, &Event::Abandoned { req: r });
    w.tick();
    let diverged = w.journal.replay().expect_err("nobody abandoned it");
    assert_eq!((diverged.segment, diverged.event), (0, before + 1));
    let told = alloc::format!("{diverged}");
    assert_eq!(told, alloc::format!("the replay diverges after event {} of segment 0", before + 1));
}

#[test]
fn an_engine_acts_alike_whether_it_is_watched_or_not() {
    let mut watched = World::new(Policy::fair(), &[Limit::Slots(1)]);
    let mut other = World::new(Policy::fair(), &[Limit::Slots(1)]);
    let r = watched.arrive();
    let event = Event::Arrived { req: r, spec: super::world::spec() };
    drive::turn(&mut other.engine, other.now, event, &mut other.out);
    assert_eq!(other.out.forwarded, watched.out.forwarded);
    assert_eq!(other.engine.live_requests(), 1);
}
