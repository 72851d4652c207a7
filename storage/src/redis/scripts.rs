//! The scripts: each is put together of the files beside this one.
//!
//! A script's name is the digest of its text, so that releases of the gateway that differ in it share
//! a server without harm.

use std::collections::BTreeMap;

use fred::bytes_utils::Str;
use fred::util::sha1_hash;
use sluice_engine::store::{
    CLAIM_WINDOW, DUE_PER_OP, GAP_MAX, HealthRules, MODEL_KEYS_MAX, PASSES_MAX, SESSION,
    SESSIONS_MAX, SWEEP_MAX, TOMBSTONE,
};

use super::text;

/// One of the scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Script {
    /// `StoreOp::Join`.
    Join,
    /// `StoreOp::Beat`.
    Beat,
    /// `StoreOp::Resync`.
    Resync,
    /// `StoreOp::Define`.
    Define,
    /// `StoreOp::Enter`.
    Enter,
    /// `StoreOp::Leave`.
    Leave,
    /// `StoreOp::Survey`.
    Survey,
    /// `StoreOp::Session`.
    Session,
    /// `StoreOp::Health`.
    Health,
    /// `StoreOp::Reap`.
    Reap,
    /// Who holds and waits for what: for operators.
    View,
    /// Which nodes there are, under which names: for operators.
    Nodes,
}

impl Script {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Join,
        Self::Beat,
        Self::Resync,
        Self::Define,
        Self::Enter,
        Self::Leave,
        Self::Survey,
        Self::Session,
        Self::Health,
        Self::Reap,
        Self::View,
        Self::Nodes,
    ];

    /// Its text, with this definition of the Lua function `machine`, which reads the time.
    #[must_use]
    pub fn text(self, clock: &str) -> String {
        let mut text = constants() + RECORDS + clock;
        if let Some((reads, at_once)) = self.at_once() {
            text = text + reads + AT_ONCE + at_once;
        }
        if self == Self::Survey {
            text.push_str("local function health_part()\n");
            text.push_str(&nested(&[TIME, STATE, HEALTH, include_str!("survey_health.lua")]));
            text.push_str("end\n");
        }
        text + &nested(self.parts())
    }

    /// Its common cases, and what is read first for them.
    const fn at_once(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Enter => {
                Some((include_str!("enter_reads.lua"), include_str!("enter_at_once.lua")))
            }
            Self::Leave => {
                Some((include_str!("leave_reads.lua"), include_str!("leave_at_once.lua")))
            }
            Self::Join
            | Self::Beat
            | Self::Resync
            | Self::Define
            | Self::Survey
            | Self::Session
            | Self::Health
            | Self::Reap
            | Self::View
            | Self::Nodes => None,
        }
    }

    const fn parts(self) -> &'static [&'static str] {
        match self {
            Self::Join => &[TIME, STATE, HEALTH, SETTLE, NODES, include_str!("join.lua")],
            Self::Beat => &[TIME, STATE, HEALTH, SETTLE, NODES, include_str!("beat.lua")],
            Self::Resync => &[TIME, STATE, HEALTH, SETTLE, WANT, include_str!("resync.lua")],
            Self::Define => &[TIME, STATE, HEALTH, SETTLE, include_str!("define.lua")],
            Self::Enter => &[TIME, STATE, HEALTH, SETTLE, WANT, RANK, include_str!("enter.lua")],
            Self::Leave => &[TIME, STATE, HEALTH, SETTLE, FOLD, include_str!("leave.lua")],
            Self::Survey => &[RANK, include_str!("survey.lua")],
            Self::Session => &[TIME, STATE, HEALTH, SETTLE, include_str!("session.lua")],
            Self::Health => &[TIME, STATE, HEALTH, SETTLE, FOLD, include_str!("change_health.lua")],
            Self::Reap => &[TIME, STATE, HEALTH, SETTLE, NODES, include_str!("reap.lua")],
            Self::View => &[TIME, STATE, HEALTH, include_str!("view.lua")],
            Self::Nodes => &[include_str!("list_nodes.lua")],
        }
    }
}

/// The parts, each a function within that of the part before. Were they one function, Lua would seek each
/// variable that a function shares among all that others share, whenever it makes one of the hundred
/// functions that there are: half of an operation's time.
fn nested(parts: &[&str]) -> String {
    let mut text = String::new();
    for part in parts {
        text.push_str("return (function()\n");
        text.push_str(part);
    }
    text + &"end)()\n".repeat(parts.len())
}

/// The scripts as production runs them, with their digests.
pub(super) struct Loaded(BTreeMap<Script, (Str, Str)>);

impl Loaded {
    pub(super) fn new() -> Self {
        let load = |script: Script| {
            let text = script.text(SERVER_CLOCK);
            (script, (sha1_hash(&text).into(), text.into()))
        };
        Self(Script::ALL.into_iter().map(load).collect())
    }

    /// Its digest and its text.
    pub(super) fn of(&self, script: Script) -> (Str, Str) {
        self.0.get(&script).cloned().expect("all scripts are there")
    }
}

/// The definition of `machine` in production: the server's own time.
pub const SERVER_CLOCK: &str = include_str!("clock.lua");

const RECORDS: &str = include_str!("records.lua");
const TIME: &str = include_str!("time.lua");
const AT_ONCE: &str = include_str!("at_once.lua");
const STATE: &str = include_str!("state.lua");
const HEALTH: &str = include_str!("health.lua");
const SETTLE: &str = include_str!("settle.lua");
const NODES: &str = include_str!("nodes.lua");
const WANT: &str = include_str!("want.lua");
const RANK: &str = include_str!("rank.lua");
const FOLD: &str = include_str!("fold.lua");

/// The numbers of the contract, by the names that the scripts use.
fn constants() -> String {
    let rules = HealthRules::default();
    let numbers = [
        ("SESSION", SESSION.0),
        ("CLAIM_WINDOW", CLAIM_WINDOW.0),
        ("TOMBSTONE", TOMBSTONE.0),
        ("GAP_MAX", GAP_MAX.0),
        ("DUE_PER_OP", DUE_PER_OP as u64),
        ("SWEEP_MAX", SWEEP_MAX as u64),
        ("SESSIONS_MAX", SESSIONS_MAX as u64),
        ("PASSES_MAX", PASSES_MAX as u64),
        ("MODEL_KEYS_MAX", MODEL_KEYS_MAX as u64),
    ];
    let mut text = String::new();
    for (name, number) in numbers {
        text.push_str(&format!("local {name} = {number}\n"));
    }
    let rules = [
        rules.failures_to_eject.to_string(),
        text::span(rules.ejection),
        text::span(rules.ejection_max),
        text::span(rules.quarantine),
        text::span(rules.quarantine_max),
        text::span(rules.rate_limit_max),
        text::span(rules.overload_max),
    ];
    text + &format!("local FIRST_ROSTER = {{ '1010', {} }}\n", rules.join(", "))
}
