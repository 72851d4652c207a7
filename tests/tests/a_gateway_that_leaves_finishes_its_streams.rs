//! Told to stop, the gateway takes no new connection and brings what runs to its end; what does not
//! end in time is told so.

use std::rc::Rc;

use serde_json::Value;
use sluice_runtime_tokio::gateway::Phase;
use sluice_runtime_tokio::mock::Behaviour;
use sluice_tests::{Plan, Reply, World, hello, named, run};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

const STREAMS: usize = 200;

async fn refuses_connections(world: &World) {
    // The listener goes as soon as its task has seen the signal.
    while TcpStream::connect(world.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

fn asking(world: &Rc<World>, stream: bool) -> JoinHandle<Reply> {
    let world = world.clone();
    tokio::task::spawn_local(async move { world.ask("alice", &hello(stream)).await })
}

#[test]
fn what_runs_ends_and_nothing_new_begins() {
    let hold = Rc::new(Semaphore::new(0));
    let held = Behaviour { hold: Some(hold.clone()), ..named("one") };
    let slots = u32::try_from(STREAMS).expect("few");
    let plan = Plan::default().user("alice", slots, "").account("one", slots, held, "");
    run(plan, async |world| {
        let running: Vec<_> = (0..STREAMS).map(|_| asking(&world, true)).collect();
        world.mock.until("mock-one", |stats| stats.open == slots).await;
        world.phase.send_replace(Phase::Draining);
        refuses_connections(&world).await;
        hold.add_permits(STREAMS);
        for running in running {
            let events = running.await.expect("no panic").events().await;
            assert_eq!(events.last().expect("events").0, "message_stop");
        }
        world
    });
}

#[test]
fn a_connection_that_is_kept_for_later_closes() {
    let plan = Plan::default().user("alice", 1, "").account("one", 1, named("one"), "");
    run(plan, async |world| {
        let mut fresh = TcpStream::connect(world.address).await.expect("it listens");
        let mut used = TcpStream::connect(world.address).await.expect("it listens");
        used.write_all(b"GET /livez HTTP/1.1\r\n\r\n").await.expect("room");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok") {
            used.read_buf(&mut answer).await.expect("an answer");
        }
        world.phase.send_replace(Phase::Draining);
        for connection in [&mut fresh, &mut used] {
            assert_eq!(connection.read_to_end(&mut answer).await.expect("its end"), 0);
        }
        world
    });
}

/// How a stream ended: the name of its last event, and its data.
async fn last_event(reply: JoinHandle<Reply>) -> (String, Value) {
    reply.await.expect("no panic").events().await.pop().expect("events")
}

#[test]
fn what_does_not_end_in_time_is_told_so() {
    let hold = Rc::new(Semaphore::new(0));
    let forever = Behaviour { hold: Some(hold.clone()), words: usize::MAX / 2, ..named("one") };
    let pace = std::time::Duration::from_millis(1);
    let plan = Plan::default()
        .user("alice", 3, "")
        .account("one", 3, Behaviour { pace, ..forever }, "")
        .settings("[policy]\nuser_patience_ms = 3600000\nwait_total_max_ms = 3600000\n");
    run(plan, async |world| {
        // One stream that runs, one and a plain request before their first byte, two in line.
        hold.add_permits(1);
        let mut speaking = world.ask("alice", &hello(true)).await;
        assert!(speaking.chunk().await.is_some());
        let thinking = [asking(&world, true), asking(&world, false)];
        world.mock.until("mock-one", |stats| stats.open == 3).await;
        let waiting = [asking(&world, true), asking(&world, false)];
        world.until(|world| world.held_and_waiting("alice") == (3, 2)).await;
        world.phase.send_replace(Phase::Draining);
        refuses_connections(&world).await;
        assert!(speaking.chunk().await.is_some(), "it goes on");
        assert_eq!(world.held_and_waiting("alice"), (3, 2), "they wait on");
        world.phase.send_replace(Phase::Closing);

        let (name, data) = last_event(tokio::task::spawn_local(async { speaking })).await;
        assert_eq!((&*name, &data["error"]["type"]), ("error", &"api_error".into()));
        assert_eq!(data["error"]["message"], "The gateway is shutting down");
        for early in thinking.into_iter().chain(waiting) {
            let mut reply = early.await.expect("no panic");
            assert_eq!((reply.status(), reply.header("retry-after")), (503, "1"));
            let error = reply.json().await;
            assert_eq!(
                (&error["type"], &error["error"]["type"]),
                (&"error".into(), &"api_error".into())
            );
        }
        world.mock.until("mock-one", |stats| stats.open == 0).await;
        world.until_quiet().await;
        let log = world.access_log();
        assert_eq!(log.len(), 5);
        for line in log {
            assert_eq!(
                (&line["verdict"], &line["owner"]),
                (&"shutting_down".into(), &"policy".into())
            );
        }
        world
    });
}

#[test]
fn a_body_that_has_not_come_is_not_waited_for() {
    let plan = Plan::default().user("alice", 1, "").account("one", 1, named("one"), "");
    run(plan, async |world| {
        let mut client = TcpStream::connect(world.address).await.expect("it listens");
        let head =
            "POST /v1/messages HTTP/1.1\r\nx-api-key: sk-alice\r\ncontent-length: 9\r\n\r\n{";
        client.write_all(head.as_bytes()).await.expect("room");
        while world.look("/debug/runtime").await["workers"][0]["requests"] != 1 {
            tokio::task::yield_now().await;
        }
        world.phase.send_replace(Phase::Closing);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("shutting down"), "{answer}");
        world
    });
}
