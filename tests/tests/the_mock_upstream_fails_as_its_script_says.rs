//! Every fault of a script, as a client sees it on a real socket.

use serde_json::Value;
use sluice_tests::hello;
use sluice_tests::upstream::{Rest, Upstream, run};

/// Every request with any key goes wrong like this.
fn with(fault: &str, test: impl AsyncFnOnce(&Upstream)) {
    let script = format!("[default]\nwords = 4\nfaults = [{{ {fault} }}]\n");
    run(&script, 1, async |upstream| {
        test(&upstream).await;
        let stats = upstream.mock.stats("any");
        let faults: u64 = stats.faults.values().sum();
        assert_eq!((stats.open, faults), (0, stats.requests), "{stats:?}");
    });
}

/// A whole stream.
const EVENTS: [&str; 10] = [
    "message_start",
    "ping",
    "content_block_start",
    "content_block_delta",
    "content_block_delta",
    "content_block_delta",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
];

fn first(n: usize, ended: bool) -> Rest {
    Rest { events: EVENTS[..n].iter().map(|&name| name.to_owned()).collect(), ended }
}

#[test]
fn without_faults_it_answers() {
    run("[default]\nwords = 4\n", 1, async |upstream| {
        let mut reply = upstream.ask("any", &hello(true)).await;
        assert_eq!((reply.status(), reply.header("content-type")), (200, "text/event-stream"));
        assert_eq!(reply.told().await, first(10, true));
        let text = upstream.ask("other", &hello(false)).await.json().await;
        assert_eq!(text["content"][0]["text"], "Hello the river runs");
    });
}

#[test]
fn with_a_status() {
    for (status, class) in
        [(401, "authentication_error"), (418, "invalid_request_error"), (503, "api_error")]
    {
        with(&format!("kind = \"status\", status = {status}"), async |upstream| {
            for stream in [false, true] {
                let mut reply = upstream.ask("any", &hello(stream)).await;
                assert_eq!((reply.status(), reply.header("retry-after")), (status, ""));
                assert_eq!(reply.json().await["error"]["type"], class);
            }
            assert_eq!(upstream.mock.stats("any").answers.get(&status), Some(&2));
        });
    }
    for (status, class) in [(429, "rate_limit_error"), (529, "overloaded_error")] {
        let fault = format!("kind = \"status\", status = {status}, retry_after_s = 7");
        with(&fault, async |upstream| {
            let mut reply = upstream.ask("any", &hello(true)).await;
            assert_eq!((reply.status(), reply.header("retry-after")), (status, "7"));
            assert_eq!(reply.json().await["error"]["type"], class);
        });
    }
}

#[test]
fn with_a_redirect() {
    with("kind = \"redirect\", location = \"http://127.0.0.1:9/x\"", async |upstream| {
        let reply = upstream.ask("any", &hello(false)).await;
        assert_eq!((reply.status(), reply.header("location")), (307, "http://127.0.0.1:9/x"));
    });
}

#[test]
fn with_a_page_for_people() {
    with("kind = \"html\"", async |upstream| {
        let mut reply = upstream.ask("any", &hello(true)).await;
        assert_eq!((reply.status(), reply.header("content-type")), (200, "text/html"));
        assert!(reply.body().await.starts_with(b"<!doctype html>"));
    });
}

#[test]
fn with_a_connection_that_ends_before_any_byte() {
    with("kind = \"reset\"", async |upstream| {
        for stream in [false, true] {
            assert!(!upstream.answers("any", &hello(stream)).await);
        }
        let stats = upstream.mock.stats("any");
        assert_eq!((stats.left, stats.answers.len()), (0, 0), "{stats:?}");
    });
}

#[test]
fn with_a_connection_that_ends_in_the_middle() {
    for (after, events) in [("", 5), (", after_events = 0", 0), (", after_events = 4", 4)] {
        with(&format!("kind = \"torn\"{after}"), async |upstream| {
            let told = upstream.ask("any", &hello(true)).await.told().await;
            assert_eq!(told, first(events, false));
            let (text, ended) = upstream.ask("any", &hello(false)).await.rest().await;
            assert!(!ended && text.starts_with(b"{"));
            assert_eq!(upstream.mock.stats("any").left, 0, "it is the upstream that leaves");
        });
    }
}

#[test]
fn with_an_answer_that_ends_too_early() {
    for (after, events) in [("", 9), (", after_events = 3", 3), (", after_events = 99", 9)] {
        with(&format!("kind = \"truncated\"{after}"), async |upstream| {
            let told = upstream.ask("any", &hello(true)).await.told().await;
            assert_eq!(told, first(events, true));
            let (text, ended) = upstream.ask("any", &hello(false)).await.rest().await;
            assert!(ended && text.starts_with(b"{"));
            assert!(serde_json::from_slice::<Value>(&text).is_err());
        });
    }
}

#[test]
fn with_an_error_event() {
    let last = |n: usize| {
        let mut rest = first(n, true);
        rest.events.push("error".to_owned());
        rest
    };
    for (more, events) in [("", 2), (", error = \"api_error\", after_events = 5", 5)] {
        with(&format!("kind = \"error_event\"{more}"), async |upstream| {
            let told = upstream.ask("any", &hello(true)).await.told().await;
            assert_eq!(told, last(events));
            let mut plain = upstream.ask("any", &hello(false)).await;
            assert_eq!(plain.status(), 500);
            assert_eq!(plain.json().await["type"], "error");
        });
    }
}

#[test]
fn with_silence_after_some_events() {
    with("kind = \"stall\", after_events = 4", async |upstream| {
        let mut reply = upstream.ask("any", &hello(true)).await;
        assert_eq!(reply.next_events(4).await, first(4, true).events);
        // It counts as open until the client goes, which is noticed although nothing is sent.
        assert_eq!(upstream.mock.stats("any").open, 1);
        drop(reply);
        upstream.mock.until("any", |stats| stats.left == 1).await;
    });
}

#[test]
fn with_silence_from_the_beginning() {
    with("kind = \"stall\"", async |upstream| {
        let body = hello(false);
        let asked = upstream.answers("any", &body);
        let open = upstream.mock.until("any", |stats| stats.faults.contains_key("stall"));
        tokio::select! {
            biased; // An answer would be a mistake.
            _ = asked => panic!("it answers"),
            () = open => {}
        }
        assert_eq!(upstream.mock.stats("any").left, 0);
        // The question, with its connection, was dropped with the branch that lost.
        upstream.mock.until("any", |stats| stats.left == 1).await;
    });
}
