//! Where the stores of a process come from: one in memory that all its threads share, or a Redis to
//! which each thread has connections of its own.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use sluice_engine::Time;
use sluice_storage::degraded::{Degraded, Mode, Thresholds};
use sluice_storage::redis::{ConnectError, Options, RedisStore, RedisUrl};
use sluice_storage::{MemoryStore, Watch};

use crate::config::{Config, Redis};

/// See the module's documentation.
pub(crate) trait Stores: Clone + Send + 'static {
    /// What a thread is given.
    type Store: Watch;

    /// Opens the store for the thread that calls: its connections live on the runtime of that thread
    /// and end with it.
    ///
    /// # Errors
    /// What keeps it from being used, with the field that names it and what to do.
    fn open(&self) -> impl Future<Output = io::Result<Arc<Self::Store>>>;
}

/// The process' own memory.
#[derive(Clone)]
pub(crate) struct InMemory(Arc<MemoryStore>);

impl InMemory {
    /// Empty.
    pub(crate) fn new(now: Time) -> Self {
        Self(Arc::new(MemoryStore::new(now)))
    }
}

impl Stores for InMemory {
    type Store = MemoryStore;

    async fn open(&self) -> io::Result<Arc<MemoryStore>> {
        Ok(self.0.clone())
    }
}

/// A Redis, and what is done while it is away.
#[derive(Clone)]
pub(crate) struct InRedis {
    url: RedisUrl,
    options: Options,
    mode: Mode,
}

impl InRedis {
    /// The one at this URL, used as the configuration says.
    pub(crate) fn new(url: &RedisUrl, config: &Config) -> Self {
        let mode = config.server.degraded.into();
        Self { url: url.clone(), options: options(&config.redis), mode }
    }
}

impl Stores for InRedis {
    type Store = Degraded<RedisStore>;

    async fn open(&self) -> io::Result<Arc<Self::Store>> {
        let store = connect(&self.url, &self.options).await?;
        Ok(Arc::new(Degraded::new(store, self.mode, Thresholds::default())))
    }
}

/// How the configuration has a Redis used.
pub(crate) fn options(redis: &Redis) -> Options {
    Options {
        cell: redis.cell.clone(),
        timeout: Duration::from_millis(redis.timeout_ms),
        connect_timeout: Duration::from_millis(redis.connect_timeout_ms),
    }
}

/// Connects, and says what is wrong as it is said of a field of the configuration.
///
/// # Errors
/// The field, its value without the password, what is wrong, and what to do.
pub(crate) async fn connect(url: &RedisUrl, options: &Options) -> io::Result<RedisStore> {
    let connected = RedisStore::connect(url.expose(), options.clone()).await;
    connected.map_err(|error| io::Error::other(said(url, &error)))
}

fn said(url: &RedisUrl, error: &ConnectError) -> String {
    format!("server.store = \"{url}\": {error}; {}", error.remedy())
}
