//! The access log's writer: one thread for the whole process.
//!
//! Lines reach it through a bounded queue. Whoever has a line never waits: if the queue is full, as
//! it is when nobody takes what is written, the line is lost and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use super::Entry;
use crate::config::{AccessLogTo, Log};

/// Takes lines for the access log. Copies feed the same writer.
#[derive(Clone)]
pub struct AccessWriter {
    queue: Option<SyncSender<Message>>,
    lost: Arc<AtomicU64>,
}

enum Message {
    Line(Box<Entry>),
    /// Everything before it is to be written, and this to be answered.
    Flush(SyncSender<()>),
}

/// How long lines are gathered once there is one: so a busy writer needs not be woken for each.
const GATHER: Duration = Duration::from_millis(5);
/// Beyond this many bytes what has been gathered is written.
const BATCH_BYTES: usize = 64 * 1024;

impl AccessWriter {
    /// The writer that a configuration asks for.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn of(config: &Log) -> io::Result<Self> {
        let to: Box<dyn Write + Send> = match config.access {
            AccessLogTo::Stdout => Box::new(io::stdout()),
            AccessLogTo::Stderr => Box::new(io::stderr()),
            AccessLogTo::Off => return Ok(Self::off()),
        };
        Self::start(to, config.access_lines_max)
    }

    /// A writer that writes nothing.
    #[must_use]
    pub fn off() -> Self {
        Self { queue: None, lost: Arc::default() }
    }

    /// A writer to somewhere, before which at most `lines_max` lines wait.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(to: Box<dyn Write + Send>, lines_max: usize) -> io::Result<Self> {
        let (queue, lines) = sync_channel(lines_max.max(1));
        let lost = Arc::<AtomicU64>::default();
        let writing = Writing { to, lost: lost.clone(), told: 0, buffer: Vec::new(), lines: 0 };
        thread::Builder::new().name("access-log".to_owned()).spawn(|| writing.run(lines))?;
        Ok(Self { queue: Some(queue), lost })
    }

    /// Hands over a line.
    pub(crate) fn line(&self, entry: Box<Entry>) {
        let Some(queue) = &self.queue else { return };
        match queue.try_send(Message::Line(entry)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Lines that were lost since the beginning.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Returns when all lines that were handed over are written, or after so long. Blocks its thread.
    #[must_use = "whether they are"]
    pub fn flush(&self, within: Duration) -> bool {
        let Some(queue) = self.queue.clone() else { return true };
        let (done, written) = sync_channel(1);
        // A full queue blocks; a thread of its own can be left behind there.
        let ask = move || drop(queue.send(Message::Flush(done)));
        let asked = thread::Builder::new().name("access-log-flush".to_owned()).spawn(ask);
        asked.is_ok() && written.recv_timeout(within).is_ok()
    }
}

/// The writer's own side.
struct Writing {
    to: Box<dyn Write + Send>,
    lost: Arc<AtomicU64>,
    /// Of the lines lost, how many the log has been told of.
    told: u64,
    buffer: Vec<u8>,
    lines: u64,
}

impl Writing {
    fn run(mut self, queue: Receiver<Message>) {
        while let Ok(first) = queue.recv() {
            if matches!(first, Message::Line(_)) {
                thread::sleep(GATHER);
            }
            self.take(first);
            while let Ok(next) = queue.try_recv() {
                self.take(next);
                if self.buffer.len() >= BATCH_BYTES {
                    self.write();
                }
            }
            self.write();
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Line(entry) => {
                entry.write_line(&mut self.buffer);
                self.lines += 1;
            }
            Message::Flush(done) => {
                self.write();
                // Whoever asked may have given up.
                let _ = done.try_send(());
            }
        }
    }

    fn write(&mut self) {
        let lost = self.lost.load(Ordering::Relaxed);
        if lost > self.told {
            let line = format!("{{\"access_log_lost\":{}}}\n", lost - self.told);
            self.buffer.extend_from_slice(line.as_bytes());
        }
        if self.buffer.is_empty() {
            return;
        }
        match self.to.write_all(&self.buffer).and_then(|()| self.to.flush()) {
            Ok(()) => self.told = lost,
            Err(_) => {
                self.lost.fetch_add(self.lines, Ordering::Relaxed);
            }
        }
        self.buffer.clear();
        self.lines = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use sluice_engine::Time;

    use super::*;
    use crate::config::Config;
    use crate::directory::Directory;

    /// Takes nothing until it is opened.
    #[derive(Clone, Default)]
    struct Pipe(Arc<(Mutex<Inside>, Condvar)>);

    #[derive(Default)]
    struct Inside {
        open: bool,
        /// Somebody wants to write.
        blocked: bool,
        written: Vec<u8>,
    }

    impl Pipe {
        fn until<T>(&self, what: impl Fn(&mut Inside) -> Option<T>) -> T {
            let mut inside = self.0.0.lock().expect("nobody panics holding it");
            loop {
                if let Some(found) = what(&mut inside) {
                    self.0.1.notify_all();
                    return found;
                }
                self.0.1.notify_all();
                inside = self.0.1.wait(inside).expect("nobody panics holding it");
            }
        }

        fn open(&self) {
            self.until(|inside| {
                inside.open = true;
                Some(())
            });
        }

        fn lines(&self) -> Vec<serde_json::Value> {
            let written = self.until(|inside| Some(inside.written.clone()));
            let text = String::from_utf8(written).expect("text");
            text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
        }
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.until(|inside| {
                inside.blocked = !inside.open;
                inside.open.then(|| inside.written.extend_from_slice(bytes))
            });
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line(writer: &AccessWriter, id: usize) {
        let text = "server = { listen = \"127.0.0.1:0\" }\ngroups = []\n";
        let directory = Directory::new(&Config::parse(text, 1).expect("good")).expect("good");
        writer.line(Box::new(Entry::new(Arc::new(directory), format!("r{id}"), Time(0))));
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn lines_are_written_in_order_and_none_is_lost() {
        let pipe = Pipe::default();
        pipe.open();
        let writer = AccessWriter::start(Box::new(pipe.clone()), 100).expect("a thread");
        (0..50).for_each(|id| line(&writer, id));
        assert!(writer.flush(LONG));
        let ids: Vec<_> = pipe.lines().iter().map(|line| line["request_id"].clone()).collect();
        let want: Vec<_> = (0..50).map(|id| serde_json::json!(format!("r{id}"))).collect();
        assert_eq!((ids, writer.lost()), (want, 0));
    }

    #[test]
    fn lines_beyond_the_queue_are_counted_and_told_of() {
        let pipe = Pipe::default();
        let writer = AccessWriter::start(Box::new(pipe.clone()), 10).expect("a thread");
        line(&writer, 0);
        pipe.until(|inside| inside.blocked.then_some(()));
        // The writer holds the first: the queue takes ten, and the others are lost.
        (1..=15).for_each(|id| line(&writer, id));
        assert_eq!(writer.lost(), 5);
        assert!(!writer.flush(Duration::ZERO), "nothing gets through");
        pipe.open();
        assert!(writer.flush(LONG));
        let lines = pipe.lines();
        assert_eq!(lines.iter().filter(|line| line["request_id"].is_string()).count(), 11);
        let told: Vec<_> = lines.iter().filter_map(|l| l["access_log_lost"].as_u64()).collect();
        assert_eq!(told, [5]);
    }

    #[test]
    fn what_cannot_be_written_is_lost_and_nobody_is_hurt() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let writer = AccessWriter::start(Box::new(Broken), 10).expect("a thread");
        (0..3).for_each(|id| line(&writer, id));
        assert!(writer.flush(LONG));
        assert_eq!(writer.lost(), 3);
        assert!(AccessWriter::off().flush(LONG));
    }
}
