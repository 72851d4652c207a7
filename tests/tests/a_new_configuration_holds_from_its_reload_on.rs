//! A gateway that takes a new configuration drops nothing, and goes by it from that moment on.

use std::rc::Rc;

use sluice_runtime_tokio::auth::KeyHash;
use sluice_runtime_tokio::mock::Behaviour;
use sluice_tests::{Plan, World, account_key, hello, named, run, text_of, user_key};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// How an upstream answers that waits to be let go.
fn held(name: &str) -> (Behaviour, Rc<Semaphore>) {
    let hold = Rc::new(Semaphore::new(0));
    (Behaviour { hold: Some(hold.clone()), ..named(name) }, hold)
}

/// Asks, and returns the status and what is said to the end of the answer.
fn asking(world: &Rc<World>, user: &'static str) -> JoinHandle<(u16, String)> {
    let world = world.clone();
    tokio::task::spawn_local(async move {
        let mut reply = world.ask(user, &hello(true)).await;
        match reply.status() {
            200 => (200, text_of(&reply.events().await)),
            status => (status, String::from_utf8_lossy(&reply.body().await).into_owned()),
        }
    })
}

fn hash(user: &str) -> String {
    KeyHash::of(&user_key(user)).to_hex()
}

/// The account's part of the configuration, from its name to the next table.
fn part_of<'t>(text: &'t str, account: &str) -> &'t str {
    let at = text.find(&format!("[[accounts]]\nname = \"{account}\"")).expect("it is there");
    let end = text[at + 1..].find("[[").map_or(text.len(), |end| at + 1 + end);
    &text[at..end]
}

#[test]
fn a_new_key_opens_and_an_old_one_does_not() {
    let plan = Plan::default().user("alice", 1, "").account("one", 1, named("one"), "");
    run(plan, async |world| {
        assert_eq!(world.ask("bob", &hello(false)).await.status(), 401);
        world.reload(&world.config.replace(&hash("alice"), &hash("bob")), 2);
        assert_eq!(world.ask("bob", &hello(false)).await.status(), 200);
        assert_eq!(world.ask("alice", &hello(false)).await.status(), 401);
        world
    });
}

#[test]
fn a_higher_limit_frees_who_waits_at_once() {
    let (behaviour, hold) = held("one");
    let patience = "[policy]\nuser_patience_ms = 3600000\nwait_total_max_ms = 3600000\n\
                    fallback_patience_ms = 3600000\nbackoff_ms = 3600000\nbackoff_max_ms = 3600000\n";
    let plan = Plan::default().user("alice", 1, "").user("bob", 9, "");
    run(plan.account("one", 2, behaviour, "").settings(patience), async |world| {
        let all = ["alice", "alice", "bob", "bob"].map(|user| asking(&world, user));
        world.until(|world| world.held_and_waiting("alice") == (1, 1)).await;
        world.until(|world| world.held_and_waiting("main/anthropic/*") == (0, 1)).await;
        let account = part_of(&world.config, "one");
        let more = account.replace("concurrency = 2", "concurrency = 4");
        let text =
            world.config.replace(account, &more).replace("concurrency = 1\n", "concurrency = 2\n");
        world.reload(&text, 2);
        // Nobody asks again by itself within the hour.
        world.mock.until("mock-one", |stats| stats.open == 4).await;
        hold.add_permits(4);
        for asked in all {
            assert_eq!(asked.await.expect("no panic").0, 200);
        }
        world
    });
}

#[test]
fn a_lower_limit_holds_as_soon_as_slots_are_given_back() {
    let (behaviour, hold) = held("one");
    let plan = Plan::default().user("alice", 9, "").account("one", 3, behaviour, "");
    run(plan, async |world| {
        let running: Vec<_> = (0..3).map(|_| asking(&world, "alice")).collect();
        world.mock.until("mock-one", |stats| stats.open == 3).await;
        world.reload(&world.config.replace("concurrency = 3", "concurrency = 1"), 2);
        let waits = asking(&world, "alice");
        world.until(|world| world.held_and_waiting("main/anthropic/*") == (0, 1)).await;
        hold.add_permits(2);
        world.until(|world| world.held_and_waiting("one").0 == 1).await;
        assert_eq!(
            world.held_and_waiting("main/anthropic/*"),
            (0, 1),
            "two over are gone, one runs"
        );
        hold.add_permits(2);
        for asked in running.into_iter().chain([waits]) {
            assert_eq!(asked.await.expect("no panic").0, 200);
        }
        world
    });
}

#[test]
fn an_account_that_is_gone_gets_no_more_while_its_stream_finishes() {
    for closed in [false, true] {
        let (behaviour, hold) = held("one");
        let plan =
            Plan::default().user("alice", 9, "").account("one", 9, behaviour, "priority = 0");
        run(plan.account("two", 9, named("two"), "priority = 1"), async |world| {
            let running = asking(&world, "alice");
            world.mock.until("mock-one", |stats| stats.open == 1).await;
            let part = part_of(&world.config, "one");
            let without = if closed { part.replace("= 9", "= \"closed\"") } else { String::new() };
            world.reload(&world.config.replace(part, &without), 2);
            let (status, text) = asking(&world, "alice").await.expect("no panic");
            assert_eq!((status, text.starts_with("I am two.")), (200, true), "{text}");
            hold.add_permits(1);
            let (status, text) = running.await.expect("no panic");
            assert_eq!((status, text.starts_with("I am one.")), (200, true), "{text}");
            assert_eq!(world.mock.stats("mock-one").requests, 1);
            let line = &world.access_log()[1];
            assert_eq!((&line["account"], &line["verdict"]), (&"one".into(), &"completed".into()));
            world
        });
    }
}

#[test]
fn who_waits_and_is_removed_is_told_so() {
    let (behaviour, hold) = held("one");
    let plan = Plan::default().user("alice", 1, "").user("bob", 1, "");
    run(plan.account("one", 1, behaviour, ""), async |world| {
        let running = asking(&world, "alice");
        world.mock.until("mock-one", |stats| stats.open == 1).await;
        let waiting = asking(&world, "alice");
        world.until(|world| world.held_and_waiting("alice") == (1, 1)).await;
        let at = world.config.find("[[users]]\nname = \"alice\"").expect("she is there");
        let end = at + world.config[at..].find("[[users]]\nname = \"bob\"").expect("he is there");
        world.reload(&world.config.replace(&world.config[at..end], ""), 2);
        assert_eq!(waiting.await.expect("no panic").0, 403);
        hold.add_permits(1);
        assert_eq!(running.await.expect("no panic").0, 200, "what runs, runs on");
        world
    });
}

#[test]
fn a_new_credential_is_used_by_the_next_attempt_and_a_new_place_by_a_new_connection() {
    let plan = Plan::default().user("alice", 1, "").account("one", 1, named("old"), "");
    run(plan.account("other", 1, named("new"), "priority = 9"), async |world| {
        let ask = async || asking(&world, "alice").await.expect("no panic");
        assert!(ask().await.1.starts_with("I am old."));
        let credential = part_of(&world.config, "one").replace("mock-one", "mock-other");
        let text = world.config.replace(part_of(&world.config, "one"), &credential);
        world.reload(&text, 2);
        assert!(ask().await.1.starts_with("I am new."));
        let gone = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
        let address = gone.expect("a free port").to_string();
        let url = part_of(&text, "one").split('"').nth(3).expect("a URL");
        let moved = part_of(&text, "one").replace(url, &format!("http://{address}"));
        let removed = text.replace(part_of(&text, "other"), "");
        world.reload(&removed.replace(part_of(&removed, "one"), &moved), 3);
        assert_eq!(ask().await.0, 502, "the connection to the former place is not used any more");
        world
    });
}

#[test]
fn what_is_older_than_what_is_in_force_changes_nothing() {
    let plan = Plan::default().user("alice", 1, "").account("one", 1, named("one"), "");
    run(plan, async |world| {
        world.reload(&world.config, 2);
        world.worker.reload(std::sync::Arc::new(older(&world.config)));
        assert_eq!(world.ask("alice", &hello(false)).await.status(), 200);
        assert_eq!(world.mock.stats(&account_key("one")).requests, 1);
        world
    });
}

fn older(text: &str) -> sluice_runtime_tokio::directory::Directory {
    let text = text.replace(&hash("alice"), &hash("bob"));
    let config = sluice_runtime_tokio::config::Config::parse(&text, 1).expect("good");
    sluice_runtime_tokio::directory::Directory::new(&config).expect("good")
}
