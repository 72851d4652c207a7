//! A request with `stream` gets the upstream's events, in order and as they come.

use std::rc::Rc;

use sluice_runtime_tokio::mock::{Behaviour, Fault};
use sluice_tests::{Plan, hello, named, run, text_of};
use tokio::sync::Semaphore;

fn plan(behaviour: Behaviour) -> Plan {
    Plan::default().user("alice", 2, "").account("one", 2, behaviour, "")
}

#[test]
fn all_events_come_in_order() {
    run(plan(named("one")), async |world| {
        let mut reply = world.ask("alice", &hello(true)).await;
        assert_eq!((reply.status(), reply.header("content-type")), (200, "text/event-stream"));
        assert_eq!(reply.header("cache-control"), "no-cache");
        assert!(reply.header("x-request-id").starts_with("req_"));
        let events = reply.events().await;
        let names: Vec<&str> = events.iter().map(|(name, _)| &**name).collect();
        let delta = "content_block_delta";
        assert_eq!(
            names,
            [
                "message_start",
                "ping",
                "content_block_start",
                delta,
                delta,
                delta,
                delta,
                delta,
                "content_block_stop",
                "message_delta",
                "message_stop"
            ]
        );
        assert_eq!(text_of(&events), "I am one. the river runs through");
        world
    });
}

#[test]
fn content_reaches_the_client_while_the_upstream_still_speaks() {
    let forever = Behaviour {
        words: usize::MAX / 2,
        pace: std::time::Duration::from_millis(1),
        ..named("one")
    };
    run(plan(forever), async |world| {
        let mut reply = world.ask("alice", &hello(true)).await;
        let mut text = String::new();
        while !text.contains("river") {
            text += &String::from_utf8_lossy(&reply.chunk().await.expect("more"));
        }
        assert_eq!(world.held_and_waiting("alice"), (1, 0));
        assert_eq!(world.held_and_waiting("one"), (1, 0));
        drop(reply);
        world
    });
}

#[test]
fn a_stream_that_breaks_off_ends_with_an_error_event() {
    let torn = Behaviour { faults: vec![(1000, Fault::Truncate)], ..named("one") };
    run(plan(torn), async |world| {
        let events = world.ask("alice", &hello(true)).await.events().await;
        assert_eq!(events[0].0, "message_start");
        let (name, data) = events.last().expect("events");
        assert_eq!((&**name, &data["error"]["type"]), ("error", &"upstream_error".into()));
        assert_eq!(events.iter().filter(|(name, _)| name == "error").count(), 1);
        assert_eq!(world.mock.stats("mock-one").requests, 1, "what has begun is not begun again");
        world
    });
}

#[test]
fn a_client_that_waits_is_pinged_and_then_gets_its_answer_in_the_same_stream() {
    let hold = Rc::new(Semaphore::new(0));
    let held = Behaviour { hold: Some(hold.clone()), ..named("one") };
    let plan = Plan::default()
        .user("alice", 1, "")
        .account("one", 1, held, "")
        .settings("[policy]\nping_interval_ms = 5\n");
    run(plan, async |world| {
        let first = tokio::task::spawn_local({
            let world = world.clone();
            async move { world.ask("alice", &hello(false)).await.json().await }
        });
        world.until(|world| world.held_and_waiting("one").0 == 1).await;
        let mut second = world.ask("alice", &hello(true)).await;
        assert_eq!((second.status(), second.header("content-type")), (200, "text/event-stream"));
        let ping = second.chunk().await.expect("a ping");
        assert!(ping.starts_with(b"event: ping\ndata: {\"type\": \"ping\"}\n\n"), "{ping:?}");
        hold.add_permits(2);
        assert_eq!(first.await.expect("no panic")["type"], "message");
        let events = second.events().await;
        assert_eq!(events.last().expect("events").0, "message_stop");
        assert_eq!(events.iter().filter(|(name, _)| name == "message_start").count(), 1);
        world
    });
}
