//! What gateways and upstreams of a network have that most do not need: drawn from a stream of its
//! own, so that everything else of a seed stays as it is without.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sluice_engine::{Span, UserId};

use super::{Draw, Scenario};

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extras {
    /// Every account knows every model by a name of its own.
    pub renames: bool,
    /// Connections that a gateway keeps for an account, at most.
    pub idle_connections: Option<usize>,
    /// Requests are so long that a gateway has memory for a few at once.
    pub long_bodies: bool,
    /// Upstreams end a stream's body so long after its last event.
    pub afterword: Span,
    /// Users with nothing left to spend.
    pub penniless: BTreeSet<UserId>,
}

impl Extras {
    /// Those of a scenario's seed.
    pub(super) fn of(s: &Scenario) -> Self {
        let mut d = Draw::scenario(s.seed, 24, 0);
        let renames = d.chance(1, 3);
        let idle_connections = d.chance(1, 3).then(|| d.range(0, 2) as usize);
        let long_bodies = d.chance(1, 4);
        let afterword = Span::from_ms(d.pick(&[0, 0, 300, 1_500, 4_000]));
        let poor = d.pick(&[0, 0, 0, 300]);
        let users = s.rosters[0].users.keys().copied();
        let penniless = users.filter(|_| d.thousandth(poor)).collect();
        Self { renames, idle_connections, long_bodies, afterword, penniless }
    }
}
