//! Runs a state machine with fixed seeds and tells a failure so that it can be read.

use std::fmt::Debug;
use std::sync::atomic::Ordering;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use proptest_state_machine::ReferenceStateMachine;

/// How many cases: `SLUICE_CASES`, else this many.
pub(crate) fn cases(default: u32) -> u32 {
    number("SLUICE_CASES").unwrap_or(default)
}

fn number(name: &str) -> Option<u32> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, but is {text}")))
}

/// What a run of one sequence came to: the trace, and what was wrong.
pub(crate) struct Report {
    pub(crate) trace: Vec<String>,
    pub(crate) complaints: Vec<String>,
}

fn runner(cases: u32) -> TestRunner {
    let max_shrink_iters = number("SLUICE_SHRINK").unwrap_or(20_000);
    let config = Config { cases, failure_persistence: None, max_shrink_iters, ..Config::default() };
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&number("SLUICE_SEED").unwrap_or(1).to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed))
}

/// So many sequences of `M`, the same every time.
pub(crate) fn draw<M: ReferenceStateMachine>(
    cases: u32,
    steps_max: usize,
) -> impl Iterator<Item = (M::State, Vec<M::Transition>)> {
    let strategy = M::sequential_strategy(1..=steps_max);
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]),
    );
    (0..cases).map(move |_| {
        let tree = strategy.new_tree(&mut runner).expect("no step is ever rejected");
        let (state, steps, _) = tree.current();
        (state, steps)
    })
}

/// Plays sequences of `M`; `play(state, steps, step_done, trace)` is to report.
pub(crate) fn run<M: ReferenceStateMachine>(
    cases: u32,
    steps_max: usize,
    play: impl Fn(&M::State, &[M::Transition], &dyn Fn(), bool) -> Report,
) where
    M::State: Debug,
{
    let mut runner = runner(cases);
    let result = runner.run(&M::sequential_strategy(1..=steps_max), |(state, steps, counter)| {
        let step_done = || {
            if let Some(counter) = &counter {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        };
        let report = play(&state, &steps, &step_done, false);
        report.complaints.first().map_or(Ok(()), |first| Err(TestCaseError::fail(first.clone())))
    });
    match result {
        Ok(()) => {}
        Err(TestError::Abort(reason)) => panic!("gave up: {reason}"),
        Err(TestError::Fail(reason, (state, steps, _))) => {
            let again = || play(&state, &steps, &|| (), true);
            let report = std::panic::catch_unwind(std::panic::AssertUnwindSafe(again));
            let report = report.unwrap_or_else(|_| Report {
                trace: vec!["it panics".into()],
                complaints: vec![reason.to_string()],
            });
            let steps: Vec<String> = steps.iter().map(|step| format!("    {step:?}")).collect();
            panic!(
                "{}\n\nthe world:\n    {state:?}\nthe steps:\n{}\nwhat happened:\n{}\n",
                report.complaints.join("\n"),
                steps.join("\n"),
                report.trace.join("\n"),
            );
        }
    }
}
