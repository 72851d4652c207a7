//! Worlds in which everything goes wrong that may: what must never happen does not, and after it
//! all everything comes to rest.

use std::cell::RefCell;
use std::marker::PhantomData;

use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;
use sluice_engine::Preset;

use super::run::{Report, cases, run};
use super::seen::Seen;
use super::shape::{Shape, shape};
use super::step::{Step, step};
use super::world::World;

/// The longest sequence.
pub(crate) const STEPS_MAX: usize = 120;

/// Which preset a machine is for.
pub(crate) trait Which: 'static {
    const PRESET: Preset;
}

/// The `fair` preset.
pub(crate) struct Fair;
/// The `seed` preset.
pub(crate) struct Chart;

impl Which for Fair {
    const PRESET: Preset = Preset::Fair;
}

impl Which for Chart {
    const PRESET: Preset = Preset::Seed;
}

/// Draws steps that know only the plan; what they act on is decided as they are done.
pub(crate) struct Faulty<P>(PhantomData<P>);

impl<P: Which> ReferenceStateMachine for Faulty<P> {
    type State = Shape;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Shape> {
        shape(P::PRESET)
    }

    fn transitions(shape: &Shape) -> BoxedStrategy<Step> {
        step(shape)
    }

    fn apply(shape: Shape, _step: &Step) -> Shape {
        shape
    }
}

/// Does the steps, then heals; stops at the first complaint.
pub(crate) fn play(
    shape: &Shape,
    steps: &[Step],
    step_done: &dyn Fn(),
    trace: bool,
    seen: &RefCell<Seen>,
) -> Report {
    play_in(World::new(shape, trace), steps, step_done, seen)
}

pub(crate) fn play_in(
    mut world: World,
    steps: &[Step],
    step_done: &dyn Fn(),
    seen: &RefCell<Seen>,
) -> Report {
    for step in steps {
        step_done();
        world.step(step);
        if !world.reference.complaints.is_empty() {
            break;
        }
    }
    if world.reference.complaints.is_empty() {
        world.step(&Step::Heal);
    }
    seen.borrow_mut().add(&world.reference.seen);
    Report { trace: world.trace.unwrap_or_default(), complaints: world.reference.complaints }
}

fn check<P: Which>() {
    let seen = RefCell::new(Seen::default());
    run::<Faulty<P>>(cases(256), STEPS_MAX, |shape, steps, step_done, trace| {
        play(shape, steps, step_done, trace, &seen)
    });
}

#[test]
fn fair_admits_nobody_that_may_not_run_whatever_goes_wrong() {
    check::<Fair>();
}

#[test]
fn seed_admits_nobody_that_may_not_run_whatever_goes_wrong() {
    check::<Chart>();
}
