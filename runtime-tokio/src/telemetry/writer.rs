//! The access log's writer: one thread for the whole process.
//!
//! Whoever has a line adds it to the text that waits, and waits itself no longer than it takes to add one or
//! to take the text away: while there are as many lines as there may be, as when nobody takes what is written,
//! a line is lost and counted. The thread takes all that waits at once.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, LockResult, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::config::{AccessLogTo, Log};

/// Takes lines for the access log. Copies feed the same writer, which ends with the last of them.
#[derive(Clone)]
pub struct AccessWriter {
    feed: Option<Arc<Feed>>,
}

/// How long lines are gathered once there is one: so a busy writer needs not be woken for each.
const GATHER: Duration = Duration::from_millis(5);
/// Of the memory for text so much stays when there was more.
const KEPT_BYTES: usize = 1024 * 1024;

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
    pub const fn off() -> Self {
        Self { feed: None }
    }

    /// A writer to somewhere, before which at most `lines_max` lines wait.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(to: Box<dyn Write + Send>, lines_max: usize) -> io::Result<Self> {
        let queue = Arc::new(Queue {
            waiting: Mutex::default(),
            bell: Condvar::new(),
            done: Condvar::new(),
            lines_max: lines_max.max(1),
        });
        let feed = Feed(queue.clone());
        thread::Builder::new().name("access-log".to_owned()).spawn(move || queue.write(to))?;
        Ok(Self { feed: Some(Arc::new(feed)) })
    }

    /// Whether lines are written at all.
    pub(crate) const fn is_on(&self) -> bool {
        self.feed.is_some()
    }

    /// Hands over a line, with its end.
    pub(crate) fn line(&self, line: &[u8]) {
        if let Some(feed) = &self.feed {
            feed.0.line(line);
        }
    }

    /// Lines that were lost since the beginning.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.feed.as_ref().map_or(0, |feed| feed.0.lock().lost)
    }

    /// Returns when all lines that were handed over are written, or after so long. Blocks its thread.
    #[must_use = "whether they are"]
    pub fn flush(&self, within: Duration) -> bool {
        self.feed.as_ref().is_none_or(|feed| feed.0.flush(within))
    }
}

/// The way to the writer; without it there is nothing more to come.
struct Feed(Arc<Queue>);

impl Drop for Feed {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.bell.notify_one();
    }
}

struct Queue {
    waiting: Mutex<Waiting>,
    /// The writer has something to do.
    bell: Condvar,
    /// Something has been written.
    done: Condvar,
    lines_max: usize,
}

#[derive(Default)]
struct Waiting {
    text: Vec<u8>,
    /// Lines in it.
    lines: usize,
    /// Lines that were ever in it, and those of them that the writer is done with.
    brought: u64,
    written: u64,
    /// Lines for which there was no place, or of which it is not known that they were written.
    lost: u64,
    /// Somebody waits for what is here to be written.
    hurried: bool,
    /// No more will be brought.
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        sound(self.waiting.lock())
    }

    fn line(&self, line: &[u8]) {
        let mut waiting = self.lock();
        if waiting.lines >= self.lines_max {
            waiting.lost += 1;
            return;
        }
        let first = waiting.text.is_empty();
        waiting.text.extend_from_slice(line);
        waiting.lines += 1;
        waiting.brought += 1;
        drop(waiting);
        if first {
            self.bell.notify_one();
        }
    }

    fn flush(&self, within: Duration) -> bool {
        let mut waiting = self.lock();
        let wanted = waiting.brought;
        waiting.hurried = !waiting.text.is_empty();
        self.bell.notify_one();
        let unwritten = |waiting: &mut Waiting| waiting.written < wanted;
        waiting = sound(self.done.wait_timeout_while(waiting, within, unwritten)).0;
        waiting.written >= wanted
    }

    /// The writer's own side: to the end.
    fn write(&self, mut to: Box<dyn Write + Send>) {
        let (mut text, mut told) = (Vec::new(), 0);
        while let Some((lines, lost)) = self.take(&mut text) {
            if lost > told {
                let line = format!("{{\"access_log_lost\":{}}}\n", lost - told);
                text.extend_from_slice(line.as_bytes());
            }
            let written = to.write_all(&text).and_then(|()| to.flush());
            text.clear();
            text.shrink_to(KEPT_BYTES);
            let mut waiting = self.lock();
            waiting.written += lines;
            match written {
                Ok(()) => told = lost,
                Err(_) => waiting.lost += lines,
            }
            self.done.notify_all();
        }
    }

    /// Takes what waits, in exchange for this empty text: how many lines, and how many have been lost so
    /// far. `None` if there is nothing and nothing will come.
    fn take(&self, text: &mut Vec<u8>) -> Option<(u64, u64)> {
        let idle = |waiting: &mut Waiting| waiting.text.is_empty() && !waiting.closed;
        let waiting = sound(self.bell.wait_while(self.lock(), idle));
        if waiting.text.is_empty() {
            return None;
        }
        let more = |waiting: &mut Waiting| !waiting.hurried && !waiting.closed;
        let (mut waiting, _) = sound(self.bell.wait_timeout_while(waiting, GATHER, more));
        waiting.hurried = false;
        mem::swap(&mut waiting.text, text);
        Some((mem::take(&mut waiting.lines) as u64, waiting.lost))
    }
}

/// What is kept here is sound at any time, also when a thread has panicked.
fn sound<T>(locked: LockResult<T>) -> T {
    locked.unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes nothing until it is opened.
    #[derive(Clone, Default)]
    struct Pipe(Arc<(Mutex<Inside>, Condvar)>);

    #[derive(Default)]
    struct Inside {
        open: bool,
        /// Somebody wants to write.
        blocked: bool,
        /// Nobody writes to it any more.
        ended: bool,
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
        writer.line(format!("{{\"request_id\":\"r{id}\"}}\n").as_bytes());
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
    fn what_cannot_be_written_is_lost_and_told_of_when_it_can_be_again() {
        struct Mended(Pipe, usize);
        impl Write for Mended {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if self.1 > 0 {
                    self.1 -= 1;
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                self.0.write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let pipe = Pipe::default();
        pipe.open();
        let writer = AccessWriter::start(Box::new(Mended(pipe.clone(), 2)), 10).expect("a thread");
        for (id, lost) in [(0, 1), (1, 2), (2, 2), (3, 2)] {
            line(&writer, id);
            assert!(writer.flush(LONG));
            assert_eq!(writer.lost(), lost);
        }
        let lines = pipe.lines();
        let told: Vec<_> = lines.iter().filter_map(|l| l["access_log_lost"].as_u64()).collect();
        assert_eq!((lines.len(), told), (3, vec![2]));
        assert!(AccessWriter::off().flush(LONG));
    }

    #[test]
    fn memory_for_much_text_is_given_back_and_a_flush_of_nothing_hurries_nobody() {
        let writer = AccessWriter::start(Box::new(io::sink()), 10).expect("a thread");
        let queue = &writer.feed.as_ref().expect("it is on").0;
        writer.line(&vec![b'x'; 2 * KEPT_BYTES]);
        assert!(writer.flush(LONG));
        // The text that was written is exchanged for the next.
        line(&writer, 0);
        assert!(writer.flush(LONG));
        assert!(queue.lock().text.capacity() <= KEPT_BYTES);
        assert!(writer.flush(LONG) && !queue.lock().hurried);
    }

    #[test]
    fn when_nobody_can_bring_a_line_any_more_what_waits_is_written_and_the_writer_ends() {
        /// Says so when it is let go of.
        struct Ending(Pipe);
        impl Write for Ending {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        impl Drop for Ending {
            fn drop(&mut self) {
                self.0.until(|inside| {
                    inside.ended = true;
                    Some(())
                });
            }
        }
        let pipe = Pipe::default();
        pipe.open();
        let writer = AccessWriter::start(Box::new(Ending(pipe.clone())), 10).expect("a thread");
        let other = writer.clone();
        line(&writer, 0);
        drop(writer);
        assert!(other.flush(LONG), "there is still somebody to write for");
        line(&other, 1);
        drop(other);
        pipe.until(|inside| inside.ended.then_some(()));
        assert_eq!(pipe.lines().len(), 2);
    }
}
