//! A redis-server of the test's own: in a directory that goes with it, behind a socket in there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::sleep;

/// Ends with its handle.
pub struct Redis {
    process: Child,
    directory: PathBuf,
    options: Vec<String>,
    variables: Vec<(String, OsString)>,
}

/// How long between two looks at something that takes its time.
const LOOK: Duration = Duration::from_millis(10);

impl Redis {
    /// Starts one; `None`, said on standard error, where there is no redis-server.
    pub async fn start(name: &str) -> Option<Self> {
        Self::start_with(name, &[], &[]).await
    }

    /// The same, with these options and variables of its environment besides.
    pub async fn start_with(
        name: &str,
        options: &[&str],
        variables: &[(String, OsString)],
    ) -> Option<Self> {
        let variables = variables.to_vec();
        let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
        let id = std::process::id();
        let directory = std::env::temp_dir().join(format!("sluice-tests-{id}-{name}"));
        fs::create_dir_all(&directory).expect("there is a directory for temporary files");
        match spawn(&directory, &options, &variables) {
            Ok(process) => {
                let redis = Self { process, directory, options, variables };
                redis.until_it_answers().await;
                Some(redis)
            }
            Err(error) => {
                eprintln!("SKIPPED: redis-server does not start ({error}); is it installed?");
                drop(fs::remove_dir_all(&directory));
                None
            }
        }
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }

    /// Starts it again after a [`kill`](Self::kill): with what [`save`](Self::save) saved, if it was
    /// called, else empty.
    pub async fn restart(&mut self) {
        let process = spawn(&self.directory, &self.options, &self.variables);
        self.process = process.expect("it has started before");
        self.until_it_answers().await;
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

    /// What it answers to a command.
    #[must_use = "an error is an answer too"]
    pub fn asked(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.arg("-s").arg(self.socket()).args(words);
        let output = command.output().expect("redis-cli comes with redis-server");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A command that is to succeed.
    pub fn ask(&self, words: &[&str]) {
        let answer = self.asked(words);
        assert_eq!(answer.trim(), "OK", "{words:?}");
    }

    /// How often it has run each command, within scripts too, but for this one.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<String, u64> {
        let stats = self.asked(&["INFO", "commandstats"]);
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

    async fn until_it_answers(&self) {
        while self.asked(&["PING"]).trim() != "PONG" {
            sleep(LOOK).await;
        }
    }
}

fn spawn(
    directory: &Path,
    options: &[String],
    variables: &[(String, OsString)],
) -> std::io::Result<Child> {
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

/// Ports that nobody listens at, all different: a redis-server has to be told its own.
#[must_use]
pub fn free_ports(count: usize) -> Vec<u16> {
    let bind = |_| TcpListener::bind("127.0.0.1:0").expect("a port is free");
    // All are bound before the first is let go.
    let bound: Vec<_> = (0..count).map(bind).collect();
    bound.iter().map(|listener| listener.local_addr().expect("it is bound").port()).collect()
}

/// Sends a signal to a process that the test has started.
pub(crate) fn signal(name: &str, process: &Child) {
    let sent = Command::new("kill").args([name, &process.id().to_string()]).status();
    assert!(sent.expect("a shell's kill").success());
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        drop(fs::remove_dir_all(&self.directory));
    }
}
