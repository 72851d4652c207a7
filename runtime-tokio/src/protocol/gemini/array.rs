//! A stream as one JSON array, for clients that did not ask for events.

use bytes::{Bytes, BytesMut};

use crate::protocol::sse;

/// Between two signs of life nothing is said; white space says nothing in JSON.
const SPACE: &[u8] = b"\n";

/// An array on its way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Array {
    begun: bool,
}

impl Array {
    /// Whole events as elements. Comments become white space.
    #[must_use]
    pub fn elements(&mut self, events: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(events.len());
        for event in sse::events(events) {
            out.extend_from_slice(if self.begun { b",\r\n" } else { b"[" });
            out.extend_from_slice(&event.data);
            self.begun = true;
        }
        if out.is_empty() { Bytes::from_static(SPACE) } else { out.freeze() }
    }

    /// The end.
    #[must_use]
    pub const fn end(&self) -> Bytes {
        Bytes::from_static(if self.begun { b"\r\n]" } else { b"[]" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_and_white_space_make_an_array() {
        let all = |runs: &[&str]| {
            let mut array = Array::default();
            let mut out: Vec<u8> = Vec::new();
            for run in runs {
                out.extend_from_slice(&array.elements(run.as_bytes()));
            }
            out.extend_from_slice(&array.end());
            serde_json::from_slice::<serde_json::Value>(&out).expect("JSON").to_string()
        };
        assert_eq!(all(&[]), "[]");
        assert_eq!(
            all(&["\n\n", "data: {\"a\":1}\n\ndata: 2\n\n", ": x\n\n", "data: 3\n\n"]),
            "[{\"a\":1},2,3]"
        );
    }
}
