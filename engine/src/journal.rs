//! The recorded life of an engine: snapshots, the events after them, and a digest of every action.
//!
//! A journal is bounded: it keeps the newest segments, each a snapshot and the events since. It holds
//! sizes, ids and digests only, never a body or a credential, because events hold nothing else.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::action::Action;
use crate::drive::Tap;
use crate::engine::Engine;
use crate::event::Event;
use crate::time::Time;

/// A SHA-256, chained over all actions so far in their canonical encoding (postcard).
pub type Digest = [u8; 32];

/// One event as it was handled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// When.
    pub at: Time,
    /// What.
    pub event: Event,
    /// How often the engine was polled afterwards, before the next event.
    pub polls: u32,
    /// The digest after those polls.
    pub digest: Digest,
}

/// A snapshot and what came after it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Segment {
    /// The engine before the first event.
    pub snapshot: Engine,
    /// The digest at that time.
    pub digest: Digest,
    /// The events.
    pub events: Vec<Recorded>,
}

/// See the module's documentation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Journal {
    segments: VecDeque<Segment>,
    digest: Digest,
    events_max: usize,
    segments_max: usize,
}

/// A replay that did something else than the journal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diverged {
    /// The segment, from 0.
    pub segment: usize,
    /// The event in it, from 0.
    pub event: usize,
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the replay diverges after event {} of segment {}", self.event, self.segment)
    }
}

impl core::error::Error for Diverged {}

impl Journal {
    /// A journal of at most `segments_max` segments of `events_max` events; both at least 1.
    #[must_use]
    pub fn new(events_max: usize, segments_max: usize) -> Self {
        Self {
            segments: VecDeque::new(),
            digest: [0; 32],
            events_max: events_max.max(1),
            segments_max: segments_max.max(1),
        }
    }

    /// The digest of every action so far.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The segments kept, oldest first.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter()
    }

    /// Replays every segment from its snapshot.
    ///
    /// # Errors
    /// Where an engine acts otherwise than the recorded one did.
    pub fn replay(&self) -> Result<(), Diverged> {
        for (n, segment) in self.segments.iter().enumerate() {
            segment.replay().map_err(|event| Diverged { segment: n, event })?;
        }
        Ok(())
    }
}

impl Segment {
    /// Replays from the snapshot.
    ///
    /// # Errors
    /// The index of the event after which an engine acts otherwise than the recorded one did.
    pub fn replay(&self) -> Result<Engine, usize> {
        let mut engine = self.snapshot.clone();
        let mut digest = self.digest;
        for (n, recorded) in self.events.iter().enumerate() {
            engine.handle(recorded.at, recorded.event.clone());
            for _ in 0..recorded.polls {
                if let Some(action) = engine.poll_action() {
                    digest = chain(digest, &action);
                }
            }
            if digest != recorded.digest {
                return Err(n);
            }
        }
        Ok(engine)
    }
}

impl Tap for Journal {
    fn event(&mut self, engine: &Engine, now: Time, event: &Event) {
        let full = |segment: &Segment| segment.events.len() >= self.events_max;
        if self.segments.back().is_none_or(full) {
            if self.segments.len() >= self.segments_max {
                self.segments.pop_front();
            }
            let snapshot = engine.clone();
            let digest = self.digest;
            self.segments.push_back(Segment { snapshot, digest, events: Vec::new() });
        }
        if let Some(segment) = self.segments.back_mut() {
            let (event, digest) = (event.clone(), self.digest);
            segment.events.push(Recorded { at: now, event, polls: 0, digest });
        }
    }

    fn polled(&mut self, action: Option<&Action>) {
        if let Some(action) = action {
            self.digest = chain(self.digest, action);
        }
        let newest = self.segments.back_mut().and_then(|segment| segment.events.last_mut());
        if let Some(recorded) = newest {
            recorded.polls += 1;
            recorded.digest = self.digest;
        }
    }
}

fn chain(digest: Digest, action: &Action) -> Digest {
    let bytes = postcard::to_allocvec(action).expect("actions are plain data");
    let mut hash = Sha256::new();
    hash.update(digest);
    hash.update(&bytes);
    hash.finalize().into()
}
