//! The scripts, run as the store runs them, but by the test's clock.

use std::collections::BTreeMap;

use sluice_engine::ledger::{Counters, LineView};
use sluice_engine::store::{Grant, StoreOp, StoreReply};
use sluice_engine::{NodeId, Time};
use sluice_storage::redis::protocol::{Script, decode, decode_grant, decode_view, encode};
use sluice_test_redis::{Connection, Server};

/// All keys begin with it.
pub(crate) const CELL: &str = "{test}";

/// The time comes with the names of keys, which no gateway writes there.
const TEST_CLOCK: &str = "local function machine() return tonumber(string.sub(KEYS[2], 7)) end\n";

/// A marker on a channel of its own: all grants before it have been heard.
const HEARD: &str = "heard";

/// One server's scripts, and the grants it pushes.
pub(crate) struct Redis {
    connection: Connection,
    grants: Connection,
    digests: BTreeMap<Script, String>,
    /// The server's part of the epoch.
    pub(crate) run: u64,
}

impl Redis {
    /// With the scripts' texts as `change` makes them.
    pub(crate) fn new(server: &Server, mut change: impl FnMut(String) -> String) -> Self {
        let open = || Connection::open(&server.socket()).expect("the server listens");
        let (mut connection, mut grants) = (open(), open());
        for (verb, channel) in [("PSUBSCRIBE", "*:grant:*"), ("SUBSCRIBE", HEARD)] {
            grants.ask(&[verb, channel]).expect("it can be listened to");
        }
        let mut load = |script: Script| {
            let text = change(script.text(TEST_CLOCK));
            let digest = connection.ask(&["SCRIPT", "LOAD", &text]).expect("it is Lua");
            (script, digest[0].clone())
        };
        let digests = Script::ALL.into_iter().map(&mut load).collect();
        let info = connection.ask(&["INFO", "server"]).expect("it tells about itself");
        let run = info[0].split_once("run_id:").and_then(|(_, id)| id.get(..16));
        let run = run.and_then(|id| u64::from_str_radix(id, 16).ok()).expect("it has a run id");
        Self { connection, grants, digests, run }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.connection.ask(&["FLUSHALL"]).expect("it forgets");
    }

    pub(crate) fn apply(
        &mut self,
        now: Time,
        op: &StoreOp,
    ) -> Result<(StoreReply, Vec<Grant>), String> {
        let (script, args) = encode(op);
        let answer = self.run_script(script, now, &args)?;
        let reply = decode(&answer).map_err(|error| error.to_string())?;
        Ok((reply, self.heard()?))
    }

    pub(crate) fn view(&mut self) -> Result<Vec<LineView>, String> {
        let answer = self.run_script(Script::View, Time::ZERO, &[])?;
        decode_view(&answer).map_err(|error| error.to_string())
    }

    pub(crate) fn counters(&mut self) -> Counters {
        let names = ["orphaned", "expired", "reaped", "passed_on", "over_limit"];
        let asked = ["HMGET", "{test}:counts"].into_iter().chain(names).collect::<Vec<_>>();
        let counts = self.connection.ask(&asked).expect("it is a hash");
        let count = |n: usize| counts[n].parse().unwrap_or(0);
        Counters {
            leases_orphaned: count(0),
            leases_expired: count(1),
            leases_reaped: count(2),
            grants_passed_on: count(3),
            over_limit: count(4),
        }
    }

    /// The digest of a script of the caller's own.
    pub(crate) fn load(&mut self, text: &str) -> String {
        self.ask(&["SCRIPT", "LOAD", text]).concat()
    }

    pub(crate) fn ask(&mut self, words: &[&str]) -> Vec<String> {
        self.connection.ask(words).expect("it answers")
    }

    /// What the data take.
    pub(crate) fn bytes(&mut self) -> u64 {
        let info = self.connection.ask(&["INFO", "memory"]).expect("it tells");
        let bytes = field(&info[0], "used_memory_dataset:");
        bytes.parse().expect("it is a number")
    }

    pub(crate) fn begin_timing(&mut self) {
        self.connection.ask(&["CONFIG", "RESETSTAT"]).expect("it begins anew");
    }

    /// Within the server, on average since the timing began.
    pub(crate) fn us_per_script(&mut self) -> String {
        let info = self.connection.ask(&["INFO", "commandstats"]).expect("it tells");
        let (_, scripts) = info[0].split_once("cmdstat_evalsha:").expect("some were run");
        field(scripts, "usec_per_call=").to_owned()
    }

    /// All keys that there are.
    pub(crate) fn keys(&mut self) -> Vec<String> {
        self.connection.ask(&["KEYS", "*"]).expect("it tells")
    }

    /// The gates of users that there are.
    pub(crate) fn users(&mut self) -> Vec<String> {
        let mut gates = self.connection.ask(&["HKEYS", "{test}:g"]).expect("it is a hash");
        gates.retain(|gate| gate.starts_with('u'));
        gates
    }

    fn run_script(
        &mut self,
        script: Script,
        now: Time,
        args: &[String],
    ) -> Result<Vec<String>, String> {
        let words = self.words(script, now, args);
        self.connection.ask(&words).map_err(|error| format!("{script:?}: {error}"))
    }

    fn words(&self, script: Script, now: Time, args: &[String]) -> Vec<String> {
        let (digest, time) = (self.digests[&script].clone(), format!("{CELL}{}", now.0));
        let begin = ["EVALSHA".into(), digest, "2".into(), CELL.into(), time];
        begin.into_iter().chain(args.iter().cloned()).collect()
    }

    /// How this operation is asked for.
    pub(crate) fn asked(&self, now: Time, op: &StoreOp) -> Vec<String> {
        let (script, args) = encode(op);
        self.words(script, now, &args)
    }

    /// Processor time of the server so far, in seconds.
    pub(crate) fn cpu_secs(&mut self) -> f64 {
        let info = self.connection.ask(&["INFO", "cpu"]).expect("it tells");
        let spent = |name| field(&info[0], name).parse::<f64>().expect("it is a number");
        spent("used_cpu_sys:") + spent("used_cpu_user:")
    }

    fn heard(&mut self) -> Result<Vec<Grant>, String> {
        self.connection.ask(&["PUBLISH", HEARD, ""]).expect("it publishes");
        let mut grants = Vec::new();
        loop {
            let message = self.grants.hear().map_err(|error| error.to_string())?;
            if message[0] == "message" {
                return Ok(grants);
            }
            let (_, node) = message[2].rsplit_once(':').expect("a channel of grants");
            let node = u64::from_str_radix(&node[1..], 16).expect("a node's id");
            let grant = decode_grant(NodeId(node), &message[3]);
            grants.push(grant.map_err(|error| error.to_string())?);
        }
    }
}

fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let (_, rest) = info.split_once(name).expect("it tells that");
    rest.split([',', '\r']).next().expect("there is at least nothing")
}
