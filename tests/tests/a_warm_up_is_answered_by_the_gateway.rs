//! An account may have warm-up requests answered in its name, without being asked.

use serde_json::json;
use sluice_tests::{Plan, named, run, text_of};

#[test]
fn plain_and_as_a_stream() {
    let plan = Plan::default().user("alice", 1, "").account(
        "one",
        1,
        named("one"),
        "intercept_warmup = true",
    );
    run(plan, async |world| {
        let warmup = |stream| {
            json!({"model": "claude \"x\"", "stream": stream, "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Warmup"}]}]})
        };
        let mut reply = world.ask("alice", &warmup(false)).await;
        assert_eq!(reply.status(), 200);
        let answer = reply.json().await;
        assert_eq!(
            (&answer["id"], &answer["model"]),
            (&"msg_mock_warmup".into(), &"claude \"x\"".into())
        );
        let events = world.ask("alice", &warmup(true)).await.events().await;
        assert_eq!(text_of(&events), "New Conversation");
        assert_eq!(events.last().expect("events").0, "message_stop");
        assert_eq!(world.mock.stats("mock-one").requests, 0);
        world
    });
}
