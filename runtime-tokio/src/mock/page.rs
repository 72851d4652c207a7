//! What has been seen, for programs and for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use sluice_engine::Time;

use super::{Mock, Stats};

/// `GET /_mock/stats`
pub(super) fn stats(mock: &Mock) -> Value {
    let one = |(key, stats): (String, Stats)| {
        let value = json!({
            "requests": stats.requests, "open": stats.open, "open_max": stats.open_max,
            "limit": mock.behaviour(&key).and_then(|behaviour| behaviour.limit),
            "violations": stats.violations, "left": stats.left,
            "answers": counts(&stats.answers), "faults": counts(&stats.faults),
        });
        (key, value)
    };
    let keys: Map<_, _> = mock.book.all().into_iter().map(one).collect();
    let one = |(id, calls)| (id, json!({"token_calls": calls}));
    let clients: Map<_, _> = mock.issuer.calls().into_iter().map(one).collect();
    json!({"connections": mock.connections(), "keys": keys, "clients": clients})
}

/// `GET /_mock/left`
pub(super) fn left(mock: &Mock) -> Value {
    let departures = mock.departures();
    let one = |left: &super::Departure| json!({"key": left.key, "at_ms": ms(left.at)});
    json!({"now_ms": ms(mock.book.now()), "left": departures.iter().map(one).collect::<Vec<_>>()})
}

/// To the microsecond.
fn ms(time: Time) -> f64 {
    time.0 as f64 / 1000.0
}

fn counts<K: ToString>(counts: &BTreeMap<K, u64>) -> Map<String, Value> {
    counts.iter().map(|(what, count)| (what.to_string(), json!(count))).collect()
}

/// `GET /`: the same as a table that renews itself.
pub(super) fn html(mock: &Mock) -> String {
    let mut page = HEAD.to_owned();
    for (key, stats) in mock.book.all() {
        let limit = mock.behaviour(&key).and_then(|behaviour| behaviour.limit);
        let limit = limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
        let bad = if stats.violations > 0 { " class=\"bad\"" } else { "" };
        let Stats { requests, open, open_max, left, violations, .. } = stats;
        // Writing to a string cannot fail.
        let _ = writeln!(
            page,
            "<tr{bad}><th>{}</th><td class=\"max\">{open_max}</td><td>{limit}</td><td>{open}</td>\
             <td>{violations}</td><td>{requests}</td><td>{left}</td><td>{}</td><td>{}</td></tr>",
            escaped(&key),
            listed(&stats.answers),
            listed(&stats.faults),
        );
    }
    let _ = writeln!(page, "</tbody></table><p>{} connections were made.</p>", mock.connections());
    page
}

fn listed<K: ToString>(counts: &BTreeMap<K, u64>) -> String {
    let one = |(what, count): (&K, &u64)| format!("{}: {count}", what.to_string());
    counts.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A key is whatever a client has sent.
fn escaped(text: &str) -> String {
    let safe = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    safe.replace('"', "&quot;")
}

const HEAD: &str = "<!doctype html>
<html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"2\">
<title>Mock upstream</title>
<style>
body { font: 15px sans-serif; margin: 2em }
table { border-collapse: collapse }
th, td { padding: .3em .8em; text-align: right; border-bottom: 1px solid #ccc }
tbody th { text-align: left; font-family: monospace }
.max { font-size: 1.8em; font-weight: bold }
.bad .max { color: #b00 }
</style></head><body>
<h1>Mock upstream</h1>
<p>What this upstream has seen, key by key. Red: more at once than the key tolerates.
For programs: <a href=\"/_mock/stats\">/_mock/stats</a>, <a href=\"/_mock/left\">/_mock/left</a>.</p>
<table><thead><tr><th>key</th><th>most at once</th><th>limit</th><th>open now</th>
<th>violations</th><th>requests</th><th>clients that left</th><th>answers</th><th>faults</th></tr>
</thead><tbody>
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_write_into_the_page() {
        assert_eq!(escaped("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }

    #[test]
    fn times_are_exact_to_the_microsecond() {
        assert_eq!(json!(ms(Time(12_345_678))).to_string(), "12345.678");
    }
}
