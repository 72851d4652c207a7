//! A road between gateways and a redis-server that is bad, as its seed says: answers that are slow,
//! connections that break, that are dead on one side, that stand still, and times at which nobody is
//! let through.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use sluice_engine::rng::{Purpose, Seed};
use sluice_runtime_tokio::net::{Net, TcpNet};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::address_of;

/// What is wrong with the road at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// Nothing.
    None,
    /// Every piece takes so long.
    Slow(Duration),
    /// All connections broke; new ones are let through.
    Reset,
    /// All connections broke, and new ones break at once.
    Closed,
    /// What is sent to the server arrives, and no answer comes back, ever, on the connections that there
    /// are and on those that are made meanwhile.
    HalfOpen,
    /// Nothing moves, until it goes on.
    Still,
}

/// See the module's documentation.
pub struct BadRoad {
    socket: PathBuf,
    now: Cell<Trouble>,
    changed: Notify,
    connections: RefCell<BTreeMap<u64, Connection>>,
    opened: Cell<u64>,
}

struct Connection {
    task: AbortHandle,
    /// Whether its answers are thrown away.
    deaf: Rc<Cell<bool>>,
}

const READ_BYTES_MAX: usize = 64 * 1024;

impl BadRoad {
    /// A road to the server behind this socket, and where it begins.
    pub async fn to(socket: PathBuf) -> (Rc<Self>, SocketAddr) {
        let road = Rc::new(Self {
            socket,
            now: Cell::new(Trouble::None),
            changed: Notify::new(),
            connections: RefCell::default(),
            opened: Cell::new(0),
        });
        let listener = TcpNet::bind(([127, 0, 0, 1], 0).into(), false).await.expect("a free port");
        let address = address_of(&listener);
        let served = road.clone();
        drop(tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = TcpNet::accept(&listener).await.expect("it listens");
                if served.now.get() != Trouble::Closed {
                    served.clone().take(stream);
                }
            }
        }));
        (road, address)
    }

    /// One trouble after the other, as the seed has them, for ever. Each is told.
    pub async fn suffer(&self, seed: Seed, tell: impl Fn(Trouble)) {
        let mut draw = seed.stream(Purpose::Client, u64::MAX, 0);
        loop {
            let ms = |below| Duration::from_millis(below);
            let trouble = match draw.below(5) {
                0 => Trouble::Slow(ms(1 + draw.below(80))),
                1 => Trouble::Reset,
                2 => Trouble::Closed,
                3 => Trouble::HalfOpen,
                _ => Trouble::Still,
            };
            tell(trouble);
            self.meet(trouble);
            sleep(ms(50 + draw.below(800))).await;
            self.meet(Trouble::None);
            sleep(ms(200 + draw.below(1_500))).await;
        }
    }

    /// From now on it is like this.
    pub fn meet(&self, trouble: Trouble) {
        self.now.set(trouble);
        let broken = matches!(trouble, Trouble::Reset | Trouble::Closed);
        let mut connections = self.connections.borrow_mut();
        for connection in connections.values().filter(|_| broken) {
            connection.task.abort();
        }
        connections.retain(|_, _| !broken);
        for connection in connections.values().filter(|_| trouble == Trouble::HalfOpen) {
            connection.deaf.set(true);
        }
        drop(connections);
        self.changed.notify_waiters();
    }

    fn take(self: Rc<Self>, stream: impl AsyncRead + AsyncWrite + 'static) {
        let number = self.opened.replace(self.opened.get() + 1);
        let deaf = Rc::new(Cell::new(self.now.get() == Trouble::HalfOpen));
        let (road, hears_not) = (self.clone(), deaf.clone());
        let task = tokio::task::spawn_local(async move {
            if let Ok(server) = UnixStream::connect(&road.socket).await {
                let (from_client, to_client) = tokio::io::split(stream);
                let (from_server, to_server) = server.into_split();
                tokio::select! {
                    // Whichever end breaks off, the other is told by the connection's end.
                    () = road.carry(from_client, to_server, None) => {}
                    () = road.carry(from_server, to_client, Some(&hears_not)) => {}
                }
            }
            road.connections.borrow_mut().remove(&number);
        });
        let connection = Connection { task: task.abort_handle(), deaf };
        self.connections.borrow_mut().insert(number, connection);
    }

    async fn carry(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        deaf: Option<&Cell<bool>>,
    ) {
        let mut bytes = vec![0; READ_BYTES_MAX];
        loop {
            let Ok(size @ 1..) = from.read(&mut bytes).await else { return };
            if let Trouble::Slow(time) = self.now.get() {
                sleep(time).await;
            }
            loop {
                let changed = self.changed.notified();
                if self.now.get() != Trouble::Still {
                    break;
                }
                changed.await;
            }
            if deaf.is_some_and(Cell::get) {
                continue;
            }
            if to.write_all(&bytes[..size]).await.is_err() {
                return;
            }
        }
    }
}
