//! One request as one line of JSON. Written by hand, into a buffer that is used again and again:
//! there is a line for every request.

use sluice_engine::trail::{Decision, Layer, Passed, Trail};
use sluice_engine::{AccountId, Outcome, Owner, Span, StoreFault, Time, Verdict};

use super::Entry;
use crate::directory::Account;

/// The status of a request whose client went away before there was a head.
const STATUS_LEFT: u16 = 499;

/// What stands before a field's value; the fields before it are ended by its comma.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

impl Entry {
    /// Adds its line.
    pub(crate) fn write_line(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        push_time(out, self.arrived);
        out.push(b'"');
        text(out, key!("request_id"), Some(&self.request_id));
        text(out, key!("path"), self.path.get().map(String::as_str));
        let owner = self.owner.get();
        let user = owner.and_then(|owner| self.directory.users.get(&owner.user));
        text(out, key!("user"), user.map(|user| &*user.name));
        let group = owner.and_then(|owner| self.directory.groups.get(&owner.group));
        text(out, key!("group"), group.map(String::as_str));
        if let Some(model) = self.model.get() {
            text(out, key!("model"), Some(model));
            out.extend_from_slice(key!("stream").as_bytes());
            out.extend_from_slice(if self.stream.get() { b"true" } else { b"false" });
        }
        let ended = self.ended.borrow();
        let (verdict, trail) = ended.as_ref().map_or((None, None), |(v, t)| (Some(*v), Some(t)));
        self.write_end(out, verdict);
        if let Some((verdict, trail)) = &*ended {
            self.write_way(out, *verdict, trail);
        }
        let total = self.gone.get().since(self.arrived);
        number(out, key!("total_ms"), total.as_ms());
        if trail.is_some() {
            let usage = self.usage.get();
            number(out, key!("input_tokens"), usage.input_tokens);
            number(out, key!("output_tokens"), usage.output_tokens);
            number(out, key!("cache_read_tokens"), usage.cache_read_input_tokens);
            number(out, key!("cache_write_tokens"), usage.cache_creation_input_tokens);
        }
        number(out, key!("bytes_in"), self.bytes_in.get());
        number(out, key!("bytes_out"), self.bytes_out.get());
        text(out, key!("upstream_id"), self.upstream_id.borrow().as_deref());
        if let Some(trail) = trail {
            out.extend_from_slice(key!("trail").as_bytes());
            out.push(b'"');
            self.push_trail(out, trail);
            out.push(b'"');
        }
        out.extend_from_slice(b"}\n");
    }

    /// Status, whose fault, and what it came to.
    fn write_end(&self, out: &mut Vec<u8>, verdict: Option<Verdict>) {
        let status = match self.status.get() {
            0 => STATUS_LEFT,
            status => status,
        };
        number(out, key!("status"), status.into());
        let (owner, name, number) = if self.shut_down.get() {
            ("policy", "shutting_down", None)
        } else if let Some(verdict) = verdict {
            let (name, number) = verdict_name(verdict);
            (owner_name(verdict.owner()), name, number)
        } else {
            // Never came before the engine.
            match status {
                STATUS_LEFT => ("client", "abandoned", None),
                0..400 => ("nobody", "answered", None),
                400..500 => ("client", "refused", None),
                500.. => ("policy", "refused", None),
            }
        };
        text(out, key!("owner"), Some(owner));
        out.extend_from_slice(key!("verdict").as_bytes());
        out.push(b'"');
        push_name(out, name, number);
        out.push(b'"');
    }

    /// Where it went, and where its time went.
    fn write_way(&self, out: &mut Vec<u8>, verdict: Verdict, trail: &Trail) {
        let way = Way::of(trail, self.gone.get());
        let account = if let Verdict::Intercepted { account } = verdict {
            Some(account)
        } else {
            way.account
        };
        let account = account.and_then(|id| self.account(id));
        text(out, key!("account"), account.map(|account| &*account.name));
        number(out, key!("attempts"), way.attempts);
        number(out, key!("queue_ms"), way.queue.as_ms());
        number(out, key!("schedule_ms"), way.schedule.as_ms());
        number(out, key!("upstream_ms"), way.upstream.as_ms());
        if let Some(at) = way.started {
            number(out, key!("first_token_ms"), at.since(self.arrived).as_ms());
        }
    }

    /// The steps in short, each with the milliseconds since the arrival.
    fn push_trail(&self, out: &mut Vec<u8>, trail: &Trail) {
        for (n, step) in trail.steps.iter().enumerate() {
            if n > 0 {
                out.push(b' ');
            }
            self.push_step(out, step.what);
            out.push(b'@');
            push_number(out, step.at.since(self.arrived).as_ms());
        }
        if trail.dropped > 0 {
            out.extend_from_slice(b" +");
            push_number(out, trail.dropped.into());
        }
    }

    fn push_step(&self, out: &mut Vec<u8>, what: Decision) {
        let (name, number, account, rest) = match what {
            Decision::Arrived => ("arrived", None, None, None),
            Decision::UserQueued { position } => ("user_queued", Some(position.into()), None, None),
            Decision::UserHeld => ("user_held", None, None, None),
            Decision::Billed => ("billed", None, None, None),
            Decision::Chosen { layer, account } => (chosen_name(layer), None, account, None),
            Decision::HomePassed { home, why } => {
                ("home_passed", None, Some(home), Some((passed_name(why), None)))
            }
            Decision::Queued { position } => ("queued", Some(position.into()), None, None),
            Decision::Doubt { fault: StoreFault::Refused } => ("doubt:refused", None, None, None),
            Decision::Doubt { fault: StoreFault::Unknown } => ("doubt:unknown", None, None, None),
            Decision::Doubt { fault: StoreFault::Away } => ("doubt:away", None, None, None),
            Decision::Disbelieved => ("disbelieved", None, None, None),
            Decision::Forwarded { attempt, account } => {
                ("forwarded", Some(attempt.0.into()), Some(account), None)
            }
            Decision::Started { attempt } => ("started", Some(attempt.0.into()), None, None),
            Decision::Ended { attempt, outcome } => {
                ("ended", Some(attempt.0.into()), None, Some(outcome_name(outcome)))
            }
            Decision::Bound { account } => ("bound", None, Some(account), None),
        };
        out.extend_from_slice(name.as_bytes());
        if let Some(number) = number {
            out.push(b':');
            push_number(out, number);
        }
        if let Some(account) = account {
            out.push(b':');
            self.push_account(out, account);
        }
        if let Some((name, number)) = rest {
            out.push(b':');
            push_name(out, name, number);
        }
    }

    fn account(&self, id: AccountId) -> Option<&Account> {
        let known = [Some(&self.directory), self.later.get()];
        known.into_iter().flatten().find_map(|directory| directory.accounts.get(&id)).map(|a| &**a)
    }

    fn push_account(&self, out: &mut Vec<u8>, id: AccountId) {
        match self.account(id) {
            Some(account) => push_escaped(out, &account.name),
            None => push_number(out, id.0),
        }
    }
}

/// What a trail says as a whole.
#[derive(Default)]
struct Way {
    /// The last one that it was sent to.
    account: Option<AccountId>,
    attempts: u64,
    /// Waiting for the user's slot.
    queue: Span,
    /// From there to the last forward, without the attempts: waiting for an account.
    schedule: Span,
    /// Sent to an upstream, all attempts together.
    upstream: Span,
    started: Option<Time>,
}

impl Way {
    fn of(trail: &Trail, end: Time) -> Self {
        let mut way = Self::default();
        let arrived = trail.steps.first().map_or(end, |step| step.at);
        // Where the time that passes belongs; it is added when that changes.
        let (mut since, mut held, mut open) = (arrived, false, false);
        for step in &trail.steps {
            let (was_held, was_open) = (held, open);
            match step.what {
                Decision::UserHeld => held = true,
                Decision::Forwarded { account, .. } => {
                    open = true;
                    way.account = Some(account);
                    way.attempts += 1;
                }
                Decision::Started { .. } => way.started = way.started.or(Some(step.at)),
                Decision::Ended { .. } => open = false,
                Decision::Arrived
                | Decision::Chosen { .. }
                | Decision::UserQueued { .. }
                | Decision::Billed
                | Decision::HomePassed { .. }
                | Decision::Queued { .. }
                | Decision::Doubt { .. }
                | Decision::Disbelieved
                | Decision::Bound { .. } => {}
            }
            if (was_held, was_open) != (held, open) {
                way.add(was_held, was_open, step.at.since(since));
                since = step.at;
            }
        }
        // After the last attempt nothing is waited for, unless there was none.
        if open || way.attempts == 0 {
            way.add(held, open, end.since(since));
        }
        way
    }

    fn add(&mut self, held: bool, open: bool, span: Span) {
        let phase = match (held, open) {
            (_, true) => &mut self.upstream,
            (true, false) => &mut self.schedule,
            (false, false) => &mut self.queue,
        };
        *phase = Span(phase.0 + span.0);
    }
}

const fn owner_name(owner: Owner) -> &'static str {
    match owner {
        Owner::Nobody => "nobody",
        Owner::Client => "client",
        Owner::Policy => "policy",
        Owner::Upstream => "upstream",
        Owner::Store => "store",
    }
}

const fn verdict_name(verdict: Verdict) -> (&'static str, Option<u16>) {
    let name = match verdict {
        Verdict::Upstream { outcome, .. } => return outcome_name(outcome),
        Verdict::Intercepted { .. } => "intercepted",
        Verdict::UserLineFull => "user_line_full",
        Verdict::UserWaitTimeout => "user_wait_timeout",
        Verdict::UserClosed => "user_closed",
        Verdict::BillingDenied(_) => "billing_denied",
        Verdict::NoAccounts => "no_accounts",
        Verdict::AllShut { .. } => "all_shut",
        Verdict::AccountLineFull => "account_line_full",
        Verdict::AccountWaitTimeout => "account_wait_timeout",
        Verdict::StoreUnavailable => "store_unavailable",
        Verdict::Overloaded => "overloaded",
        Verdict::SessionLost => "session_lost",
        Verdict::Abandoned => "abandoned",
    };
    (name, None)
}

/// A name, and the status that belongs to it.
const fn outcome_name(outcome: Outcome) -> (&'static str, Option<u16>) {
    match outcome {
        Outcome::Completed => ("completed", None),
        Outcome::ClientError { status } => ("client_error", Some(status)),
        Outcome::RateLimited { .. } => ("rate_limited", None),
        Outcome::Overloaded { .. } => ("upstream_overloaded", None),
        Outcome::ServerError { status } => ("server_error", Some(status)),
        Outcome::Unauthorized { status } => ("unauthorized", Some(status)),
        Outcome::Unable { status } => ("unable", Some(status)),
        Outcome::Unreachable => ("unreachable", None),
        Outcome::Truncated => ("truncated", None),
        Outcome::Cancelled => ("cancelled", None),
    }
}

const fn chosen_name(layer: Layer) -> &'static str {
    match layer {
        Layer::Sticky => "chosen:sticky",
        Layer::Load => "chosen:load",
        Layer::Fallback => "chosen:fallback",
        Layer::Legacy => "chosen:legacy",
    }
}

const fn passed_name(why: Passed) -> &'static str {
    match why {
        Passed::LineFull => "line_full",
        Passed::Patience => "patience",
        Passed::Shut => "shut",
        Passed::Gone => "gone",
        Passed::Failed => "failed",
    }
}

/// A field, if there is a value.
#[inline]
fn text(out: &mut Vec<u8>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        out.extend_from_slice(key.as_bytes());
        out.push(b'"');
        push_escaped(out, value);
        out.push(b'"');
    }
}

#[inline]
fn number(out: &mut Vec<u8>, key: &str, value: u64) {
    out.extend_from_slice(key.as_bytes());
    push_number(out, value);
}

fn push_name(out: &mut Vec<u8>, name: &str, number: Option<u16>) {
    out.extend_from_slice(name.as_bytes());
    if let Some(number) = number {
        out.push(b'_');
        push_number(out, number.into());
    }
}

/// The inside of a JSON string.
fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    // Nearly always nothing is, which is quickly told of all bytes at once.
    if !text.bytes().fold(false, |any, byte| any | special(byte)) {
        return out.extend_from_slice(text.as_bytes());
    }
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&digits);
            }
            _ => out.push(byte),
        }
    }
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    if number < 10 {
        return out.push(digit(number));
    }
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while number > 0 {
        at -= 1;
        digits[at] = digit(number);
        number /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

/// The last digit of a number.
const fn digit(number: u64) -> u8 {
    b'0' + (number % 10) as u8
}

/// As RFC 3339 has it, in UTC, with milliseconds.
fn push_time(out: &mut Vec<u8>, Time(us): Time) {
    let (ms, secs) = (us / 1_000 % 1_000, us / 1_000_000);
    let (year, month, day) = date(secs / 86_400);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    // Each number with the place behind its last digit.
    let parts = [
        (year, 4),
        (month, 7),
        (day, 10),
        (secs / 3_600 % 24, 13),
        (secs / 60 % 60, 16),
        (secs % 60, 19),
        (ms, 23),
    ];
    for (mut number, mut at) in parts {
        while number > 0 && at > 0 {
            at -= 1;
            text[at] = digit(number);
            number /= 10;
        }
    }
    out.extend_from_slice(&text);
}

/// Year, month and day of so many days after 1970-01-01. Years are counted from March here, so that
/// the leap day is the last of its year.
const fn date(days: u64) -> (u64, u64, u64) {
    /// Of 400 years.
    const ERA: u64 = 146_097;
    /// From 0000-03-01 to 1970-01-01.
    const BEFORE_1970: u64 = 719_468;
    let days = days + BEFORE_1970;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day + 2) / 153;
    let day = day - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (400 * era + year + if month <= 2 { 1 } else { 0 }, month, day)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use serde_json::{Value, json};
    use sluice_engine::Attempt;

    use super::*;
    use crate::auth::KeyOwner;
    use crate::config::Config;
    use crate::directory::{Directory, account_id, group_id, user_id};

    const ARRIVED: Time = Time(1_700_000_000_123_456);

    fn entry() -> Entry {
        let text = r#"
            server = { listen = "127.0.0.1:0" }
            groups = [{ name = "main" }]
            users = [{ name = "a \"b\" \\ é", concurrency = 1 }]
            [[accounts]]
            name = "x\\y"
            base_url = "http://h"
            api_key = "k"
            concurrency = 1
            groups = ["main"]
        "#;
        let directory = Directory::new(&Config::parse(text, 1).expect("good")).expect("good");
        Entry::new(Rc::new(Arc::new(directory)), "req-1".to_owned(), ARRIVED)
    }

    fn line(entry: &Entry) -> Value {
        let mut out = b"before\n".to_vec();
        entry.write_line(&mut out);
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (2, "before"), "{text}");
        serde_json::from_str(lines[1]).expect("a JSON line")
    }

    fn after(ms: u64) -> Time {
        ARRIVED + Span::from_ms(ms)
    }

    fn trail(steps: &[(u64, Decision)]) -> Trail {
        let mut trail = Trail::default();
        steps.iter().for_each(|&(ms, what)| trail.push(after(ms), what));
        trail
    }

    #[test]
    fn a_request_that_was_served_at_the_second_attempt() {
        let account = account_id("x\\y");
        let entry = entry();
        entry.owner(KeyOwner { user: user_id("a \"b\" \\ é"), group: group_id("main") });
        entry.asks("m\u{1}", true, 77);
        entry.status(200);
        entry.status(500);
        entry.bytes_out(99);
        entry.upstream_id(Some("up".to_owned()));
        entry.gone.set(after(131));
        let failed = Outcome::ServerError { status: 500 };
        let (first, second) = (Attempt(1), Attempt(2));
        let steps = [
            (2, Decision::Arrived),
            (2, Decision::UserQueued { position: 3 }),
            (12, Decision::UserHeld),
            (12, Decision::Chosen { layer: Layer::Load, account: Some(account) }),
            (15, Decision::Forwarded { attempt: first, account }),
            (45, Decision::Ended { attempt: first, outcome: failed }),
            (50, Decision::Forwarded { attempt: second, account }),
            (60, Decision::Started { attempt: second }),
            (130, Decision::Ended { attempt: second, outcome: Outcome::Completed }),
        ];
        let verdict = Verdict::Upstream { account, attempt: second, outcome: Outcome::Completed };
        entry.ended(verdict, trail(&steps), entry.directory.clone());
        let want = json!({
            "time": "2023-11-14T22:13:20.123Z", "request_id": "req-1", "user": "a \"b\" \\ é",
            "group": "main", "model": "m\u{1}", "stream": true, "status": 200, "owner": "nobody",
            "verdict": "completed", "account": "x\\y", "attempts": 2, "queue_ms": 10,
            "schedule_ms": 8, "upstream_ms": 110, "first_token_ms": 60, "total_ms": 131,
            "input_tokens": 0, "output_tokens": 0, "cache_read_tokens": 0,
            "cache_write_tokens": 0, "bytes_in": 77, "bytes_out": 99, "upstream_id": "up",
            "trail": "arrived@2 user_queued:3@2 user_held@12 chosen:load:x\\y@12 \
                      forwarded:1:x\\y@15 ended:1:server_error_500@45 forwarded:2:x\\y@50 \
                      started:2@60 ended:2:completed@130",
        });
        assert_eq!(line(&entry), want);
    }

    #[test]
    fn a_request_that_never_came_before_the_engine() {
        let one = |status| {
            let entry = entry();
            entry.status(status);
            let line = line(&entry);
            let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            (line["status"].as_u64(), field("owner"), field("verdict"))
        };
        let is = |status, owner: &str, verdict: &str| {
            (Some(status), owner.to_owned(), verdict.to_owned())
        };
        assert_eq!(one(0), is(499, "client", "abandoned"));
        assert_eq!(one(200), is(200, "nobody", "answered"));
        assert_eq!(one(413), is(413, "client", "refused"));
        assert_eq!(one(503), is(503, "policy", "refused"));
    }

    #[test]
    fn time_spent_waiting_in_vain_is_shown_where_it_was_spent() {
        let way = |steps: &[(u64, Decision)]| {
            let way = Way::of(&trail(steps), after(1_000));
            (way.queue.as_ms(), way.schedule.as_ms(), way.upstream.as_ms())
        };
        let (attempt, account) = (Attempt(1), account_id("x\\y"));
        let arrived = (0, Decision::Arrived);
        let held = (300, Decision::UserHeld);
        let forwarded = (400, Decision::Forwarded { attempt, account });
        assert_eq!(way(&[arrived]), (1_000, 0, 0));
        assert_eq!(way(&[arrived, held]), (300, 700, 0));
        assert_eq!(way(&[arrived, held, forwarded]), (300, 100, 600));
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let shown = |secs: u64| {
            let mut out = Vec::new();
            push_time(&mut out, Time(secs * 1_000_000 + 7_999));
            String::from_utf8(out).expect("text")
        };
        // As `date -u -d @N +%FT%T` says.
        assert_eq!(shown(0), "1970-01-01T00:00:00.007Z");
        assert_eq!(shown(951_782_399), "2000-02-28T23:59:59.007Z");
        assert_eq!(shown(951_868_799), "2000-02-29T23:59:59.007Z");
        assert_eq!(shown(951_868_800), "2000-03-01T00:00:00.007Z");
        assert_eq!(shown(4_107_542_400), "2100-03-01T00:00:00.007Z");
        assert_eq!(shown(1_798_761_599), "2026-12-31T23:59:59.007Z");
    }
}
