//! Tokens outlive the process, and are shared with other processes through their file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::rc::Rc;

use sluice_engine::rng::Seed;
use sluice_runtime_tokio::auth::KeyHash;
use sluice_runtime_tokio::gateway::Phase;
use sluice_runtime_tokio::mock::{Client, Grants, Mock};
use sluice_runtime_tokio::net::{Net as _, TcpNet};
use sluice_runtime_tokio::serve;
use sluice_tests::tokens::{Folder, client, client_id, protect, put, stored, tokens};
use sluice_tests::{Plan, World, hello, named, post, run, send, user_key};
use tokio::sync::{Semaphore, watch};
use tokio::task::{LocalSet, yield_now};

fn plan() -> Plan {
    let plan = Plan::default().user("alice", 9, "");
    plan.token_account("one", 9, named("one"), None, "")
}

fn rotates() -> Client {
    Client { rotates: true, ..client("one") }
}

async fn served(world: &World) {
    assert_eq!(world.ask("alice", &hello(false)).await.status(), 200);
}

/// The same account with another section, so that nothing but the file is left of its tokens.
fn forget(world: &World) {
    world.reload(&world.config.replace("[accounts.oauth]", "[accounts.oauth]\nscope = \"s\""), 2);
}

#[test]
fn a_rotated_refresh_token_for_its_owner_only() {
    run(plan(), async |world| {
        world.mock.know(&client_id("one"), rotates());
        let file = world.file("one");
        put(
            &file,
            &serde_json::json!({"refresh_token": "rt-mock-one-0", "id": {"of": "somebody"}}),
        );
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("a file");
        served(&world).await;
        world.until(|_| stored(&file)["refresh_token"] == "rt-mock-one-1").await;
        let kept = stored(&file);
        assert_eq!(
            (&kept["access_token"], &kept["id"]["of"]),
            (&"at-mock-one-1".into(), &"somebody".into())
        );
        assert!(kept["expires_at"].is_u64(), "{kept}");
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!(world.folder.names(), ["one.json"], "nothing else is left");
        forget(&world);
        served(&world).await;
        assert_eq!(world.token_calls("one"), 1, "the access token of the file is still good");
        world.mock.expire(&client_id("one"));
        served(&world).await;
        assert_eq!(world.token_calls("one"), 2, "and then the refresh token of the file is");
        world
    });
}

#[test]
fn a_newer_one_of_another_process_is_taken() {
    run(plan(), async |world| {
        world.put_tokens("one", 10_000);
        served(&world).await;
        world.mock.expire(&client_id("one"));
        // The other one was quicker.
        world.put_tokens("one", 10_000);
        served(&world).await;
        let stats = world.mock.stats("mock-one");
        assert_eq!((stats.answers[&401], stats.answers[&200]), (1, 2));
        assert_eq!(world.token_calls("one"), 0);
        world
    });
}

#[test]
fn also_when_both_called_with_the_same_refresh_token() {
    run(plan(), async |world| {
        let hold = Rc::new(Semaphore::new(0));
        world.mock.know(&client_id("one"), Client { hold: Some(hold.clone()), ..rotates() });
        let asks = world.clone();
        let asks = tokio::task::spawn_local(async move { served(&asks).await });
        world.until(|world| world.token_calls("one") == 1).await;
        let mut others = tokens(&world.mock, "one", 10_000);
        others["refresh_token"] = "rt-mock-one-7".into();
        put(&world.file("one"), &others);
        let gone = Client { grants: Grants::Refusal(400, "invalid_grant"), ..rotates() };
        world.mock.know(&client_id("one"), gone);
        hold.add_permits(1);
        asks.await.expect("no panic");
        assert_eq!(world.token_calls("one"), 1, "what the file holds is good");
        assert_eq!(stored(&world.file("one")), others);
        world
    });
}

#[test]
fn or_in_memory_where_it_cannot_be_written() {
    run(plan(), async |world| {
        world.mock.know(&client_id("one"), rotates());
        let file = world.file("one");
        protect(&file);
        let before = stored(&file);
        served(&world).await;
        served(&world).await;
        // The same section, and the same tokens.
        world.reload(&world.config, 2);
        served(&world).await;
        assert_eq!(world.token_calls("one"), 1);
        assert_eq!(stored(&file), before);
        world
    });
}

async fn left(folder: &Folder, mock: &Rc<Mock>, upstream: std::net::SocketAddr) {
    let text = format!(
        "server = {{ listen = \"127.0.0.1:0\" }}\nlog.access = \"off\"\ngroups = [{{ name = \"main\" }}]\n\
         [[users]]\nname = \"alice\"\nconcurrency = 1\n\
         keys = [{{ sha256 = \"{}\", group = \"main\" }}]\n\
         [[accounts]]\nname = \"one\"\nbase_url = \"http://{upstream}\"\nconcurrency = 1\n\
         groups = [\"main\"]\n{}",
        KeyHash::of(&user_key("alice")).to_hex(),
        folder.section("one", &format!("http://{upstream}/oauth/token")),
    );
    let (phase, watched) = watch::channel(Phase::Serving);
    let mut gateway = serve::start(folder.config(&text, 1), watched).await.expect("it starts");
    let address = gateway.addresses.first_tcp().expect("it listens at an address");
    let hold = Rc::new(Semaphore::new(0));
    mock.know(&client_id("one"), Client { hold: Some(hold.clone()), ..rotates() });
    let asks = tokio::task::spawn_local(send(address, post("alice", &hello(false))));
    while mock.token_calls(&client_id("one")) == 0 {
        yield_now().await;
    }
    asks.abort();
    phase.send_replace(Phase::Draining);
    hold.add_permits(1);
    gateway.ended().await;
    assert_eq!(stored(&folder.file("one"))["refresh_token"], "rt-mock-one-1");
}

#[test]
fn a_gateway_that_leaves_waits_for_those_that_are_under_way() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let whole = async {
        let listener = TcpNet::bind(([127, 0, 0, 1], 0).into(), false).await.expect("a free port");
        let upstream = TcpNet::local_address(&listener).expect("an address");
        let mock = Mock::new(Seed(1), [("mock-one".to_owned(), named("one"))]);
        drop(tokio::task::spawn_local(mock.clone().serve::<TcpNet>(listener)));
        let limit = std::time::Duration::from_secs(60);
        let folder = Folder::default();
        tokio::time::timeout(limit, left(&folder, &mock, upstream)).await.expect("the test hangs");
    };
    runtime.expect("a runtime").block_on(LocalSet::new().run_until(whole));
}
