//! The gateway against a bare proxy, both on hyper, in one run: processor time per request or event.
//!
//! Wall times on a shared machine say little, so what is measured is what the process of either
//! spends, in slices that take turns; the ratio of neighbours is what counts. The bare proxy passes
//! bytes on and knows nothing; the gateway authenticates, parses, schedules, relays and logs.
//!
//! The gateway is the program itself, built before, or another that `SLUICE` names:
//!
//! `cargo build --release && cargo bench -p sluice-benches --bench gateway [-- SCENARIO]`

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::{env, fs};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::HOST;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use sluice_runtime_tokio::auth::KeyHash;
use sluice_runtime_tokio::mock::{Behaviour, Mock};
use sluice_runtime_tokio::net::{Net, TcpNet};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet};

const KEY: &str = "sk-bench";
const UPSTREAM_KEY: &str = "bench";
const ANY_PORT: &str = "127.0.0.1:0";
/// Slices of each kind; odd, so that there is a middle one.
const SLICES: usize = 9;

struct Scenario {
    name: &'static str,
    connections: usize,
    requests: usize,
    body_bytes: usize,
    /// Events of the answer, if it is a stream.
    events: Option<usize>,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario { name: "1kb", connections: 64, requests: 8_000, body_bytes: 1_000, events: None },
    Scenario { name: "100kb", connections: 64, requests: 4_000, body_bytes: 100_000, events: None },
    Scenario {
        name: "streams",
        connections: 100,
        requests: 400,
        body_bytes: 1_000,
        events: Some(200),
    },
    Scenario { name: "1kb-c1", connections: 1, requests: 2_000, body_bytes: 1_000, events: None },
];

fn main() -> io::Result<()> {
    let mut args = env::args().skip(1).filter(|arg| arg != "--bench");
    match args.next().as_deref() {
        Some("--upstream") => on_one_thread(upstream()),
        Some("--floor") => on_one_thread(floor(args.next().unwrap_or_default())),
        only => compare(only.map(str::to_owned)),
    }
}

fn on_one_thread(work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(LocalSet::new().run_until(work))
}

/// Starts the roles, and prints one line for every scenario.
fn compare(only: Option<String>) -> io::Result<()> {
    let this = |args: &[&str]| {
        let mut command = Command::new(env::current_exe()?);
        command.args(args);
        Role::start(command, |line| Some(line.trim().to_owned()))
    };
    let upstream = this(&["--upstream"])?;
    let floor = this(&["--floor", &upstream.address])?;
    let gateway = Role::start(gateway(&upstream.address)?, |line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        line["listen"].as_str().map(str::to_owned)
    })?;
    let mut out = io::stdout();
    writeln!(
        out,
        "{:<10} {:>12} {:>12} {:>8}  per",
        "scenario", "floor us", "gateway us", "ratio"
    )?;
    for scenario in SCENARIOS.iter().filter(|s| only.as_deref().is_none_or(|o| o == s.name)) {
        let mut slices = Vec::new();
        for n in 0..=SLICES {
            let cost = |role: &Role| role.cost(scenario);
            let pair = if n % 2 == 0 {
                let floor = cost(&floor)?;
                (floor, cost(&gateway)?)
            } else {
                let gateway = cost(&gateway)?;
                (cost(&floor)?, gateway)
            };
            // The first warms both up.
            if n > 0 {
                slices.push(pair);
            }
        }
        let floor = median(slices.iter().map(|(floor, _)| *floor));
        let gateway = median(slices.iter().map(|(_, gateway)| *gateway));
        let ratio = median(slices.iter().map(|(floor, gateway)| gateway / floor));
        let per = if scenario.events.is_some() { "event" } else { "request" };
        writeln!(out, "{:<10} {floor:>12.2} {gateway:>12.2} {ratio:>8.2}  {per}", scenario.name)?;
    }
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A process that listens.
struct Role {
    child: Child,
    address: String,
}

impl Drop for Role {
    fn drop(&mut self) {
        // One that has ended by itself has been complained about already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Role {
    /// Starts a program. A line of its standard error says where it listens.
    fn start(mut command: Command, of_line: impl Fn(&str) -> Option<String>) -> io::Result<Self> {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped"));
        let address = loop {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                return Err(io::Error::other(format!("{command:?} has ended")));
            }
            match of_line(&line) {
                Some(address) => break address,
                None => io::stderr().write_all(line.as_bytes())?,
            }
        };
        // Whatever else it says is for people.
        std::thread::spawn(move || io::copy(&mut lines, &mut io::stderr()));
        Ok(Self { child, address })
    }

    /// Microseconds of processor time that it has spent, over all its threads.
    fn spent(&self) -> io::Result<f64> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            let first = text.split(' ').next().and_then(|n| n.parse::<u64>().ok());
            nanos += first.unwrap_or_default();
        }
        Ok(nanos as f64 / 1_000.0)
    }

    /// Microseconds per request or event.
    fn cost(&self, scenario: &Scenario) -> io::Result<f64> {
        let before = self.spent()?;
        on_one_thread(load(self.address.clone(), scenario))?;
        let spent = self.spent()? - before;
        Ok(spent / (scenario.requests * scenario.events.unwrap_or(1)) as f64)
    }
}

/// Sends a scenario's requests, so many at once, and reads the answers.
async fn load(address: String, scenario: &Scenario) -> io::Result<()> {
    let body = Bytes::from(body(scenario));
    let each = scenario.requests / scenario.connections;
    let mut clients = JoinSet::new();
    for _ in 0..scenario.connections {
        let (address, body) = (address.clone(), body.clone());
        clients.spawn_local(async move {
            let stream = TcpStream::connect(&address).await.expect("it listens");
            stream.set_nodelay(true).expect("a socket");
            let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = handshake.expect("HTTP");
            let connection = tokio::task::spawn_local(connection);
            for _ in 0..each {
                let request = Request::post("/v1/messages").header(HOST, "gateway");
                let request = request.header("x-api-key", KEY);
                let request = request.header("content-type", "application/json");
                let request = request.body(Full::new(body.clone())).expect("a good request");
                sender.ready().await.expect("an open connection");
                let mut answer = sender.send_request(request).await.expect("an answer");
                assert!(answer.status().is_success(), "{}", answer.status());
                while let Some(frame) = answer.frame().await {
                    frame.expect("a whole answer");
                }
            }
            drop(sender);
            let _ = connection.await;
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.map_err(io::Error::other)?;
    }
    Ok(())
}

/// A conversation with code in it, so long.
fn body(scenario: &Scenario) -> String {
    let turn =
        "fn step(&mut self) -> Result<u32> {\\n\\tlet y = self.get(\\\"k\\\")?;\\n\\tOk(y)\\n}\\n";
    let (mut messages, mut role) = (String::new(), "user");
    while messages.len() + 200 < scenario.body_bytes {
        let room = (scenario.body_bytes - messages.len()) / turn.len();
        let text = turn.repeat(room.clamp(1, 20));
        let comma = if messages.is_empty() { "" } else { "," };
        messages += &format!("{comma}{{\"role\":\"{role}\",\"content\":\"{text}\"}}");
        role = if role == "user" { "assistant" } else { "user" };
    }
    let stream = scenario.events.is_some();
    format!("{{\"model\":\"m\",\"max_tokens\":9,\"stream\":{stream},\"messages\":[{messages}]}}")
}

fn announce(address: SocketAddr) {
    // The starter reads it; without one there is nobody to tell.
    let _ = writeln!(io::stderr(), "{address}");
}

/// What both send to.
async fn upstream() -> io::Result<()> {
    let listener = TcpNet::bind(ANY_PORT.parse().expect("an address"), false).await?;
    announce(TcpNet::local_address(&listener)?);
    let words = SCENARIOS.iter().find_map(|s| s.events).unwrap_or_default();
    let behaviour = Behaviour { words, ..Behaviour::default() };
    let keys = [UPSTREAM_KEY, KEY].map(|key| (key.to_owned(), behaviour.clone()));
    Mock::new(sluice_engine::rng::Seed(1), keys).serve::<TcpNet>(listener).await;
    Ok(())
}

/// A proxy that passes on what comes.
async fn floor(upstream: String) -> io::Result<()> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<HttpConnector, Incoming> =
        Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
    let listener = TcpListener::bind(ANY_PORT).await?;
    announce(listener.local_addr()?);
    let upstream = Rc::new(upstream);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (client, upstream) = (client.clone(), upstream.clone());
        drop(tokio::task::spawn_local(async move {
            let service = service_fn(|request| pass(client.clone(), upstream.clone(), request));
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new());
            drop(builder.serve_connection(TokioIo::new(stream), service).await);
        }));
    }
}

async fn pass(
    client: Client<HttpConnector, Incoming>,
    upstream: Rc<String>,
    mut request: Request<Incoming>,
) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
    let uri = format!("http://{upstream}{}", request.uri().path());
    *request.uri_mut() = uri.parse().expect("an address and a path");
    request.headers_mut().remove(HOST);
    client.request(request).await
}

/// The gateway with everything on that a request meets.
fn gateway(upstream: &str) -> io::Result<Command> {
    let this = env::current_exe()?;
    let beside = || this.parent().and_then(|deps| Some(deps.parent()?.join("sluice")));
    let program = env::var_os("SLUICE").map(PathBuf::from).or_else(beside);
    let program = program.filter(|program| program.exists());
    let program = program.ok_or_else(|| {
        io::Error::other("the program is not there: run `cargo build --release` before")
    })?;
    let hash = KeyHash::of(KEY).to_hex();
    let text = format!(
        "[server]\nlisten = \"{ANY_PORT}\"\n[log]\naccess = \"stdout\"\n[[groups]]\nname = \"g\"\n\
         [[users]]\nname = \"u\"\nconcurrency = 1000\nbalance_cents = 1\n\
         keys = [{{ sha256 = \"{hash}\", group = \"g\" }}]\n\
         [[accounts]]\nname = \"a\"\nbase_url = \"http://{upstream}\"\napi_key = \"{UPSTREAM_KEY}\"\n\
         concurrency = 1000\ngroups = [\"g\"]\n\
         [upstream]\nidle_connections_max = 1000\n"
    );
    let file = env::temp_dir().join(format!("sluice-bench-{}.toml", std::process::id()));
    fs::write(&file, text)?;
    let mut command = Command::new(program);
    command.arg("serve").arg("--config").arg(&file);
    Ok(command)
}
