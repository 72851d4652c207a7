//! Every request leaves one line in the access log, wherever it ends.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use sluice_runtime_tokio::mock::{Behaviour, Fault};
use sluice_tests::{Plan, World, hello, named, post, run, together};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

fn raw(method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path);
    request.body(Full::from(body.to_owned())).expect("a good request")
}

fn fields(line: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| line[name].clone()).collect()
}

/// Returns when no request is left in the gateway, also none that never came before the engine.
async fn until_nobody_asks(world: &World) {
    while world.look("/debug/runtime").await["workers"][0]["requests"] != 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn of_one_that_was_served_by_the_second_account() {
    let broken = Behaviour { faults: vec![(1000, Fault::Reset)], ..named("one") };
    let plan = Plan::default().user("alice", 1, "").account("one", 1, broken, "");
    let plan = plan.account("two", 1, named("two"), "priority = 1");
    let body = |stream: bool| {
        let mut body = hello(stream);
        body["messages"][0]["content"] = stream.to_string().into();
        body
    };
    run(plan, async |world| {
        for stream in [false, true] {
            // Each a session of its own, or the second would go to the second account at once.
            let mut request = post("alice", &body(stream));
            request.headers_mut().insert("x-request-id", "mine".parse().expect("a header"));
            world.send(request).await.body().await;
        }
        world.until_quiet().await;
        let log = world.access_log();
        assert_eq!(log.len(), 2, "{log:?}");
        let names = ["request_id", "user", "group", "model", "status", "owner", "verdict"];
        for (line, stream) in log.iter().zip([false, true]) {
            let want = json!(["mine", "alice", "main", "claude-test", 200, "nobody", "completed"]);
            assert_eq!(fields(line, &names), want, "{line}");
            let names = ["stream", "account", "attempts", "upstream_id", "input_tokens", "path"];
            let bytes = body(stream).to_string().len();
            // The upstream counts a token for every four bytes.
            let tokens = bytes.div_ceil(4);
            assert_eq!(fields(line, &names), json!([stream, "two", 2, "req_mock", tokens, null]));
            assert_eq!(line["bytes_in"], bytes);
            for name in ["queue_ms", "schedule_ms", "upstream_ms", "first_token_ms", "total_ms"] {
                assert!(line[name].is_u64(), "{name} in {line}");
            }
            assert!(line["bytes_out"].as_u64() > Some(100), "{line}");
            let trail = line["trail"].as_str().unwrap_or_default();
            for part in ["arrived@", "forwarded:1:one@", "ended:1:server_error_502@", "started:2@"]
            {
                assert!(trail.contains(part), "{part} in {trail}");
            }
        }
        world
    });
}

#[test]
fn of_one_that_was_refused_before_it_was_scheduled() {
    let plan = Plan::default().user("alice", 1, "").account("one", 1, named("one"), "");
    run(plan.settings("[limits]\nbody_bytes_max = 4096\n"), async |world| {
        let large = json!({"model": "x".repeat(5000)});
        let asked = [
            (raw("POST", "/v1/messages", "{}"), 401, json!([null, null, "client", "refused"])),
            (post("alice", &large), 413, json!([null, "alice", "client", "refused"])),
            (post("alice", &json!([])), 400, json!([null, "alice", "client", "refused"])),
            (raw("GET", "/a?key=sk-1", ""), 404, json!(["/a", null, "client", "refused"])),
            (raw("PUT", "/livez", ""), 405, json!(["/livez", null, "client", "refused"])),
            (raw("OPTIONS", "/b", ""), 204, json!(["/b", null, "nobody", "answered"])),
        ];
        for (request, status, want) in asked {
            let before = world.access_log().len();
            world.send(request).await.body().await;
            until_nobody_asks(&world).await;
            let log = world.access_log();
            assert_eq!(log.len(), before + 1);
            let line = log.last().expect("a line");
            assert_eq!(line["status"], status, "{line}");
            assert_eq!(fields(line, &["path", "user", "owner", "verdict"]), want, "{line}");
            assert!(!line.to_string().contains("sk-1"), "a key in {line}");
        }
        let before = world.access_log().len();
        for probe in ["/livez", "/readyz", "/health"] {
            world.send(raw("GET", probe, "")).await.body().await;
        }
        assert_eq!(world.access_log().len(), before, "machines that look leave no lines");
        world
    });
}

#[test]
fn of_one_whose_head_is_not_understood() {
    let plan = Plan::default().user("alice", 1, "").account("one", 1, named("one"), "");
    run(plan, async |world| {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
        for (head, status) in [("nonsense\r\n\r\n", 400), (&many, 431)] {
            let before = world.access_log().len();
            let mut client = TcpStream::connect(world.address).await.expect("it listens");
            client.write_all(head.as_bytes()).await.expect("room");
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.expect("an answer");
            assert!(answer.starts_with(format!("HTTP/1.1 {status} ").as_bytes()));
            while world.look("/debug/runtime").await["workers"][0]["connections"] != 0 {
                tokio::task::yield_now().await;
            }
            let log = world.access_log();
            assert_eq!(log.len(), before + 1);
            assert_eq!(fields(&log[before], &["status", "verdict"]), json!([status, "refused"]));
        }
        world
    });
}

#[test]
fn of_one_whose_client_vanishes_wherever_it_is() {
    let hold = Rc::new(Semaphore::new(0));
    let held = Behaviour { hold: Some(hold.clone()), ..named("one") };
    let plan = Plan::default().user("alice", 1, "").account("one", 1, held, "");
    run(plan, async |world| {
        // In the middle of its body.
        let mut client = TcpStream::connect(world.address).await.expect("it listens");
        let head =
            "POST /v1/messages HTTP/1.1\r\nx-api-key: sk-alice\r\ncontent-length: 9\r\n\r\n{";
        client.write_all(head.as_bytes()).await.expect("room");
        while world.look("/debug/runtime").await["workers"][0]["requests"] != 1 {
            tokio::task::yield_now().await;
        }
        drop(client);
        until_nobody_asks(&world).await;
        // Before its upstream has answered, and in its user's line.
        let asking = || {
            let world = world.clone();
            tokio::task::spawn_local(async move { world.ask("alice", &hello(true)).await.status() })
        };
        let running = asking();
        world.mock.until("mock-one", |stats| stats.open == 1).await;
        let waiting = asking();
        world.until(|world| world.held_and_waiting("alice") == (1, 1)).await;
        waiting.abort();
        world.until(|world| world.held_and_waiting("alice") == (1, 0)).await;
        running.abort();
        until_nobody_asks(&world).await;
        let log = world.access_log();
        let names = ["status", "owner", "verdict", "account", "attempts"];
        let got: Vec<_> = log.iter().map(|line| fields(line, &names)).collect();
        let want = [
            // For all that is known it may still read.
            json!([400, "client", "refused", null, null]),
            json!([499, "client", "abandoned", null, 0]),
            json!([499, "client", "abandoned", "one", 1]),
        ];
        assert_eq!(got, want, "{log:?}");
        world
    });
}

#[test]
fn of_each_of_many() {
    let faults = vec![(200, Fault::Status(529, "overloaded_error", Some(1))), (200, Fault::Reset)];
    let flaky = Behaviour { faults, ..named("one") };
    let plan = Plan::default().user("alice", 20, "").account("one", 8, flaky, "");
    run(plan, async |world| {
        let vanished = Rc::new(Cell::new(0));
        let client = |n: usize| {
            let (world, vanished) = (world.clone(), vanished.clone());
            async move {
                let mut reply = world.ask("alice", &hello(n.is_multiple_of(2))).await;
                if n.is_multiple_of(5) {
                    vanished.set(vanished.get() + 1);
                    return;
                }
                reply.body().await;
            }
        };
        together((0..200).map(client).collect()).await;
        assert_eq!(vanished.get(), 40);
        until_nobody_asks(&world).await;
        assert_eq!(world.access_log().len(), 200);
        let view = world.look("/debug/runtime").await;
        let names = ["phase", "access_log_lost", "parked_bytes"];
        assert_eq!(fields(&view, &names), json!(["serving", 0, 0]));
        world
    });
}
