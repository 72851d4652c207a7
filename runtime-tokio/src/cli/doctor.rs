//! `sluice doctor`: whether what the configuration names can be used. One line a finding: how it is,
//! what was looked at, what was found, and what to do about it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use sluice_engine::Span;
use sluice_storage::redis::{ConnectError, Inspection, RedisUrl, inspect};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::config::{Config, Store};
use crate::directory::{Account, Directory, Endpoint};
use crate::net::TcpNet;
use crate::serve::block_on;
use crate::store::options;
use crate::upstream::access::Source;
use crate::upstream::connect;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Ok,
    Warn,
    Fail,
}

/// What was looked at, and what was found.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    level: Level,
    what: String,
    found: String,
}

impl Finding {
    fn new(level: Level, what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { level, what: what.into(), found: found.into() }
    }

    fn ok(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Level::Ok, what, found)
    }

    fn fail(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Level::Fail, what, found)
    }

    fn failed(what: &str, error: &ConnectError) -> Self {
        Self::fail(what, format!("{error}; {}", error.remedy()))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "ok  ",
            Level::Warn => "warn",
            Level::Fail => "fail",
        };
        write!(f, "{level} {}: {}", self.what, self.found)
    }
}

/// The oldest release of Redis whose scripts behave as they must.
const MAJOR_MIN: u32 = 7;
/// Beyond it, a failover to a host with another clock moves sessions and closings.
const SKEW_MAX: Span = Span::from_secs(1);
/// Upstreams that are connected to at once.
const CONNECTS_MAX: usize = 16;
/// A share of the time that an operation may take; beyond it, faults are to be expected.
const SLOW_SHARE: u32 = 4;

/// Prints what it finds.
///
/// # Errors
/// Something fails.
#[expect(clippy::print_stdout, reason = "what a command answers belongs on standard output")]
pub(super) fn run(config: &Config) -> io::Result<()> {
    let directory = Directory::new(config).map_err(io::Error::other)?;
    let limit = Duration::from_millis(config.upstream.connect_timeout_ms);
    let failed = block_on(async {
        let mut failed = 0_u32;
        for finding in store(config).await.into_iter().chain(upstreams(directory, limit).await) {
            failed += u32::from(finding.level == Level::Fail);
            println!("{finding}");
        }
        Ok(failed)
    })?;
    match failed {
        0 => Ok(()),
        1 => Err(io::Error::other("1 thing fails")),
        n => Err(io::Error::other(format!("{n} things fail"))),
    }
}

async fn store(config: &Config) -> Vec<Finding> {
    let Store::Redis(url) = &config.store else {
        return vec![Finding::ok("store", "in memory; there is nothing to reach")];
    };
    let options = options(&config.redis);
    let clock = Clock::system();
    match inspect(url.expose(), &options, || clock.now()).await {
        Ok(seen) => redis(url, &seen, options.timeout),
        Err(error) => vec![Finding::failed(&format!("redis {url}"), &error)],
    }
}

fn redis(url: &RedisUrl, seen: &Inspection, limit: Duration) -> Vec<Finding> {
    vec![
        Finding::ok(format!("redis {url}"), "answers"),
        version(&seen.version),
        role(&seen.role),
        match &seen.rights {
            Ok(()) => Finding::ok("rights", "every script was run on keys of its own"),
            Err(error) => Finding::failed("rights", error),
        },
        eviction(seen),
        skew(seen),
        latency(&seen.round_trips, limit),
    ]
}

fn version(version: &str) -> Finding {
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= MAJOR_MIN) {
        return Finding::ok("version", version);
    }
    let found = format!("{version:?}, which nobody has tried; use Redis {MAJOR_MIN}.0 or later");
    Finding::new(Level::Warn, "version", found)
}

fn role(role: &str) -> Finding {
    if role == "master" {
        return Finding::ok("role", role);
    }
    Finding::fail("role", format!("{role:?} takes no writes; name the master, or Sentinel"))
}

fn eviction(seen: &Inspection) -> Finding {
    if seen.evicts() {
        let error = ConnectError::Evicts { policy: seen.policy.clone() };
        return Finding::failed("maxmemory-policy", &error);
    }
    let bound = match seen.maxmemory {
        0 => "no bound".to_owned(),
        bytes => format!("{bytes} bytes"),
    };
    Finding::ok("maxmemory-policy", format!("{}, maxmemory {bound}", seen.policy))
}

fn skew(seen: &Inspection) -> Finding {
    let (theirs, ours) = seen.clocks;
    let (skew, way) = if theirs > ours {
        (theirs.since(ours), "ahead of")
    } else {
        (ours.since(theirs), "behind")
    };
    let found = format!("the server's is {} ms {way} this machine's", skew.as_ms());
    if skew <= SKEW_MAX {
        return Finding::ok("clock", found);
    }
    let found = format!(
        "{found}; synchronise both (NTP): a failover to a host with another clock moves closings"
    );
    Finding::new(Level::Warn, "clock", found)
}

fn latency(sorted: &[Span], limit: Duration) -> Finding {
    let at = |share: usize| sorted.get((sorted.len().saturating_sub(1)) * share / 100);
    let (median, most) =
        (at(50).copied().unwrap_or_default(), at(100).copied().unwrap_or_default());
    let found = format!(
        "{} µs median, {} µs at most, of {} round trips; redis.timeout_ms is {}",
        median.0,
        most.0,
        sorted.len(),
        limit.as_millis()
    );
    let slow = u128::from(most.0) > limit.as_micros() / u128::from(SLOW_SHARE);
    if slow {
        let found = format!("{found}: raise it, or bring Redis nearer");
        return Finding::new(Level::Warn, "latency", found);
    }
    Finding::ok("latency", found)
}

/// The way to each account and its tokens: a connection, through its proxy, with TLS where the address says so.
async fn upstreams(directory: Directory, limit: Duration) -> Vec<Finding> {
    let directory = Arc::new(directory);
    let room = Arc::new(Semaphore::new(CONNECTS_MAX));
    let mut tasks = JoinSet::new();
    for (index, id) in directory.accounts.keys().copied().enumerate() {
        let (directory, room) = (directory.clone(), room.clone());
        tasks.spawn_local(async move {
            let _room = room.acquire().await;
            (index, upstream(&directory, &directory.accounts[&id], limit).await)
        });
    }
    let mut findings = tasks.join_all().await;
    findings.sort_by_key(|(index, _)| *index);
    findings.into_iter().flat_map(|(_, findings)| findings).collect()
}

/// Where it lives, and where its tokens come from if it has any.
async fn upstream(directory: &Directory, account: &Account, limit: Duration) -> Vec<Finding> {
    let what = format!("account {}", account.name);
    let mut findings = vec![place(directory, account, &account.endpoint, what, limit).await];
    if let Source::OAuth(tokens) = &account.credential {
        let what = format!("token_url of account {}", account.name);
        findings.push(place(directory, account, tokens.token_url(), what, limit).await);
    }
    findings
}

async fn place(
    directory: &Directory,
    account: &Account,
    endpoint: &Endpoint,
    what: String,
    limit: Duration,
) -> Finding {
    let way = connect::connect::<TcpNet>(endpoint, account.proxy.as_ref(), &directory.tls);
    let address = endpoint.address();
    let why = match timeout(limit, way).await {
        Ok(Ok(_)) => return Finding::ok(what, format!("{address} can be connected to")),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no connection within {} ms", limit.as_millis()),
    };
    Finding::fail(what, format!("{address}: {why}; see its address and proxy, and [upstream]"))
}

#[cfg(test)]
mod tests {
    use sluice_engine::Time;

    use super::*;

    fn seen() -> Inspection {
        Inspection {
            version: "7.2.4".to_owned(),
            role: "master".to_owned(),
            maxmemory: 0,
            policy: "noeviction".to_owned(),
            clocks: (Time(1_000_000), Time(1_000_500)),
            round_trips: vec![Span(100), Span(200), Span(300)],
            rights: Ok(()),
        }
    }

    fn levels(seen: &Inspection) -> Vec<Level> {
        let url = RedisUrl::parse("redis://u:SECRET@h").expect("good");
        let findings = redis(&url, seen, Duration::from_millis(300));
        assert!(findings.iter().all(|finding| !finding.to_string().contains("SECRET")));
        findings.into_iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn a_server_in_order_is_told_so() {
        assert!(levels(&seen()).iter().all(|level| *level == Level::Ok));
    }

    #[test]
    fn everything_that_is_not_in_order_is_found() {
        let forbidden = ConnectError::Forbidden { what: "x".to_owned(), why: "y".to_owned() };
        let bad = Inspection {
            version: "6.2.1".to_owned(),
            role: "slave".to_owned(),
            maxmemory: 1,
            policy: "allkeys-lru".to_owned(),
            clocks: (Time(9_000_000), Time(1_000_000)),
            round_trips: vec![Span::from_ms(80)],
            rights: Err(forbidden),
        };
        use Level::{Fail, Ok, Warn};
        assert_eq!(levels(&bad), [Ok, Warn, Fail, Fail, Fail, Warn, Warn]);
    }
}
