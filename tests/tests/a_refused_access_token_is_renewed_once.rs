//! An upstream's 401 has the token renewed, and the request sent once more to the same account, before
//! its client has been told anything.

use std::rc::Rc;

use http_body_util::Full;
use hyper::Request;
use serde_json::json;
use sluice_engine::rng::Seed;
use sluice_runtime_tokio::auth::KeyHash;
use sluice_runtime_tokio::config::Config;
use sluice_runtime_tokio::mock::{Behaviour, Fault, Mock};
use sluice_runtime_tokio::net::{Net as _, TcpNet};
use sluice_tests::tokens::{Folder, client, client_id, put, tokens};
use sluice_tests::workers::both_serve;
use sluice_tests::{Plan, hello, named, run, together, user_key};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

const MANY: u32 = 20;

#[test]
fn of_twenty_requests_at_once_all_are_served_after_one_call() {
    let plan = Plan::default().user("alice", MANY, "");
    run(plan.token_account("one", MANY, named("one"), None, ""), async |world| {
        world.put_tokens("one", 10_000);
        world.mock.expire(&client_id("one"));
        let ask = |n: u32| {
            let world = world.clone();
            async move {
                let mut reply = world.ask("alice", &hello(n.is_multiple_of(2))).await;
                reply.body().await;
                reply.status()
            }
        };
        let all = together((0..MANY).map(ask).collect()).await;
        assert!(all.iter().all(|status| *status == 200), "{all:?}");
        assert_eq!(world.token_calls("one"), 1);
        let stats = world.mock.stats("mock-one");
        assert_eq!(stats.answers[&200], u64::from(MANY));
        assert!((1..=u64::from(MANY)).contains(&stats.answers[&401]), "{stats:?}");
        for line in world.access_log() {
            assert_eq!(line["verdict"], "completed", "{line}");
        }
        world
    });
}

#[test]
fn and_if_the_new_one_is_refused_too_another_account_is_asked() {
    let refuses = vec![(1000, Fault::Status(401, "authentication_error", None))];
    let refuses = Behaviour { faults: refuses, ..named("one") };
    let plan = Plan::default().user("alice", 1, "");
    let plan = plan.token_account("one", 1, refuses, None, "priority = 0");
    run(plan.account("two", 1, named("two"), "priority = 1"), async |world| {
        world.put_tokens("one", 10_000);
        for _ in 0..2 {
            assert_eq!(world.ask("alice", &hello(false)).await.status(), 200);
        }
        assert_eq!(world.mock.stats("mock-one").requests, 2, "once, and once more");
        assert_eq!(world.mock.stats("mock-two").requests, 2);
        assert_eq!(world.token_calls("one"), 1);
        assert!(world.gates().to_string().contains("Quarantine"), "{}", world.gates());
        world
    });
}

#[test]
fn also_if_there_would_be_a_third() {
    let hold = Rc::new(Semaphore::new(0));
    let faults = vec![(1000, Fault::Status(401, "authentication_error", None))];
    let refuses = Behaviour { faults, hold: Some(hold.clone()), ..named("one") };
    let plan = Plan::default().user("alice", 1, "");
    run(plan.token_account("one", 1, refuses, None, ""), async move |world| {
        world.put_tokens("one", 10_000);
        let asks = world.clone();
        let asks = tokio::task::spawn_local(async move { asks.ask("alice", &hello(false)).await });
        for (n, let_go) in [(1, 1), (2, 9)] {
            world.mock.until("mock-one", |stats| stats.requests == n).await;
            // Another process puts a newer one there, every time.
            world.put_tokens("one", 10_000);
            hold.add_permits(let_go);
        }
        assert_eq!(asks.await.expect("no panic").status(), 502);
        assert_eq!(world.mock.stats("mock-one").requests, 2);
        world
    });
}

#[test]
fn but_not_because_of_a_count() {
    let plan = Plan::default().user("alice", 1, "");
    run(plan.token_account("one", 1, named("one"), None, ""), async |world| {
        world.put_tokens("one", 10_000);
        world.mock.expire(&client_id("one"));
        let request = Request::post("/v1/messages/count_tokens");
        let request = request.header("x-api-key", user_key("alice"));
        let request = request.body(Full::from(hello(false).to_string())).expect("a good request");
        assert_eq!(world.send(request).await.status(), 502);
        assert_eq!(world.token_calls("one"), 0, "the upstream may count for nobody");
        assert_eq!(world.ask("alice", &hello(false)).await.status(), 200);
        assert_eq!(world.token_calls("one"), 1);
        world
    });
}

#[test]
fn and_not_if_it_is_only_not_for_this_operation() {
    let scope = vec![("www-authenticate", "Bearer error=\"insufficient_scope\"")];
    let one = vec![(1000, Fault::Refusal(401, scope, "{}"))];
    let one = Behaviour { faults: one, ..named("one") };
    let plan = Plan::default().user("alice", 1, "");
    run(plan.token_account("one", 1, one, None, ""), async |world| {
        world.put_tokens("one", 10_000);
        for (path, want) in [("/v1/messages/count_tokens", 200), ("/v1/messages", 502)] {
            let request = Request::post(path).header("x-api-key", user_key("alice"));
            let request = request.body(Full::from(hello(false).to_string()));
            let reply = world.send(request.expect("a good request")).await;
            assert_eq!(reply.status(), want, "{path}");
        }
        assert_eq!((world.mock.stats("mock-one").requests, world.token_calls("one")), (2, 0));
        world
    });
}

/// Two threads.
fn config(folder: &Folder, mock: &Mock, upstream: std::net::SocketAddr) -> Config {
    let stale = tokens(mock, "one", 10_000);
    put(&folder.file("one"), &stale);
    let hash = KeyHash::of(&user_key("alice")).to_hex();
    let text = format!(
        "server = {{ listen = \"127.0.0.1:0\", workers = 2 }}\nlog.access = \"off\"\n\
         [[groups]]\nname = \"main\"\n[[users]]\nname = \"alice\"\nconcurrency = 100\n\
         keys = [{{ sha256 = \"{hash}\", group = \"main\" }}]\n\
         [[accounts]]\nname = \"one\"\nbase_url = \"http://{upstream}\"\nconcurrency = 100\n\
         groups = [\"main\"]\n{}",
        folder.section("one", &format!("http://{upstream}/oauth/token"))
    );
    folder.config(&text, 1)
}

async fn two_threads() {
    let listener = TcpNet::bind(([127, 0, 0, 1], 0).into(), false).await.expect("a free port");
    let upstream = TcpNet::local_address(&listener).expect("an address");
    let mock = Mock::new(Seed(1), [("mock-one".to_owned(), named("one"))]);
    mock.know(&client_id("one"), client("one"));
    drop(tokio::task::spawn_local(mock.clone().serve::<TcpNet>(listener)));
    let folder = Folder::default();
    let config = config(&folder, &mock, upstream);
    mock.expire(&client_id("one"));
    both_serve(config, 60, |_| hello(false)).await;
    assert_eq!(mock.token_calls(&client_id("one")), 1);
    let seen = mock.token_calls_seen();
    assert_eq!(seen[0].headers["accept"], "application/json");
}

#[test]
fn one_call_serves_all_threads() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let bounded = async {
        let limit = std::time::Duration::from_secs(60);
        tokio::time::timeout(limit, two_threads()).await.expect("the test hangs");
    };
    runtime.expect("a runtime").block_on(LocalSet::new().run_until(bounded));
}

#[test]
fn every_platform_is_asked_with_a_bearer_token() {
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]});
    let responses = json!({"model": "m", "input": "Hello"});
    for (account, path, body) in [
        ("", "/v1/messages", hello(false)),
        ("platform = \"openai\"", "/v1/responses", responses),
        ("platform = \"gemini\"", "/v1beta/models/m:generateContent", contents.clone()),
        (
            "platform = \"antigravity\"\nproject = \"p\"",
            "/antigravity/v1beta/models/m:generateContent",
            contents,
        ),
    ] {
        let plan = Plan::default().user("alice", 1, "");
        run(plan.token_account("one", 1, named("one"), None, account), async move |world| {
            for beta in [None, Some("a-2025"), Some("a-2025,oauth-2025-04-20")] {
                let mut request = Request::post(path).header("x-api-key", user_key("alice"));
                if let Some(beta) = beta {
                    request = request.header("anthropic-beta", beta);
                }
                let request = request.body(Full::from(body.to_string())).expect("a good request");
                let mut reply = world.send(request).await;
                let told = reply.body().await;
                assert_eq!(reply.status(), 200, "{path}: {}", String::from_utf8_lossy(&told));
                let seen = world.mock.seen().pop().expect("a request");
                let named = seen.headers.get_all("anthropic-beta").iter();
                let named: Vec<_> = named.map(|value| value.to_str().expect("text")).collect();
                let want = match beta {
                    _ if path != "/v1/messages" => vec![],
                    None => vec!["oauth-2025-04-20"],
                    Some("a-2025") => vec!["oauth-2025-04-20,a-2025"],
                    Some(both) => vec![both],
                };
                assert_eq!(named, want, "{path}");
            }
            assert_eq!(world.token_calls("one"), 1);
            world
        });
    }
}
