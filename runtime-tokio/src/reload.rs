//! A new configuration for a gateway that runs.
//!
//! Told to (SIGHUP), it reads its file again, and the secrets that the file names. What has a mistake
//! changes nothing; what is good comes into force as a whole, in every worker.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sluice_storage::Watch;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::blocking::aside;
use crate::config::{Config, ConfigError, Finding};
use crate::directory::Directory;
use crate::gateway::Worker;
use crate::net::Net;

/// How long reading may take.
const READ_MAX: Duration = Duration::from_secs(30);

/// A configuration file, and what it said when the gateway was started: some of that stays in force
/// whatever it says later.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    started: Config,
}

impl Source {
    /// The file of this path, from which `started` has been read.
    #[must_use]
    pub const fn new(path: PathBuf, started: Config) -> Self {
        Self { path, started }
    }

    /// Reads the file for a gateway that goes by `current`: what comes into force, and what does not.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(&self, current: &Directory) -> Result<(Directory, Vec<Finding>), ConfigError> {
        let in_file = |error| ConfigError { file: Some(self.path.clone()), ..error };
        let new = Config::load(&self.path)?;
        if new.version < current.roster.version {
            // The store keeps to the newest, and so do gateways that share it.
            let remedy = "has a time of change before that of the configuration in force; touch it";
            return Err(in_file(Finding::of("", remedy.to_owned()).into()));
        }
        let mut told = new.warnings.clone();
        let (taken, stay) = self.started.renewed(new).map_err(in_file)?;
        told.extend(stay);
        Ok((current.renewed(&taken).map_err(in_file)?, told))
    }

    /// [`read`](Self::read), of a file or a secret that may take its time.
    async fn read_aside(
        &self,
        current: Arc<Directory>,
    ) -> io::Result<Result<(Directory, Vec<Finding>), ConfigError>> {
        let source = self.clone();
        aside("sluice-reload", READ_MAX, move || source.read(&current)).await
    }
}

/// Whom a new directory reaches: the workers, and whoever looks on.
pub(crate) struct Switch {
    current: watch::Sender<Arc<Directory>>,
    taken: mpsc::UnboundedSender<()>,
    takes: mpsc::UnboundedReceiver<()>,
    workers: usize,
}

impl Switch {
    /// For so many workers, all of which begin with this one.
    pub(crate) fn new(directory: Arc<Directory>, workers: usize) -> Self {
        let (taken, takes) = mpsc::unbounded_channel();
        Self { current: watch::channel(directory).0, taken, takes, workers }
    }

    /// What is in force, now and later.
    pub(crate) fn current(&self) -> watch::Receiver<Arc<Directory>> {
        self.current.subscribe()
    }

    /// One worker's end of it.
    pub(crate) fn follower(&self) -> Follower {
        Follower { news: self.current(), taken: self.taken.clone() }
    }

    /// Returns when all workers go by this one.
    async fn put(&mut self, directory: Arc<Directory>) {
        self.current.send_replace(directory);
        for _ in 0..self.workers {
            // This end holds a sender itself: it is never closed.
            let _ = self.takes.recv().await;
        }
    }
}

/// See [`Switch::follower`].
pub(crate) struct Follower {
    news: watch::Receiver<Arc<Directory>>,
    taken: mpsc::UnboundedSender<()>,
}

impl Follower {
    /// Has this worker go by every new directory, for ever.
    pub(crate) async fn follow<N: Net, S: Watch>(mut self, worker: Rc<Worker<N, S>>) {
        while self.news.changed().await.is_ok() {
            let directory = self.news.borrow_and_update().clone();
            worker.reload(directory);
            let _ = self.taken.send(());
        }
    }
}

/// The signal to reload.
pub(crate) struct Hangups(Signal);

impl Hangups {
    /// From here on the signal does not end the process any more.
    pub(crate) fn new() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Reads the file at every signal, for ever. Signals that come while it is read count as one.
    pub(crate) async fn follow(mut self, source: Source, mut switch: Switch) {
        while self.0.recv().await.is_some() {
            let current = switch.current.borrow().clone();
            match source.read_aside(current.clone()).await {
                Ok(Ok((directory, told))) => {
                    told.iter().for_each(warn);
                    let version = directory.version();
                    switch.put(Arc::new(directory)).await;
                    tracing::info!(config = version, "the new configuration is in force");
                }
                Ok(Err(error)) => refuse(&error, &current),
                Err(error) => tracing::error!(%error, "the configuration could not be read"),
            }
        }
    }
}

fn warn(finding: &Finding) {
    let Finding { line, path, value, remedy, .. } = finding;
    tracing::warn!(line, field = path, value, remedy, "the new configuration");
}

fn refuse(error: &ConfigError, current: &Directory) {
    let file = error.file.as_ref().map(|file| file.display().to_string());
    for Finding { line, column, path, value, remedy } in &error.mistakes {
        tracing::error!(
            file,
            line,
            column,
            field = path,
            value,
            remedy,
            "a mistake in the new configuration"
        );
    }
    let (mistakes, config) = (error.mistakes.len(), current.version());
    tracing::error!(mistakes, config, "the configuration stays as it was");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[tokio::test(start_paused = true)]
    async fn a_file_that_never_comes_does_not_hold_up_the_next_reload() {
        let text = "server = { listen = \"127.0.0.1:0\" }\ngroups = []\n";
        let started = Config::parse(text, 1).expect("good");
        let current = Arc::new(Directory::new(&started).expect("good"));
        let pipe = std::env::temp_dir().join(format!("sluice-reload-{}", std::process::id()));
        let made = Command::new("mkfifo").arg(&pipe).status().expect("a command");
        assert!(made.success());
        let read = Source::new(pipe.clone(), started).read_aside(current).await;
        std::fs::remove_file(pipe).expect("made above");
        assert_eq!(read.err().map(|error| error.kind()), Some(io::ErrorKind::TimedOut));
    }
}
