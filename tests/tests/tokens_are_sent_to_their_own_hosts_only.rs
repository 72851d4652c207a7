//! Access tokens go to the account's upstream, its refresh token and its secret to the token URL, and
//! neither to the other, to a client, or into the log.

use std::rc::Rc;

use sluice_engine::rng::Seed;
use sluice_runtime_tokio::mock::{Behaviour, Fault, Mock, Seen};
use sluice_runtime_tokio::net::{Listener, TcpNet};
use sluice_tests::tokens::{client, client_id, client_secret, put};
use sluice_tests::{Plan, free_listener, hello, named, run};
use tokio::net::TcpListener;

/// All that came with these requests.
fn text(seen: &[Seen]) -> String {
    let one = |seen: &Seen| format!("{:?} {}", seen.headers, String::from_utf8_lossy(&seen.body));
    seen.iter().map(one).collect()
}

#[test]
fn each_host_is_told_its_own() {
    let listener = free_listener();
    let url = format!("http://{}/oauth/token", listener.local_addr().expect("an address"));
    let plan = Plan::default().user("alice", 1, "");
    run(plan.token_account("one", 1, named("one"), Some(url), ""), async move |world| {
        let issuer = Mock::new(Seed(1), []);
        issuer.know(&client_id("one"), client("one"));
        let listener = Listener::Tcp(TcpListener::from_std(listener).expect("a listener"));
        drop(tokio::task::spawn_local(Rc::clone(&issuer).serve::<TcpNet>(listener)));
        // The upstream knows the token that the other one issues first.
        let (_, access) = world.mock.tokens_of(&client_id("one")).expect("it is known");
        assert_eq!(access, "at-mock-one-1");
        assert_eq!(world.ask("alice", &hello(false)).await.status(), 200);
        assert_eq!((issuer.token_calls(&client_id("one")), world.token_calls("one")), (1, 0));
        let secret = client_secret("one");
        let called = text(&issuer.token_calls_seen());
        assert!(called.contains("rt-mock-one-0") && called.contains(&secret), "{called}");
        assert!(!called.contains("at-mock") && !called.contains("sk-alice"), "{called}");
        let asked = text(&world.mock.seen());
        assert!(!asked.is_empty() && !asked.contains("rt-mock") && !asked.contains(&secret));
        assert!(issuer.seen().is_empty(), "nothing else goes there");
        world
    });
}

const SAYS: &str = "{\"error\":{\"type\":\"invalid_request_error\",\
    \"message\":\"at-mock-one-1, rt-mock-one-1 and cs-one may not\"}}";

#[test]
fn what_an_upstream_repeats_of_them_no_client_is_told() {
    let refuses = vec![(1000, Fault::Refusal(400, vec![], SAYS))];
    let plan = Plan::default().user("alice", 1, "");
    let one = Behaviour { faults: refuses, ..named("one") };
    run(plan.token_account("one", 1, one, None, ""), async |world| {
        let rotates = sluice_runtime_tokio::mock::Client { rotates: true, ..client("one") };
        world.mock.know(&client_id("one"), rotates);
        for stream in [false, true] {
            let mut reply = world.ask("alice", &hello(stream)).await;
            assert_eq!(reply.status(), 400);
            let told = reply.json().await.to_string();
            assert!(told.contains("***, *** and *** may not"), "{told}");
        }
        let log: String = world.access_log().iter().map(ToString::to_string).collect();
        for secret in ["at-mock", "rt-mock", "cs-one"] {
            assert!(!log.contains(secret), "{log}");
        }
        world
    });
}

#[test]
fn nothing_shows_them() {
    let plan = Plan::default().user("alice", 1, "");
    run(plan.token_account("one", 1, named("one"), None, ""), async |world| {
        put(&world.file("one"), &serde_json::json!({"refresh_token": "rt-mock-one-0"}));
        assert_eq!(world.ask("alice", &hello(false)).await.status(), 200);
        let config = world.folder.config(&world.config, 1);
        let directory = sluice_runtime_tokio::directory::Directory::new(&config).expect("good");
        for shown in [format!("{config:?}"), format!("{directory:?}"), world.gates().to_string()] {
            for secret in ["at-mock", "rt-mock", "cs-one"] {
                assert!(!shown.contains(secret), "{secret}");
            }
        }
        world
    });
}
