//! With HTTP/1.1 or HTTP/2, as the upstream chooses; and one that is not trusted gets no credential.

use std::rc::Rc;

use sluice_runtime_tokio::mock::Behaviour;
use sluice_runtime_tokio::net::Listener;
use sluice_tests::tls::Authority;
use sluice_tests::{Plan, free_listener, hello, named, run, text_of, together};
use tokio::net::TcpListener;

fn plan(trusted: &Authority) -> Plan {
    Plan::default().user("alice", 50, "").trusting(trusted)
}

fn served_over(protocols: &[&str], more: &str, connections: u32) {
    let authority = Authority::new(protocols);
    let made = authority.connections.clone();
    let plan = plan(&authority).settings(more).secure_account("one", 50, named("one"), authority);
    run(plan, async |world| {
        let mut reply = world.ask("alice", &hello(false)).await;
        assert_eq!(reply.status(), 200);
        assert!(reply.json().await["content"][0]["text"].as_str().is_some());
        let mut reply = world.ask("alice", &hello(true)).await;
        assert!(text_of(&reply.events().await).starts_with("I am one."));
        let ask = |_| {
            let world = world.clone();
            async move {
                let mut reply = world.ask("alice", &hello(true)).await;
                (reply.status(), text_of(&reply.events().await))
            }
        };
        for (status, text) in together((0..20).map(ask).collect()).await {
            assert_eq!(status, 200);
            assert!(text.starts_with("I am one."));
        }
        assert!((1..=connections).contains(&made.get()), "{}", made.get());
        world
    });
}

#[test]
fn over_http_1() {
    served_over(&["http/1.1"], "", 20);
}

#[test]
fn over_http_2_on_one_connection() {
    served_over(&["h2", "http/1.1"], "", 1);
}

#[test]
fn http_2_is_not_offered_if_that_is_configured() {
    served_over(&["h2", "http/1.1"], "[upstream]\nhttp2 = false\n", 20);
}

#[test]
fn a_client_that_leaves_ends_its_stream_and_not_its_neighbours() {
    let authority = Authority::new(&["h2"]);
    let made = authority.connections.clone();
    let slow = Behaviour { words: 400, pace: std::time::Duration::from_millis(2), ..named("one") };
    let plan = plan(&authority).secure_account("one", 50, slow, authority);
    run(plan, async |world| {
        let mut stays = world.ask("alice", &hello(true)).await;
        stays.chunk().await.expect("a first piece");
        let mut leaves = world.ask("alice", &hello(true)).await;
        leaves.chunk().await.expect("a first piece");
        drop(leaves);
        world.mock.until("mock-one", |stats| stats.left == 1).await;
        assert_eq!(world.mock.stats("mock-one").open, 1);
        let rest = stays.body().await;
        assert!(String::from_utf8_lossy(&rest).contains("event: message_stop"));
        assert_eq!(made.get(), 1);
        world
    });
}

#[test]
fn one_that_is_not_trusted_sees_no_request() {
    let (trusted, other) = (Authority::new(&["h2"]), Authority::new(&["h2"]));
    let plan = plan(&trusted).secure_account("one", 1, named("one"), other);
    run(plan, async |world| {
        let mut reply = world.ask("alice", &hello(false)).await;
        assert_eq!(reply.status(), 502);
        assert_eq!(reply.json().await["error"]["message"], "Upstream request failed");
        assert_eq!(world.mock.stats("mock-one").requests, 0);
        world
    });
}

/// What a client is answered whose account's tokens come from behind TLS, and how often they were called
/// for.
fn with_tokens_from(issuer: Rc<Authority>, trusted: &Authority, want: (u16, u64)) {
    let listener = free_listener();
    let url = format!("https://{}/oauth/token", listener.local_addr().expect("an address"));
    let plan = plan(trusted).token_account("one", 1, named("one"), Some(url), "");
    run(plan, async move |world| {
        let listener = Listener::Tcp(TcpListener::from_std(listener).expect("a listener"));
        let mock = world.mock.clone();
        drop(tokio::task::spawn_local(async move { issuer.serve(mock, listener).await }));
        let status = world.ask("alice", &hello(false)).await.status();
        assert_eq!((status, world.token_calls("one")), want);
        world
    });
}

#[test]
fn so_are_those_whom_access_tokens_come_from_over_http_1() {
    let issuer = Rc::new(Authority::new(&["h2", "http/1.1"]));
    with_tokens_from(issuer.clone(), &issuer, (200, 1));
}

#[test]
fn and_if_they_are_not_trusted_they_get_no_refresh_token() {
    with_tokens_from(
        Rc::new(Authority::new(&["http/1.1"])),
        &Authority::new(&["http/1.1"]),
        (502, 0),
    );
}
