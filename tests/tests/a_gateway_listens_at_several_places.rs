//! Addresses of both kinds and sockets in the file system, all at once and by all workers.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use sluice_runtime_tokio::config::{Config, Listen};
use sluice_runtime_tokio::gateway::Phase;
use sluice_runtime_tokio::serve;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::LocalSet;

/// A directory of this test's own, removed with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sluice-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).expect("a new directory");
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left in it is not worth failing for.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn get(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("room");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

async fn unix(path: &Path) -> UnixStream {
    UnixStream::connect(path).await.expect("it listens")
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let bounded = async {
        let longest = std::time::Duration::from_secs(60);
        tokio::time::timeout(longest, test).await.expect("the test hangs");
    };
    runtime.expect("a runtime").block_on(LocalSet::new().run_until(bounded));
}

#[test]
fn of_every_kind() {
    run(async {
        let place = Place::new("kinds");
        let (socket, admin) = (place.0.join("socket"), place.0.join("admin"));
        // Not every machine has the sixth version.
        let six = TcpListener::bind("[::1]:0").is_ok();
        let six = if six { "\"[::1]:0\", " } else { "" };
        let text = format!(
            "log.access = \"off\"\ngroups = [{{ name = \"main\" }}]\n[server]\nworkers = 2\nadmin_listen = \"unix:{}\"\n\
             listen = [\"127.0.0.1:0\", {six}\"127.0.0.1:0\", \"unix:{}\"]\n",
            admin.display(),
            socket.display()
        );
        let (phase, watched) = watch::channel(Phase::Serving);
        let config = Config::parse(&text, 1).expect("good");
        let mut gateway = serve::start(config, watched).await.expect("it starts");
        let addresses = gateway.addresses.clone();
        let tcp: Vec<SocketAddr> = addresses
            .listen
            .iter()
            .filter_map(|listen| match listen {
                Listen::Tcp(address) => Some(*address),
                Listen::Unix(_) => None,
            })
            .collect();
        assert_eq!(tcp.len(), if six.is_empty() { 2 } else { 3 });
        for address in tcp {
            let stream = TcpStream::connect(address).await.expect("it listens");
            assert!(get(stream, "/livez").await.starts_with("HTTP/1.1 200 "), "{address}");
        }
        assert!(get(unix(&socket).await, "/livez").await.starts_with("HTTP/1.1 200 "));
        let seen = get(unix(&admin).await, "/debug/runtime").await;
        assert!(seen.starts_with("HTTP/1.1 200 ") && seen.contains("\"serving\""), "{seen}");
        phase.send_replace(Phase::Draining);
        gateway.ended().await;
        drop(gateway);
        assert!(!socket.exists() && !admin.exists(), "names go with their process");
    });
}

#[test]
fn and_every_worker_takes_connections_from_a_socket() {
    run(async {
        let place = Place::new("workers");
        let socket = place.0.join("socket");
        let text = format!(
            "log.access = \"off\"\ngroups = [{{ name = \"main\" }}]\nlimits.connections_max = 8\n\
             [server]\nworkers = 2\nlisten = \"unix:{}\"\n",
            socket.display()
        );
        let (phase, watched) = watch::channel(Phase::Serving);
        let config = Config::parse(&text, 1).expect("good");
        let mut gateway = serve::start(config, watched).await.expect("it starts");
        // Each worker has room for four: that all eight are served says that both take some.
        let mut open = Vec::new();
        for _ in 0..8 {
            let mut stream = unix(&socket).await;
            stream.write_all(b"GET /livez HTTP/1.1\r\n\r\n").await.expect("room");
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\nok") {
                assert!(stream.read_buf(&mut answer).await.expect("an answer") > 0);
            }
            open.push(stream);
        }
        let view = gateway.shared.view();
        let connections = |n: usize| view["workers"][n]["connections"].as_u64();
        assert_eq!((connections(0), connections(1)), (Some(4), Some(4)), "{view}");
        phase.send_replace(Phase::Draining);
        gateway.ended().await;
    });
}
