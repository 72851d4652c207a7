//! Two connections, for operations and for grants, and what keeps them up.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fred::clients::{Client, SubscriberClient};
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface, PubsubInterface};
use fred::types::config::{Config, ReconnectPolicy, TcpConfig, UnresponsiveConfig};
use fred::types::{Builder, ConnectHandle, Message};
use sluice_engine::NodeId;
use sluice_engine::store::Grant;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Space;
use super::decode::decode_grant;
use super::text::parse_id;
use super::url::RedisUrl;
use crate::sinks::{Sinks, held, push};

/// How a store is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Names the deployment: gateways of one cell share their limits. All its keys begin with
    /// `{cell}`, so that a cluster keeps them in one place.
    pub cell: String,
    /// How long an operation may take before it counts as perhaps applied.
    pub timeout: Duration,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cell: "sluice".into(),
            timeout: Duration::from_millis(300),
            connect_timeout: Duration::from_secs(1),
        }
    }
}

/// Why there is no store.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL makes no sense.
    Url(String),
    /// Nobody answers, or not in a way that makes sense.
    Unreachable(String),
    /// Redis does not know the user, or its password is another.
    Unauthorized(String),
    /// Redis does not let something be done that is needed.
    Forbidden {
        /// What.
        what: String,
        /// What Redis said.
        why: String,
    },
    /// Redis may throw keys away when memory runs out: slots would be given twice.
    Evicts {
        /// Its `maxmemory-policy`.
        policy: String,
    },
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(why) => write!(f, "the URL {why}"),
            Self::Unreachable(why) => write!(f, "Redis does not answer: {why}"),
            Self::Unauthorized(why) => write!(f, "Redis refuses user and password: {why}"),
            Self::Forbidden { what, why } => write!(f, "Redis does not allow {what}: {why}"),
            Self::Evicts { policy } => write!(
                f,
                "Redis throws keys away when memory runs out (maxmemory-policy {policy}), and slots \
                 would be given twice"
            ),
        }
    }
}

impl ConnectError {
    /// What to do about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Url(_) => "write another one",
            Self::Unreachable(_) => {
                "see that Redis runs, that this machine may connect to it, and that host, port and \
                 scheme (rediss:// for TLS) are right"
            }
            Self::Unauthorized(_) => {
                "put the user and the password that Redis knows into the URL, what is special in a \
                 URL percent-encoded"
            }
            Self::Forbidden { .. } => {
                "give the user the rights that docs/storage.md lists, with ACL SETUSER"
            }
            Self::Evicts { .. } => "set maxmemory-policy to noeviction, or maxmemory to 0",
        }
    }

    /// What an error of the client means that came instead of a connection.
    pub(super) fn instead_of_a_connection(error: &Error) -> Self {
        let first = error.details().split(' ').next().unwrap_or_default();
        let why = said(error);
        match first {
            "NOPERM" => Self::Forbidden { what: "to connect".into(), why },
            "WRONGPASS" | "NOAUTH" => Self::Unauthorized(why),
            _ if *error.kind() == ErrorKind::Auth => Self::Unauthorized(why),
            _ => Self::Unreachable(why),
        }
    }

    /// What an error means that came instead of the answer to `what`.
    pub(super) fn instead_of(what: &str, error: &Error) -> Self {
        let silent = [ErrorKind::Timeout, ErrorKind::IO, ErrorKind::Canceled];
        let why = said(error);
        let first = error.details().split(' ').next().unwrap_or_default();
        if silent.contains(error.kind()) {
            Self::Unreachable(format!("{what} got no answer: {why}"))
        } else if ["BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "TRYAGAIN"].contains(&first) {
            Self::Unreachable(why)
        } else {
            Self::Forbidden { what: what.into(), why }
        }
    }
}

impl std::error::Error for ConnectError {}

/// The connections, up.
pub(super) struct Links {
    pub(super) client: Client,
    pub(super) subscriber: SubscriberClient,
    pub(super) pulse: Arc<Pulse>,
    pub(super) tasks: JoinSet<()>,
}

/// Whether a connection answers.
#[derive(Default)]
pub(super) struct Pulse {
    asked: AtomicU64,
    answered: AtomicU64,
}

impl Pulse {
    pub(super) fn asked(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns when for a while it was asked and did not answer once.
    async fn stopped(&self) {
        let counts = || (self.asked.load(Ordering::Relaxed), self.answered.load(Ordering::Relaxed));
        loop {
            let before = counts();
            sleep(SILENCE_MAX).await;
            let now = counts();
            if now.0 > before.0 && now.1 == before.1 {
                return;
            }
        }
    }
}

pub(super) async fn open(url: &str, options: &Options) -> Result<Links, ConnectError> {
    RedisUrl::parse(url).map_err(ConnectError::Url)?;
    // Its machine may lack the authorities that TLS needs.
    let config = Config::from_url(url);
    let config = config.map_err(|error| ConnectError::Unreachable(said(&error)))?;
    let mut builder = Builder::from_config(Config { fail_fast: true, ..config });
    builder
        .with_connection_config(|connection| {
            // The engine asks again, because it knows until when that makes sense.
            connection.max_command_attempts = 1;
            connection.connection_timeout = options.connect_timeout;
            connection.internal_command_timeout = options.connect_timeout;
            connection.unresponsive = UnresponsiveConfig {
                max_timeout: Some(options.timeout * 3),
                interval: options.timeout,
            };
            connection.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
        })
        .with_performance_config(|performance| {
            performance.default_command_timeout = options.timeout;
            performance.broadcast_channel_capacity = GRANTS_QUEUED_MAX;
        })
        .set_policy(ReconnectPolicy::new_constant(0, RECONNECT_DELAY.as_millis() as u32));
    let client = builder.build().map_err(|error| ConnectError::Url(said(&error)))?;
    let subscriber = builder.build_subscriber_client();
    let subscriber = subscriber.map_err(|error| ConnectError::Url(said(&error)))?;
    let mut tasks = JoinSet::new();
    let pulse = Arc::<Pulse>::default();
    tasks.spawn(keep_up(client.clone(), begin(&client).await?, pulse.clone()));
    // Nothing is asked of it, so nothing can be told from its silence.
    tasks.spawn(keep_up(subscriber.clone(), begin(&subscriber).await?, Arc::default()));
    Ok(Links { client, subscriber, pulse, tasks })
}

/// The task that drives a connection; ends with its handle.
struct Connection(ConnectHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn begin(client: &impl ClientLike) -> Result<Connection, ConnectError> {
    let connection = client.init().await;
    connection.map(Connection).map_err(|error| ConnectError::instead_of_a_connection(&error))
}

/// Tries again what got no answer: that Redis is busy at the moment of a start is no reason not to
/// start. Nobody waits yet for what is asked then, and nothing of it counts.
pub(super) async fn patiently<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, ConnectError>
where
    F: Future<Output = Result<T, ConnectError>>,
{
    for _ in 1..ATTEMPTS_MAX {
        match attempt().await {
            Err(ConnectError::Unreachable(_)) => sleep(RECONNECT_DELAY).await,
            decided => return decided,
        }
    }
    attempt().await
}

/// The client connects again by itself, but for rare errors (of a cluster whose keys move) that end
/// its task for good, and for connections that break while it makes them, after which it may wait for
/// ever: then it is begun anew.
async fn keep_up(client: impl ClientLike, mut connection: Connection, pulse: Arc<Pulse>) {
    loop {
        tokio::select! {
            biased; // Both lead to the same.
            _ = &mut connection.0 => {}
            () = pulse.stopped() => {}
        }
        drop(connection);
        sleep(RECONNECT_DELAY).await;
        connection = Connection(client.connect());
    }
}

/// After a reconnect the grants of all nodes are listened to again. Those in between are lost: who
/// waits asks again by itself.
pub(super) async fn listen_again(
    subscriber: SubscriberClient,
    sinks: Arc<Mutex<Sinks>>,
    space: Space,
) {
    let mut reconnects = subscriber.reconnect_rx();
    while !matches!(reconnects.recv().await, Err(RecvError::Closed)) {
        let nodes = held(&sinks).nodes();
        for node in nodes {
            drop(subscriber.subscribe(space.channel(node)).await);
        }
    }
}

/// Hands grants on to whom they concern.
pub(super) async fn hand_on(subscriber: SubscriberClient, sinks: Arc<Mutex<Sinks>>) {
    let mut messages = subscriber.message_rx();
    loop {
        match messages.recv().await {
            Ok(message) => {
                if let Some(grant) = grant(&message) {
                    push(&sinks, &[grant]);
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn grant(message: &Message) -> Option<Grant> {
    let (_, node) = message.channel.rsplit_once(':')?;
    let node = NodeId(parse_id(node).ok()?);
    decode_grant(node, &message.value.as_str()?).ok()
}

fn said(error: &Error) -> String {
    error.to_string()
}

/// How long a connection that is asked may say nothing before it is made anew: half of a session.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// How often it is tried at the start whether Redis can be used.
const ATTEMPTS_MAX: u32 = 5;

const RECONNECT_DELAY: Duration = Duration::from_millis(200);

/// Grants that wait to be handed on; more are lost, and cost their leases a back-off.
const GRANTS_QUEUED_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: ErrorKind, details: &'static str) -> ConnectError {
        ConnectError::instead_of_a_connection(&Error::new(kind, details))
    }

    #[test]
    fn what_redis_says_instead_of_a_connection_is_told_apart() {
        let unknown = |details| told(ErrorKind::Unknown, details);
        assert!(matches!(unknown("NOPERM no rights"), ConnectError::Forbidden { .. }));
        assert!(matches!(unknown("WRONGPASS no such user"), ConnectError::Unauthorized(_)));
        assert!(matches!(unknown("NOAUTH a password is needed"), ConnectError::Unauthorized(_)));
        assert!(matches!(told(ErrorKind::Auth, "ERR oh"), ConnectError::Unauthorized(_)));
        assert!(matches!(unknown("ERR oh"), ConnectError::Unreachable(_)));
        assert!(matches!(told(ErrorKind::IO, "refused"), ConnectError::Unreachable(_)));
    }

    #[test]
    fn what_is_no_answer_is_tried_again_and_what_is_one_is_not() {
        let told = |kind, details: &'static str| {
            ConnectError::instead_of("the script", &Error::new(kind, details))
        };
        for kind in [ErrorKind::Timeout, ErrorKind::IO, ErrorKind::Canceled] {
            assert!(matches!(told(kind, "oh"), ConnectError::Unreachable(_)));
        }
        for busy in ["BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "TRYAGAIN"] {
            assert!(matches!(told(ErrorKind::Unknown, busy), ConnectError::Unreachable(_)));
        }
        let answer = told(ErrorKind::Unknown, "NOPERM no rights");
        let ConnectError::Forbidden { what, why } = answer else { panic!("{answer:?}") };
        assert!(what == "the script" && why.contains("no rights"), "{why}");
    }

    #[test]
    fn every_error_says_what_was_said_and_what_to_do() {
        let why = || "WHY".to_owned();
        let all = [
            (ConnectError::Url(why()), "WHY", "write another"),
            (ConnectError::Unreachable(why()), "WHY", "Redis runs"),
            (ConnectError::Unauthorized(why()), "WHY", "password"),
            (ConnectError::Forbidden { what: why(), why: why() }, "WHY: WHY", "ACL SETUSER"),
            (ConnectError::Evicts { policy: why() }, "maxmemory-policy WHY", "noeviction"),
        ];
        for (error, shown, remedy) in all {
            assert!(error.to_string().contains(shown), "{error}");
            assert!(error.remedy().contains(remedy), "{}", error.remedy());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_connection_that_is_asked_and_silent_has_stopped() {
        let stops = async |asked: u64, answered: u64| {
            let pulse = Pulse::default();
            let talk = async {
                // Within each of the first spans of silence, and then nothing more.
                for _ in 0..3 {
                    sleep(SILENCE_MAX / 2).await;
                    (0..asked).for_each(|_| pulse.asked());
                    (0..answered).for_each(|_| pulse.answered());
                    sleep(SILENCE_MAX / 2).await;
                }
                sleep(SILENCE_MAX * 3).await;
            };
            tokio::select! {
                biased;
                () = pulse.stopped() => true,
                () = talk => false,
            }
        };
        assert!(stops(1, 0).await);
        assert!(!stops(2, 1).await, "one answer is a sign of life");
        assert!(!stops(1, 1).await);
        assert!(!stops(0, 0).await, "nobody has asked");
    }

    #[tokio::test(start_paused = true)]
    async fn what_gets_no_answer_is_tried_five_times_and_no_more() {
        let silent = || ConnectError::Unreachable(String::new());
        let mut tries = 0;
        let outcome = patiently(|| {
            tries += 1;
            std::future::ready(if tries < 5 { Err(silent()) } else { Ok(tries) })
        });
        assert_eq!(outcome.await.ok(), Some(5));
        let mut tries = 0;
        let outcome: Result<(), _> = patiently(|| {
            tries += 1;
            std::future::ready(Err(silent()))
        })
        .await;
        assert!(outcome.is_err());
        assert_eq!(tries, 5);
        let mut tries = 0;
        let outcome: Result<(), _> = patiently(|| {
            tries += 1;
            std::future::ready(Err(ConnectError::Unauthorized(String::new())))
        })
        .await;
        assert!(outcome.is_err());
        assert_eq!(tries, 1, "that is an answer");
    }
}
