//! What can be found out about a Redis without being a gateway.

use fred::clients::Client;
use fred::interfaces::LuaInterface;
use sluice_engine::{Span, Time};

use super::connect::{self, ConnectError, Links, Options};
use super::{Space, proof};

/// What was found out.
#[derive(Debug)]
pub struct Inspection {
    /// The server's version.
    pub version: String,
    /// `master` or `slave`.
    pub role: String,
    /// The most bytes it uses; 0: as many as there are.
    pub maxmemory: u64,
    /// What it does when they are used.
    pub policy: String,
    /// What the server's clock showed, and this machine's then.
    pub clocks: (Time, Time),
    /// Round trips, the shortest first.
    pub round_trips: Vec<Span>,
    /// Whether every script may do its work.
    pub rights: Result<(), ConnectError>,
}

/// Round trips that are measured.
const ROUND_TRIPS: usize = 20;

/// Looks at the Redis at `url`. `now` is this machine's time.
///
/// # Errors
/// It cannot be connected to, or may not even be asked about itself.
pub async fn inspect(
    url: &str,
    options: &Options,
    now: impl Fn() -> Time,
) -> Result<Inspection, ConnectError> {
    // The tasks keep the connections up until the end.
    let Links { client, subscriber, pulse, tasks: _tasks } = connect::open(url, options).await?;
    let space = Space::new(options, pulse);
    let server = info(&client, &space, "server").await?;
    let memory = info(&client, &space, "memory").await?;
    let replication = info(&client, &space, "replication").await?;
    let mut round_trips = Vec::with_capacity(ROUND_TRIPS);
    let mut clocks = (Time::ZERO, Time::ZERO);
    for _ in 0..ROUND_TRIPS {
        let sent = now();
        let time = run(&client, &space, TIME, Vec::new(), "TIME").await?;
        let trip = now().since(sent);
        round_trips.push(trip);
        clocks = (Time(time.parse().unwrap_or_default()), sent + Span(trip.0 / 2));
    }
    round_trips.sort_unstable();
    Ok(Inspection {
        version: field(&server, "redis_version").to_owned(),
        role: field(&replication, "role").to_owned(),
        maxmemory: field(&memory, "maxmemory").parse().unwrap_or_default(),
        policy: field(&memory, "maxmemory_policy").to_owned(),
        clocks,
        round_trips,
        rights: connect::patiently(|| proof::prove(&client, &subscriber, &space)).await,
    })
}

impl Inspection {
    /// Whether it throws keys away when memory runs out.
    #[must_use]
    pub fn evicts(&self) -> bool {
        evicts(self.maxmemory, &self.policy)
    }
}

/// A key that is thrown away is a slot that is given twice.
pub(super) async fn refuse_eviction(client: &Client, space: &Space) -> Result<(), ConnectError> {
    let memory = info(client, space, "memory").await?;
    let (max, policy) = (field(&memory, "maxmemory"), field(&memory, "maxmemory_policy"));
    if evicts(max.parse().unwrap_or_default(), policy) {
        return Err(ConnectError::Evicts { policy: policy.to_owned() });
    }
    Ok(())
}

fn evicts(maxmemory: u64, policy: &str) -> bool {
    maxmemory > 0 && policy != "noeviction"
}

async fn info(client: &Client, space: &Space, section: &str) -> Result<String, ConnectError> {
    run(client, space, INFO, vec![section.to_owned()], "INFO").await
}

/// Runs a script of one line: so the server is asked that has the cell's keys, also in a cluster.
async fn run(
    client: &Client,
    space: &Space,
    script: &'static str,
    args: Vec<String>,
    what: &str,
) -> Result<String, ConnectError> {
    let answer = client.eval(script, space.name.as_str(), args).await;
    answer.map_err(|error| ConnectError::instead_of(what, &error))
}

/// KEYS is not used, but says where to.
const INFO: &str = "return redis.call('INFO', ARGV[1])";
/// In microseconds.
const TIME: &str = "local t = redis.call('TIME') \
                    return string.format('%.0f', t[1] * 1000000 + t[2])";

/// A field of what `INFO` says; empty if it is not there.
fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bound_and_another_policy_throw_keys_away() {
        assert!(evicts(1, "allkeys-lru"));
        assert!(!evicts(0, "allkeys-lru") && !evicts(1, "noeviction"));
        let seen = |policy: &str| Inspection {
            version: String::new(),
            role: String::new(),
            maxmemory: 1,
            policy: policy.to_owned(),
            clocks: (Time::ZERO, Time::ZERO),
            round_trips: Vec::new(),
            rights: Ok(()),
        };
        assert!(seen("allkeys-lru").evicts() && !seen("noeviction").evicts());
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let info = "# Memory\r\nmaxmemory_policy:noeviction\r\nmaxmemory:7\r\n";
        assert_eq!(field(info, "maxmemory"), "7");
        assert_eq!(field(info, "memory"), "");
    }
}
