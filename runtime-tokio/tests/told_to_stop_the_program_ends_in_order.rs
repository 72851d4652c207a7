//! The program itself, by signals: told to stop it cuts nothing off that ends in time, takes nothing
//! new, tells those it cuts off, and ends well; told twice it ends at once.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use sluice_engine::rng::Seed;
use sluice_runtime_tokio::auth::KeyHash;
use sluice_runtime_tokio::listen::Bound;
use sluice_runtime_tokio::mock::{Behaviour, Mock};
use sluice_runtime_tokio::net::TcpNet;
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

const STREAMS: u32 = 200;

/// An upstream on a thread of its own, whose answers begin and then wait to be let go.
struct Upstream {
    address: SocketAddr,
    open: Arc<AtomicU32>,
    let_go: Arc<Semaphore>,
}

impl Upstream {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let (open, let_go) = (Arc::<AtomicU32>::default(), Arc::new(Semaphore::new(0)));
        let (seen, gate) = (open.clone(), let_go.clone());
        thread::spawn(move || {
            let serve = async move || {
                let hold = Rc::new(Semaphore::new(0));
                let held = Behaviour { hold: Some(hold.clone()), ..Behaviour::default() };
                let mock = Mock::new(Seed(1), [("mock".to_owned(), held)]);
                let listener = Bound::Tcp(listener).listener().expect("a socket");
                drop(tokio::task::spawn_local(mock.clone().serve::<TcpNet>(listener)));
                drop(tokio::task::spawn_local(async move {
                    loop {
                        gate.acquire().await.expect("never closed").forget();
                        hold.add_permits(1);
                    }
                }));
                let mut most = 0;
                loop {
                    mock.until("mock", |stats| stats.open != most).await;
                    most = mock.stats("mock").open;
                    seen.store(most, Ordering::SeqCst);
                }
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(LocalSet::new().run_until(serve()));
        });
        Self { address, open, let_go }
    }

    fn until_open(&self, wanted: u32) {
        while self.open.load(Ordering::SeqCst) != wanted {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The program, serving.
struct Program {
    child: Child,
    stderr: BufReader<ChildStderr>,
    address: SocketAddr,
    file: PathBuf,
}

impl Program {
    fn start(name: &str, upstream: &Upstream, drain_timeout_ms: u64) -> Self {
        let file = std::env::temp_dir().join(format!("sluice-{name}-{}.toml", std::process::id()));
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[limits]\ndrain_timeout_ms = {drain_timeout_ms}\n\
             [[groups]]\nname = \"main\"\n[[users]]\nname = \"alice\"\nconcurrency = \"unlimited\"\n\
             keys = [{{ sha256 = \"{}\", group = \"main\" }}]\n\
             [[accounts]]\nname = \"one\"\nbase_url = \"http://{}\"\napi_key = \"mock\"\n\
             concurrency = \"unlimited\"\ngroups = [\"main\"]\n",
            KeyHash::of("sk-alice").to_hex(),
            upstream.address
        );
        std::fs::write(&file, text).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.args(["serve", "--config"]).arg(&file);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it");
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let address = loop {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).expect("text") > 0, "it ended");
            let line: Value = serde_json::from_str(&line).expect("a JSON line");
            if line["message"] == "serving" {
                break line["listen"].as_str().and_then(|at| at.parse().ok()).expect("an address");
            }
        };
        Self { child, stderr, address, file }
    }

    fn ask(&self) -> TcpStream {
        let body = "{\"model\":\"m\",\"stream\":true}";
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        let head = "POST /v1/messages HTTP/1.1\r\nx-api-key: sk-alice\r\nconnection: close\r\n";
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).expect("room");
        stream
    }

    fn stop(&self) {
        let pid = self.child.id().to_string();
        let done = Command::new("kill").args(["-TERM", &pid]).status().expect("a shell's kill");
        assert!(done.success());
    }

    fn until_it_takes_nothing_new(&self) {
        while TcpStream::connect(self.address).is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// How it ended, and what it wrote to its access log.
    fn ended(mut self) -> (ExitStatus, Vec<Value>) {
        let mut log = String::new();
        let mut stdout = self.child.stdout.take().expect("piped");
        stdout.read_to_string(&mut log).expect("text");
        self.stderr.read_to_string(&mut String::new()).expect("text");
        let status = self.child.wait().expect("it was started");
        let lines = log.lines().map(|line| serde_json::from_str(line).expect("a JSON line"));
        (status, lines.collect())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already, unless the test has failed.
        let _ = self.child.kill();
        let _ = std::fs::remove_file(&self.file);
    }
}

fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer to its end");
    text
}

#[test]
fn streams_that_end_in_time_are_not_cut_off() {
    let upstream = Upstream::start();
    let program = Program::start("intime", &upstream, 50_000);
    let streams: Vec<_> = (0..STREAMS).map(|_| program.ask()).collect();
    upstream.until_open(STREAMS);
    program.stop();
    program.until_it_takes_nothing_new();
    upstream.let_go.add_permits(STREAMS as usize);
    for stream in streams {
        let answer = answer(stream);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("event: message_stop"), "{answer}");
    }
    let (status, log) = program.ended();
    assert_eq!(status.code(), Some(0));
    assert_eq!(log.len(), STREAMS as usize);
    assert!(log.iter().all(|line| line["verdict"] == "completed"), "{log:?}");
}

#[test]
fn streams_that_do_not_are_told_so() {
    let upstream = Upstream::start();
    let program = Program::start("late", &upstream, 100);
    let streams: Vec<_> = (0..STREAMS).map(|_| program.ask()).collect();
    upstream.until_open(STREAMS);
    program.stop();
    for stream in streams {
        let answer = answer(stream);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("The gateway is shutting down"), "{answer}");
    }
    let (status, log) = program.ended();
    assert_eq!(status.code(), Some(0));
    assert_eq!(log.len(), STREAMS as usize);
    assert!(log.iter().all(|line| line["verdict"] == "shutting_down"), "{log:?}");
    upstream.until_open(0);
}

#[test]
fn told_twice_it_ends_at_once() {
    let upstream = Upstream::start();
    let program = Program::start("twice", &upstream, 50_000);
    let stream = program.ask();
    upstream.until_open(1);
    program.stop();
    program.until_it_takes_nothing_new();
    program.stop();
    let (status, _) = program.ended();
    assert_eq!(status.code(), Some(1));
    drop(stream);
}
