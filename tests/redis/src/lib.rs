//! Redis servers of a test's own, alone or as a cluster, and as much of their protocol as a test needs.
//! A crate, since tests of the store and tests of whole gateways need them.

use std::net::TcpListener;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

mod cluster;
mod connection;
mod server;

pub use cluster::Cluster;
pub use connection::Connection;
pub use server::{Server, Variables};

/// Ports that nobody listens at, all different: a redis-server has to be told its own.
#[must_use]
pub fn free_ports(count: usize) -> Vec<u16> {
    let bind = |_| TcpListener::bind("127.0.0.1:0").expect("a port is free");
    // All are bound before the first is let go.
    let bound: Vec<_> = (0..count).map(bind).collect();
    bound.iter().map(|listener| listener.local_addr().expect("it is bound").port()).collect()
}

/// Sends a signal to a process that the test has started.
pub fn signal(name: &str, process: &Child) {
    let sent = Command::new("kill").args([name, &process.id().to_string()]).status();
    assert!(sent.expect("a shell's kill").success());
}

/// Returns when something has become true.
fn until(what: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if what() {
            return;
        }
        sleep(Duration::from_millis(10));
    }
    panic!("it has not become true for ten seconds");
}
