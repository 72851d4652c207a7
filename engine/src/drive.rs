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

/// One mutation, then a full drain. The only way an engine is driven.
pub fn turn(engine: &mut Engine, now: Time, event: Event, executor: &mut impl Executor) {
    engine.handle(now, event);
    while let Some(action) = engine.poll_action() {
        if let Some(answer) = executor.execute(now, action) {
            engine.handle(now, answer);
        }
    }
}
