//! What gateways note of requests in their access logs, read when a run is over.
//!
//! Lines are written by a thread of each gateway's own, in the order in which requests end. Nothing in
//! them is taken that a crash could make differ between two runs: no times.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use sluice_engine::RequestId;
use sluice_runtime_tokio::telemetry::AccessWriter;

use super::cx::Cx;
use super::seen::{Logged, Seen};
use crate::history::What;

/// Lines that may wait for a writer: all of a run.
const LINES_MAX: usize = 10_000;
/// How long a writer may take in the end, in real time.
const WRITTEN_WITHIN: Duration = Duration::from_secs(30);
/// What the names of clients' requests begin with.
const NAME: &str = "sim-";

/// The log of one process.
pub(super) struct Log {
    node: usize,
    writer: AccessWriter,
    text: Text,
}

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer for a node that starts.
pub(super) fn writer(cx: &Cx, node: usize) -> AccessWriter {
    let text = Text::default();
    let writer = AccessWriter::start(Box::new(text.clone()), LINES_MAX).expect("a thread");
    cx.logs.borrow_mut().push(Log { node, writer: writer.clone(), text });
    writer
}

/// Writes down what was logged.
pub(super) fn read(cx: &Cx) {
    for log in cx.logs.take() {
        assert!(log.writer.flush(WRITTEN_WITHIN), "the access log is written");
        let text = log.text.0.lock().unwrap_or_else(PoisonError::into_inner);
        for line in String::from_utf8_lossy(&text).lines() {
            let (req, line) = logged(line).expect("a line of the access log");
            cx.push(What::Seen(Seen::Logged { node: log.node, req, line }));
        }
    }
}

fn logged(line: &str) -> Option<(RequestId, Logged)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let name = line["request_id"].as_str()?.strip_prefix(NAME)?;
    let number = |name: &str| line[name].as_u64().unwrap_or_default();
    let text = |name: &str| line[name].as_str().map(str::to_owned);
    let logged = Logged {
        status: number("status"),
        verdict: text("verdict").unwrap_or_default(),
        attempts: number("attempts"),
        started: !line["first_token_ms"].is_null(),
        tokens: (number("input_tokens"), number("output_tokens")),
        upstream_id: text("upstream_id"),
    };
    Some((RequestId(name.parse().ok()?), logged))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_without_its_times() {
        let line = r#"{"time":"x","request_id":"sim-7","status":200,"verdict":"completed",
            "attempts":2,"first_token_ms":5,"input_tokens":3,"output_tokens":4,"upstream_id":"up"}"#;
        let (req, line) = logged(line).expect("a line");
        assert_eq!((req, line.tokens, line.attempts), (RequestId(7), (3, 4), 2));
        assert!(line.started && line.upstream_id.as_deref() == Some("up"));
        assert!(logged("{}").is_none());
    }
}
