//! A client that writes on while its request has been refused reads the refusal all the same, and
//! one that is too slow or too wordy is not waited for.

use sluice_tests::{Plan, World, hello, named, run};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const LARGE: usize = 20 << 20;

fn plan(limits: &str) -> Plan {
    let plan = Plan::default().user("alice", 1, "").account("one", 1, named("one"), "");
    plan.settings(&format!("[limits]\n{limits}\n"))
}

/// Writes all of it, and only then reads the answer to its end.
async fn write_then_read(world: &World, head: &str, body: &[u8]) -> String {
    let mut client = TcpStream::connect(world.address).await.expect("it listens");
    client.write_all(head.as_bytes()).await.expect("room");
    client.write_all(body).await.expect("what is written is taken");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("the connection is not reset");
    answer
}

#[test]
fn that_its_body_is_too_large() {
    run(plan("body_bytes_max = 1048576"), async |world| {
        let body = vec![b' '; LARGE];
        let post = "POST /v1/messages HTTP/1.1\r\nx-api-key: sk-alice\r\n";
        let announced = format!("{post}content-length: {LARGE}\r\n\r\n");
        let answer = write_then_read(&world, &announced, &body).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        // One that does not say how long it is.
        let chunked = format!("{post}transfer-encoding: chunked\r\n\r\n{LARGE:x}\r\n");
        let answer = write_then_read(&world, &chunked, &body).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("limit is 1MB"), "{answer}");
        world
    });
}

#[test]
fn that_its_key_is_not_known() {
    run(plan(""), async |world| {
        let head = format!("POST /v1/messages HTTP/1.1\r\ncontent-length: {LARGE}\r\n\r\n");
        let answer = write_then_read(&world, &head, &vec![b' '; LARGE]).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        world
    });
}

#[test]
fn that_its_headers_are_too_large() {
    run(plan("header_bytes_max = 1000"), async |world| {
        let body = hello(false).to_string();
        let head = format!(
            "POST /v1/messages HTTP/1.1\r\nx-api-key: sk-alice\r\nconnection: close\r\n\
             a: {}\r\ncontent-length: {}\r\n\r\n",
            "x".repeat(1000),
            body.len()
        );
        let answer = write_then_read(&world, &head, body.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        assert!(answer.contains("{\"type\":\"error\",\"error\":"), "{answer}");
        let good = head.replace(&"x".repeat(1000), "x");
        let answer = write_then_read(&world, &good, body.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        world
    });
}

#[test]
fn but_a_head_that_does_not_end_is_not_waited_for() {
    run(plan("header_timeout_ms = 30"), async |world| {
        let answer = write_then_read(&world, "POST /v1/messages HTTP/1.1\r\nx-api", b"").await;
        assert_eq!(answer, "");
        world
    });
}

#[test]
fn but_a_body_that_does_not_come_is_not_waited_for() {
    run(plan("body_idle_timeout_ms = 30"), async |world| {
        let head = "POST /v1/messages HTTP/1.1\r\nx-api-key: sk-alice\r\ncontent-length: 9\r\n\r\n";
        let answer = write_then_read(&world, head, b"{").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        world
    });
}

#[test]
fn that_all_bodies_together_are_too_large() {
    run(plan("body_bytes_max = 1000\nparked_bytes_max = 2000"), async |world| {
        let begin = async |body: &[u8]| {
            let mut client = TcpStream::connect(world.address).await.expect("it listens");
            let head = "POST /v1/messages HTTP/1.1\r\nx-api-key: sk-alice\r\nconnection: close\r\n\
                        content-length: 700\r\n\r\n";
            client.write_all(&[head.as_bytes(), body].concat()).await.expect("room");
            client
        };
        let first = begin(&[b' '; 600]).await;
        // What it announced, and the buffer it is read through.
        while world.look("/debug/runtime").await["parked_bytes"] != 1400 {
            tokio::task::yield_now().await;
        }
        let mut answer = String::new();
        begin(&[b' '; 700]).await.read_to_string(&mut answer).await.expect("an answer");
        assert!(
            answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 2"),
            "{answer}"
        );
        drop(first);
        while world.look("/debug/runtime").await["parked_bytes"] != 0 {
            tokio::task::yield_now().await;
        }
        world
    });
}
