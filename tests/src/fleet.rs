//! Gateways as processes of their own that share a redis-server, before an upstream and clients that
//! are in the test.

use std::cell::Cell;
use std::future::Future;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use serde_json::Value;
use sluice_engine::Time;
use sluice_engine::rng::Seed;
use sluice_runtime_tokio::auth::KeyHash;
use sluice_runtime_tokio::clock::{Clock, duration};
use sluice_runtime_tokio::mock::{Behaviour, Mock};
use sluice_runtime_tokio::net::{Net, TcpNet};
use sluice_test_redis::{Server, Variables, signal};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use crate::{Reply, TEST_MAX, account_key, address_of, hello, post, send, try_send, user_key};

/// What gateways are told besides their names and the upstream.
#[derive(Default)]
pub struct FleetPlan {
    accounts: Vec<(String, u32, Behaviour)>,
    settings: String,
    server: String,
    variables: Variables,
    store_variables: Variables,
}

impl FleetPlan {
    /// Adds an account.
    #[must_use]
    pub fn account(mut self, name: &str, slots: u32, behaviour: Behaviour) -> Self {
        self.accounts.push((name.to_owned(), slots, behaviour));
        self
    }

    /// What is done while the store is away.
    #[must_use]
    pub fn degraded(mut self, mode: &str) -> Self {
        self.server += &format!("degraded = \"{mode}\"\n");
        self
    }

    /// Variables of the gateways' environment.
    #[must_use]
    pub fn variables(mut self, variables: Variables) -> Self {
        self.variables.extend(variables);
        self
    }

    /// Variables of the store's environment.
    #[must_use]
    pub fn store_variables(mut self, variables: Variables) -> Self {
        self.store_variables.extend(variables);
        self
    }

    /// Further tables of the configuration.
    #[must_use]
    pub fn settings(mut self, toml: &str) -> Self {
        self.settings += toml;
        self
    }
}

/// See the module's documentation. Its one user, alice, is unlimited.
pub struct Fleet {
    /// The upstream of all accounts.
    pub mock: Rc<Mock>,
    /// What they share.
    pub redis: Server,
    upstream: SocketAddr,
    plan: FleetPlan,
    program: PathBuf,
    files: Cell<u32>,
}

/// How long between two looks at something that takes its time.
const LOOK: Duration = Duration::from_millis(10);

/// Runs a test with a fleet that has no gateway yet; not at all where there is no redis-server.
/// `program` is what the test was built with, unless the environment's `SLUICE_BIN` names another.
pub fn run(name: &str, program: &str, plan: FleetPlan, test: impl AsyncFnOnce(Fleet)) {
    run_for(TEST_MAX, name, program, plan, test);
}

/// [`run`], for a test that takes longer.
pub fn run_for(
    most: Duration,
    name: &str,
    program: &str,
    plan: FleetPlan,
    test: impl AsyncFnOnce(Fleet),
) {
    let program = std::env::var_os("SLUICE_BIN").map_or_else(|| program.into(), PathBuf::from);
    let whole = async {
        let redis = Server::start_in(plan.store_variables.clone(), name, &[]);
        let Some(redis) = redis else { return };
        let any = ([127, 0, 0, 1], 0).into();
        let listener = TcpNet::bind(any, false).await.expect("a free port");
        let upstream = address_of(&listener);
        let behaviours = plan.accounts.iter().map(|(name, _, b)| (account_key(name), b.clone()));
        let mock = Mock::new(Seed(7), behaviours);
        drop(tokio::task::spawn_local(mock.clone().serve::<TcpNet>(listener)));
        test(Fleet { mock, redis, upstream, plan, program, files: Cell::new(0) }).await;
    };
    let bounded = async { timeout(most, whole).await.expect("the test hangs") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(LocalSet::new().run_until(bounded));
}

impl Fleet {
    /// Starts a gateway of this name; returns when it is ready.
    pub async fn gateway(&self, name: &str) -> Gateway {
        self.gateway_at(name, &self.redis.url()).await
    }

    /// The same, with a store at this URL.
    pub async fn gateway_at(&self, name: &str, url: &str) -> Gateway {
        Gateway::start(self.program(), self.file(name, url)).await
    }

    fn program(&self) -> Program {
        Program { path: self.program.clone(), variables: self.plan.variables.clone() }
    }

    /// A configuration file.
    #[must_use]
    pub fn file(&self, name: &str, store: &str) -> File {
        let number = self.files.replace(self.files.get() + 1);
        let directory = self.redis.socket();
        let directory = directory.parent().expect("a socket is in a directory");
        let path = directory.join(format!("{name}-{number}.toml"));
        let hash = KeyHash::of(&user_key("alice")).to_hex();
        let mut text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nname = \"{name}\"\n\
             store = \"{store}\"\n{}[log]\naccess = \"off\"\n{}\n[[groups]]\nname = \"main\"\n\
             [[users]]\nname = \"alice\"\nconcurrency = \"unlimited\"\n\
             keys = [{{ sha256 = \"{hash}\", group = \"main\" }}]\n",
            self.plan.server, self.plan.settings
        );
        for (name, slots, _) in &self.plan.accounts {
            text += &format!(
                "[[accounts]]\nname = \"{name}\"\nbase_url = \"http://{}\"\napi_key = \"{}\"\n\
                 concurrency = {slots}\ngroups = [\"main\"]\n",
                self.upstream,
                account_key(name)
            );
        }
        std::fs::write(&path, text).expect("a file");
        File(path)
    }

    /// Runs a command of the program to its end.
    #[must_use]
    pub fn command(&self, words: &[&str], file: &File) -> Output {
        let mut command = self.program().command();
        command.args(words).arg("--config").arg(&file.0).output().expect("the program")
    }
}

/// A configuration file, in the directory of the redis-server.
pub struct File(PathBuf);

/// A program and its environment.
struct Program {
    path: PathBuf,
    variables: Variables,
}

impl Program {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A gateway that runs. Killed with its handle.
pub struct Gateway {
    child: Child,
    program: Program,
    file: File,
    address: SocketAddr,
    admin: SocketAddr,
    said: Arc<Mutex<String>>,
}

impl Gateway {
    async fn start(program: Program, file: File) -> Self {
        let (child, said, address, admin) = spawn(&program, &file).await;
        let gateway = Self { child, program, file, address, admin, said };
        gateway.until_ready().await;
        gateway
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Starts it again after a [`kill`](Self::kill); returns when it is ready.
    pub async fn restart(&mut self) {
        let (child, said, address, admin) = spawn(&self.program, &self.file).await;
        (self.child, self.said, self.address, self.admin) = (child, said, address, admin);
        self.until_ready().await;
    }

    /// Stops it where it is.
    pub fn pause(&self) {
        signal("-STOP", &self.child);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        signal("-CONT", &self.child);
    }

    /// Where clients connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says about its readiness: the status and a word.
    pub async fn readiness(&self) -> Option<(u16, Vec<u8>)> {
        let request = Request::get("/readyz").body(Full::default()).expect("a good request");
        let mut reply = try_send(self.address, request).await.ok()?;
        Some((reply.status(), reply.body().await))
    }

    /// Whether it takes traffic.
    pub async fn is_ready(&self) -> bool {
        self.readiness().await.is_some_and(|(status, _)| status == 200)
    }

    /// Whether it has to do without its store.
    pub async fn is_degraded(&self) -> bool {
        self.readiness().await.is_some_and(|(_, word)| word == b"degraded")
    }

    /// Returns when it takes traffic.
    pub async fn until_ready(&self) {
        until(async || self.is_ready().await).await;
    }

    /// What it says about who holds and waits for what.
    pub async fn gates(&self) -> Value {
        let request = Request::get("/debug/gates").body(Full::default()).expect("a good request");
        send(self.admin, request).await.json().await
    }

    /// How many hold and wait at the gate or line of this name, over all gateways.
    pub async fn held_and_waiting(&self, name: &str) -> (usize, usize) {
        let gates = self.gates().await;
        let gate = gates["gates"].as_array().and_then(|all| all.iter().find(|g| g["name"] == name));
        let count = |key| gate.and_then(|gate| gate[key].as_array()).map_or(0, Vec::len);
        (count("held"), count("waiting"))
    }

    /// Sends a request of alice's and reads its answer to the end.
    pub fn whole(&self, stream: bool) -> impl Future<Output = (u16, Vec<u8>)> + use<> {
        let address = self.address;
        async move {
            let mut reply = send(address, post("alice", &hello(stream))).await;
            (reply.status(), reply.body().await)
        }
    }

    /// Sends a request of alice's and waits for the answer's head.
    pub fn ask(&self, stream: bool) -> impl Future<Output = Reply> + use<> {
        let address = self.address;
        async move { send(address, post("alice", &hello(stream))).await }
    }

    /// What it has written to standard error.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.lock().expect("nobody panics holding it").clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It has ended already, perhaps.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the program; returns when it listens.
#[expect(clippy::zombie_processes, reason = "whoever is given it waits for its end")]
async fn spawn(
    program: &Program,
    file: &File,
) -> (Child, Arc<Mutex<String>>, SocketAddr, SocketAddr) {
    let mut command = program.command();
    command.args(["serve", "--config"]).arg(&file.0).stdout(Stdio::null());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the program");
    let stderr = BufReader::new(child.stderr.take().expect("piped"));
    let said = Arc::<Mutex<String>>::default();
    let (tell, mut lines) = mpsc::unbounded_channel();
    let kept = said.clone();
    // What is said is read to the end, so that the program never waits for a reader.
    thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            let mut kept = kept.lock().expect("nobody panics holding it");
            *kept += &line;
            kept.push('\n');
            // Nobody waits for more than the first words.
            let _ = tell.send(line);
        }
    });
    loop {
        let line = lines.recv().await.expect("it says where it listens before it ends");
        let Ok(line) = serde_json::from_str::<Value>(&line) else { panic!("{line}") };
        if line["message"] == "serving" {
            let at = |field: &str| line[field].as_str().and_then(|at| at.parse().ok());
            let (listen, admin) = (at("listen"), at("admin"));
            return (child, said, listen.expect("an address"), admin.expect("an address"));
        }
    }
}

/// Returns when something has become true.
pub async fn until(mut what: impl AsyncFnMut() -> bool) {
    while !what().await {
        sleep(LOOK).await;
    }
}

/// How long something takes.
pub struct Stopwatch {
    clock: Clock,
    begun: Time,
}

impl Stopwatch {
    /// From now on.
    #[must_use]
    pub fn start() -> Self {
        let clock = Clock::system();
        Self { clock, begun: clock.now() }
    }

    /// Until now.
    #[must_use]
    pub fn shows(&self) -> Duration {
        duration(self.clock.now().since(self.begun))
    }
}
