//! Three redis-servers that share the keys between them.

use std::net::TcpListener;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::resp::Connection;
use crate::server::Server;

/// Ends with its handle.
pub(crate) struct Cluster {
    masters: Vec<Server>,
    /// Of the first.
    pub(crate) port: u16,
}

impl Cluster {
    /// Starts one; `None`, said on standard error, where there is no redis-server.
    pub(crate) fn start(name: &str) -> Option<Self> {
        // All are bound before the first is let go, so that they differ.
        let bound: Vec<TcpListener> = (0..6).map(|_| free()).collect();
        let ports: Vec<u16> = bound.iter().map(port).collect();
        drop(bound);
        let mut masters = Vec::new();
        for (nth, ports) in ports.chunks(2).enumerate() {
            let (port, bus) = (ports[0].to_string(), ports[1].to_string());
            let options = ["--bind", "127.0.0.1", "--port", &port, "--cluster-port", &bus];
            let options = [&options[..], &["--cluster-enabled", "yes"]].concat();
            masters.push(Server::start(&format!("{name}-{nth}"), &options)?);
        }
        let addresses = ports.chunks(2).map(|ports| format!("127.0.0.1:{}", ports[0]));
        let create = ["--cluster", "create"].map(String::from).into_iter().chain(addresses);
        let made = Command::new("redis-cli").args(create).arg("--cluster-yes").output();
        let made = made.expect("redis-cli comes with redis-server");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let cluster = Self { masters, port: ports[0] };
        cluster.await_agreement();
        Some(cluster)
    }

    /// The one that has the keys of this hash tag.
    pub(crate) fn owner(&self, tag: &str) -> &Server {
        let has = |server: &&Server| ask(server, &["GET", tag]).is_ok();
        self.masters.iter().find(has).expect("every key is somewhere")
    }

    fn await_agreement(&self) {
        let agrees = |server: &Server| {
            ask(server, &["CLUSTER", "INFO"]).is_ok_and(|info| info[0].contains("cluster_state:ok"))
        };
        for _ in 0..1_000 {
            if self.masters.iter().all(agrees) {
                return;
            }
            sleep(Duration::from_millis(10));
        }
        panic!("the masters have not agreed for ten seconds");
    }
}

fn ask(server: &Server, words: &[&str]) -> Result<Vec<String>, std::io::Error> {
    Connection::open(&server.socket())?.ask(words)
}

fn free() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a port is free")
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().expect("it is bound").port()
}
