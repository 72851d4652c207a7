//! A small world for end-to-end tests: a gateway, a made-up upstream and clients, over real sockets
//! on free ports, all on one thread.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sluice_engine::Time;
use sluice_engine::rng::Seed;
use sluice_runtime_tokio::auth::KeyHash;
use sluice_runtime_tokio::clock::Clock;
use sluice_runtime_tokio::config::{Config, Roots};
use sluice_runtime_tokio::directory::Directory;
use sluice_runtime_tokio::gateway::{Phase, Setup, Worker};
use sluice_runtime_tokio::handler::admin::{self, Desk};
use sluice_runtime_tokio::mock::{Behaviour, Mock};
use sluice_runtime_tokio::net::{Listener, Net, TcpNet};
use sluice_runtime_tokio::protocol::sse;
use sluice_runtime_tokio::shared::Shared;
use sluice_runtime_tokio::telemetry::AccessWriter;
use sluice_storage::{MemoryStore, Watch};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::LocalSet;

use tls::Authority;
use tokens::{Folder, client, client_id};

pub mod clock;
pub mod fleet;
pub mod proxies;
pub mod road;
pub mod tls;
pub mod tokens;
pub mod trouble;
pub mod upstream;
pub mod workers;

/// What a world is made of.
#[derive(Default)]
pub struct Plan {
    users: String,
    accounts: Vec<(String, String)>,
    behaviours: BTreeMap<String, Behaviour>,
    authorities: Vec<(String, Authority)>,
    trusted: Option<PathBuf>,
    settings: String,
    /// Accounts that are asked with access tokens, and where those come from if not from the mock.
    tokens: BTreeMap<String, Option<String>>,
    folder: Folder,
}

impl Plan {
    /// Adds a user; `more` are further lines of its configuration.
    #[must_use]
    pub fn user(mut self, name: &str, concurrency: u32, more: &str) -> Self {
        let hash = KeyHash::of(&user_key(name)).to_hex();
        self.users += &format!(
            "[[users]]\nname = \"{name}\"\nconcurrency = {concurrency}\n\
             keys = [{{ sha256 = \"{hash}\", group = \"main\" }}]\n{more}\n"
        );
        self
    }

    /// Adds an account; `more` are further lines of its configuration.
    #[must_use]
    pub fn account(mut self, name: &str, n: u32, behaviour: Behaviour, more: &str) -> Self {
        let text = format!("concurrency = {n}\ngroups = [\"main\"]\n{more}\n");
        self.accounts.push((name.to_owned(), text));
        self.behaviours.insert(account_key(name), behaviour);
        self
    }

    /// Upstreams and proxies with a certificate of this authority are trusted, and no others.
    #[must_use]
    pub fn trusting(mut self, authority: &Authority) -> Self {
        self.trusted = Some(authority.file.clone());
        self
    }

    /// Adds an account whose upstream is behind TLS, with a certificate of this authority.
    #[must_use]
    pub fn secure_account(
        mut self,
        name: &str,
        n: u32,
        behaviour: Behaviour,
        authority: Authority,
    ) -> Self {
        self.authorities.push((name.to_owned(), authority));
        self.account(name, n, behaviour, "")
    }

    /// Adds an account that is asked with access tokens, which come from the mock or from `url`; see
    /// [`World::file`].
    #[must_use]
    pub fn token_account(
        mut self,
        name: &str,
        n: u32,
        behaviour: Behaviour,
        url: Option<String>,
        more: &str,
    ) -> Self {
        self.tokens.insert(name.to_owned(), url);
        self.account(name, n, behaviour, more)
    }

    /// Adds an account at whose address nobody listens.
    #[must_use]
    pub fn dead_account(mut self, name: &str, more: &str) -> Self {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
        self.users += &format!(
            "[[accounts]]\nname = \"{name}\"\nbase_url = \"http://{}\"\napi_key = \"dead\"\n\
             concurrency = 1\ngroups = [\"main\"]\n{more}\n",
            gone.expect("a free port")
        );
        self
    }

    /// Further tables of the configuration.
    #[must_use]
    pub fn settings(mut self, toml: &str) -> Self {
        self.settings += toml;
        self
    }

    fn text(&self, upstream: SocketAddr, secure: &BTreeMap<String, SocketAddr>) -> String {
        let mut text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n{}\n[[groups]]\nname = \"main\"\n{}",
            self.settings, self.users
        );
        for (name, more) in &self.accounts {
            let url = secure.get(name).map(|address| format!("https://{address}"));
            let url = url.unwrap_or_else(|| format!("http://{upstream}"));
            text += &format!("[[accounts]]\nname = \"{name}\"\nbase_url = \"{url}\"\n");
            let section = self.tokens.get(name).map(|from| {
                let mocks = || format!("http://{upstream}/oauth/token");
                self.folder.section(name, &from.clone().unwrap_or_else(mocks))
            });
            text += &match section {
                None => format!("api_key = \"{}\"\n{more}", account_key(name)),
                Some(section) => format!("{more}{section}"),
            };
        }
        text
    }

    fn config(&self, text: &str) -> Config {
        let mut config = read(&self.folder, text, 1);
        if self.trusted.is_some() {
            config.upstream.roots = Roots::Bundled;
            config.upstream.ca_file.clone_from(&self.trusted);
        }
        config
    }
}

fn read(folder: &Folder, text: &str, stamp: u64) -> Config {
    if text.contains("credential_file") {
        return folder.config(text, stamp);
    }
    Config::parse(text, stamp).expect("a good configuration")
}

/// The key of a user.
#[must_use]
pub fn user_key(name: &str) -> String {
    format!("sk-{name}")
}

/// The key that the upstream knows an account by.
#[must_use]
pub fn account_key(name: &str) -> String {
    format!("mock-{name}")
}

/// An upstream that says who it is.
#[must_use]
pub fn named(name: &str) -> Behaviour {
    Behaviour { greeting: format!("I am {name}."), ..Behaviour::default() }
}

/// A world that runs.
pub struct World<S: Watch = MemoryStore> {
    /// The gateway's only worker.
    pub worker: Rc<Worker<TcpNet, S>>,
    /// The upstream of all accounts.
    pub mock: Rc<Mock>,
    /// The store.
    pub store: Arc<S>,
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where operators connect.
    pub admin: SocketAddr,
    /// To end it.
    pub phase: watch::Sender<Phase>,
    /// What workers share.
    pub shared: Arc<Shared>,
    /// Where tokens are kept.
    pub folder: Folder,
    /// What the configuration said at first, as text.
    pub config: String,
    directory: watch::Sender<Arc<Directory>>,
    written: Written,
}

/// What has been written to the access log.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics holding it").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines that wait: more than any test has at once.
const ACCESS_LINES_MAX: usize = 100_000;
/// No test takes longer.
const TEST_MAX: Duration = Duration::from_secs(120);

/// Runs a test in a world, and then checks that nothing is left of it in the gateway.
pub fn run<F: Future<Output = Rc<World>>>(plan: Plan, test: impl FnOnce(Rc<World>) -> F) {
    run_on(plan, MemoryStore::new, test);
}

/// [`run`], with the store that `store` makes of the present time.
pub fn run_on<S: Watch, F: Future<Output = Rc<World<S>>>>(
    plan: Plan,
    store: impl FnOnce(Time) -> S,
    test: impl FnOnce(Rc<World<S>>) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let whole = async {
        let world = test(World::start(plan, store).await).await;
        world.until_quiet().await;
        assert_eq!(world.worker.driver.check_invariants(), Vec::<String>::new());
    };
    let bounded = async { tokio::time::timeout(TEST_MAX, whole).await.expect("the test hangs") };
    runtime.expect("a runtime").block_on(LocalSet::new().run_until(bounded));
}

impl<S: Watch> World<S> {
    async fn start(mut plan: Plan, store: impl FnOnce(Time) -> S) -> Rc<Self> {
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let bind = async || TcpNet::bind(any, false).await.expect("a free port");
        let (listener, upstream, operators) = (bind().await, bind().await, bind().await);
        let (mut addresses, mut secure) = (BTreeMap::new(), Vec::new());
        for (name, authority) in plan.authorities.drain(..) {
            let listener = bind().await;
            addresses.insert(name.clone(), address_of(&listener));
            secure.push((authority, listener));
        }
        let text = plan.text(address_of(&upstream), &addresses);
        let config = plan.config(&text);
        let mock = Mock::new(Seed(7), plan.behaviours);
        for name in plan.tokens.keys() {
            mock.know(&client_id(name), client(name));
        }
        for (authority, listener) in secure {
            let mock = mock.clone();
            drop(tokio::task::spawn_local(async move { authority.serve(mock, listener).await }));
        }
        drop(tokio::task::spawn_local(mock.clone().serve::<TcpNet>(upstream)));
        let directory = Arc::new(Directory::new(&config).expect("a good configuration"));
        let clock = Clock::system();
        let store = Arc::new(store(clock.now()));
        let (phase, watched) = watch::channel(Phase::Serving);
        let written = Written::default();
        let access = AccessWriter::start(Box::new(written.clone()), ACCESS_LINES_MAX);
        let shared = Shared::new(access.expect("a thread"), 1);
        let setup = Setup {
            config: Arc::new(config),
            directory: directory.clone(),
            store: store.clone(),
            shared: shared.clone(),
            clock,
            index: 0,
            seed: Seed(7),
        };
        let worker = Worker::start(setup, watched.clone());
        let ready = async || {
            while !worker.driver.ready() {
                tokio::task::yield_now().await;
            }
        };
        ready().await;
        let (address, admin) = (address_of(&listener), address_of(&operators));
        let (directory, current) = watch::channel(directory);
        let desk = Desk {
            store: store.clone(),
            directory: current,
            shared: shared.clone(),
            clock,
            phase: watched,
        };
        drop(tokio::task::spawn_local(admin::serve::<TcpNet, _>(operators, desk)));
        drop(tokio::task::spawn_local(worker.clone().serve(listener)));
        let config = text;
        Rc::new(Self {
            worker,
            mock,
            store,
            address,
            admin,
            phase,
            shared,
            folder: plan.folder,
            config,
            directory,
            written,
        })
    }

    /// Lets the gateway go by another configuration, which was written at `stamp`.
    pub fn reload(&self, text: &str, stamp: u64) {
        let config = read(&self.folder, text, stamp);
        let directory = self.directory.borrow().renewed(&config).expect("a good configuration");
        let directory = Arc::new(directory);
        self.worker.reload(directory.clone());
        self.directory.send_replace(directory);
    }

    /// The lines of the access log so far, in the order in which requests ended.
    #[must_use]
    pub fn access_log(&self) -> Vec<Value> {
        assert!(self.shared.access.flush(TEST_MAX), "the access log is written");
        assert_eq!(self.shared.access.lost(), 0);
        let written = self.written.0.lock().expect("nobody panics holding it");
        let text = std::str::from_utf8(&written).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }

    /// What operators are shown at this path.
    pub async fn look(&self, path: &str) -> Value {
        let request = Request::get(path).body(Full::default());
        send(self.admin, request.expect("a good request")).await.json().await
    }

    /// Who holds and waits for what.
    #[must_use]
    pub fn gates(&self) -> Value {
        admin::gates(&self.store.view().expect("a memory store can tell"), &self.directory.borrow())
    }

    /// How many hold and wait at the gate or line of this name.
    #[must_use]
    pub fn held_and_waiting(&self, name: &str) -> (usize, usize) {
        let gates = self.gates();
        let gate = gates["gates"].as_array().and_then(|all| all.iter().find(|g| g["name"] == name));
        let count = |key| gate.and_then(|gate| gate[key].as_array()).map_or(0, Vec::len);
        (count("held"), count("waiting"))
    }

    /// Returns when something has become true.
    pub async fn until(&self, mut what: impl FnMut(&Self) -> bool) {
        while !what(self) {
            tokio::task::yield_now().await;
        }
    }

    /// Returns when nobody holds or waits for anything and nothing is owed.
    pub async fn until_quiet(&self) {
        let idle = |gate: &Value| gate["held"] == json!([]) && gate["waiting"] == json!([]);
        let quiet = |world: &Self| {
            let driver = &world.worker.driver;
            let gates = world.gates();
            driver.live_requests() == 0
                && driver.owed() == 0
                && gates["gates"].as_array().is_some_and(|all| all.iter().all(idle))
        };
        self.until(quiet).await;
    }

    /// Sends a Messages request of this user and waits for the answer's head.
    pub async fn ask(&self, user: &str, body: &Value) -> Reply {
        let request = post(user, body);
        self.send(request).await
    }

    /// Sends any request to the gateway and waits for the answer's head.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        send(self.address, request).await
    }
}

/// Where something listens.
#[must_use]
pub fn address_of(listener: &Listener) -> SocketAddr {
    TcpNet::local_address(listener).expect("what is bound has an address")
}

/// A listener that is not served yet, so that its address can be configured.
#[must_use]
pub fn free_listener() -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a listener");
    listener
}

/// A Messages request of this user.
#[must_use]
pub fn post(user: &str, body: &Value) -> Request<Full<Bytes>> {
    let request = Request::post("/v1/messages").header("x-api-key", user_key(user));
    request.body(Full::from(body.to_string())).expect("a good request")
}

/// A body of a Messages request.
#[must_use]
pub fn hello(stream: bool) -> Value {
    json!({"model": "claude-test", "max_tokens": 9, "stream": stream,
           "messages": [{"role": "user", "content": "Hello"}]})
}

/// Sends a request on a connection of its own and waits for the answer's head.
pub async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Reply {
    try_send(address, request).await.expect("an answer")
}

/// [`send`], where there may be no answer.
///
/// # Errors
/// Nobody listens, or the connection ended before the answer's head.
pub async fn try_send(address: SocketAddr, mut request: Request<Full<Bytes>>) -> io::Result<Reply> {
    let stream = TcpStream::connect(address).await?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.expect("HTTP");
    let connection = tokio::task::spawn_local(async move { drop(connection.await) });
    request.headers_mut().insert("host", "gateway".parse().expect("a header"));
    if request.method() == Method::POST {
        let json = "application/json".parse().expect("a header");
        request.headers_mut().insert("content-type", json);
    }
    let response = match sender.send_request(request).await {
        Ok(response) => response,
        Err(error) => {
            connection.abort();
            return Err(io::Error::other(error));
        }
    };
    Ok(Reply { response, connection })
}

/// An answer whose head has come. Dropping it closes its connection.
pub struct Reply {
    response: Response<Incoming>,
    connection: tokio::task::JoinHandle<()>,
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Reply {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// All headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// One header; empty if it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The next piece of the body.
    pub async fn chunk(&mut self) -> Option<Bytes> {
        let frame = self.response.frame().await?;
        frame.ok().and_then(|frame| frame.into_data().ok())
    }

    /// The body to its end.
    pub async fn body(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await {
            body.extend_from_slice(&chunk);
        }
        body
    }

    /// The body as JSON.
    pub async fn json(&mut self) -> Value {
        serde_json::from_slice(&self.body().await).expect("a JSON answer")
    }

    /// The body as events: names and data.
    pub async fn events(&mut self) -> Vec<(String, Value)> {
        let body = self.body().await;
        // A plain error, for instance.
        assert!(body.is_empty() || body.ends_with(b"\n"), "{}", String::from_utf8_lossy(&body));
        let one = |event: sse::Event<'_>| {
            let name = String::from_utf8_lossy(event.name).into_owned();
            (name, serde_json::from_slice(&event.data).expect("an event's data is JSON"))
        };
        sse::events(&body).map(one).collect()
    }
}

/// The text in a plain answer, or in the events of a stream.
#[must_use]
pub fn text_of(events: &[(String, Value)]) -> String {
    let texts = events.iter().filter_map(|(_, data)| data["delta"]["text"].as_str());
    texts.collect()
}

/// Runs futures side by side on the current local set and returns what they make, in order.
pub async fn together<T: 'static>(futures: Vec<impl Future<Output = T> + 'static>) -> Vec<T> {
    let tasks: Vec<_> = futures.into_iter().map(tokio::task::spawn_local).collect();
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.expect("no task panics"));
    }
    all
}
