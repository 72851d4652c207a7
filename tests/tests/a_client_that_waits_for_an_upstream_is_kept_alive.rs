//! A streaming client whose upstream has not begun to answer is sent comments, after which another
//! account can still serve it; once content has come, nothing of ours is put between.

use std::rc::Rc;
use std::time::Duration;

use sluice_runtime_tokio::mock::{Behaviour, Fault};
use sluice_tests::{Plan, hello, named, run};
use tokio::sync::Semaphore;

const KEEPALIVE: &[u8] = b": keepalive\n\n";
const OFTEN: &str = "[policy]\nping_interval_ms = 5\n";

#[test]
fn and_is_then_served_by_another_account() {
    let hold = Rc::new(Semaphore::new(0));
    let faults = vec![(1000, Fault::Reset)];
    let broken = Behaviour { hold: Some(hold.clone()), faults, ..named("one") };
    let plan = Plan::default()
        .user("alice", 1, "")
        .account("one", 1, broken, "")
        .account("two", 1, named("two"), "priority = 1")
        .settings(OFTEN);
    run(plan, async |world| {
        let mut reply = world.ask("alice", &hello(true)).await;
        assert_eq!((reply.status(), reply.header("content-type")), (200, "text/event-stream"));
        for _ in 0..3 {
            assert_eq!(reply.chunk().await.as_deref(), Some(KEEPALIVE));
        }
        hold.add_permits(1);
        let body = reply.body().await;
        let text = String::from_utf8(body).expect("text");
        assert!(text.contains("I am two.") && text.ends_with("\n\n"), "{text}");
        let names = sluice_runtime_tokio::protocol::sse::events(text.as_bytes());
        let names: Vec<_> = names.map(|event| event.name.to_vec()).collect();
        assert_eq!(names.first().map(Vec::as_slice), Some(&b"message_start"[..]));
        assert_eq!(names.last().map(Vec::as_slice), Some(&b"message_stop"[..]));
        world
    });
}

#[test]
fn and_is_told_in_the_stream_that_nobody_serves_it() {
    let hold = Rc::new(Semaphore::new(0));
    let faults = vec![(1000, Fault::Status(400, "invalid_request_error", None))];
    let refusing = Behaviour { hold: Some(hold.clone()), faults, ..named("one") };
    let plan = Plan::default().user("alice", 1, "").account("one", 1, refusing, "").settings(OFTEN);
    run(plan, async |world| {
        let mut reply = world.ask("alice", &hello(true)).await;
        assert_eq!(reply.chunk().await.as_deref(), Some(KEEPALIVE));
        hold.add_permits(1);
        let (name, data) = reply.events().await.pop().expect("an event");
        assert_eq!((&*name, &data["error"]["type"]), ("error", &"invalid_request_error".into()));
        world
    });
}

#[test]
fn but_not_once_its_answer_has_begun() {
    // Between two words there is time for several comments.
    let slow = Behaviour { words: 5, pace: Duration::from_millis(20), ..named("one") };
    let plan = Plan::default().user("alice", 1, "").account("one", 1, slow, "").settings(OFTEN);
    run(plan, async |world| {
        let body = world.ask("alice", &hello(true)).await.body().await;
        let text = String::from_utf8(body).expect("text");
        let begun = text.split_once("content_block_start").expect("an answer").1;
        assert!(!begun.contains("keepalive"), "{text}");
        world
    });
}

#[test]
fn but_not_one_that_wants_no_stream() {
    let hold = Rc::new(Semaphore::new(0));
    let held =
        Behaviour { hold: Some(hold.clone()), latency: Duration::from_millis(30), ..named("one") };
    let plan = Plan::default().user("alice", 1, "").account("one", 1, held, "").settings(OFTEN);
    run(plan, async |world| {
        hold.add_permits(1);
        let mut reply = world.ask("alice", &hello(false)).await;
        assert_eq!(reply.header("content-type"), "application/json");
        assert_eq!(reply.json().await["type"], "message");
        world
    });
}
