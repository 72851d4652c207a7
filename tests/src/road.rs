//! A road between gateways and a redis-server: it counts what is asked, and keeps back answers, and what
//! is told of grants, when it is told to.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use sluice_runtime_tokio::net::{Net, TcpNet};
use sluice_storage::redis::protocol::{SERVER_CLOCK, Script};
use sluice_test_redis::Server;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::Notify;

use crate::address_of;

/// See the module's documentation.
pub struct Road {
    socket: PathBuf,
    /// The scripts by their digests.
    scripts: BTreeMap<String, Script>,
    asked: RefCell<Vec<Script>>,
    /// Whether answers are kept back from now on,
    held: Cell<bool>,
    /// and whether they are from the next operation of a request on.
    armed: Cell<bool>,
    grants: Cell<Grants>,
    untold: Cell<usize>,
    changed: Notify,
}

/// What becomes of the connections on which grants are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grants {
    /// They are let through.
    Told,
    /// They are, and nothing comes on them.
    Untold,
    /// They break as soon as they are known as such.
    Cut,
}

/// What a node does by itself, whatever requests do.
const OF_THE_NODE: [Script; 5] =
    [Script::Join, Script::Define, Script::Beat, Script::Reap, Script::Resync];
const READ_BYTES_MAX: usize = 64 * 1024;

impl Road {
    /// A road to this redis-server, and where it begins.
    pub async fn to(redis: &Server) -> (Rc<Self>, SocketAddr) {
        let scripts = Script::ALL.into_iter().map(|script| {
            let digest = redis.ask(&["SCRIPT", "LOAD", &script.text(SERVER_CLOCK)]);
            (digest.trim().to_owned(), script)
        });
        let road = Rc::new(Self {
            socket: redis.socket(),
            scripts: scripts.collect(),
            asked: RefCell::default(),
            held: Cell::new(false),
            armed: Cell::new(false),
            grants: Cell::new(Grants::Told),
            untold: Cell::new(0),
            changed: Notify::new(),
        });
        let listener = TcpNet::bind(([127, 0, 0, 1], 0).into(), false).await.expect("a free port");
        let address = address_of(&listener);
        let served = road.clone();
        drop(tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = TcpNet::accept(&listener).await.expect("it listens");
                drop(tokio::task::spawn_local(served.clone().travel(stream)));
            }
        }));
        (road, address)
    }

    /// Counts from here on, and keeps answers back from the next operation of a request on.
    pub fn arm(&self) {
        self.asked.borrow_mut().clear();
        self.armed.set(true);
    }

    /// Lets go what is kept back; what is answered to further operations is kept back again.
    pub fn let_go(&self) {
        self.held.set(false);
        self.changed.notify_waiters();
    }

    /// Lets everything go from here on.
    pub fn open(&self) {
        self.armed.set(false);
        self.let_go();
    }

    /// From now on it is like this with grants.
    pub fn grants(&self, grants: Grants) {
        self.grants.set(grants);
        self.changed.notify_waiters();
    }

    /// How often something was to be told of grants, and was not.
    #[must_use]
    pub const fn untold(&self) -> usize {
        self.untold.get()
    }

    /// The operations of requests that were asked so far.
    #[must_use]
    pub fn of_requests(&self) -> Vec<Script> {
        let asked = self.asked.borrow();
        asked.iter().copied().filter(|script| !OF_THE_NODE.contains(script)).collect()
    }

    /// Returns when so many operations of requests were asked.
    pub async fn until_asked(&self, count: usize) {
        self.until(|| self.of_requests().len() >= count).await;
    }

    async fn travel(self: Rc<Self>, stream: impl AsyncRead + AsyncWrite) {
        let Ok(server) = UnixStream::connect(&self.socket).await else { return };
        let (from_client, to_client) = tokio::io::split(stream);
        let (from_server, to_server) = server.into_split();
        let listens = Cell::new(false);
        tokio::select! {
            // Whichever end breaks off, the other is told by the connection's end.
            _ = self.forth(from_client, to_server, &listens) => {}
            _ = self.back(from_server, to_client, &listens) => {}
            () = self.until(|| listens.get() && self.grants.get() == Grants::Cut) => {}
        }
    }

    async fn until(&self, what: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            if what() {
                return;
            }
            changed.await;
        }
    }

    async fn forth(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        listens: &Cell<bool>,
    ) -> io::Result<()> {
        let (mut bytes, mut buffer) = (vec![0; READ_BYTES_MAX], Vec::new());
        loop {
            let size = from.read(&mut bytes).await?;
            if size == 0 {
                return Ok(());
            }
            buffer.extend_from_slice(&bytes[..size]);
            while let Some((words, end)) = command(&buffer) {
                self.note(&words, listens);
                buffer.drain(..end);
            }
            to.write_all(&bytes[..size]).await?;
        }
    }

    async fn back(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        listens: &Cell<bool>,
    ) -> io::Result<()> {
        let mut bytes = vec![0; READ_BYTES_MAX];
        loop {
            let size = from.read(&mut bytes).await?;
            if size == 0 {
                return Ok(());
            }
            if listens.get() && self.grants.get() == Grants::Untold {
                self.untold.update(|count| count + 1);
                continue;
            }
            self.until(|| !self.held.get()).await;
            to.write_all(&bytes[..size]).await?;
        }
    }

    /// Before it is passed on: its answer cannot have come.
    fn note(&self, words: &[String], listens: &Cell<bool>) {
        let [name, digest, ..] = words else { return };
        if name.eq_ignore_ascii_case("SUBSCRIBE") {
            listens.set(true);
            self.changed.notify_waiters();
        }
        if !name.eq_ignore_ascii_case("EVALSHA") {
            return;
        }
        let script = *self.scripts.get(digest).expect("gateways run no other scripts");
        self.asked.borrow_mut().push(script);
        if self.armed.get() && !OF_THE_NODE.contains(&script) {
            self.held.set(true);
        }
        self.changed.notify_waiters();
    }
}

/// The first two words of the command that these bytes begin with, and where it ends.
fn command(bytes: &[u8]) -> Option<(Vec<String>, usize)> {
    let (count, mut at) = number(bytes, 0, b'*')?;
    let mut words = Vec::new();
    for _ in 0..count {
        let (size, begin) = number(bytes, at, b'$')?;
        let word = bytes.get(begin..begin + size)?;
        if words.len() < 2 {
            words.push(String::from_utf8_lossy(word).into_owned());
        }
        at = begin + size + 2;
    }
    (bytes.len() >= at).then_some((words, at))
}

/// The number behind this sign, and where its line ends.
fn number(bytes: &[u8], at: usize, sign: u8) -> Option<(usize, usize)> {
    let line = bytes.get(at..)?;
    let end = line.windows(2).position(|pair| pair == b"\r\n")?;
    assert_eq!(line[0], sign, "what a client sends is an array of texts");
    let digits = std::str::from_utf8(&line[1..end]).expect("digits");
    Some((digits.parse().expect("a number"), at + end + 2))
}
