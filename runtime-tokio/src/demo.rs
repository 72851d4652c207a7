//! `sluice demo`: a gateway, made-up accounts of every protocol and three users, with nothing to
//! configure.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use sluice_engine::rng::Seed;
use tokio::sync::mpsc;

use crate::auth::KeyHash;
use crate::config::Config;
use crate::mock::{Behaviour, Fault, Mock};
use crate::net::{Net, TcpNet};
use crate::serve::{self, Addresses};

/// Name, and balance in cents.
const USERS: [(&str, i64); 3] = [("alice", 1_000), ("bob", 1_000), ("carol", 0)];
/// Name, what it speaks, and priority: the slow one is asked when the others are busy.
const ACCOUNTS: [(&str, &str, u32); 6] = [
    ("swift", "anthropic", 0),
    ("steady", "anthropic", 0),
    ("slow", "anthropic", 1),
    ("flaky", "anthropic", 0),
    ("responsive", "openai", 0),
    ("twin", "gemini", 0),
];
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Runs the demo until the process is told to stop.
///
/// # Errors
/// An address that cannot be listened at.
pub fn run(listen: SocketAddr, admin: Option<SocketAddr>) -> io::Result<()> {
    let upstream = start_upstream()?;
    let admin = admin.unwrap_or(ANY_PORT);
    let text = configuration(listen, admin, upstream);
    let config = Config::parse(&text, 1).map_err(io::Error::other)?;
    serve::run(config, None, |addresses| {
        // Standard output closed early is no reason to stop serving.
        let _ = io::stdout().write_all(guide(&addresses, upstream).as_bytes());
        let _ = io::stdout().flush();
    })
}

/// The accounts' upstream, on a thread of its own.
fn start_upstream() -> io::Result<SocketAddr> {
    let (bound, mut address) = mpsc::unbounded_channel();
    thread::Builder::new().name("mock".to_owned()).spawn(move || {
        let serve = async {
            let listener = TcpNet::bind(ANY_PORT, false).await?;
            // The starter waits for it.
            let _ = bound.send(TcpNet::local_address(&listener));
            upstream().serve::<TcpNet>(listener).await;
            Ok(())
        };
        if let Err(error) = serve::block_on(serve) {
            let _ = bound.send(Err(error));
        }
    })?;
    address.blocking_recv().unwrap_or_else(|| Err(io::Error::other("the upstream has ended")))
}

fn upstream() -> Rc<Mock> {
    let named = |name: &str| Behaviour {
        greeting: format!("Hello from the account \"{name}\":"),
        latency: Duration::from_millis(50),
        words: 24,
        pace: Duration::from_millis(60),
        ..Behaviour::default()
    };
    let slow = Behaviour {
        latency: Duration::from_millis(1500),
        pace: Duration::from_millis(250),
        ..named("slow")
    };
    let faults = vec![
        (300, Fault::Status(529, "overloaded_error", Some(5))),
        (200, Fault::Status(500, "api_error", None)),
        (200, Fault::Reset),
        (200, Fault::ErrorEvent("overloaded_error")),
    ];
    let flaky = Behaviour { faults, ..named("flaky") };
    let others = ["swift", "steady", "responsive", "twin"].map(|name| (name, named(name)));
    let all = others.into_iter().chain([("slow", slow), ("flaky", flaky)]);
    Mock::new(Seed(1), all.map(|(name, behaviour)| (account_key(name), behaviour)))
}

fn account_key(name: &str) -> String {
    format!("mock-{name}")
}

fn user_key(name: &str) -> String {
    format!("sk-demo-{name}")
}

fn configuration(listen: SocketAddr, admin: SocketAddr, upstream: SocketAddr) -> String {
    let mut text = format!(
        "[server]\nlisten = \"{listen}\"\nadmin_listen = \"{admin}\"\nname = \"demo\"\n\
         [log]\naccess = \"stderr\"\n[[groups]]\nname = \"demo\"\n"
    );
    for (name, cents) in USERS {
        let hash = KeyHash::of(&user_key(name)).to_hex();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "[[users]]\nname = \"{name}\"\nconcurrency = 3\nbalance_cents = {cents}\n\
             keys = [{{ sha256 = \"{hash}\", group = \"demo\" }}]\n"
        );
    }
    for (name, platform, priority) in ACCOUNTS {
        let _ = write!(
            text,
            "[[accounts]]\nname = \"{name}\"\nplatform = \"{platform}\"\n\
             base_url = \"http://{upstream}\"\napi_key = \"{}\"\nconcurrency = 2\npriority = {priority}\ngroups = [\"demo\"]\n",
            account_key(name)
        );
    }
    text
}

/// What is printed: first a line for programs, then one for people.
fn guide(addresses: &Addresses, upstream: SocketAddr) -> String {
    let admin =
        addresses.admin.as_ref().map_or_else(String::new, |admin| format!("http://{admin}"));
    let listen = addresses.to_string();
    let line = serde_json::json!({
        "gateway": format!("http://{listen}"),
        "admin": admin,
        "upstream": format!("http://{upstream}"),
    });
    let call = |flags: &str, user: &str, stream: &str| {
        format!(
            "curl {flags} http://{listen}/v1/messages -H 'x-api-key: {}' \
             -H 'content-type: application/json' \
             -d '{{\"model\":\"claude-demo\",\"max_tokens\":64{stream},\
             \"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'",
            user_key(user)
        )
    };
    let post = |path: &str, body: &str| {
        format!(
            "curl -s http://{listen}/{path} -H 'authorization: Bearer {}' \
             -H 'content-type: application/json' -d '{body}'",
            user_key("alice")
        )
    };
    format!(
        "{line}\n\n\
         The gateway listens at http://{listen}. Try, in another terminal:\n\n\
         # a plain answer\n{}\n\n\
         # a stream\n{}\n\n\
         # a user whose balance is used up\n{}\n\n\
         # the protocols of OpenAI and Google\n{}\n{}\n\n\
         # who holds and waits for what\ncurl -s {admin}/debug/gates\n\n\
         # what the made-up upstream has seen\ncurl -s http://{upstream}/_mock/stats\n\n\
         Every request leaves a line on standard error. Stop with Ctrl-C.\n",
        call("-s", "alice", ""),
        call("-sN", "bob", ",\"stream\":true"),
        call("-i -s", "carol", ""),
        post("v1/responses", "{\"model\":\"gpt-demo\",\"input\":\"Hello\"}"),
        post(
            "v1beta/models/gemini-demo:generateContent",
            "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"Hello\"}]}]}"
        ),
    )
}
