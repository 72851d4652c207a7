//! A redis-server of the test's own: in a directory that goes with it, behind a socket in there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{Connection, signal, until};

/// Of a process' environment.
pub type Variables = Vec<(String, OsString)>;

/// Ends with its handle.
pub struct Server {
    process: Child,
    directory: PathBuf,
    options: Vec<String>,
    variables: Variables,
}

impl Server {
    /// Starts one, with these options besides; `None`, said on standard error, where there is no
    /// redis-server.
    #[must_use]
    pub fn start(name: &str, options: &[&str]) -> Option<Self> {
        Self::start_in(Variables::new(), name, options)
    }

    /// The same, in this environment.
    #[must_use]
    pub fn start_in(variables: Variables, name: &str, options: &[&str]) -> Option<Self> {
        let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
        let id = std::process::id();
        let directory = std::env::temp_dir().join(format!("sluice-redis-{id}-{name}"));
        fs::create_dir_all(&directory).expect("there is a directory for temporary files");
        match spawn(&directory, &options, &variables) {
            Ok(process) => {
                let server = Self { process, directory, options, variables };
                until(|| server.answers());
                Some(server)
            }
            Err(error) => {
                eprintln!("SKIPPED: redis-server does not start ({error}); is it installed?");
                drop(fs::remove_dir_all(&directory));
                None
            }
        }
    }

    /// Ends it as a power cut would, with all it knows.
    pub fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }

    /// Starts it again after a [`kill`](Self::kill): with what [`save`](Self::save) saved, if it was
    /// called, else empty.
    pub fn restart(&mut self) {
        let process = spawn(&self.directory, &self.options, &self.variables);
        self.process = process.expect("it has started before");
        until(|| self.answers());
    }

    /// Stops it where it is.
    pub fn pause(&self) {
        signal("-STOP", &self.process);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        signal("-CONT", &self.process);
    }

    /// Keeps what it knows for a restart.
    pub fn save(&self) {
        self.ask(&["SAVE"]);
    }

    /// A command that is to succeed, and what it answers, a text a line.
    #[expect(clippy::must_use_candidate, reason = "some commands are for what they do")]
    pub fn ask(&self, words: &[&str]) -> String {
        self.try_ask(words).expect("it answers").join("\n")
    }

    /// How often it has run each command, within scripts too, but for this one.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<String, u64> {
        let stats = self.ask(&["INFO", "commandstats"]);
        let calls = stats.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        });
        calls.filter(|(name, _)| name != "info").collect()
    }

    /// How often it has run a script.
    #[must_use]
    pub fn scripts_run(&self) -> u64 {
        self.calls().iter().filter(|(name, _)| name.starts_with("eval")).map(|(_, n)| n).sum()
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// Where it listens, as a gateway is told it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    fn answers(&self) -> bool {
        self.try_ask(&["PING"]).is_ok()
    }

    pub(crate) fn try_ask(&self, words: &[&str]) -> Result<Vec<String>, Error> {
        Connection::open(&self.socket())?.ask(words)
    }
}

fn spawn(directory: &Path, options: &[String], variables: &Variables) -> Result<Child, Error> {
    // A sentinel writes what it knows into it.
    fs::write(directory.join("conf"), "")?;
    Command::new("redis-server")
        .arg("conf")
        .args(["--port", "0", "--unixsocket", "socket", "--save", "", "--appendonly", "no"])
        .args(options)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        drop(fs::remove_dir_all(&self.directory));
    }
}
