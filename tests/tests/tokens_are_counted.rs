//! `POST /v1/messages/count_tokens`: asks the account that would serve, changes nothing by it, and
//! estimates where an upstream cannot count.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use sluice_runtime_tokio::mock::{Behaviour, Fault};
use sluice_tests::{Plan, Reply, World, hello, named, run, together, user_key};

const PATH: &str = "/v1/messages/count_tokens";

fn request(user: &str, body: &str) -> Request<Full<Bytes>> {
    let request = Request::post(PATH).header("x-api-key", user_key(user));
    request.body(Full::from(body.to_owned())).expect("a good request")
}

async fn count(world: &World, user: &str, body: &str) -> Reply {
    world.send(request(user, body)).await
}

fn plan(fault: Option<Fault>) -> Plan {
    let faults = fault.map(|fault| (1000, fault)).into_iter().collect();
    let first = Behaviour { faults, ..named("first") };
    Plan::default().user("alice", 1, "").user("carol", 1, "balance_cents = 0").account(
        "first",
        1,
        first,
        "priority = 0\nmodels = { \"claude-test\" = \"up-1\" }",
    )
}

#[test]
fn the_upstream_is_asked_under_its_own_name_of_the_model() {
    run(plan(None), async |world| {
        let mut reply = count(&world, "alice", &hello(false).to_string()).await;
        assert_eq!((reply.status(), reply.header("content-type")), (200, "application/json"));
        let counted = reply.json().await;
        assert!(counted["input_tokens"].as_u64() > Some(0), "{counted}");
        assert_eq!(counted.as_object().map(serde_json::Map::len), Some(1));
        let seen: Value = serde_json::from_slice(&world.mock.seen()[0].body).expect("JSON");
        assert_eq!(seen["model"], "up-1");
        let line = &world.access_log()[0];
        assert_eq!((&line["path"], &line["status"]), (&json!(PATH), &json!(200)));
        assert_eq!(
            (&line["model"], &line["upstream_id"]),
            (&json!("claude-test"), &json!("req_mock"))
        );
        world
    });
}

#[test]
fn no_slot_is_held_and_no_session_bound() {
    let two = |name: &str| named(name);
    let plan = Plan::default().user("alice", 1, "").account("a", 1, two("a"), "").account(
        "b",
        1,
        two("b"),
        "",
    );
    run(plan, async |world| {
        let before = world.gates();
        for _ in 0..4 {
            assert_eq!(count(&world, "alice", &hello(false).to_string()).await.status(), 200);
        }
        assert_eq!(world.gates(), before, "nothing has been assigned");
        // Bound, it would be served by whom it was counted by, and counting goes to its home now.
        assert_eq!(world.ask("alice", &hello(false)).await.status(), 200);
        let home = if world.mock.stats("mock-a").requests == 5 { "mock-a" } else { "mock-b" };
        let asked = world.mock.stats(home).requests;
        assert_eq!(count(&world, "alice", &hello(false).to_string()).await.status(), 200);
        assert_eq!(world.mock.stats(home).requests, asked + 1, "the session's home is asked");
        world
    });
}

#[test]
fn a_failing_account_is_passed_over_and_not_marked() {
    let limited = Fault::Status(429, "rate_limit_error", Some(60));
    let plan = plan(Some(limited)).account("second", 1, named("second"), "priority = 1");
    run(plan, async |world| {
        for n in 1..=3 {
            assert_eq!(count(&world, "alice", &hello(false).to_string()).await.status(), 200);
            assert_eq!(world.mock.stats("mock-first").requests, n, "it is asked again");
        }
        world
    });
}

#[test]
fn an_upstream_that_cannot_count_is_estimated_for() {
    // A page that is no error of the protocol.
    run(plan(Some(Fault::Redirect(404, "/".to_owned()))), async |world| {
        let body = json!({"model": "claude-test",
                          "messages": [{"role": "user", "content": "hello world"}]});
        let counted = count(&world, "alice", &body.to_string()).await.json().await;
        assert_eq!(counted, json!({"input_tokens": 3}));
        world
    });
}

#[test]
fn what_is_wrong_is_told_in_the_shape_of_messages() {
    let unknown = hello(false).to_string().replace("claude-test", "claude-other");
    let good = hello(false).to_string();
    let invalid = "invalid_request_error";
    let table = [
        ("alice", "", 400, invalid, "Request body is empty"),
        (
            "alice",
            "{\"model\":\"claude-x\",\"stream\":\"yes\"}",
            400,
            invalid,
            "Failed to parse request body",
        ),
        ("alice", "{\"messages\":[]}", 400, invalid, "model is required"),
        ("alice", &unknown, 503, "api_error", "No available accounts"),
        ("carol", &good, 403, "billing_error", "insufficient balance"),
        ("nobody", &good, 401, "authentication_error", "Invalid API key"),
    ];
    run(plan(None), async |world| {
        for (user, body, status, kind, message) in table {
            let mut reply = count(&world, user, body).await;
            assert_eq!(reply.status(), status, "{message}");
            let error = json!({"type": kind, "message": message});
            assert_eq!(reply.json().await, json!({"type": "error", "error": error}));
        }
        assert_eq!(world.mock.stats("mock-first").requests, 0);
        world
    });
}

#[test]
fn an_upstreams_failure_is_told_as_for_messages() {
    for (fault, status, kind) in [
        (Fault::Status(429, "rate_limit_error", Some(7)), 429, "rate_limit_error"),
        (Fault::Status(529, "overloaded_error", None), 503, "overloaded_error"),
        (Fault::Status(401, "authentication_error", None), 502, "upstream_error"),
        (Fault::Status(404, "not_found_error", None), 404, "not_found_error"),
        (Fault::Reset, 502, "upstream_error"),
        (Fault::Html, 502, "upstream_error"),
    ] {
        run(plan(Some(fault)), async move |world| {
            let mut reply = count(&world, "alice", &hello(false).to_string()).await;
            assert_eq!(reply.status(), status);
            assert_eq!(reply.json().await["error"]["type"], kind);
            world
        });
    }
}

#[test]
fn only_so_many_are_counted_at_once() {
    let hold = std::rc::Rc::new(tokio::sync::Semaphore::new(0));
    let slow = Behaviour { hold: Some(hold.clone()), ..named("slow") };
    let plan = Plan::default()
        .user("alice", 1, "")
        .user("bob", 1, "")
        .account("slow", 9, slow, "")
        .settings("[limits]\nasides_max = 4\n");
    run(plan, async move |world| {
        let body = hello(false).to_string();
        let address = world.address;
        let one = request("alice", &body);
        let first = tokio::task::spawn_local(async move { sluice_tests::send(address, one).await });
        world.mock.until("mock-slow", |stats| stats.requests == 1).await;
        let mut refused = count(&world, "alice", &body).await;
        assert_eq!((refused.status(), refused.header("retry-after")), (429, "2"));
        let message = "Too many pending requests, please retry later";
        assert_eq!(refused.json().await["error"]["message"], message);
        hold.close();
        assert_eq!(first.await.expect("no panic").status(), 200);
        let bob = vec![async move { sluice_tests::send(address, request("bob", &body)).await }];
        assert_eq!(together(bob).await[0].status(), 200);
        world
    });
}
