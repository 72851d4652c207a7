//! Whatever a body says of its model, an upstream sees the one that was scheduled, and otherwise the
//! bytes that came, even where these are no JSON.

use bytes::Bytes;
use http_body_util::Full;
use sluice_tests::{Plan, hello, named, post, run};

/// The body that the upstream sees for this one.
fn passed_on(models: &str, body: &'static str) -> Bytes {
    let mut seen = Bytes::new();
    let plan = Plan::default().user("alice", 2, "").account("one", 2, named("one"), models);
    run(plan, async |world| {
        let request = post("alice", &hello(false)).map(|_| Full::from(body));
        world.send(request).await.body().await;
        seen = world.mock.seen()[0].body.clone();
        world
    });
    seen
}

const MAPPED: &str = "models = { \"b\" = \"vendor\" }";

#[test]
fn one_model_is_replaced_where_it_stands_or_left_alone() {
    let body = r#" {"messages":[{"role":"user","content":[{]],"model":"b"}], "model" : "b"}"#;
    assert_eq!(passed_on("", body), body);
    assert_eq!(
        passed_on(MAPPED, body),
        r#" {"messages":[{"role":"user","content":[{]],"model":"b"}], "model" : "vendor"}"#
    );
}

#[test]
fn of_several_models_none_but_the_last_is_left() {
    let body = r#"{"model":"a","x":1,"mod\u0065l":"b"}"#;
    assert_eq!(passed_on("", body), r#"{"model":"b","x":1,"mod\u0065l":"b"}"#);
    assert_eq!(passed_on(MAPPED, body), r#"{"model":"vendor","x":1,"mod\u0065l":"vendor"}"#);
}
