//! A store that any number of gateways share: `Ledger`, transcribed to Lua scripts in a Redis.
//!
//! One operation is one script, and Redis runs one script at a time; so the store is exact without
//! locks. docs/storage.md tells which keys there are and what happens when something fails.
//!
//! **Architecture Invariant:** nothing here decides. The scripts answer as
//! [`sluice_engine::ledger::Ledger`] does; a test runs the same operations on both.

mod connect;
mod decode;
mod encode;
mod fault;
mod inspect;
mod operator;
mod proof;
mod scripts;
mod text;
mod url;

use std::sync::{Arc, Mutex};

use fred::clients::{Client, SubscriberClient};
use fred::interfaces::{ClientLike, LuaInterface, PubsubInterface};
use fred::types::{ClientState, Value};
use sluice_engine::ledger::LineView;
use sluice_engine::store::{Instance, StoreOp, StoreReply};
use sluice_engine::{NodeId, StoreFault};
use tokio::task::JoinSet;

pub use self::url::RedisUrl;
use crate::sinks::{Sinks, held};
use crate::{GrantSink, Store, Watch};
pub use connect::{ConnectError, Options};
use connect::{Links, Pulse};
use fault::Failed;
pub use inspect::{Inspection, inspect};
pub use operator::NodeView;
use scripts::{Loaded, Script};

/// What the store and its scripts say to each other. Public for tests, which run the scripts by a
/// clock of their own; gateways need nothing of it.
pub mod protocol {
    pub use super::decode::{decode, decode_grant, decode_view, epoch};
    pub use super::encode::encode;
    pub use super::scripts::{SERVER_CLOCK, Script};
    pub use super::text::Malformed;
}

/// Which way of keeping things this is, in the name of every key: releases that differ in it would
/// misread each other, so that they see nothing of each other instead.
const LAYOUT: u32 = 2;

/// See the module's documentation.
///
/// Its two connections, one for operations and one for grants, live on the tokio runtime on which it
/// was made, and end with it.
pub struct RedisStore {
    space: Space,
    client: Client,
    subscriber: SubscriberClient,
    sinks: Arc<Mutex<Sinks>>,
    /// What keeps the connections up and hands grants on; ends when dropped.
    _tasks: JoinSet<()>,
}

/// A part of the keys, with the scripts that work on it.
#[derive(Clone)]
struct Space {
    /// What all its keys begin with: the one hash tag, and perhaps more.
    name: String,
    scripts: Arc<Loaded>,
    pulse: Arc<Pulse>,
}

impl RedisStore {
    /// Connects to the Redis at `url` and proves that it lets every script do its work.
    ///
    /// `redis://user:password@host:port/database`, `rediss://` for TLS, `redis-cluster://` for a
    /// cluster, `redis+unix:///path` for a socket; see [`RedisUrl`].
    ///
    /// # Errors
    /// The URL makes no sense, nobody answers there, or Redis does not allow what is needed.
    pub async fn connect(url: &str, options: Options) -> Result<Self, ConnectError> {
        let Links { client, subscriber, pulse, mut tasks } = connect::open(url, &options).await?;
        let space = Space::new(&options, pulse);
        connect::patiently(|| inspect::refuse_eviction(&client, &space)).await?;
        connect::patiently(|| proof::prove(&client, &subscriber, &space)).await?;
        let sinks = Arc::new(Mutex::new(Sinks::default()));
        tasks.spawn(connect::hand_on(subscriber.clone(), sinks.clone()));
        tasks.spawn(connect::listen_again(subscriber.clone(), sinks.clone(), space.clone()));
        Ok(Self { space, client, subscriber, sinks, _tasks: tasks })
    }

    /// A new node's grants are listened to before its first operation is sent. One that cannot be
    /// listened to only waits longer: grants are hints.
    async fn listen(&self, instance: Instance, node: NodeId) {
        let all_former = held(&self.sinks).join(instance, node);
        for former in all_former {
            drop(self.subscriber.unsubscribe(self.space.channel(former)).await);
        }
        drop(self.subscriber.subscribe(self.space.channel(node)).await);
    }
}

impl Space {
    fn new(options: &Options, pulse: Arc<Pulse>) -> Self {
        let name = format!("{{{}}}:{LAYOUT}", options.cell);
        Self { name, scripts: Arc::new(Loaded::new()), pulse }
    }

    /// Where the node's grants are pushed.
    fn channel(&self, node: NodeId) -> String {
        format!("{}:grant:{}", self.name, text::id(node.0))
    }

    /// Runs a script. Where the server does not know it yet, its text is sent: the first time, after
    /// a restart, after a failover. It was certainly not run before.
    async fn run(
        &self,
        client: &Client,
        script: Script,
        args: Vec<String>,
    ) -> Result<Vec<String>, Failed> {
        self.pulse.asked();
        if client.state() != ClientState::Connected {
            // It would be queued, and sent at a time when nobody waits for it any more.
            return Err(Failed::unsent());
        }
        let (digest, text) = self.scripts.of(script);
        let answer = client.evalsha(digest, self.name.as_str(), args.clone()).await;
        let answer = match answer.map_err(Failed) {
            Err(failed) if failed.is_unknown_script() => {
                client.eval(text, self.name.as_str(), args).await.map_err(Failed)
            }
            answer => answer,
        };
        if answer.as_ref().map_or_else(Failed::is_an_answer, |_| true) {
            self.pulse.answered();
        }
        let mut texts = Vec::new();
        flatten(answer?, &mut texts);
        Ok(texts)
    }
}

/// An answer as a list of texts.
fn flatten(value: Value, texts: &mut Vec<String>) {
    if value.is_array() {
        value.into_array().into_iter().for_each(|value| flatten(value, texts));
    } else {
        texts.push(value.into_string().unwrap_or_default());
    }
}

impl Store for RedisStore {
    async fn run(&self, op: StoreOp) -> Result<StoreReply, StoreFault> {
        let (script, args) = encode::encode(&op);
        let answer = self.space.run(&self.client, script, args).await;
        let answer = answer.map_err(|failed| failed.fault())?;
        let reply = decode::decode(&answer).map_err(|_| StoreFault::Unknown)?;
        if let (StoreOp::Join { instance, .. }, StoreReply::Joined { node, .. }) = (op, &reply) {
            self.listen(instance, *node).await;
        }
        Ok(reply)
    }
}

impl Watch for RedisStore {
    fn subscribe(&self, instance: Instance, sink: GrantSink) {
        held(&self.sinks).subscribe(instance, sink);
    }

    fn view(&self) -> Option<Vec<LineView>> {
        None
    }

    /// Linear in leases and gates, and Redis does nothing else meanwhile.
    async fn lines(&self) -> Result<Vec<LineView>, StoreFault> {
        let answer = self.space.run(&self.client, Script::View, Vec::new()).await;
        let answer = answer.map_err(|failed| failed.fault())?;
        decode::decode_view(&answer).map_err(|_| StoreFault::Unknown)
    }
}
