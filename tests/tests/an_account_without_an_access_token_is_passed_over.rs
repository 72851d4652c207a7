//! An account that gets no access token counts as one whose credential was refused, and its upstream is
//! not asked.

use std::rc::Rc;

use sluice_runtime_tokio::mock::{Client, Grants};
use sluice_tests::proxies::{Proxy, accept};
use sluice_tests::tokens::{client, client_id, put, tokens};
use sluice_tests::{Plan, World, free_listener, hello, named, run};
use tokio::net::TcpListener;

fn plan(more: &str) -> Plan {
    let plan = Plan::default().user("alice", 1, "");
    plan.token_account("one", 1, named("one"), None, more)
}

fn grants(world: &World, grants: Grants) {
    world.mock.know(&client_id("one"), Client { grants, ..client("one") });
}

const REVOKED: Grants = Grants::Refusal(400, "invalid_grant");

/// Asks until `n` answers have this status. While the account is closed there are others.
async fn ask_until(world: &World, wanted: u16, n: usize) {
    let mut seen = 0;
    while seen < n {
        let mut reply = world.ask("alice", &hello(false)).await;
        reply.body().await;
        seen += usize::from(reply.status() == wanted);
    }
}

#[test]
fn and_closed_for_a_while() {
    for refusal in [Grants::Refusal(500, "server_error"), REVOKED] {
        let plan = plan("priority = 0").account("two", 1, named("two"), "priority = 1");
        run(plan, async move |world| {
            grants(&world, refusal);
            for _ in 0..3 {
                let mut reply = world.ask("alice", &hello(false)).await;
                assert_eq!(reply.status(), 200);
                assert!(reply.json().await.to_string().contains("I am two."));
            }
            assert_eq!(world.mock.stats("mock-one").requests, 0);
            assert_eq!(world.token_calls("one"), 1);
            assert!(world.gates().to_string().contains("Quarantine"), "{}", world.gates());
            world
        });
    }
}

#[test]
fn and_if_there_is_no_other_its_client_is_told_as_of_a_401() {
    run(plan(""), async |world| {
        grants(&world, REVOKED);
        let mut reply = world.ask("alice", &hello(false)).await;
        assert_eq!(reply.status(), 502);
        let error = &reply.json().await["error"];
        let message = "Upstream authentication failed, please contact administrator";
        assert_eq!(
            (&error["type"], &error["message"]),
            (&"upstream_error".into(), &message.into())
        );
        world
    });
}

const SHORT: &str =
    "[policy]\nquarantine_ms = 1\nquarantine_max_ms = 1\nfallback_patience_ms = 50\n";

#[test]
fn one_that_was_revoked_is_not_called_for_until_there_is_another_in_the_file() {
    run(plan("").settings(SHORT), async |world| {
        grants(&world, REVOKED);
        ask_until(&world, 502, 3).await;
        assert_eq!(world.token_calls("one"), 1, "each failed, and only the first called");
        grants(&world, Grants::Token);
        let mut new = tokens(&world.mock, "one", 0);
        new.as_object_mut().expect("an object").remove("access_token");
        put(&world.file("one"), &new);
        ask_until(&world, 200, 1).await;
        assert_eq!(world.token_calls("one"), 2);
        world
    });
}

#[test]
fn or_until_the_configuration_is_reloaded() {
    run(plan("").settings(SHORT), async |world| {
        grants(&world, REVOKED);
        ask_until(&world, 502, 2).await;
        grants(&world, Grants::Token);
        world.reload(&world.config, 2);
        ask_until(&world, 200, 1).await;
        assert_eq!(world.token_calls("one"), 2);
        world
    });
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = free_listener();
    let url = format!("http://{}/oauth/token", elsewhere.local_addr().expect("an address"));
    run(plan(""), async move |world| {
        grants(&world, Grants::Redirect(url));
        assert_eq!(world.ask("alice", &hello(false)).await.status(), 502);
        let came = elsewhere.accept().map(drop).map_err(|error| error.kind());
        assert_eq!(came, Err(std::io::ErrorKind::WouldBlock));
        assert_eq!(world.token_calls("one"), 1);
        world
    });
}

#[test]
fn a_proxy_is_the_only_way_to_tokens_too() {
    for closed in [false, true] {
        let listener = free_listener();
        let address = listener.local_addr().expect("an address");
        let plan = plan(&format!("proxy = \"http://user:pass@{address}\""));
        run(plan, async move |world| {
            let proxy = Rc::new(Proxy::default());
            proxy.closed.set(closed);
            let (seen, listener) = (proxy.clone(), TcpListener::from_std(listener));
            let serve = move |stream| {
                let seen = seen.clone();
                async move { seen.http(stream).await }
            };
            drop(tokio::task::spawn_local(accept(listener.expect("a listener"), serve)));
            let status = world.ask("alice", &hello(false)).await.status();
            let asked = proxy.asked.borrow().len();
            if closed {
                assert_eq!((status, asked, world.mock.connections()), (502, 1, 0));
            } else {
                // One to the token URL, and one to the upstream.
                assert_eq!((status, asked, proxy.tunnels.get()), (200, 2, 2));
                assert_eq!(world.mock.connections(), 2);
            }
            world
        });
    }
}
