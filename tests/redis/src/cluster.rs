//! Three redis-servers that share the keys between them.

use std::process::Command;

use crate::{Server, free_ports, until};

/// Ends with its handle.
pub struct Cluster {
    masters: Vec<Server>,
    /// Of its masters.
    pub ports: Vec<u16>,
}

impl Cluster {
    /// Starts one; `None`, said on standard error, where there is no redis-server.
    #[must_use]
    pub fn start(name: &str) -> Option<Self> {
        let ports = free_ports(6);
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
        let cluster = Self { masters, ports: ports.iter().step_by(2).copied().collect() };
        cluster.await_agreement();
        Some(cluster)
    }

    /// The one that has the keys of this hash tag.
    #[must_use]
    pub fn owner(&self, tag: &str) -> &Server {
        let has = |server: &&Server| server.try_ask(&["GET", tag]).is_ok();
        self.masters.iter().find(has).expect("every key is somewhere")
    }

    fn await_agreement(&self) {
        let agrees =
            |server: &Server| server.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
        until(|| self.masters.iter().all(agrees));
    }
}
