//! A scenario's roster and policy as a configuration file of the gateway, and what goes with it: keys,
//! credentials, and the requests of clients.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use sluice_engine::policy::{Fallback, LineFull, OnSessionLost, StickyEnd};
use sluice_engine::roster::{Platform, PoolKey};
use sluice_engine::store::Limit;
use sluice_engine::{
    AccountId, GroupId, ModelId, Policy, PoolId, Preset, RequestId, SessionKey, Span, UserId,
};
use sluice_runtime_tokio::auth::KeyHash;
use sluice_runtime_tokio::config::Config;
use sluice_runtime_tokio::directory::{Directory, account_id, user_id};

use super::PORT;
use crate::scenario::{Arrival, Network, Scenario, generation};

/// How long gateways that do read on after a client has left.
pub(super) const DRAIN_MAX: Span = Span::from_secs(3);

/// The configuration that begins with each roster, and the same for looking up.
pub(super) fn configured(scenario: &Scenario, network: &Network) -> Vec<(Config, Arc<Directory>)> {
    let one = |roster: usize| {
        let text = text(scenario, network, roster);
        let config = Config::parse(&text, 1 + roster as u64);
        let config = config.unwrap_or_else(|error| panic!("{error}\n{text}"));
        let directory = Directory::new(&config).unwrap_or_else(|error| panic!("{error}"));
        (config, Arc::new(directory))
    };
    (0..scenario.rosters.len()).map(one).collect()
}

/// The policy that a configuration file makes of this one: not every knob can be set in it.
pub(crate) fn expressible(policy: &Policy, preset: Preset) -> Policy {
    let head = "server = { listen = \"127.0.0.1:1\" }\ngroups = []\n";
    let text = format!("{head}{}", knobs(policy, preset));
    Config::parse(&text, 1).unwrap_or_else(|error| panic!("{error}\n{text}")).policy()
}

/// What every credential begins with.
pub(super) const CREDENTIAL: &str = "credential-";

/// The credential of an account, after it has been another one so often.
pub(super) fn api_key(account: AccountId, generation: usize) -> String {
    format!("{CREDENTIAL}{generation}-of-{account}")
}

/// Which of an account's credentials this is.
pub(super) fn credential_of(account: AccountId, key: &str) -> Option<usize> {
    let generation = key.strip_prefix(CREDENTIAL)?.strip_suffix(&format!("-of-{account}"))?;
    generation.parse().ok()
}

/// An account's id at the gateways: they make it of its name.
pub(super) fn account_of(account: AccountId) -> AccountId {
    account_id(&account.to_string())
}

fn key(user: UserId, group: GroupId) -> String {
    format!("key-of-{user}-in-{group}")
}

/// What a client calls a model, and what an account does.
pub(super) fn model_name(network: &Network, account: AccountId, model: ModelId) -> String {
    if network.extras.renames { format!("{model}-of-{account}") } else { model.to_string() }
}

/// Of which group each pool is.
pub(super) fn groups_of_pools(scenario: &Scenario) -> BTreeMap<PoolId, GroupId> {
    let Some(network) = &scenario.network else { return BTreeMap::new() };
    let directories = configured(scenario, network).into_iter().map(|(_, directory)| directory);
    let pools = directories.flat_map(|directory| directory.roster.pools.clone());
    pools.map(|(key, pool)| (pool.id, key.group)).collect()
}

/// The most bytes of a body, and how many requests of that size a gateway has memory for. It counts a
/// body twice: what is read, and the buffer that it is read through.
const LONG_BODY: usize = 4_096;
pub(super) const LONG_BODIES_MAX: usize = 6;

/// What a request says.
pub(super) fn question(req: RequestId) -> String {
    format!("what of {req}?")
}

/// Whose request has this user agent.
pub(super) fn user_agent_of(agent: &str) -> Option<RequestId> {
    agent.strip_prefix("sim/")?.parse().ok().map(RequestId)
}

/// How a conversation begins, by which its requests are known as one session. Those of others may begin
/// alike.
pub(super) fn conversation(arrival: &Arrival) -> String {
    let RequestId(n) = arrival.id;
    arrival.spec.session.map_or_else(|| format!("of {n}"), |SessionKey(key)| key[2].to_string())
}

/// A user's id at the gateways.
pub(super) fn user_of(user: UserId) -> UserId {
    user_id(&user.to_string())
}

/// A client's request, as it goes over the wire.
pub(super) fn request(scenario: &Scenario, arrival: &Arrival) -> String {
    let Arrival { id: RequestId(n), spec, .. } = arrival;
    let session = conversation(arrival);
    let mut body = format!(
        "{{\"model\":\"{}\",\"stream\":{},\"max_tokens\":9,\"system\":\"session {session}\",\
         \"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}},\
         {{\"role\":\"assistant\",\"content\":\"hello\"}},\
         {{\"role\":\"user\",\"content\":\"{}\"}}]}}",
        spec.model,
        spec.stream,
        question(arrival.id),
    );
    if scenario.network.as_ref().is_some_and(|network| network.extras.long_bodies) {
        body += &" ".repeat(LONG_BODY - body.len());
    }
    let host = &scenario.nodes[arrival.node].name;
    let mut text = String::new();
    write!(
        text,
        "POST /v1/messages HTTP/1.1\r\nhost: {host}\r\nuser-agent: sim/{n}\r\nx-request-id: sim-{n}\r\n\
         x-api-key: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        key(spec.user, spec.group),
        body.len(),
    )
    .expect("a string takes what is written");
    text
}

fn text(scenario: &Scenario, network: &Network, index: usize) -> String {
    let roster = &scenario.rosters[index];
    let pools: Vec<_> = roster
        .pools
        .iter()
        .filter_map(|(pool, members)| match *pool {
            PoolKey { group, platform: Platform::Anthropic, model: None } => {
                Some((group, &members.members))
            }
            _ => None,
        })
        .collect();
    let mut groups: Vec<GroupId> = pools.iter().map(|(group, _)| *group).collect();
    groups.extend(scenario.arrivals.iter().map(|a| a.spec.group));
    groups.sort_unstable();
    groups.dedup();
    let named: Vec<_> = groups.iter().map(|group| format!("{{ name = \"{group}\" }}")).collect();
    let mut text = format!(
        "server = {{ listen = \"127.0.0.1:{PORT}\" }}\ngroups = [{}]\n{}",
        named.join(", "),
        knobs(&scenario.policy, scenario.preset),
    );
    let (head, idle) = (network.header_timeout.as_ms(), network.idle_timeout.as_ms());
    let gone = if network.drain { "drain" } else { "cancel" };
    let extras = &network.extras;
    let bodies = if extras.long_bodies {
        let all = LONG_BODIES_MAX * 2 * LONG_BODY;
        format!("body_bytes_max = {LONG_BODY}\nparked_bytes_max = {all}\n")
    } else {
        String::new()
    };
    let idle_connections = extras
        .idle_connections
        .map_or_else(String::new, |n| format!("idle_connections_max = {n}\n"));
    text += &format!(
        "[log]\naccess = \"off\"\n[limits]\n{bodies}client_stall_timeout_ms = {}\n[upstream]\n\
         {idle_connections}roots = \"bundled\"\nconnect_timeout_ms = 2000\nheader_timeout_ms = {head}\n\
         idle_timeout_ms = {idle}\non_disconnect = \"{gone}\"\ndrain_time_max_ms = {}\n",
        network.stall_timeout.as_ms(),
        DRAIN_MAX.as_ms(),
    );
    for (&user, of) in &roster.users {
        text += &format!("[[users]]\nname = \"{user}\"\nconcurrency = {}\n", limit(of.limit));
        if extras.penniless.contains(&user) {
            text += "balance_cents = 0\n";
        }
        for &group in &groups {
            let hash = KeyHash::of(&key(user, group)).to_hex();
            text += &format!("[[users.keys]]\nsha256 = \"{hash}\"\ngroup = \"{group}\"\n");
        }
    }
    for (&account, of) in &roster.accounts {
        let members = pools.iter().filter(|(_, members)| members.contains(&account));
        let of_groups: Vec<_> = members.map(|(group, _)| format!("\"{group}\"")).collect();
        text += &format!(
            "[[accounts]]\nname = \"{account}\"\nbase_url = \"http://{account}:{PORT}\"\n\
             api_key = \"{}\"\nconcurrency = {}\npriority = {}\ngroups = [{}]\n",
            api_key(account, generation(scenario, index, account)),
            limit(of.limit),
            of.priority,
            of_groups.join(", "),
        );
        if extras.renames {
            let models: BTreeSet<_> = scenario.arrivals.iter().map(|a| a.spec.model).collect();
            let name = |&model: &ModelId| {
                format!("\"{model}\" = \"{}\"", model_name(network, account, model))
            };
            let names: Vec<_> = models.iter().map(name).collect();
            text += &format!("models = {{ {} }}\n", names.join(", "));
        }
    }
    text
}

fn limit(limit: Limit) -> String {
    match limit.normal() {
        Limit::Closed => "\"closed\"".to_owned(),
        Limit::Slots(n) => n.to_string(),
        Limit::Unlimited => "\"unlimited\"".to_owned(),
    }
}

fn knobs(p: &Policy, preset: Preset) -> String {
    let mut text = String::from("[policy]\n");
    let mut word = |name: &str, value: &str| text += &format!("{name} = {value}\n");
    word(
        "preset",
        match preset {
            Preset::Seed => "\"seed\"",
            Preset::Fair => "\"fair\"",
        },
    );
    word(
        "fallback",
        match p.fallback {
            Fallback::First => "\"first\"",
            Fallback::Pool => "\"pool\"",
        },
    );
    word(
        "sticky_end",
        match p.sticky_end {
            StickyEnd::Timeout => "\"timeout\"",
            StickyEnd::Widen => "\"widen\"",
        },
    );
    word(
        "sticky_full",
        match p.sticky_full {
            LineFull::Reject => "\"reject\"",
            LineFull::NextLayer => "\"next_layer\"",
        },
    );
    word(
        "on_session_lost",
        match p.on_session_lost {
            OnSessionLost::Finish => "\"finish\"",
            OnSessionLost::Abort => "\"abort\"",
        },
    );
    word("load_batch", if p.load_batch { "true" } else { "false" });
    let mut number = |name: &str, value: u64| text += &format!("{name} = {value}\n");
    number("fallback_line_max", p.fallback_line_max.into());
    number("sticky_line_max", p.sticky_line_max.into());
    number("extra_wait_slots", p.extra_wait_slots.into());
    number("switches_max", p.switches.anthropic_max.into());
    number("server_error_switches_max", p.switches.server_error_max.into());
    number("failures_to_eject", p.health.failures_to_eject.into());
    number("requests_max", p.requests_max.into());
    let mut span = |name: &str, value: Span| text += &format!("{name}_ms = {}\n", value.as_ms());
    span("fallback_patience", p.fallback_patience);
    span("sticky_patience", p.sticky_patience);
    span("session_ttl", p.session_ttl);
    span("user_patience", p.user_patience);
    span("wait_total_max", p.wait_total_max);
    span("failover_time_max", p.failover_time_max);
    span("rate_limit_guess", p.rate_limit_guess);
    span("overload_guess", p.overload_guess);
    span("ejection", p.health.ejection);
    span("quarantine", p.health.quarantine);
    span("ping_interval", p.ping_interval);
    if let Some(ttl) = p.lease_ttl {
        span("lease_ttl", ttl);
    }
    text
}
