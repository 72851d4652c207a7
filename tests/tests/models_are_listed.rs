//! `GET /v1/models` and `GET /v1beta/models`: what the accounts of a key's group can serve, in the
//! shape of the client's protocol.

use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use sluice_runtime_tokio::mock::{Behaviour, Fault};
use sluice_tests::{Plan, Reply, World, named, run, user_key};

const CLAUDE: &str = "";
const GPT: &str = "platform = \"openai\"";
const GEMINI: &str = "platform = \"gemini\"";

fn plan(fault: Option<Fault>, more: &str) -> Plan {
    let faults = fault.map(|fault| (1000, fault)).into_iter().collect();
    let one = Behaviour { faults, ..named("one") };
    Plan::default().user("alice", 1, "").account("one", 1, one, more)
}

async fn get(world: &World, path: &str, claude: bool) -> Reply {
    let mut request = Request::get(path).header("x-api-key", user_key("alice"));
    if claude {
        request = request.header("anthropic-version", "2023-06-01");
    }
    world.send(request.body(Full::default()).expect("a good request")).await
}

fn ids(list: &Value) -> Vec<&str> {
    fn id(entry: &Value) -> Option<&str> {
        entry["id"].as_str().or_else(|| entry["name"].as_str())
    }
    let entries = list["data"].as_array().or_else(|| list["models"].as_array()).expect("a list");
    entries.iter().map(|entry| id(entry).expect("a name")).collect()
}

#[test]
fn the_upstreams_own_list_is_passed_on() {
    for (more, claude, path, first) in [
        (CLAUDE, true, "/v1/models", "claude-mock-large"),
        (CLAUDE, false, "/v1/models", "claude-mock-large"),
        (GPT, false, "/v1/models", "gpt-mock-large"),
        (GEMINI, false, "/v1beta/models", "models/gemini-mock-large"),
    ] {
        run(plan(None, more), async |world| {
            let list = get(&world, path, claude).await.json().await;
            assert_eq!(ids(&list).len(), 2, "{list}");
            assert_eq!(ids(&list)[0], first);
            let entry = list["data"].get(0).or_else(|| list["models"].get(0)).expect("one");
            let one = entry["id"].as_str().or_else(|| entry["name"].as_str()).expect("a name");
            let one = one.trim_start_matches("models/");
            let mut reply = get(&world, &format!("{path}/{one}"), claude).await;
            assert_eq!((reply.status(), &reply.json().await), (200, entry));
            let mut missing = get(&world, &format!("{path}/other"), claude).await;
            assert_eq!(missing.status(), 404);
            assert!(missing.json().await["error"]["message"] == "model: other");
            assert_eq!(world.held_and_waiting("one"), (0, 0));
            world
        });
    }
}

#[test]
fn who_may_ask_for_no_answer_is_shown_no_list() {
    let plan = plan(None, CLAUDE).user("carol", 1, "balance_cents = 0");
    run(plan, async |world| {
        let request = Request::get("/v1/models").header("x-api-key", user_key("carol"));
        let request = request.body(Full::default()).expect("a good request");
        let mut reply = world.send(request).await;
        assert_eq!(reply.status(), 403);
        assert_eq!(reply.json().await["error"]["type"], "billing_error");
        assert_eq!(world.mock.stats("mock-one").requests, 0);
        world
    });
}

#[test]
fn a_client_of_gemini_is_known_by_its_headers_where_the_path_is_not_its_own() {
    run(plan(None, GEMINI), async |world| {
        let request = Request::get("/v1/models").header("x-goog-api-key", user_key("alice"));
        let request = request.body(Full::default()).expect("a good request");
        let list = world.send(request).await.json().await;
        assert_eq!(ids(&list)[0], "models/gemini-mock-large");
        world
    });
}

#[test]
fn accounts_that_name_their_models_serve_those() {
    let more = "models = { \"small\" = \"up-1\", \"large\" = \"up-2\" }";
    run(plan(None, more), async |world| {
        let list = get(&world, "/v1/models", true).await.json().await;
        let mut names = ids(&list);
        names.sort_unstable();
        assert_eq!(names, ["large", "small"]);
        assert_eq!((&list["has_more"], &list["data"][0]["type"]), (&json!(false), &json!("model")));
        assert_eq!(world.mock.stats("mock-one").requests, 0, "nobody needs to be asked");
        assert_eq!(get(&world, "/v1/models/up-1", true).await.status(), 404);
        world
    });
    let both = plan(None, more).account("two", 1, named("two"), "");
    run(both, async |world| {
        let list = get(&world, "/v1/models", true).await.json().await;
        assert_eq!(ids(&list), ["claude-mock-large", "claude-mock-small", "large", "small"]);
        assert_eq!(world.mock.stats("mock-one").requests, 0, "it serves only what it names");
        world
    });
}

#[test]
fn who_serves_and_cannot_list_is_taken_to_have_what_is_known() {
    for fault in [Fault::Status(403, "permission_error", None), Fault::Html] {
        run(plan(Some(fault), GEMINI), async |world| {
            let list = get(&world, "/v1beta/models", false).await.json().await;
            assert!(ids(&list).contains(&"models/gemini-2.5-pro"), "{list}");
            let one = get(&world, "/v1beta/models/gemini-9", false).await.json().await;
            assert_eq!(one["name"], "models/gemini-9");
            world
        });
    }
}

#[test]
fn an_upstream_that_fails_is_passed_over_and_told_of_if_there_is_no_other() {
    run(plan(Some(Fault::Reset), GEMINI), async |world| {
        let mut reply = get(&world, "/v1beta/models", false).await;
        assert_eq!((reply.status(), &reply.json().await["error"]["code"]), (502, &json!(502)));
        world
    });
    let two = plan(Some(Fault::Reset), CLAUDE).account("two", 1, named("two"), "priority = 1");
    run(two, async |world| {
        assert_eq!(get(&world, "/v1/models", true).await.status(), 200);
        world
    });
}

#[test]
fn what_is_wrong_is_told_in_the_clients_shape() {
    run(plan(None, CLAUDE), async |world| {
        let mut wrong = get(&world, "/v1beta/models", false).await;
        let message = "API key group has no gemini accounts";
        let error = json!({"code": 400, "message": message, "status": "INVALID_ARGUMENT"});
        assert_eq!((wrong.status(), wrong.json().await), (400, json!({"error": error})));
        let request = Request::get("/v1beta/models").body(Full::default());
        let error = world.send(request.expect("a good request")).await.json().await;
        assert_eq!(error["error"]["status"], "UNAUTHENTICATED");
        let request = Request::delete("/v1/models").body(Full::default());
        assert_eq!(world.send(request.expect("a good request")).await.status(), 405);
        world
    });
    run(plan(None, GPT), async |world| {
        let mut reply = get(&world, "/v1/models", true).await;
        assert_eq!((reply.status(), &reply.json().await["type"]), (400, &json!("error")));
        world
    });
}
