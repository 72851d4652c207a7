//! The short log: one line a transition, in fixed columns (milliseconds, node, request, what), to be
//! read with eyes; and the digest over it, by which two runs are compared.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use sluice_engine::ledger::history::{Entry, Fact};
use sluice_engine::store::{Define, Enter, Resync, SessionChange, Surveyed, Want};
use sluice_engine::{LeaseId, RequestId, StoreFault, StoreOp, StoreReply, Time};

use crate::history::{History, Record, What};

/// The whole log.
#[must_use]
pub fn short_log(history: &History) -> String {
    let mut log = String::with_capacity(history.records.len() * 80);
    for record in &history.records {
        log.push_str(&line(record));
        log.push('\n');
    }
    log
}

/// A SHA-256 over the log, in hexadecimal.
#[must_use]
pub fn digest(history: &History) -> String {
    let mut hash = Sha256::new();
    for record in &history.records {
        hash.update(line(record).as_bytes());
        hash.update(b"\n");
    }
    let mut text = String::with_capacity(64);
    for byte in hash.finalize() {
        write!(text, "{byte:02x}").expect("a string takes what is written");
    }
    text
}

/// One record as one line.
#[must_use]
pub fn line(record: &Record) -> String {
    let (node, req, what) = columns(&record.what);
    let Time(us) = record.at;
    let node = node.map_or_else(|| "store".into(), |n| format!("n{n}"));
    let ms = format!("{}.{:03}", us / 1_000, us % 1_000);
    format!("{ms:>12} {node:<5} {:<8} {what}", req.unwrap_or_default())
}

fn of(req: RequestId) -> Option<String> {
    Some(req.to_string())
}

fn of_lease(lease: LeaseId) -> Option<String> {
    Some(format!("{}.{}", lease.request, lease.attempt))
}

type Columns = (Option<usize>, Option<String>, String);

fn columns(what: &What) -> Columns {
    match what {
        What::Applying { .. }
        | What::Fact(_)
        | What::Applied { .. }
        | What::Forgot
        | What::StoreAway(_)
        | What::ClockStep(_) => store_columns(what),
        What::Sent { node, call, op } => {
            let (req, words) = op_words(op);
            (Some(*node), req, format!("-> {call} {words}"))
        }
        What::Told { node, call, result } => {
            (Some(*node), None, format!("<- {call} {}", result_words(result)))
        }
        What::Hinted { node, lease, gate } => {
            (Some(*node), of_lease(*lease), format!("<- hint: granted {gate} to {lease}"))
        }
        What::Arrived { node, req } => (Some(*node), of(*req), "ARRIVED".into()),
        What::Abandoned { node, req } => (Some(*node), of(*req), "client gone".into()),
        What::BillingAsked { node, req } => (Some(*node), of(*req), "billing?".into()),
        What::Billed { node, req, result } => {
            (Some(*node), of(*req), format!("billing says {result:?}"))
        }
        What::Pinged { node, req } => (Some(*node), of(*req), "ping".into()),
        What::Finished { node, req, verdict, trail } => (
            Some(*node),
            of(*req),
            format!("FINISHED {verdict:?} after {} steps", trail.steps.len()),
        ),
        What::Opened { node, req, attempt, account } => {
            (Some(*node), Some(format!("{req}.{attempt}")), format!("OPENED at {account}"))
        }
        What::Started { node, req, attempt } => {
            (Some(*node), Some(format!("{req}.{attempt}")), "first byte".into())
        }
        What::Cancelled { node, req, attempt } => {
            (Some(*node), Some(format!("{req}.{attempt}")), "cancel".into())
        }
        What::Closed { node, req, attempt, outcome } => {
            (Some(*node), Some(format!("{req}.{attempt}")), format!("CLOSED {outcome:?}"))
        }
        What::Launched { node, roster } => {
            (Some(*node), None, format!("*** launched with roster {roster}"))
        }
        What::Crashed { node } => (Some(*node), None, "*** crashed".into()),
        What::Froze { node } => (Some(*node), None, "*** froze".into()),
        What::Thawed { node } => (Some(*node), None, "*** thawed".into()),
        What::Reloaded { node, roster } => (Some(*node), None, format!("*** roster {roster}")),
        What::Seen(seen) => (None, seen.req().and_then(of), seen.to_string()),
        What::Healed => (None, None, "*** all faults end".into()),
        What::Broken { how } => (None, None, format!("*** BROKEN {how}")),
        What::Over { quiet, why } => {
            let how = if *quiet { "at rest" } else { "NOT at rest: " };
            (None, None, format!("*** over, {how}{why}"))
        }
    }
}

fn store_columns(what: &What) -> Columns {
    if let What::Applying { from, call, op, raw, clock } = what {
        let (req, words) = op_words(op);
        let from = from.map_or_else(|| "operator".into(), |n| format!("n{n}"));
        let ahead = raw.0.abs_diff(clock.0) / 1_000;
        return (None, req, format!("apply {from} {call} {words} (clocks {ahead} ms apart)"));
    }
    if let What::Fact(entry) = what {
        let (req, words) = fact_words(entry);
        return (None, req, format!("  {words}"));
    }
    if let What::Applied { reply, due, .. } = what {
        let due = if *due { ", more due" } else { "" };
        return (None, None, format!("  = {}{due}", reply_words(reply)));
    }
    let words = if let What::ClockStep(us) = what {
        format!("*** clock set by {} ms", us / 1_000)
    } else if let What::StoreAway(away) = what {
        (if *away { "*** is away" } else { "*** is back" }).into()
    } else {
        "*** has forgotten everything".into()
    };
    (None, None, words)
}

fn op_words(op: &StoreOp) -> (Option<String>, String) {
    match op {
        StoreOp::Enter(enter) => (of_lease(enter.lease), enter_words(enter)),
        StoreOp::Leave { lease, mark, fence } => {
            let fence = if *fence { " fenced" } else { "" };
            let mark = mark.map_or_else(String::new, |m| format!(" {m:?}"));
            (of_lease(*lease), format!("Leave {lease}{fence}{mark}"))
        }
        StoreOp::Join { replaces, resume, .. } => {
            (None, format!("Join replaces {replaces:?} resume {resume}"))
        }
        StoreOp::Beat { node, settled, in_flight } => {
            (None, format!("Beat {node} {settled}+{in_flight}"))
        }
        StoreOp::Resync(resync) => (None, resync_words(resync)),
        StoreOp::Define(Define { version, discipline, .. }) => {
            (None, format!("Define {} {discipline:?}", version.stamp))
        }
        StoreOp::Survey { pool, model, session, excluded, .. } => {
            let session = if session.is_some() { " session" } else { "" };
            (None, format!("Survey {pool} {model}{session} excluded {excluded:?}"))
        }
        StoreOp::Session { key, change, if_home } => {
            let change = match change {
                SessionChange::Bind(account, _) => format!("Bind {account}"),
                SessionChange::Touch(_) => "Touch".into(),
                SessionChange::Drop => "Drop".into(),
            };
            (None, format!("{change} session {:02x?} if home {if_home:?}", &key.0[..3]))
        }
        StoreOp::Health { account, model, change } => {
            (None, format!("Health {account} {model:?} {change:?}"))
        }
        StoreOp::Reap { max } => (None, format!("Reap {max}")),
    }
}

fn enter_words(enter: &Enter) -> String {
    let want = match &enter.want {
        Want::User { user, limit, line_max, .. } => format!("{user} {limit:?} line {line_max}"),
        Want::Gate { account, model, line_max } => format!("{account} {model} line {line_max}"),
        Want::Pool { pool, model, best, excluded, line_max } => {
            let best: Vec<u64> = best.iter().map(|a| a.0).collect();
            let excluded: Vec<u64> = excluded.iter().map(|a| a.0).collect();
            format!("{pool} {model} best {best:?} excluded {excluded:?} line {line_max:?}")
        }
    };
    let tag = enter.tag.map_or_else(String::new, |t| format!(" at {t}"));
    let patience = enter.patience.map_or(0, |p| p.as_ms());
    format!("Enter {} {want}{tag} patience {patience} ms", enter.lease)
}

fn resync_words(resync: &Resync) -> String {
    let held: Vec<_> = resync.held.iter().map(|h| h.lease.to_string()).collect();
    let waiting: Vec<_> = resync.waiting.iter().map(|w| w.lease.to_string()).collect();
    let busy: Vec<_> = resync.busy.iter().map(|lease| lease.to_string()).collect();
    let last = if resync.last { " last" } else { "" };
    format!(
        "Resync {} as of {} held {held:?} waiting {waiting:?} busy {busy:?}{last}",
        resync.node, resync.as_of
    )
}

fn result_words(result: &Result<StoreReply, StoreFault>) -> String {
    match result {
        Ok(reply) => reply_words(reply),
        Err(fault) => format!("FAULT {fault:?}"),
    }
}

fn reply_words(reply: &StoreReply) -> String {
    if let StoreReply::Surveyed(surveyed) = reply {
        let Surveyed { best, first, home, open, opens_in } = &**surveyed;
        let best: Vec<_> = best.iter().map(|c| (c.account.0, c.load_pct)).collect();
        let first = first.map(|a| a.0);
        let home = home.map(|h| (h.account.0, h.state, h.line));
        return format!("Surveyed {best:?} first {first:?} home {home:?} open {open} {opens_in:?}");
    }
    format!("{reply:?}")
}

fn fact_words(entry: &Entry) -> (Option<String>, String) {
    match &entry.fact {
        Fact::Granted { lease, gate, tag, way, held, limit, .. } => (
            of_lease(*lease),
            format!("granted {lease} {gate} at {tag} {way:?}, {held} of {limit:?}"),
        ),
        Fact::Claimed { lease, gate } => (of_lease(*lease), format!("claimed {lease} {gate}")),
        Fact::Ended { lease, gate, how } => {
            (of_lease(*lease), format!("ended {lease} {gate} {how:?}"))
        }
        Fact::Queued { lease, line, tag } => {
            (of_lease(*lease), format!("queued {lease} {line:?} at {tag}"))
        }
        Fact::Unqueued { lease, line } => (of_lease(*lease), format!("unqueued {lease} {line:?}")),
        Fact::Left { lease, fence } => (of_lease(*lease), format!("left {lease} fence {fence}")),
        Fact::Renamed { from, to } => (of_lease(*from), format!("renamed {from} {to}")),
        Fact::Probing { account, model, lease } => {
            (of_lease(*lease), format!("probing {account} {model:?} by {lease}"))
        }
        other @ (Fact::Joined { .. }
        | Fact::Beaten { .. }
        | Fact::Limited { .. }
        | Fact::Closed { .. }
        | Fact::ProbeEnded { .. }
        | Fact::Proved { .. }) => (None, format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_fixed_columns() {
        let at = Time(12_345_678);
        let what = What::Arrived { node: 1, req: RequestId(7) };
        assert_eq!(line(&Record { at, what }), "   12345.678 n1    r7       ARRIVED");
        let line = line(&Record { at, what: What::Healed });
        assert_eq!(line, "   12345.678 store          *** all faults end");
    }
}
