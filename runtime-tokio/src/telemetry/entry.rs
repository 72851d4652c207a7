//! What is remembered of one request for its line in the access log.
//!
//! Filled in on the way, and made a line of when the last one who could add to it lets go of it: so
//! every request leaves one line, wherever it ends. It holds ids and plain data; names are looked up
//! only then.

use std::cell::{Cell, OnceCell, RefCell};
use std::ops::Deref;
use std::rc::Rc;

use sluice_engine::trail::Trail;
use sluice_engine::{Time, Verdict};

use crate::auth::KeyOwner;
use crate::clock::Clock;
use crate::directory::Current;
use crate::protocol::answer::Usage;
use crate::shared::Local;

/// The facts of one request.
pub(crate) struct Entry {
    /// As it was when the request began,
    pub(super) directory: Current,
    /// and as it was when the engine said how it ended: accounts may have come and gone between.
    pub(super) later: OnceCell<Current>,
    /// Its name, of visible ASCII characters.
    pub(crate) request_id: String,
    pub(super) arrived: Time,
    pub(super) gone: Cell<Time>,
    /// Only of what is not served by a protocol's flow.
    pub(super) path: OnceCell<String>,
    pub(super) owner: Cell<Option<KeyOwner>>,
    pub(super) model: OnceCell<String>,
    pub(super) stream: Cell<bool>,
    pub(super) status: Cell<u16>,
    pub(crate) usage: Cell<Usage>,
    pub(super) bytes_in: Cell<u64>,
    pub(super) bytes_out: Cell<u64>,
    pub(super) upstream_id: RefCell<Option<String>>,
    pub(super) ended: RefCell<Option<(Verdict, Trail)>>,
    pub(super) shut_down: Cell<bool>,
}

/// The most characters of a path that are shown.
const PATH_CHARS_MAX: usize = 256;

impl Entry {
    pub(super) fn new(directory: Current, request_id: String, arrived: Time) -> Self {
        Self {
            directory,
            later: OnceCell::new(),
            request_id,
            arrived,
            gone: Cell::new(arrived),
            path: OnceCell::new(),
            owner: Cell::new(None),
            model: OnceCell::new(),
            stream: Cell::new(false),
            status: Cell::new(0),
            usage: Cell::default(),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            upstream_id: RefCell::default(),
            ended: RefCell::default(),
            shut_down: Cell::new(false),
        }
    }

    /// What it asks for, without the query, which may hold a key.
    pub(crate) fn path(&self, path: &str) {
        // Said twice, the first counts.
        let _ = self.path.set(path.chars().take(PATH_CHARS_MAX).collect());
    }

    /// Who asks.
    pub(crate) fn owner(&self, owner: KeyOwner) {
        self.owner.set(Some(owner));
    }

    /// What for.
    pub(crate) fn asks(&self, model: &str, stream: bool, bytes: usize) {
        let _ = self.model.set(model.to_owned());
        self.stream.set(stream);
        self.bytes_in.set(bytes as u64);
    }

    /// The status that the client was sent; the first counts.
    pub(crate) fn status(&self, status: u16) {
        if self.status.get() == 0 {
            self.status.set(status);
        }
    }

    /// Bytes of the answer's body, so far.
    pub(crate) fn bytes_out(&self, bytes: u64) {
        self.bytes_out.set(bytes);
    }

    /// The upstream's own name of the last attempt.
    pub(crate) fn upstream_id(&self, id: Option<String>) {
        self.upstream_id.replace(id);
    }

    /// How the engine says that it ended, in ids of this directory.
    pub(crate) fn ended(&self, verdict: Verdict, trail: Trail, directory: Current) {
        if !Rc::ptr_eq(&directory, &self.directory) {
            // A request ends once.
            let _ = self.later.set(directory);
        }
        self.ended.replace(Some((verdict, trail)));
    }

    /// It is cut off because the gateway ends.
    pub(crate) fn shut_down(&self) {
        self.shut_down.set(true);
    }
}

/// An entry that is being filled in. Dropping it leaves the line.
pub(crate) struct AccessLog {
    entry: Entry,
    local: Rc<Local>,
    clock: Clock,
}

impl AccessLog {
    /// A request begins.
    pub(crate) fn new(
        local: &Rc<Local>,
        clock: Clock,
        directory: Current,
        request_id: String,
    ) -> Rc<Self> {
        local.request_begins();
        let entry = Entry::new(directory, request_id, clock.now());
        Rc::new(Self { entry, local: local.clone(), clock })
    }
}

impl Deref for AccessLog {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.entry.gone.set(self.clock.now());
        self.local.request_ends(&self.entry);
    }
}
