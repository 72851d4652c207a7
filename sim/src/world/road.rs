//! A gateway's way to the store of the simulation: what the client of a real one does, and no more.
//!
//! One connection for operations and one for pushed grants. An operation is sent once. Without an
//! answer in time, or when its connection breaks, its fate is unknown; what comes while there is no
//! connection is refused. Both connections are made again, after a pause that grows.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use sluice_engine::ledger::LineView;
use sluice_engine::store::Instance;
use sluice_engine::{Ask, StoreFault, StoreOp, StoreReply};
use sluice_storage::{GrantSink, Store, Watch};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};
use turmoil::net::TcpStream;
use turmoil::net::tcp::OwnedWriteHalf;

use super::cx::Cx;
use super::frame::{self, Hello, Order, Push, Receipt};
use super::{PORT, STORE};
use crate::history::What;

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_millis(500);
/// The first pause before another try, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Silence of the pushing connection beyond which it is taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// A store at the end of a simulated road.
pub(super) struct RoadStore {
    jobs: mpsc::UnboundedSender<Job>,
}

enum Job {
    Run(StoreOp, oneshot::Sender<Answer>),
    Listen(GrantSink),
}

type Answer = Result<StoreReply, StoreFault>;

impl RoadStore {
    /// Begins, on the current local set.
    pub(super) fn start(cx: &Cx, node: usize, life: u32) -> Self {
        let (jobs, taken) = mpsc::unbounded_channel();
        let road = Road { cx: cx.clone(), node, life };
        drop(spawn_local(Rc::new(road).run(taken)));
        Self { jobs }
    }
}

impl Store for RoadStore {
    async fn run(&self, op: StoreOp) -> Answer {
        let (answer, told) = oneshot::channel();
        if self.jobs.send(Job::Run(op, answer)).is_err() {
            return Err(StoreFault::Refused);
        }
        told.await.unwrap_or(Err(StoreFault::Unknown))
    }
}

impl Watch for RoadStore {
    fn subscribe(&self, _: Instance, sink: GrantSink) {
        // Nobody takes jobs once the host has crashed.
        let _ = self.jobs.send(Job::Listen(sink));
    }

    fn view(&self) -> Option<Vec<LineView>> {
        None
    }
}

struct Road {
    cx: Cx,
    node: usize,
    life: u32,
}

/// Who waits for what.
type Waiting = BTreeMap<u64, oneshot::Sender<Answer>>;

impl Road {
    async fn run(self: Rc<Self>, mut jobs: mpsc::UnboundedReceiver<Job>) {
        let mut pause = PAUSE_MIN;
        loop {
            if let Ok(stream) = self.connect(false).await {
                pause = PAUSE_MIN;
                self.converse(stream, &mut jobs).await;
            }
            self.refuse_for(pause, &mut jobs).await;
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }

    async fn connect(&self, listens: bool) -> io::Result<TcpStream> {
        let connect = async {
            let mut stream = TcpStream::connect((STORE, PORT)).await?;
            let hello = Hello { node: self.node, life: self.life, listens };
            frame::write(&mut stream, &hello).await?;
            Ok(stream)
        };
        timeout(CONNECT_MAX, connect).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Refuses all there is, and all that comes for a while.
    async fn refuse_for(self: &Rc<Self>, pause: Duration, jobs: &mut mpsc::UnboundedReceiver<Job>) {
        let mut refuse = async || {
            while let Some(job) = jobs.recv().await {
                if let Some((op, answer)) = self.run_or_listen(job) {
                    let call = self.sent(&op);
                    self.tell(call, answer, Err(StoreFault::Refused));
                }
            }
            pending::<()>().await;
        };
        let _ = timeout(pause, refuse()).await;
    }

    fn run_or_listen(self: &Rc<Self>, job: Job) -> Option<(StoreOp, oneshot::Sender<Answer>)> {
        match job {
            Job::Run(op, answer) => Some((op, answer)),
            Job::Listen(sink) => {
                drop(spawn_local(self.clone().listen(sink)));
                None
            }
        }
    }

    /// Sends what comes and brings back the answers, until an answer fails to come.
    async fn converse(self: &Rc<Self>, stream: TcpStream, jobs: &mut mpsc::UnboundedReceiver<Job>) {
        let (mut reader, mut writer) = stream.into_split();
        let (got, mut receipts) = mpsc::unbounded_channel();
        let reading = Reading(spawn_local(async move {
            while let Ok(receipt) = frame::read::<Receipt>(&mut reader).await {
                if got.send(receipt).is_err() {
                    return;
                }
            }
        }));
        let mut waiting = Waiting::new();
        let (overdue, mut overdues) = mpsc::unbounded_channel();
        loop {
            tokio::select! {
                biased; // An answer that has come is not overdue.
                receipt = receipts.recv() => match receipt {
                    Some(Receipt { call, reply }) => {
                        if let Some(answer) = waiting.remove(&call) {
                            self.tell(call, answer, Ok(reply));
                        }
                    }
                    None => break,
                },
                Some(call) = overdues.recv() => if waiting.contains_key(&call) { break },
                Some(job) = jobs.recv() => {
                    let Some((op, answer)) = self.run_or_listen(job) else { continue };
                    let call = self.sent(&op);
                    waiting.insert(call, answer);
                    if !self.send(&mut writer, call, op).await {
                        break;
                    }
                    let overdue = overdue.clone();
                    drop(spawn_local(async move {
                        sleep(ANSWER_MAX).await;
                        // The conversation may be over.
                        let _ = overdue.send(call);
                    }));
                }
            }
        }
        drop(reading);
        for (call, answer) in waiting {
            self.tell(call, answer, Err(StoreFault::Unknown));
        }
    }

    async fn send(&self, writer: &mut OwnedWriteHalf, call: u64, op: StoreOp) -> bool {
        let order = Order { call, op };
        matches!(timeout(ANSWER_MAX, frame::write(writer, &order)).await, Ok(Ok(())))
    }

    fn sent(&self, op: &StoreOp) -> u64 {
        let call = self.cx.next_call(self.node);
        let op = Rc::new(self.cx.renamed(op.clone()));
        self.cx.push(What::Sent { node: self.node, call: Ask(call), op });
        call
    }

    fn tell(&self, call: u64, answer: oneshot::Sender<Answer>, result: Answer) {
        let told = What::Told { node: self.node, call: Ask(call), result: result.clone() };
        self.cx.push(told);
        // The driver waits for every answer while it lives.
        let _ = answer.send(result);
    }

    /// Hears the grants, over one connection after another.
    async fn listen(self: Rc<Self>, sink: GrantSink) {
        let mut pause = PAUSE_MIN;
        loop {
            if let Ok(mut stream) = self.connect(true).await {
                pause = PAUSE_MIN;
                while let Ok(Ok(push)) = timeout(SILENCE_MAX, frame::read(&mut stream)).await {
                    if let Push::Grant(grant) = push {
                        let lease = self.cx.unique(grant.lease);
                        let node = self.node;
                        self.cx.push(What::Hinted { node, lease, gate: grant.gate });
                        sink(grant);
                    }
                }
            }
            sleep(pause).await;
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }
}

/// Ends with its owner.
struct Reading(JoinHandle<()>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}
