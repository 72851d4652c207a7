//! The clients: each sends one request, reads its answer at its own pace, and may go away at any
//! byte.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use sluice_engine::Span;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use turmoil::net::TcpStream;

use super::cx::{Counted, Cx};
use super::seen::{ClientEnd, Seen};
use super::{PORT, answer, node_host, setup};
use crate::history::What;
use crate::scenario::{Arrival, Reader};

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// What is read at once where the scenario does not say.
const READ_BYTES: usize = 4096;
/// How long something may come after a whole answer, to be found out.
const AFTER: Duration = Duration::from_millis(30);

/// The host's process: all clients.
pub(super) async fn serve(cx: Cx) -> turmoil::Result {
    for index in 0..cx.scenario.arrivals.len() {
        let counted = Counted::new(&cx, |cx| &cx.clients);
        let cx = cx.clone();
        drop(spawn_local(async move {
            let _counted = counted;
            let arrival = &cx.scenario.arrivals[index];
            sleep(Duration::from_micros(arrival.at.0)).await;
            let req = arrival.id;
            cx.push(What::Seen(Seen::Asked { req, node: arrival.node }));
            let leaves = arrival.leaves.map_or(Duration::MAX, |Span(us)| Duration::from_micros(us));
            let mut client = Client { cx: &cx, arrival, bytes: Vec::new() };
            let end = timeout(leaves, client.ask()).await.unwrap_or(ClientEnd::Left);
            let [a, b, c, d, ..] = *Sha256::digest(&client.bytes) else {
                unreachable!("a SHA-256 has 32 bytes")
            };
            let bytes = (client.bytes.len(), u32::from_be_bytes([a, b, c, d]));
            if end == ClientEnd::Left {
                cx.left.borrow_mut().insert(req, cx.now());
            }
            let refusal = answer::refusal(&client.bytes);
            cx.push(What::Seen(Seen::Answered { req, end, refusal, bytes }));
        }));
    }
    std::future::pending().await
}

struct Client<'a> {
    cx: &'a Cx,
    arrival: &'a Arrival,
    /// What came.
    bytes: Vec<u8>,
}

impl Client<'_> {
    async fn ask(&mut self) -> ClientEnd {
        let connect = TcpStream::connect((node_host(self.arrival.node), PORT));
        let Ok(Ok(mut stream)) = timeout(CONNECT_MAX, connect).await else {
            return ClientEnd::Unconnected;
        };
        let request = setup::request(&self.cx.scenario, self.arrival);
        let patience = self.cx.patience();
        let Ok(Ok(())) = timeout(patience, stream.write_all(request.as_bytes())).await else {
            return ClientEnd::Cut { silent: false };
        };
        let answered = timeout(patience, self.read(&mut stream)).await;
        answered.unwrap_or(ClientEnd::Cut { silent: true })
    }

    async fn read(&mut self, stream: &mut TcpStream) -> ClientEnd {
        let reader = self.cx.network.readers.get(&self.arrival.id).copied().unwrap_or_default();
        let Reader { pace, bytes: most, leaves_after } = reader;
        let mut buffer = vec![0; most.unwrap_or(READ_BYTES).max(1)];
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return ClientEnd::Cut { silent: false },
                Ok(n) => self.bytes.extend_from_slice(&buffer[..n]),
            }
            if leaves_after.is_some_and(|after| self.bytes.len() >= after) {
                return ClientEnd::Left;
            }
            let asked = answer::Asked::of(self.arrival);
            if let Some(end) = answer::judge(&asked, &self.bytes) {
                if let ClientEnd::Whole { .. } = end
                    && let Ok(Ok(n @ 1..)) = timeout(AFTER, stream.read(&mut buffer)).await
                {
                    return ClientEnd::Malformed(format!("{n} bytes after the end"));
                }
                return end;
            }
            sleep(Duration::from_micros(pace.0)).await;
        }
    }
}
