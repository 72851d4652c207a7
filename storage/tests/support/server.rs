//! A redis-server of the test's own: in a directory that goes with it, behind a socket in there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::resp::Connection;

/// Ends with its handle.
pub(crate) struct Server {
    process: Child,
    directory: PathBuf,
}

impl Server {
    /// Starts one, with these options besides; `None`, said on standard error, where there is no
    /// redis-server.
    pub(crate) fn start(name: &str, options: &[&str]) -> Option<Self> {
        let id = std::process::id();
        let directory = std::env::temp_dir().join(format!("sluice-redis-{id}-{name}"));
        fs::create_dir_all(&directory).expect("there is a directory for temporary files");
        match spawn(&directory, options) {
            Ok(process) => {
                let server = Self { process, directory };
                server.await_start();
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
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }

    /// Starts it again after a [`kill`](Self::kill), empty.
    pub(crate) fn restart(&mut self) {
        self.process = spawn(&self.directory, &[]).expect("it has started before");
        self.await_start();
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    fn await_start(&self) {
        for _ in 0..1_000 {
            if answers(&self.socket()) {
                return;
            }
            sleep(Duration::from_millis(10));
        }
        panic!("redis-server has not answered for ten seconds");
    }
}

fn spawn(directory: &Path, options: &[&str]) -> std::io::Result<Child> {
    Command::new("redis-server")
        .args(["--port", "0", "--unixsocket", "socket", "--save", "", "--appendonly", "no"])
        .args(options)
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

fn answers(socket: &Path) -> bool {
    Connection::open(socket).is_ok_and(|mut redis| redis.ask(&["PING"]).is_ok())
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        drop(fs::remove_dir_all(&self.directory));
    }
}
