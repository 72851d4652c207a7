//! A client exchanges its refresh token for an access token, with which it is let in until that has
//! expired.

use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::Value;
use sluice_runtime_tokio::mock::{Client, Grants};
use sluice_tests::upstream::{Upstream, run};
use sluice_tests::{hello, send};

const SCRIPT: &str =
    "[clients.c]\nkey = \"k\"\nsecret = \"s+/\"\nrotates = true\nexpires_in_s = 60\n";

/// What a call with this form is answered.
async fn call(upstream: &Rc<Upstream>, form: &str) -> (u16, Value) {
    let request = Request::post("/oauth/token").body(Full::from(Bytes::from(form.to_owned())));
    let mut reply = send(upstream.address, request.expect("a good request")).await;
    (reply.status(), reply.json().await)
}

async fn let_in(upstream: &Rc<Upstream>, token: &str) -> u16 {
    let request = Request::post("/v1/messages").header("authorization", format!("Bearer {token}"));
    let request = request.body(Full::from(hello(false).to_string())).expect("a good request");
    send(upstream.address, request).await.status()
}

const CALL: &str = "grant_type=refresh_token&client_id=c&client_secret=s%2B%2F&refresh_token=";

#[test]
fn and_may_rotate_the_refresh_token() {
    run(SCRIPT, 1, async |upstream| {
        let (status, told) = call(&upstream, &format!("{CALL}rt-k-0")).await;
        assert_eq!(
            (status, &told["token_type"], &told["expires_in"]),
            (200, &"Bearer".into(), &60.into())
        );
        let (refresh, access) = (told["refresh_token"].as_str(), told["access_token"].as_str());
        assert_eq!(let_in(&upstream, access.expect("a token")).await, 200);
        let (status, told) = call(&upstream, &format!("{CALL}rt-k-0")).await;
        assert_eq!((status, &told["error"]), (400, &"invalid_grant".into()), "it was good once");
        let next = refresh.expect("the next one");
        assert_eq!(call(&upstream, &format!("{CALL}{next}")).await.0, 200);
        assert_eq!((upstream.mock.token_calls("c"), upstream.mock.stats("k").requests), (3, 1));
    });
}

#[test]
fn until_it_has_expired() {
    run(SCRIPT, 1, async |upstream| {
        let (_, access) = upstream.mock.tokens_of("c").expect("it is known");
        assert_eq!(let_in(&upstream, &access).await, 200);
        upstream.mock.expire("c");
        assert_eq!(let_in(&upstream, &access).await, 401);
        assert_eq!(upstream.mock.stats("k").answers[&401], 1);
    });
}

#[test]
fn or_is_refused() {
    run(SCRIPT, 1, async |upstream| {
        let good = format!("{CALL}rt-k-0");
        for (form, status, error) in [
            (good.replace("client_id=c", "client_id=d"), 401, "invalid_client"),
            (good.replace("s%2B", "s"), 401, "invalid_client"),
            (good.replace("=refresh_token", "=password"), 400, "unsupported_grant_type"),
            (good.replace("rt-k-0", "rt-k-1"), 400, "invalid_grant"),
        ] {
            let (told, body) = call(&upstream, &form).await;
            assert_eq!((told, body["error"].as_str()), (status, Some(error)), "{form}");
        }
        let secret = Some("s+/".to_owned());
        let grants = Grants::Refusal(503, "temporarily_unavailable");
        upstream.mock.know("c", Client { secret, grants, ..Client::of("k") });
        assert_eq!(call(&upstream, &good).await.0, 503);
    });
}
