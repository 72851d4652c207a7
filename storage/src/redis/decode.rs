//! What scripts answer, and what they push.

use sluice_engine::ledger::LineView;
use sluice_engine::ledger::history::Line;
use sluice_engine::store::{
    Candidate, Cause, Grant, Home, HomeState, Instance, Limit, SESSION, Surveyed,
};
use sluice_engine::{AccountId, ModelId, NodeId, PoolId, Span, StoreReply, Tag};

use super::operator::NodeView;
use super::text::{Malformed, parse_gate, parse_id, parse_lease};

/// The reply that an answer is, a list of texts.
///
/// # Errors
/// The answer is none of these scripts'.
pub fn decode(answer: &[String]) -> Result<StoreReply, Malformed> {
    let mut fields = Fields(answer.iter());
    let reply = match fields.text()? {
        "lost" => StoreReply::Lost,
        "joined" => {
            let node = NodeId(fields.id()?);
            StoreReply::Joined { node, session: SESSION, epoch: fields.epoch()?, stand_in: false }
        }
        "taken" => StoreReply::Taken { node: NodeId(fields.id()?) },
        "alive" => {
            let (leases, epoch) = (fields.number()?, fields.epoch()?);
            let mut members = Vec::with_capacity(fields.0.len());
            while !fields.is_empty() {
                members.push(NodeId(fields.id()?));
            }
            StoreReply::Alive { members, epoch, leases }
        }
        "done" => StoreReply::Done,
        "held" => StoreReply::Held {
            gate: parse_gate(fields.text()?)?,
            tag: Tag(fields.id()?),
            probe: fields.flag()?,
        },
        "waiting" => StoreReply::Waiting {
            position: fields.number()?,
            tag: Tag(fields.id()?),
            opens_in: fields.option(Fields::span)?,
        },
        "full" => StoreReply::Full,
        "shut" => StoreReply::Shut { opens_in: fields.option(Fields::span)? },
        "left" => StoreReply::Left,
        "surveyed" => StoreReply::Surveyed(Box::new(surveyed(&mut fields)?)),
        "home" => StoreReply::Home(fields.option(|f| f.id().map(AccountId))?),
        "reaped" => StoreReply::Reaped { more: fields.flag()? },
        other => return Err(Malformed(format!("{other:?}"))),
    };
    if fields.is_empty() { Ok(reply) } else { Err(Malformed(format!("{answer:?}"))) }
}

/// The grant that a message on a node's channel is.
///
/// # Errors
/// The message is none of these scripts'.
pub fn decode_grant(node: NodeId, message: &str) -> Result<Grant, Malformed> {
    let (key, gate) = message.split_once(' ').ok_or_else(|| Malformed(message.into()))?;
    let lease = parse_lease(&super::text::id(node.0), key)?;
    Ok(Grant { lease, gate: parse_gate(gate)? })
}

/// Who holds and waits for what, as the view script answers.
///
/// # Errors
/// The answer is not that script's.
pub fn decode_view(answer: &[String]) -> Result<Vec<LineView>, Malformed> {
    let mut fields = Fields(answer.iter());
    let mut views = Vec::new();
    while !fields.is_empty() {
        views.push(line_view(&mut fields)?);
    }
    Ok(views)
}

/// The nodes that an answer lists.
///
/// # Errors
/// The answer is none of these scripts'.
pub(super) fn decode_nodes(answer: &[String]) -> Result<Vec<NodeView>, Malformed> {
    let mut fields = Fields(answer.iter());
    let mut nodes = Vec::new();
    while !fields.is_empty() {
        let (node, instance) = (NodeId(fields.id()?), fields.text()?);
        nodes.push(NodeView { node, instance: Instance(instance.into()) });
    }
    Ok(nodes)
}

/// The store's identity: where its counter began, and which run of which server it is.
#[must_use]
pub fn epoch(first: u64, run: u64) -> u64 {
    first ^ run
}

struct Fields<'a>(std::slice::Iter<'a, String>);

impl<'a> Fields<'a> {
    fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    fn text(&mut self) -> Result<&'a str, Malformed> {
        self.0.next().map(String::as_str).ok_or_else(|| Malformed("it ends too early".into()))
    }

    fn number<N: std::str::FromStr>(&mut self) -> Result<N, Malformed> {
        let text = self.text()?;
        text.parse().map_err(|_| Malformed(format!("no number: {text:?}")))
    }

    fn id(&mut self) -> Result<u64, Malformed> {
        parse_id(self.text()?)
    }

    fn flag(&mut self) -> Result<bool, Malformed> {
        Ok(self.text()? == "1")
    }

    fn span(&mut self) -> Result<Span, Malformed> {
        self.number().map(Span)
    }

    /// Nothing is an empty text.
    fn option<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.0.as_slice().first().is_some_and(String::is_empty) {
            self.text()?;
            return Ok(None);
        }
        parse(self).map(Some)
    }

    fn epoch(&mut self) -> Result<u64, Malformed> {
        let first = self.number()?;
        // Forty hexadecimal digits drawn by the server when it started.
        let run = self.text()?;
        let digits = run.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        digits.map(|run| epoch(first, run)).ok_or_else(|| Malformed(format!("no run id: {run:?}")))
    }

    fn cause(&mut self) -> Result<Cause, Malformed> {
        let text = self.text()?;
        let all = [Cause::RateLimited, Cause::Overloaded, Cause::Ejected, Cause::Quarantined];
        let known = all.into_iter().find(|cause| super::encode::cause(*cause) == text);
        known.ok_or_else(|| Malformed(format!("no cause: {text:?}")))
    }
}

fn surveyed(fields: &mut Fields<'_>) -> Result<Surveyed, Malformed> {
    let mut surveyed = Surveyed {
        open: fields.number()?,
        opens_in: fields.option(Fields::span)?,
        first: fields.option(|f| f.id().map(AccountId))?,
        ..Surveyed::default()
    };
    let home = fields.option(|f| f.id().map(AccountId))?;
    let (state, span, line) = (fields.text()?, fields.span()?, fields.number()?);
    let state = match state {
        "room" => HomeState::Room,
        "full" => HomeState::Full,
        "shut" => HomeState::Shut(span),
        _ => HomeState::Gone,
    };
    surveyed.home = home.map(|account| Home { account, state, line });
    while !fields.is_empty() {
        let candidate = Candidate {
            account: AccountId(fields.id()?),
            priority: fields.number()?,
            load_pct: fields.number()?,
            last_assigned: fields.number()?,
        };
        let fits = surveyed.best.try_push(candidate);
        fits.map_err(|_| Malformed("more accounts than asked for".into()))?;
    }
    Ok(surveyed)
}

fn line_view(fields: &mut Fields<'_>) -> Result<LineView, Malformed> {
    let name = fields.text()?;
    let line = match name.strip_prefix('p') {
        Some(pool) => Line::Pool(PoolId(parse_id(pool)?)),
        None => Line::Gate(parse_gate(name)?),
    };
    let limit = fields.option(Fields::number::<i64>)?.map(|slots| match u32::try_from(slots) {
        Ok(0) => Limit::Closed,
        Ok(slots) => Limit::Slots(slots),
        Err(_) => Limit::Unlimited,
    });
    let counts: [usize; 3] = [fields.number()?, fields.number()?, fields.number()?];
    let mut view =
        LineView { line, limit, held: Vec::new(), waiting: Vec::new(), closed: Vec::new() };
    for _ in 0..counts[0] {
        let lease = parse_lease(fields.text()?, fields.text()?)?;
        view.held.push((lease, fields.span()?, fields.flag()?));
    }
    for _ in 0..counts[1] {
        let tag = Tag(fields.id()?);
        let lease = parse_lease(fields.text()?, fields.text()?)?;
        view.waiting.push((lease, tag, fields.span()?));
    }
    for _ in 0..counts[2] {
        let model = fields.option(|f| f.id().map(ModelId))?;
        view.closed.push((model, fields.cause()?, fields.span()?));
    }
    Ok(view)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(fields: &[&str]) -> Vec<String> {
        fields.iter().map(|field| (*field).to_owned()).collect()
    }

    #[test]
    fn what_no_script_answers_is_refused() {
        for fields in [
            &["held"][..],
            &["done", "1"],
            &["held", "x11", "11", "0"],
            &["waiting", "-1", "11", ""],
            &["joined", "11", "5", "no run"],
            &["what"],
            &[],
        ] {
            assert!(decode(&answer(fields)).is_err(), "{fields:?}");
        }
        assert!(decode_grant(NodeId(1), "1111").is_err());
        assert!(decode_view(&answer(&["u11"])).is_err());
    }

    #[test]
    fn nothing_and_something_are_told_apart() {
        let tag = Tag(1);
        let waiting = |opens_in| StoreReply::Waiting { position: 2, tag, opens_in };
        assert_eq!(decode(&answer(&["waiting", "2", "11", ""])), Ok(waiting(None)));
        assert_eq!(decode(&answer(&["waiting", "2", "11", "0"])), Ok(waiting(Some(Span(0)))));
    }

    #[test]
    fn a_home_is_as_the_script_says() {
        let home = |state: &str| {
            let fields = ["surveyed", "2", "", "", "15", state, "7", "3", "16", "1", "50", "9"];
            let Ok(StoreReply::Surveyed(surveyed)) = decode(&answer(&fields)) else {
                panic!("{state} is a state")
            };
            assert_eq!((surveyed.open, surveyed.best[0].account), (2, AccountId(6)));
            surveyed.home.map(|home| (home.account, home.state, home.line))
        };
        for (word, state) in [
            ("room", HomeState::Room),
            ("full", HomeState::Full),
            ("shut", HomeState::Shut(Span(7))),
            ("gone", HomeState::Gone),
        ] {
            assert_eq!(home(word), Some((AccountId(5), state, 3)));
        }
    }

    #[test]
    fn nodes_are_told_with_their_names() {
        let view =
            |node, name: &str| NodeView { node: NodeId(node), instance: Instance(name.into()) };
        let two = answer(&["11", "a/0", "12", "b/0"]);
        assert_eq!(decode_nodes(&two), Ok(vec![view(1, "a/0"), view(2, "b/0")]));
        assert_eq!(decode_nodes(&[]), Ok(Vec::new()));
        assert!(decode_nodes(&answer(&["11"])).is_err());
    }

    #[test]
    fn another_beginning_or_another_run_is_another_epoch() {
        let all = [epoch(4, 2), epoch(4, 3), epoch(1, 2), epoch(4, 6)];
        let distinct: std::collections::BTreeSet<u64> = all.into_iter().collect();
        assert_eq!(distinct.len(), 4, "{all:?}");
    }
}
