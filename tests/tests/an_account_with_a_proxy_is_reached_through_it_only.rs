//! Every kind of proxy; and one that fails is a failed attempt, never a way around it.

use std::rc::Rc;

use sluice_tests::proxies::{Proxy, accept};
use sluice_tests::tls::Authority;
use sluice_tests::{Plan, World, free_listener, hello, named, run};
use tokio::net::TcpListener;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Https,
    Socks5,
}

/// An account that is asked for its tier, too.
const CODE_ASSIST: &str = "platform = \"gemini\"\nproject = \"p-1\"";

/// A user, an account, and the proxy that is the way to it, once it is served.
fn plan(more: &str, scheme: &str, listener: &std::net::TcpListener, trusted: &Authority) -> Plan {
    let address = listener.local_addr().expect("what is bound has an address");
    let proxy = format!("{more}\nproxy = \"{scheme}://user:pass%40word@{address}\"");
    let plan = Plan::default().user("alice", 5, "").trusting(trusted);
    plan.account("one", 5, named("one"), &proxy)
}

/// Runs the proxy, and then what `test` makes of it.
fn with_proxy(more: &str, kind: Kind, scheme: &str, test: impl AsyncFnOnce(&World, &Proxy)) {
    let (listener, trusted) = (free_listener(), Authority::new(&["http/1.1"]));
    let plan = plan(more, scheme, &listener, &trusted);
    run(plan, async |world| {
        let proxy = Rc::new(Proxy::default());
        let (acceptor, seen) = (trusted.acceptor(), proxy.clone());
        let listener = TcpListener::from_std(listener).expect("a listener");
        drop(tokio::task::spawn_local(accept(listener, move |stream| {
            let (proxy, acceptor) = (seen.clone(), acceptor.clone());
            async move {
                match kind {
                    Kind::Http => proxy.http(stream).await,
                    Kind::Https => proxy.http(acceptor.accept(stream).await?).await,
                    Kind::Socks5 => proxy.socks5(stream).await,
                }
            }
        })));
        test(&world, &proxy).await;
        world
    });
}

fn tunnelled(kind: Kind, scheme: &str) {
    with_proxy("", kind, scheme, async |world, proxy| {
        for stream in [false, true] {
            let mut reply = world.ask("alice", &hello(stream)).await;
            assert_eq!(reply.status(), 200);
            reply.body().await;
        }
        assert_eq!(proxy.tunnels.get(), 1, "the connection is kept");
        assert_eq!(world.mock.stats("mock-one").requests, 2);
        let asked = proxy.asked.borrow().join("");
        let credentials = match kind {
            // user:pass@word
            Kind::Http | Kind::Https => "proxy-authorization: Basic dXNlcjpwYXNzQHdvcmQ=",
            Kind::Socks5 => "user:pass@word@127.0.0.1:",
        };
        assert!(asked.contains(credentials), "{asked}");
    });
}

fn refused(kind: Kind, scheme: &str) {
    with_proxy("", kind, scheme, async |world, proxy| {
        proxy.closed.set(true);
        let mut reply = world.ask("alice", &hello(false)).await;
        assert_eq!(reply.status(), 502);
        assert!(!String::from_utf8_lossy(&reply.body().await).contains("word"));
        assert_eq!(proxy.asked.borrow().len(), 1);
        assert_eq!(world.mock.connections(), 0, "nothing goes past the proxy");
    });
}

#[test]
fn through_http() {
    tunnelled(Kind::Http, "http");
    refused(Kind::Http, "http");
}

#[test]
fn through_https() {
    tunnelled(Kind::Https, "https");
    refused(Kind::Https, "https");
}

#[test]
fn through_socks5() {
    tunnelled(Kind::Socks5, "socks5");
    refused(Kind::Socks5, "socks5");
}

#[test]
fn what_is_asked_beside_requests_goes_through_it_too() {
    with_proxy(CODE_ASSIST, Kind::Http, "http", async |world, proxy| {
        assert_eq!(world.ask("alice", &hello(false)).await.status(), 200);
        world.mock.until("mock-one", |stats| stats.tier_calls == 1).await;
        assert_eq!(
            world.mock.connections(),
            u64::from(proxy.tunnels.get()),
            "nothing goes past it"
        );
    });
}
