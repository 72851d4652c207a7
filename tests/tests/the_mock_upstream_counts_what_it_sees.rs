//! What a mock upstream has seen: limits that were not kept, clients that left, and pages about both.

use std::io::Write as _;
use std::net::TcpStream;
use std::rc::Rc;

use hyper::Request;
use serde_json::json;
use sluice_tests::upstream::{Upstream, asking, run};
use sluice_tests::{hello, send};
use tokio::task::JoinHandle;

fn open(upstream: &Rc<Upstream>, key: &'static str) -> JoinHandle<u16> {
    let address = upstream.address;
    let request = asking(key, &hello(false));
    tokio::task::spawn_local(async move { send(address, request).await.status() })
}

async fn release(upstream: &Upstream, key: &str, query: &str) -> u16 {
    let request = Request::post(format!("/_mock/release{query}")).header("x-api-key", key);
    send(upstream.address, request.body(http_body_util::Full::default()).expect("good"))
        .await
        .status()
}

#[test]
fn more_at_once_than_a_key_tolerates_is_a_violation() {
    for (over_limit, third) in [("serve", 200), ("refuse", 429)] {
        let script = format!("[keys.k]\nhold = true\nlimit = 2\nover_limit = \"{over_limit}\"\n");
        run(&script, 1, async |upstream| {
            let two = [open(&upstream, "k"), open(&upstream, "k")];
            upstream.mock.until("k", |stats| stats.open == 2).await;
            let three = open(&upstream, "k");
            upstream.mock.until("k", |stats| stats.requests == 3 && stats.violations == 1).await;
            assert_eq!(release(&upstream, "k", "?n=3").await, 200);
            assert_eq!(three.await.expect("no panic"), third);
            for one in two {
                assert_eq!(one.await.expect("no panic"), 200);
            }
            let stats = upstream.get("/_mock/stats").await.json().await["keys"]["k"].clone();
            let answers =
                if third == 200 { json!({"200": 3}) } else { json!({"200": 2, "429": 1}) };
            let want = json!({"requests": 3, "open": 0, "open_max": 3, "limit": 2, "violations": 1,
                              "left": 0, "tier_calls": 0, "answers": answers, "faults": {}});
            assert_eq!(stats, want);
        });
    }
}

#[test]
fn a_client_that_gives_up_and_asks_again_is_not_a_violation() {
    run("[keys.k]\nlimit = 1\nhold = true\n", 1, async |upstream| {
        let body = hello(false).to_string();
        let request = format!(
            "POST /v1/messages HTTP/1.1\r\nhost: mock\r\nx-api-key: k\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let connect = || TcpStream::connect(upstream.address).expect("it listens");
        let (mut first, mut second) = (connect(), connect());
        first.write_all(request.as_bytes()).expect("it reads");
        upstream.mock.until("k", |stats| stats.open == 1).await;
        // The second connection has something to be read before the first one closes, and the whole
        // of it when the upstream looks: it is served first.
        let (head, rest) = request.split_at(9);
        second.write_all(head.as_bytes()).expect("it reads");
        drop(first);
        second.write_all(rest.as_bytes()).expect("it reads");
        upstream.mock.until("k", |stats| stats.requests == 2 && stats.open == 1).await;
        upstream.mock.until("k", |stats| stats.left == 1).await;
        let stats = upstream.mock.stats("k");
        assert_eq!((stats.open, stats.open_max, stats.violations), (1, 1, 0), "{stats:?}");
    });
}

#[test]
fn a_client_that_leaves_is_noticed_wherever_its_request_is() {
    let hour = 3_600_000;
    let script = format!(
        "[keys.late]\nlatency_ms = {hour}\n[keys.slow]\npace_ms = {hour}\n[keys.held]\nhold = true\n"
    );
    run(&script, 1, async |upstream| {
        for key in ["late", "held"] {
            let asked = open(&upstream, key);
            upstream.mock.until(key, |stats| stats.open == 1).await;
            asked.abort();
            upstream.mock.until(key, |stats| stats.open == 0 && stats.left == 1).await;
        }
        let mut reply = upstream.ask("slow", &hello(true)).await;
        assert_eq!(reply.next_events(3).await.len(), 3);
        drop(reply);
        upstream.mock.until("slow", |stats| stats.open == 0 && stats.left == 1).await;
        let left = upstream.get("/_mock/left").await.json().await;
        let list = left["left"].as_array().expect("a list");
        let keys: Vec<_> = list.iter().map(|one| one["key"].as_str().expect("a key")).collect();
        assert_eq!(keys, ["late", "held", "slow"]);
        let times = list.iter().map(|one| &one["at_ms"]).chain([&left["now_ms"]]);
        let times: Vec<f64> = times.map(|at| at.as_f64().expect("milliseconds")).collect();
        assert!(times.is_sorted() && times[0] > 0.0, "{times:?}");
    });
}

#[test]
fn people_see_a_table_that_renews_itself() {
    run("[keys.\"<b>\"]\nlimit = 3\n", 1, async |upstream| {
        upstream.ask("<b>", &hello(false)).await.body().await;
        let mut reply = upstream.get("/").await;
        assert!(reply.header("content-type").starts_with("text/html"));
        let page = String::from_utf8(reply.body().await).expect("text");
        let row =
            "<th>&lt;b&gt;</th><td class=\"max\">1</td><td>3</td><td>0</td><td>0</td><td>1</td>";
        for part in [row, "http-equiv=\"refresh\"", "200: 1"] {
            assert!(page.contains(part), "no {part} in {page}");
        }
        assert!(!page.contains("<b>") && !page.contains("<script"));
    });
}

#[test]
fn only_what_is_held_can_be_released() {
    run("[keys.k]\nhold = true\n", 1, async |upstream| {
        for (key, query) in [("other", ""), ("k", "?n=0"), ("k", "?n=x"), ("k", "?n=1000001")] {
            assert_eq!(release(&upstream, key, query).await, 400, "{key} {query}");
        }
        assert_eq!(release(&upstream, "k", "?n=1000000").await, 200);
        assert_eq!(release(&upstream, "k", "").await, 400);
        assert_eq!(upstream.ask("k", &hello(false)).await.status(), 200);
    });
}

#[test]
fn a_request_that_makes_no_sense_is_refused() {
    run("", 1, async |upstream| {
        let keyless = Request::post("/v1/messages").body(hello(false).to_string().into());
        assert_eq!(send(upstream.address, keyless.expect("good")).await.status(), 401);
        let bearer = Request::post("/v1/messages").header("authorization", "Bearer b");
        let bearer = bearer.body(hello(false).to_string().into()).expect("good");
        assert_eq!(send(upstream.address, bearer).await.status(), 200);
        let mut reply = upstream.ask("b", &json!({"stream": true})).await;
        let told = reply.json().await["error"]["message"].to_string();
        assert!(reply.status() == 400 && told.contains("model"), "{told}");
        assert_eq!(upstream.get("/v1/messages").await.status(), 404);
        let stats = upstream.mock.stats("b");
        assert_eq!((stats.requests, stats.left), (2, 0));
        assert!(
            upstream.mock.seen().iter().all(|seen| !seen.headers.contains_key("authorization"))
        );
    });
}
