//! The scheduler's knobs as the configuration file names them: a preset, and what differs from it.

use serde::Deserialize;
use sluice_engine::policy::{Fallback, LineFull, OnSessionLost, StickyEnd};
use sluice_engine::{Policy, Preset, Span};

/// Makes the list of optional knobs and what each sets.
macro_rules! knobs {
    ($($(#[$doc:meta])* $name:ident: $type:ty => |$policy:ident, $value:ident| $set:expr;)*) => {
        /// A preset, and the knobs that differ from it.
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Knobs {
            /// `fair` or `seed`.
            pub preset: PresetName,
            $($(#[$doc])* pub $name: Option<$type>,)*
        }

        impl Knobs {
            /// The preset with what differs.
            #[must_use]
            pub fn policy(&self) -> Policy {
                let mut policy = Policy::preset(self.preset.into());
                $(if let Some(value) = self.$name {
                    let ($policy, $value) = (&mut policy, value);
                    $set;
                })*
                policy
            }
        }
    };
}

knobs! {
    /// Whether accounts are ranked by load.
    load_batch: bool => |p, v| p.load_batch = v;
    /// Where a request waits: `first` or `pool`.
    fallback: FallbackName => |p, v| p.fallback = v.into();
    /// The most requests in a line of the fallback.
    fallback_line_max: u32 => |p, v| p.fallback_line_max = v;
    /// How long a request waits for an account.
    fallback_patience_ms: u64 => |p, v| p.fallback_patience = Span::from_ms(v);
    /// The most requests waiting for a session's home.
    sticky_line_max: u32 => |p, v| p.sticky_line_max = v;
    /// How long a request waits for its session's home.
    sticky_patience_ms: u64 => |p, v| p.sticky_patience = Span::from_ms(v);
    /// What follows then: `timeout` or `widen`.
    sticky_end: StickyEndName => |p, v| p.sticky_end = v.into();
    /// What follows when the home's line is full: `reject` or `next_layer`.
    sticky_full: LineFullName => |p, v| p.sticky_full = v.into();
    /// How long a binding lasts from its last use.
    session_ttl_ms: u64 => |p, v| p.session_ttl = Span::from_ms(v);
    /// The most requests in a user's line, beyond what the user may run.
    extra_wait_slots: u32 => |p, v| p.extra_wait_slots = v;
    /// How long a request waits for its user's slot.
    user_patience_ms: u64 => |p, v| p.user_patience = Span::from_ms(v);
    /// The most that a request waits in all.
    wait_total_max_ms: u64 => |p, v| p.wait_total_max = Span::from_ms(v);
    /// How long a slot is held whatever happens.
    lease_ttl_ms: u64 => |p, v| p.lease_ttl = Some(Span::from_ms(v));
    /// Switches to another account.
    switches_max: u16 => |p, v| p.switches.anthropic_max = v;
    /// Of these, for plain 5xx answers.
    server_error_switches_max: u16 => |p, v| p.switches.server_error_max = v;
    /// From the arrival until the last moment at which an attempt may begin.
    failover_time_max_ms: u64 => |p, v| p.failover_time_max = Span::from_ms(v);
    /// How long an account is closed for a 429 that names no time.
    rate_limit_guess_ms: u64 => |p, v| p.rate_limit_guess = Span::from_ms(v);
    /// How long an account is closed for a 529 that names no time.
    overload_guess_ms: u64 => |p, v| p.overload_guess = Span::from_ms(v);
    /// Failures in a row that eject an account.
    failures_to_eject: u32 => |p, v| p.health.failures_to_eject = v;
    /// Length of the first ejection; each further one is twice as long.
    ejection_ms: u64 => |p, v| p.health.ejection = Span::from_ms(v);
    /// The longest ejection.
    ejection_max_ms: u64 => |p, v| p.health.ejection_max = Span::from_ms(v);
    /// Length of the first quarantine; each further one is twice as long.
    quarantine_ms: u64 => |p, v| p.health.quarantine = Span::from_ms(v);
    /// The longest quarantine.
    quarantine_max_ms: u64 => |p, v| p.health.quarantine_max = Span::from_ms(v);
    /// First delay before a waiting request asks again.
    backoff_ms: u64 => |p, v| p.backoff = Span::from_ms(v);
    /// The longest such delay.
    backoff_max_ms: u64 => |p, v| p.backoff_max = Span::from_ms(v);
    /// Between pings to a waiting streaming client.
    ping_interval_ms: u64 => |p, v| p.ping_interval = Span::from_ms(v);
    /// What becomes of running streams without a session: `finish` or `abort`.
    on_session_lost: OnSessionLostName => |p, v| p.on_session_lost = v.into();
    /// Live requests of one worker.
    requests_max: u32 => |p, v| p.requests_max = v;
}

/// Makes the words that the file has for an enum of the engine.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident for $of:ident { $($variant:ident),* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($variant),* }

        impl From<$name> for $of {
            fn from(name: $name) -> Self {
                match name { $($name::$variant => Self::$variant),* }
            }
        }
    )*};
}

words! {
    /// See [`Preset`].
    PresetName for Preset { Fair, Seed }
    /// See [`Fallback`].
    FallbackName for Fallback { First, Pool }
    /// See [`StickyEnd`].
    StickyEndName for StickyEnd { Timeout, Widen }
    /// See [`LineFull`].
    LineFullName for LineFull { Reject, NextLayer }
    /// See [`OnSessionLost`].
    OnSessionLostName for OnSessionLost { Finish, Abort }
}

impl Default for PresetName {
    fn default() -> Self {
        match Preset::default() {
            Preset::Fair => Self::Fair,
            Preset::Seed => Self::Seed,
        }
    }
}
