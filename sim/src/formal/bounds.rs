//! Which configurations make the statement, and which are enough to see each rule missed.

use super::config::{Budget, Config, LEASES, Without};
use super::state::Mask;

const A: Mask = 1;
const B: Mask = 2;
const BOTH: Mask = 3;
const NOTHING: Budget =
    Budget { duplicates: 0, unknowns: 0, crashes: 0, ends: 0, audits: 0, passes: 0 };

/// Several runs; together they make the statement.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// One after the other.
    pub configs: Vec<Config>,
}

impl Bounds {
    /// Every kind of trouble, each with little else: seconds.
    #[must_use]
    pub fn quick() -> Self {
        let three = three();
        let two = Config { owners: [Some(0), None, Some(1)], ..three.clone() };
        let configs = vec![
            Config {
                name: "messages lost, late and twice",
                budget: Budget { duplicates: 1, unknowns: 1, passes: 1, ..NOTHING },
                ..three.clone()
            },
            Config {
                name: "wants that change, two asks at once",
                wants: [[BOTH, B], [A, A], [B, BOTH]],
                flight_max: 3,
                open_max: 2,
                budget: Budget { unknowns: 1, passes: 1, ..NOTHING },
                ..two.clone()
            },
            Config {
                name: "audits in several calls, late",
                owners: [Some(0), Some(0), None],
                wants: [[BOTH; 2]; LEASES],
                flight_max: 3,
                split_passes: true,
                frail: [true, false],
                budget: Budget { unknowns: 1, audits: 1, passes: 1, ..NOTHING },
                ..three.clone()
            },
            Config {
                name: "a session lost, reaped and resumed",
                budget: Budget { ends: 1, passes: 1, ..NOTHING },
                ..three.clone()
            },
            Config {
                name: "a crash and a restart",
                budget: Budget { unknowns: 1, crashes: 1, passes: 1, ..NOTHING },
                ..three.clone()
            },
            Config {
                name: "all troubles, two requests",
                budget: Budget { duplicates: 1, unknowns: 1, crashes: 1, ends: 1, ..NOTHING },
                ..two
            },
            Config {
                name: "an account with two slots",
                wants: [[A; 2]; LEASES],
                limits: [2, 0],
                frail: [true, false],
                budget: Budget { ends: 1, passes: 1, ..NOTHING },
                ..three
            },
        ];
        Self { configs }
    }

    /// Troubles together and twice: minutes.
    #[must_use]
    pub fn full() -> Self {
        let three = three();
        let two = Config { owners: [Some(0), None, Some(1)], flight_max: 3, ..three.clone() };
        let mut configs = Self::quick().configs;
        configs.extend([
            Config {
                name: "three requests: session lost, messages late and twice",
                budget: Budget { duplicates: 1, unknowns: 1, ends: 1, ..NOTHING },
                ..three.clone()
            },
            Config {
                name: "three requests: crash and session lost, messages late",
                budget: Budget { unknowns: 1, crashes: 1, ends: 1, ..NOTHING },
                ..three.clone()
            },
            Config {
                name: "three requests: audit, messages late",
                frail: [true, false],
                budget: Budget { unknowns: 1, audits: 1, passes: 1, ..NOTHING },
                ..three.clone()
            },
            Config {
                name: "wants that change: audit, messages late and twice",
                owners: [Some(0), Some(0), None],
                wants: [[BOTH, B], [BOTH; 2], [A; 2]],
                flight_max: 3,
                open_max: 2,
                frail: [true, false],
                budget: Budget { duplicates: 1, unknowns: 1, audits: 1, passes: 1, ..NOTHING },
                ..three.clone()
            },
            Config {
                name: "wants that change: session lost",
                wants: [[BOTH, B], [A; 2], [B, BOTH]],
                open_max: 2,
                budget: Budget { unknowns: 1, ends: 1, passes: 1, ..NOTHING },
                ..two.clone()
            },
            Config {
                name: "passes in several calls: session lost, messages late",
                owners: [Some(0), Some(0), None],
                flight_max: 3,
                split_passes: true,
                frail: [true, false],
                budget: Budget { unknowns: 1, ends: 1, passes: 1, ..NOTHING },
                ..three
            },
            Config {
                name: "two sessions lost, two calls unknown",
                wants: [[A; 2], [A; 2], [BOTH; 2]],
                budget: Budget { unknowns: 2, ends: 2, ..NOTHING },
                ..two
            },
        ]);
        Self { configs }
    }

    /// The smallest known configurations in which this rule is missed, or where none is, those in
    /// which it was looked for.
    #[must_use]
    pub fn without(rule: Without) -> Self {
        let one = Config {
            name: "one request",
            owners: [Some(0), None, None],
            wants: [[BOTH; 2]; LEASES],
            flight_max: 3,
            frail: [true, false],
            without: Some(rule),
            ..three()
        };
        let pair = Config { name: "two nodes", owners: [Some(0), None, Some(1)], ..one.clone() };
        let twins = Config { name: "one node", owners: [Some(0), Some(0), None], ..one.clone() };
        let configs = match rule {
            Without::Tombstones => vec![with(&one, Budget { unknowns: 1, ..NOTHING })],
            Without::FenceForResync | Without::Busy | Without::AsOf => {
                vec![with(&one, Budget { audits: 1, ..NOTHING })]
            }
            Without::OwedIsBusy => {
                let split = Config { flight_max: 2, split_passes: true, ..narrow(twins) };
                vec![with(&split, Budget { unknowns: 2, audits: 1, ..NOTHING })]
            }
            Without::NewestPass | Without::PassBegunAnew => {
                let split = Config { split_passes: true, ..narrow(twins) };
                vec![with(&split, Budget { unknowns: 1, audits: 1, ..NOTHING })]
            }
            Without::LateHeldDropped => vec![with(&one, NOTHING)],
            Without::AskOrder | Without::NewestAsk => {
                vec![with(&changing(one), NOTHING)]
            }
            Without::AskOrderInResync => {
                // The second account is closed: wanting it is waiting.
                let config =
                    Config { limits: [1, 0], open_max: 2, wants: [[B, BOTH]; LEASES], ..one };
                vec![with(&config, Budget { unknowns: 1, audits: 1, ..NOTHING })]
            }
            Without::Claim => vec![with(&narrow(pair), Budget { passes: 1, ..NOTHING })],
            Without::StaleAskSeesNoGrant => {
                vec![with(&narrow(pair), Budget { duplicates: 1, passes: 1, ..NOTHING })]
            }
            Without::Belief | Without::AskAgainAfterLost | Without::ResyncAfterResume => {
                vec![with(&one, Budget { ends: 1, ..NOTHING })]
            }
            Without::Replaces => vec![with(&one, Budget { unknowns: 1, crashes: 1, ..NOTHING })],
            Without::QuietDuringResync => {
                let audit = Budget { duplicates: 1, unknowns: 1, audits: 1, ..NOTHING };
                let lost = Budget { unknowns: 1, ends: 1, ..NOTHING };
                let passed = Budget { audits: 1, passes: 1, ..NOTHING };
                let last = Config { flight_max: 2, ..changing(twins) };
                vec![
                    with(&changing(one), audit),
                    with(&Config { open_max: 1, ..changing(pair) }, lost),
                    with(&last, passed),
                ]
            }
            Without::TicketsFirst => {
                let budget = Budget { ends: 1, passes: 1, ..NOTHING };
                let late = Budget { unknowns: 1, ..budget };
                vec![with(&narrow(pair), late), with(&narrow(twins), budget)]
            }
        };
        Self { configs }
    }
}

/// Three requests on two nodes, contending for two accounts of one slot each; the second node frail.
fn three() -> Config {
    Config {
        name: "three requests",
        owners: [Some(0), Some(0), Some(1)],
        wants: [[BOTH; 2], [A; 2], [BOTH; 2]],
        limits: [1, 1],
        flight_max: 2,
        open_max: 1,
        split_passes: false,
        frail: [false, true],
        budget: NOTHING,
        without: None,
    }
}

fn with(config: &Config, budget: Budget) -> Config {
    Config { budget, ..config.clone() }
}

/// All want the first account.
fn narrow(config: Config) -> Config {
    Config { wants: [[A; 2]; LEASES], ..config }
}

/// What the first request wants changes from one account to the other, and two asks may be under
/// way at once.
fn changing(config: Config) -> Config {
    Config { wants: [[A, B], [BOTH; 2], [B, BOTH]], open_max: 2, ..config }
}
