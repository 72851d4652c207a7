//! The one loop that every runtime, simulator, test and bench drives an engine with.

use crate::action::Action;
use crate::engine::Engine;
use crate::event::Event;
use crate::time::Time;

/// Carries out what the engine asks for.
pub trait Executor {
    /// Carries out one action. An answer that is known at once is returned at once; any other comes
    /// later as an event of its own.
    fn execute(&mut self, now: Time, action: Action) -> Option<Event>;
}

/// Watches what goes in and out of an engine. [`crate::journal::Journal`] is one; `()` watches nothing.
pub trait Tap {
    /// This event is about to be handled.
    fn event(&mut self, engine: &Engine, now: Time, event: &Event);
    /// The engine was polled.
    fn polled(&mut self, action: Option<&Action>);
}

impl Tap for () {
    fn event(&mut self, _engine: &Engine, _now: Time, _event: &Event) {}
    fn polled(&mut self, _action: Option<&Action>) {}
}

/// One mutation, then a full drain. The only way an engine is driven.
pub fn turn(engine: &mut Engine, now: Time, event: Event, executor: &mut impl Executor) {
    turn_with(engine, now, event, executor, &mut ());
}

/// [`turn`], watched.
pub fn turn_with(
    engine: &mut Engine,
    now: Time,
    event: Event,
    executor: &mut impl Executor,
    tap: &mut impl Tap,
) {
    tap.event(engine, now, &event);
    engine.handle(now, event);
    loop {
        let action = engine.poll_action();
        tap.polled(action.as_ref());
        let Some(action) = action else { return };
        if let Some(answer) = executor.execute(now, action) {
            tap.event(engine, now, &answer);
            engine.handle(now, answer);
        }
    }
}
