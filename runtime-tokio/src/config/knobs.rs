//! The scheduler's knobs as the configuration file names them: a preset, and what differs from it.
//!
//! What a knob must be at least, and how knobs belong together, the engine knows itself.

use sluice_engine::policy::{self, KnobError};
use sluice_engine::{Policy, Preset, Span};

use super::read::{section, within, words};
use super::sections::YEAR_MS;

/// Makes the list of optional knobs and what each sets.
macro_rules! knobs {
    ($(
        $(#[$doc:meta])*
        $name:ident: $type:ty $(, $rule:expr)? => |$policy:ident, $value:ident| $set:expr;
    )*) => {
        section! {
            /// A preset, and the knobs that differ from it.
            Knobs {
                /// `fair` or `seed`.
                default preset: PresetName = PresetName::default();
                $($(#[$doc])* optional $name: $type $(, $rule)?;)*
            }
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
    fallback_patience_ms: u64, within(0..=YEAR_MS) => |p, v| p.fallback_patience = Span::from_ms(v);
    /// The most requests waiting for a session's home.
    sticky_line_max: u32 => |p, v| p.sticky_line_max = v;
    /// How long a request waits for its session's home.
    sticky_patience_ms: u64, within(0..=YEAR_MS) => |p, v| p.sticky_patience = Span::from_ms(v);
    /// What follows then: `timeout` or `widen`.
    sticky_end: StickyEndName => |p, v| p.sticky_end = v.into();
    /// What follows when the home's line is full: `reject` or `next_layer`.
    sticky_full: LineFullName => |p, v| p.sticky_full = v.into();
    /// How long a binding lasts from its last use.
    session_ttl_ms: u64, within(0..=YEAR_MS) => |p, v| p.session_ttl = Span::from_ms(v);
    /// The most requests in a user's line, beyond what the user may run.
    extra_wait_slots: u32 => |p, v| p.extra_wait_slots = v;
    /// How long a request waits for its user's slot.
    user_patience_ms: u64, within(0..=YEAR_MS) => |p, v| p.user_patience = Span::from_ms(v);
    /// The most that a request waits in all.
    wait_total_max_ms: u64, within(0..=YEAR_MS) => |p, v| p.wait_total_max = Span::from_ms(v);
    /// How long a slot is held whatever happens.
    lease_ttl_ms: u64, within(0..=YEAR_MS) => |p, v| p.lease_ttl = Some(Span::from_ms(v));
    /// Switches to another account.
    switches_max: u16 => |p, v| p.switches.anthropic_max = v;
    /// Of these, for plain 5xx answers.
    server_error_switches_max: u16 => |p, v| p.switches.server_error_max = v;
    /// From the arrival until the last moment at which an attempt may begin.
    failover_time_max_ms: u64, within(0..=YEAR_MS) => |p, v| p.failover_time_max = Span::from_ms(v);
    /// How long an account is closed for a 429 that names no time.
    rate_limit_guess_ms: u64, within(0..=YEAR_MS) => |p, v| p.rate_limit_guess = Span::from_ms(v);
    /// How long an account is closed for a 529 that names no time.
    overload_guess_ms: u64, within(0..=YEAR_MS) => |p, v| p.overload_guess = Span::from_ms(v);
    /// Failures in a row that eject an account.
    failures_to_eject: u32 => |p, v| p.health.failures_to_eject = v;
    /// Length of the first ejection; each further one is twice as long.
    ejection_ms: u64, within(0..=YEAR_MS) => |p, v| p.health.ejection = Span::from_ms(v);
    /// The longest ejection.
    ejection_max_ms: u64, within(0..=YEAR_MS) => |p, v| p.health.ejection_max = Span::from_ms(v);
    /// Length of the first quarantine; each further one is twice as long.
    quarantine_ms: u64, within(0..=YEAR_MS) => |p, v| p.health.quarantine = Span::from_ms(v);
    /// The longest quarantine.
    quarantine_max_ms: u64, within(0..=YEAR_MS) => |p, v| p.health.quarantine_max = Span::from_ms(v);
    /// First delay before a waiting request asks again.
    backoff_ms: u64, within(0..=YEAR_MS) => |p, v| p.backoff = Span::from_ms(v);
    /// The longest such delay.
    backoff_max_ms: u64, within(0..=YEAR_MS) => |p, v| p.backoff_max = Span::from_ms(v);
    /// Between pings to a waiting streaming client.
    ping_interval_ms: u64, within(0..=YEAR_MS) => |p, v| p.ping_interval = Span::from_ms(v);
    /// What becomes of running streams without a session: `finish` or `abort`.
    on_session_lost: OnSessionLostName => |p, v| p.on_session_lost = v.into();
    /// Live requests of one worker.
    requests_max: u32 => |p, v| p.requests_max = v;
}

impl Knobs {
    /// Those that an engine keeps for life; see [`Policy::renewed`].
    pub(super) const FOR_LIFE: &[&str] = &["preset", "lease_ttl_ms"];

    /// `new`, but for those.
    pub(super) fn renewed(&self, new: Self) -> Self {
        Self { preset: self.preset, lease_ttl_ms: self.lease_ttl_ms, ..new }
    }

    /// Every knob that does not fit: its field, its value, and what it must be.
    pub(super) fn mistakes(&self) -> Vec<(&'static str, String, String)> {
        let told = |error: &KnobError| {
            let field = field(error.knob).unwrap_or(error.knob);
            let value = error.value.trim_end_matches(" ms").to_owned();
            let must = error.must.split(' ').map(|word| self::field(word).unwrap_or(word));
            (field, value, format!("must be {}", must.collect::<Vec<_>>().join(" ")))
        };
        self.policy().validate().err().iter().flatten().map(told).collect()
    }
}

/// The field of a knob that the engine calls by this name.
fn field(knob: &str) -> Option<&'static str> {
    let last = knob.rsplit('.').next()?;
    let is = |field: &&&str| **field == last || field.strip_suffix("_ms") == Some(last);
    Knobs::FIELDS.iter().find(is).copied()
}

/// Turns a word of the file into what the engine calls it.
macro_rules! meaning {
    ($($name:ident as $of:ty { $($variant:ident),* })*) => {$(
        impl From<$name> for $of {
            fn from(name: $name) -> Self {
                match name { $($name::$variant => Self::$variant),* }
            }
        }
    )*};
}

words! {
    /// See [`Preset`].
    PresetName {
        /// See [`Preset::Fair`].
        Fair = "fair",
        /// See [`Preset::Seed`].
        Seed = "seed",
    }
    /// See [`policy::Fallback`].
    FallbackName {
        /// See [`policy::Fallback::First`].
        First = "first",
        /// See [`policy::Fallback::Pool`].
        Pool = "pool",
    }
    /// See [`policy::StickyEnd`].
    StickyEndName {
        /// See [`policy::StickyEnd::Timeout`].
        Timeout = "timeout",
        /// See [`policy::StickyEnd::Widen`].
        Widen = "widen",
    }
    /// See [`policy::LineFull`].
    LineFullName {
        /// See [`policy::LineFull::Reject`].
        Reject = "reject",
        /// See [`policy::LineFull::NextLayer`].
        NextLayer = "next_layer",
    }
    /// See [`policy::OnSessionLost`].
    OnSessionLostName {
        /// See [`policy::OnSessionLost::Finish`].
        Finish = "finish",
        /// See [`policy::OnSessionLost::Abort`].
        Abort = "abort",
    }
}

meaning! {
    PresetName as Preset { Fair, Seed }
    FallbackName as policy::Fallback { First, Pool }
    StickyEndName as policy::StickyEnd { Timeout, Widen }
    LineFullName as policy::LineFull { Reject, NextLayer }
    OnSessionLostName as policy::OnSessionLost { Finish, Abort }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_preset_is_the_default() {
        assert_eq!(Preset::from(PresetName::default()), Preset::default());
    }

    #[test]
    fn the_engine_s_names_of_knobs_are_found() {
        assert_eq!(field("health.ejection_max"), Some("ejection_max_ms"));
        assert_eq!(field("sticky_line_max"), Some("sticky_line_max"));
        assert_eq!(field("belief"), None);
    }
}
