//! Reading a stream on its way to the client: when it begins to be an answer, what it used, whether
//! it ended as it must.
//!
//! Pure. What says nothing yet is held back, so that an attempt that fails before its first content
//! leaves the client untouched and another account can be asked.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use sluice_engine::Outcome;

use super::classify::classify_event;
use super::redact::Secrets;
use crate::protocol::Protocol;
use crate::protocol::answer::{Kind, UpstreamError, Usage};
use crate::protocol::error::ApiError;
use crate::protocol::json;
use crate::protocol::sse::{self, Event, Splitter};

/// The most bytes that are held back.
pub const PRELUDE_BYTES_MAX: usize = 256 * 1024;

/// A stream on its way. As long as no more than [`PRELUDE_BYTES_MAX`] are held back, what its steps
/// hand out, put together, does not depend on how the stream was cut into pieces.
#[derive(Debug, Default)]
pub struct Relay {
    protocol: Protocol,
    splitter: Splitter,
    prelude: BytesMut,
    /// The client's name for the model, if the upstream has another.
    model: Option<String>,
    /// What no error may repeat.
    secrets: Secrets,
    started: bool,
    stopped: bool,
    /// An event has followed the last one: nothing from there on is passed on.
    closed: bool,
    usage: Usage,
}

/// What to do after a piece of the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send these bytes, which may be none.
    Send(Bytes),
    /// The answer begins: send these bytes as its first.
    Start(Bytes),
    /// The upstream gave up before its first content; with what it said if it called the request wrong.
    Failed(Outcome, Option<ApiError>),
    /// The upstream gave up in the middle: send these bytes, which end with its error, and stop.
    Broken(Bytes),
}

impl Relay {
    /// The beginning of a stream from an upstream whose errors may not repeat these secrets; with the
    /// client's name for the model, if the upstream has another.
    #[must_use]
    pub fn new(protocol: Protocol, model: Option<String>, secrets: Secrets) -> Self {
        Self { protocol, model, secrets, ..Self::default() }
    }

    /// The answer has begun.
    #[must_use]
    pub const fn started(&self) -> bool {
        self.started
    }

    /// The answer is whole.
    #[must_use]
    pub const fn stopped(&self) -> bool {
        self.stopped
    }

    /// What the upstream has said so far.
    #[must_use]
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// Takes in a piece of the stream. Nothing may follow a piece on which the upstream gave up.
    pub fn push(&mut self, chunk: Bytes) -> Step {
        if self.closed {
            return Step::Send(Bytes::new());
        }
        let Ok(whole) = self.splitter.push(chunk) else {
            if self.started {
                return self.break_off(&[], None);
            }
            return Step::Failed(Outcome::ServerError { status: 502 }, None);
        };
        let mut edited = Edited { whole: &whole, bytes: BytesMut::new(), done: 0 };
        let (mut content, mut end) = (self.started, whole.len());
        for event in sse::events(&whole) {
            if self.stopped && self.protocol.ends_with_stop() {
                self.closed = true;
                end = offset(&whole, event.raw);
                break;
            }
            let kind = self.protocol.kind(&event);
            self.protocol.note(&mut self.usage, kind, &event.data);
            if let Some(renamed) = self.renamed(kind, &event) {
                edited.replace(event.raw, &renamed);
            }
            match kind {
                Kind::Start | Kind::Ping => {}
                Kind::Content | Kind::Delta => content = true,
                Kind::Stop => {
                    content = true;
                    self.stopped = true;
                }
                Kind::Error | Kind::Failed => {
                    if !content {
                        return self.fail(&event.data);
                    }
                    self.started = true;
                    let at = offset(&whole, event.raw);
                    let error = self.protocol.upstream_error(&event.data);
                    let tells = |error: &UpstreamError| self.secrets.are_in(&error.message);
                    if kind == Kind::Error || error.as_ref().is_some_and(tells) {
                        return self.break_off(&edited.up_to(at), error);
                    }
                    let mut bytes = std::mem::take(&mut self.prelude);
                    let end = at + event.raw.len();
                    let failed = edited.up_to(end);
                    bytes.extend_from_slice(&self.secrets.hidden(&failed));
                    return Step::Broken(bytes.freeze());
                }
            }
        }
        let bytes = edited.up_to(end);
        if self.started {
            return Step::Send(bytes);
        }
        self.prelude.extend_from_slice(&bytes);
        if !content && self.prelude.len() <= PRELUDE_BYTES_MAX {
            return Step::Send(Bytes::new());
        }
        self.started = true;
        Step::Start(std::mem::take(&mut self.prelude).freeze())
    }

    fn fail(&self, data: &[u8]) -> Step {
        let (outcome, refusal) = classify_event(self.protocol, data);
        Step::Failed(outcome, refusal.map(|refusal| self.secrets.told(refusal)))
    }

    fn break_off(&mut self, before: &[u8], error: Option<UpstreamError>) -> Step {
        let told = ApiError::new(502, "api_error", "The upstream's answer broke off");
        let told = match error {
            Some(error) => ApiError {
                kind: Cow::Owned(error.kind),
                message: Cow::Owned(error.message),
                ..told
            },
            None => told,
        };
        let told = self.secrets.told(told);
        let mut bytes = std::mem::take(&mut self.prelude);
        bytes.extend_from_slice(before);
        bytes.extend_from_slice(&told.to_event(self.protocol));
        Step::Broken(bytes.freeze())
    }

    /// The event with the client's name for the model, if it is to have that.
    fn renamed(&self, kind: Kind, event: &Event<'_>) -> Option<Bytes> {
        let model = self.model.as_deref()?;
        let at = self.protocol.model_in(kind)?;
        let data = std::str::from_utf8(&event.data).ok()?;
        let data = json::replace_string(data, at, model)?.replace(['\r', '\n'], " ");
        let name = std::str::from_utf8(event.name).ok()?;
        Some(if name.is_empty() { sse::unnamed(&data) } else { sse::event(name, &data) })
    }
}

/// A run of whole events, some of which are replaced. Nothing is copied if none is.
struct Edited<'a> {
    whole: &'a Bytes,
    /// What stands for the first `done` bytes of `whole`; not used while that is 0.
    bytes: BytesMut,
    done: usize,
}

impl Edited<'_> {
    fn replace(&mut self, raw: &[u8], new: &[u8]) {
        let at = offset(self.whole, raw);
        self.bytes.extend_from_slice(&self.whole[self.done..at]);
        self.bytes.extend_from_slice(new);
        self.done = at + raw.len();
    }

    fn up_to(mut self, end: usize) -> Bytes {
        if self.done == 0 {
            return self.whole.slice(..end);
        }
        self.bytes.extend_from_slice(&self.whole[self.done..end]);
        self.bytes.freeze()
    }
}

/// Where `part`, a slice of `whole`, begins in it.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use proptest::prelude::*;

    const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":\
        {\"model\":\"up\",\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\n";
    const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";
    const DELTA: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\"}\n\n";
    const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    const ERROR: &str = "event: error\ndata: {\"type\":\"error\",\"error\":\
        {\"type\":\"overloaded_error\",\"message\":\"no\"}}\n\n";

    fn bytes(parts: &[&str]) -> Bytes {
        Bytes::from(parts.concat())
    }

    #[test]
    fn what_says_nothing_is_held_back_until_there_is_content() {
        let mut relay = Relay::default();
        assert_eq!(relay.push(bytes(&[START])), Step::Send(Bytes::new()));
        assert_eq!(relay.push(bytes(&[PING])), Step::Send(Bytes::new()));
        assert_eq!(relay.push(bytes(&[&DELTA[..9]])), Step::Send(Bytes::new()));
        assert!(!relay.started());
        assert_eq!(relay.push(bytes(&[&DELTA[9..]])), Step::Start(bytes(&[START, PING, DELTA])));
        assert_eq!(relay.push(bytes(&[DELTA, STOP])), Step::Send(bytes(&[DELTA, STOP])));
        assert!(relay.started() && relay.stopped());
        assert_eq!(relay.usage().input_tokens, 5);
    }

    #[test]
    fn an_error_before_content_is_a_failed_attempt() {
        let mut relay = Relay::default();
        let failed = Step::Failed(Outcome::Overloaded { retry_after: None }, None);
        assert_eq!(relay.push(bytes(&[START, PING, ERROR])), failed);
    }

    #[test]
    fn an_error_after_content_is_passed_on_as_the_last_event() {
        let mut relay = Relay::default();
        relay.push(bytes(&[START, DELTA]));
        let told = "event: error\ndata: {\"type\":\"error\",\"error\":\
                    {\"type\":\"overloaded_error\",\"message\":\"no\"}}\n\n";
        assert_eq!(relay.push(bytes(&[DELTA, ERROR, DELTA])), Step::Broken(bytes(&[DELTA, told])));
        let mut at_once = Relay::default();
        let step = at_once.push(bytes(&[START, DELTA, ERROR]));
        assert_eq!(step, Step::Broken(bytes(&[START, DELTA, told])));
        assert!(at_once.started());
    }

    #[test]
    fn no_credential_is_passed_on_in_an_error() {
        for (protocol, before, last) in [
            (Protocol::Anthropic, DELTA, ERROR),
            (
                Protocol::OpenAi,
                "event: response.output_text.delta\ndata: {}\n\n",
                "event: response.failed\ndata: {\"response\":{\"error\":{\"message\":\"no\"}}}\n\n",
            ),
        ] {
            let mut relay =
                Relay::new(protocol, None, Secrets::new([Secret::new("no".to_owned())]));
            let Step::Broken(sent) = relay.push(bytes(&[before, last])) else {
                panic!("the upstream gave up");
            };
            assert_eq!(sent, bytes(&[before, &last.replace("\"no\"", "\"***\"")]));
        }
        let secrets = Secrets::new([Secret::new("a/b".to_owned())]);
        let mut relay = Relay::new(Protocol::OpenAi, None, secrets);
        let escaped = "event: response.failed\ndata: {\"response\":{\"error\":\
                       {\"code\":\"c\",\"message\":\"a\\/b\"}}}\n\n";
        let delta = "event: response.output_text.delta\ndata: {}\n\n";
        let Step::Broken(sent) = relay.push(bytes(&[delta, escaped])) else {
            panic!("the upstream gave up");
        };
        let told = ApiError::new(502, "c", "***").to_event(Protocol::OpenAi);
        assert_eq!(sent[delta.len()..], told);
    }

    #[test]
    fn after_the_last_event_only_comments_pass() {
        let comment = ": still here\n\n";
        let mut relay = Relay::default();
        let step = relay.push(bytes(&[START, DELTA, STOP, comment, ERROR, DELTA]));
        assert_eq!(step, Step::Start(bytes(&[START, DELTA, STOP, comment])));
        assert!(relay.stopped());
        assert_eq!(relay.push(bytes(&[START, DELTA])), Step::Send(Bytes::new()));
        let mut pieces = Relay::default();
        pieces.push(bytes(&[START, DELTA, STOP]));
        assert_eq!(pieces.push(bytes(&[comment])), Step::Send(bytes(&[comment])));
        assert_eq!(pieces.push(bytes(&[ERROR])), Step::Send(Bytes::new()));
    }

    #[test]
    fn the_client_sees_its_own_name_for_the_model() {
        let mut relay =
            Relay::new(Protocol::Anthropic, Some("mine".to_owned()), Secrets::default());
        let step = relay.push(bytes(&[PING, START, DELTA]));
        let mine = START.replace("\"up\"", "\"mine\"");
        assert_eq!(step, Step::Start(bytes(&[PING, &mine, DELTA])));
    }

    #[test]
    fn the_client_sees_its_own_name_for_the_model_in_an_answer_that_breaks_off() {
        let mut relay =
            Relay::new(Protocol::Anthropic, Some("mine".to_owned()), Secrets::default());
        let Step::Broken(sent) = relay.push(bytes(&[START, DELTA, START, PING, ERROR, STOP]))
        else {
            panic!("the upstream gave up");
        };
        let mine = START.replace("\"up\"", "\"mine\"");
        let told = ApiError::new(502, "overloaded_error", "no").to_event(Protocol::Anthropic);
        let told = std::str::from_utf8(&told).expect("an event is text");
        assert_eq!(sent, bytes(&[&mine, DELTA, &mine, PING, told]));
    }

    #[test]
    fn whole_events_of_an_answer_are_passed_on_as_the_bytes_that_came() {
        let mut relay =
            Relay::new(Protocol::Anthropic, Some("mine".to_owned()), Secrets::default());
        relay.push(bytes(&[START, DELTA]));
        let chunk = bytes(&[DELTA, PING, DELTA]);
        let Step::Send(sent) = relay.push(chunk.clone()) else { panic!("the answer goes on") };
        assert_eq!((sent.as_ptr(), sent.len()), (chunk.as_ptr(), chunk.len()));
    }

    /// What becomes of a stream that comes in these pieces: the bytes sent, how it ended, what it
    /// said.
    fn relayed(
        model: Option<&str>,
        bytes: &Bytes,
        cuts: &[usize],
    ) -> (Vec<u8>, Option<Step>, [bool; 2], Usage) {
        let mut relay =
            Relay::new(Protocol::Anthropic, model.map(str::to_owned), Secrets::default());
        let (mut sent, mut end) = (Vec::new(), None);
        for pair in cuts.windows(2) {
            match relay.push(bytes.slice(pair[0]..pair[1])) {
                Step::Send(bytes) | Step::Start(bytes) => sent.extend_from_slice(&bytes),
                Step::Broken(bytes) => {
                    sent.extend_from_slice(&bytes);
                    end = Some(Step::Broken(Bytes::new()));
                }
                failed @ Step::Failed(..) => end = Some(failed),
            }
            if end.is_some() {
                break;
            }
        }
        (sent, end, [relay.started(), relay.stopped()], relay.usage())
    }

    fn piece() -> impl Strategy<Value = String> {
        let said = |n: u64| {
            format!("event: message_delta\r\ndata: {{\"usage\":{{\"output_tokens\":{n}}}}}\r\n\r\n")
        };
        prop_oneof![
            4 => prop::sample::select(vec![START, PING, DELTA, STOP, ": note\n\n", "\r", "\n", "data: x"])
                .prop_map(str::to_owned),
            2 => any::<u64>().prop_map(said),
            1 => Just(START.replace("event: message_start\n", "").replace('\n', "\r")),
            1 => Just(ERROR.to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_is_relayed_alike(
            pieces in prop::collection::vec(piece(), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            renamed: bool,
        ) {
            let bytes = Bytes::from(pieces.concat());
            let model = renamed.then_some("mine");
            let uncut = relayed(model, &bytes, &[0, bytes.len()]);
            let mut cuts: Vec<usize> = cuts.iter().map(|at| at.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            prop_assert_eq!(&relayed(model, &bytes, &cuts), &uncut);
            let every: Vec<usize> = (0..=bytes.len()).collect();
            prop_assert_eq!(relayed(model, &bytes, &every), uncut);
        }
    }

    #[test]
    fn a_prelude_without_end_is_let_through() {
        let mut relay = Relay::default();
        let pings = bytes(&[PING; 2 * PRELUDE_BYTES_MAX / PING.len()]);
        assert_eq!(relay.push(pings.clone()), Step::Start(pings));
    }
}
