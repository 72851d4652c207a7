//! The comparison must find what it is there for: the naive store itself, with one thing about its
//! operations spoilt, is found out; with other numbers drawn, it is not.

use sluice_engine::ids::{AccountId, Ask, GateId};
use sluice_engine::ledger::Counters;
use sluice_engine::store::{
    Discipline, Grant, HealthChange, Mark, Scope, SessionChange, StoreOp, StoreReply, Want,
};
use sluice_engine::time::{Span, Time};

use crate::compare::{Subject, System};
use crate::coverage::sequences;
use crate::naive::{Look, Naive};

/// The naive store itself, which draws other numbers: the comparison must not mind.
pub(crate) struct Shifted(Naive, Tamper);

type Tamper = fn(&mut StoreOp);

impl Subject for Shifted {
    fn begin(start: Time) -> Self {
        let mut naive = Naive::new(start);
        naive.counter += 1_000;
        Self(naive, |_| {})
    }

    fn apply(&mut self, now: Time, mut op: StoreOp) -> (StoreReply, Vec<Grant>) {
        (self.1)(&mut op);
        self.0.counter += 3;
        self.0.apply(now, &op)
    }

    fn held(&self, gate: GateId) -> u32 {
        self.0.held(gate)
    }

    fn due_now(&self) -> bool {
        self.0.due_now()
    }

    fn account_shut(&self, account: AccountId) -> bool {
        self.0.account_shut(account)
    }

    fn counters(&self) -> Counters {
        self.0.counters
    }

    fn looks(&self) -> Vec<Look> {
        self.0.view()
    }

    fn broken(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What is spoilt, by name.
const TAMPERS: &[(&str, Tamper)] = &[
    ("fence", |op| {
        if let StoreOp::Leave { fence, .. } = op {
            *fence = false;
        }
    }),
    ("mark", |op| {
        if let StoreOp::Leave { mark, .. } = op {
            *mark = None;
        }
    }),
    ("explicit", |op| {
        if let StoreOp::Leave { mark: Some(Mark::Close { explicit, .. }), .. } = op {
            *explicit = false;
        }
    }),
    ("span of a closing", |op| {
        if let StoreOp::Leave { mark: Some(Mark::Close { span, .. }), .. } = op {
            span.0 = span.0.saturating_add(1);
        }
    }),
    ("scope of a failure", |op| {
        if let StoreOp::Leave { mark: Some(Mark::Failed(scope)), .. } = op {
            *scope = Scope::Account;
        }
    }),
    ("tag", |op| enter(op, |enter| enter.tag = None)),
    ("patience", |op| {
        enter(op, |enter| {
            if let Some(patience) = &mut enter.patience {
                patience.0 = patience.0.saturating_add(1);
            }
        });
    }),
    ("ttl", |op| enter(op, |enter| enter.ttl = None)),
    ("ask", |op| enter(op, |enter| enter.ask = Ask(enter.ask.0 + 1))),
    ("best", |op| {
        enter(op, |enter| {
            if let Want::Pool { best, .. } = &mut enter.want {
                best.clear();
            }
        });
    }),
    ("excluded", |op| {
        enter(op, |enter| {
            if let Want::Pool { excluded, .. } = &mut enter.want {
                excluded.clear();
            }
        });
    }),
    ("line_max", |op| {
        enter(op, |enter| match &mut enter.want {
            Want::User { line_max, .. } | Want::Gate { line_max, .. } => *line_max += 1,
            Want::Pool { line_max, .. } => *line_max = line_max.map(|max| max + 1),
        });
    }),
    ("version of a user", |op| {
        enter(op, |enter| {
            if let Want::User { version, .. } = &mut enter.want {
                version.stamp += 1_000;
            }
        });
    }),
    ("resume", |op| {
        if let StoreOp::Join { resume, .. } = op {
            *resume = true;
        }
    }),
    ("replaces", |op| {
        if let StoreOp::Join { replaces, .. } = op {
            *replaces = None;
        }
    }),
    ("busy", |op| resync(op, |resync| resync.busy.clear())),
    ("as_of", |op| resync(op, |resync| resync.as_of = Ask(resync.as_of.0.saturating_sub(1)))),
    ("last", |op| resync(op, |resync| resync.last = false)),
    ("ask of a resync", |op| resync(op, |resync| resync.ask = Ask(resync.ask.0 - 1))),
    ("priority", |op| {
        if let StoreOp::Define(define) = op {
            define.accounts.iter_mut().for_each(|def| def.priority = 1);
        }
    }),
    ("oauth", |op| {
        if let StoreOp::Define(define) = op {
            define.pools.iter_mut().for_each(|def| def.prefer_oauth = false);
        }
    }),
    ("version of a roster", |op| {
        if let StoreOp::Define(define) = op {
            define.version.stamp = 1;
        }
    }),
    ("discipline", |op| {
        if let StoreOp::Define(define) = op {
            define.discipline = Discipline::Settle;
        }
    }),
    ("failures_to_eject", |op| rules(op, |rules| rules.failures_to_eject += 1)),
    ("ejection_max", |op| rules(op, |rules| rules.ejection_max = Span::MAX)),
    ("quarantine_max", |op| rules(op, |rules| rules.quarantine_max = Span::MAX)),
    ("rate_limit_max", |op| rules(op, |rules| rules.rate_limit_max = Span::MAX)),
    ("overload_max", |op| rules(op, |rules| rules.overload_max = Span::MAX)),
    ("if_home", |op| {
        if let StoreOp::Session { if_home, .. } = op {
            *if_home = None;
        }
    }),
    ("length of a binding", |op| {
        if let StoreOp::Session { change, .. } = op {
            match change {
                SessionChange::Bind(_, span) | SessionChange::Touch(span) => {
                    span.0 = span.0.saturating_add(1)
                }
                SessionChange::Drop => {}
            }
        }
    }),
    ("model of a recovery", |op| {
        if let StoreOp::Health { model, .. } = op {
            *model = None;
        }
    }),
    ("drain and disable", |op| {
        if let StoreOp::Health { change, .. } = op
            && *change == HealthChange::Drain
        {
            *change = HealthChange::Disable;
        }
    }),
    ("excluded of a survey", |op| {
        if let StoreOp::Survey { excluded, .. } = op {
            excluded.clear();
        }
    }),
    ("best of a survey", |op| {
        if let StoreOp::Survey { best, .. } = op {
            *best = 1;
        }
    }),
    ("max of a reap", |op| {
        if let StoreOp::Reap { max } = op {
            *max += 1;
        }
    }),
];

fn enter(op: &mut StoreOp, spoil: fn(&mut sluice_engine::store::Enter)) {
    if let StoreOp::Enter(enter) = op {
        spoil(enter);
    }
}

fn resync(op: &mut StoreOp, spoil: fn(&mut sluice_engine::store::Resync)) {
    if let StoreOp::Resync(resync) = op {
        spoil(resync);
    }
}

fn rules(op: &mut StoreOp, spoil: fn(&mut sluice_engine::store::HealthRules)) {
    if let StoreOp::Define(define) = op {
        spoil(&mut define.health);
    }
}

/// The number of the first of the fixed sequences in which this tampering is found out.
fn found(tamper: Tamper) -> Option<usize> {
    sequences(CASES).position(|(mut world, steps)| {
        let Shifted(naive, _) = Shifted::begin(Time(world.setup.start));
        let mut system = System::new(Shifted(naive, tamper));
        let mut same = system.follow(&world).is_ok();
        for step in steps {
            if !same {
                break;
            }
            world.step(&step);
            same = system.follow(&world).is_ok();
        }
        !same
    })
}

#[test]
fn whatever_is_spoilt_is_found_out() {
    let mut blind = Vec::new();
    for (name, tamper) in TAMPERS {
        let found = found(*tamper);
        if std::env::var_os("SLUICE_COUNTS").is_some() {
            eprintln!("{name}: found in sequence {found:?}");
        }
        if found.is_none() {
            blind.push(name);
        }
    }
    assert!(blind.is_empty(), "not found in {CASES} sequences: {blind:?}");
}

/// Sequences that must suffice to find each tampering.
const CASES: u32 = 256;
