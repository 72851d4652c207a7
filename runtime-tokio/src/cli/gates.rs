//! `sluice gates`: who holds and waits for what, since when, on which node.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use serde_json::{Value, json};
use sluice_storage::Watch as _;
use sluice_storage::redis::NodeView;

use super::store::{open, unanswered};
use crate::config::Config;
use crate::directory::Directory;
use crate::handler::admin;
use crate::serve::block_on;

/// Prints it.
///
/// # Errors
/// The store is in a gateway's memory, or cannot be asked.
#[expect(clippy::print_stdout, reason = "what a command answers belongs on standard output")]
pub(super) fn run(config: &Config, json: bool) -> io::Result<()> {
    let directory = Directory::new(config).map_err(io::Error::other)?;
    let (lines, nodes) = block_on(async {
        let store = open(config).await?;
        let lines = store.lines().await.map_err(unanswered)?;
        Ok((lines, store.nodes().await.map_err(unanswered)?))
    })?;
    let mut view = admin::gates(&lines, &directory);
    view["nodes"] = nodes_of(&nodes);
    if json {
        println!("{view}");
    } else {
        print!("{}", text(&view, &nodes));
    }
    Ok(())
}

fn nodes_of(nodes: &[NodeView]) -> Value {
    let one = |view: &NodeView| json!({"node": view.node.to_string(), "name": *view.instance.0});
    nodes.iter().map(one).collect()
}

/// One line for each gate, and below it one for each lease.
fn text(view: &Value, nodes: &[NodeView]) -> String {
    let names: BTreeMap<String, &str> =
        nodes.iter().map(|view| (view.node.to_string(), &*view.instance.0)).collect();
    let mut text = String::new();
    for gate in elements(view, "gates") {
        gate_lines(&mut text, gate, &names).expect("memory takes what is written");
    }
    if text.is_empty() {
        text += "nobody holds or waits for anything\n";
    }
    for node in nodes {
        writeln!(text, "node {} is {}", node.node, node.instance.0)
            .expect("memory takes what is written");
    }
    text
}

fn gate_lines(text: &mut String, gate: &Value, names: &BTreeMap<String, &str>) -> std::fmt::Result {
    let (held, waiting) = (elements(gate, "held"), elements(gate, "waiting"));
    let limit = known(&gate["limit"], " of ");
    let (kind, name) = (plain(&gate["kind"]), plain(&gate["name"]));
    writeln!(text, "{kind} {name}: {}{limit} held, {} waiting", held.len(), waiting.len())?;
    for closed in elements(gate, "closed") {
        let model = known(&closed["model"], " for ");
        let opens = seconds(&closed["opens_in_ms"]);
        writeln!(text, "  closed{model}: {}, opens in {opens}", plain(&closed["cause"]))?;
    }
    let named = |lease: &str| {
        let node = lease.split('.').next().unwrap_or_default();
        names.get(node).map_or_else(|| "a node that has ended".to_owned(), |name| (*name).into())
    };
    for lease in held {
        let name = plain(&lease["lease"]);
        let kind = if lease["claimed"] == true { "holds" } else { "granted" };
        writeln!(text, "  {kind} {name} since {} on {}", seconds(&lease["ms"]), named(&name))?;
    }
    for lease in waiting {
        let name = plain(&lease["lease"]);
        writeln!(text, "  waits {name} since {} on {}", seconds(&lease["ms"]), named(&name))?;
    }
    Ok(())
}

fn elements<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// The value behind this word, if there is one.
fn known(value: &Value, word: &str) -> String {
    if value.is_null() { String::new() } else { format!("{word}{}", plain(value)) }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Milliseconds as seconds.
fn seconds(ms: &Value) -> String {
    let ms = ms.as_u64().unwrap_or_default();
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

#[cfg(test)]
mod tests {
    use sluice_engine::NodeId;
    use sluice_engine::store::Instance;

    use super::*;

    #[test]
    fn each_lease_is_shown_with_its_node() {
        let nodes = [NodeView { node: NodeId(1), instance: Instance("left/0".into()) }];
        let view = json!({"gates": [
            {"kind": "account", "name": "first", "limit": 1,
             "held": [{"lease": "n1.r2.a1", "ms": 1234, "claimed": true}],
             "waiting": [{"lease": "n9.r2.a1", "ms": 5, "tag": 3}],
             "closed": [{"model": null, "cause": "RateLimited", "opens_in_ms": 30000}]},
            {"kind": "pool", "name": "main/anthropic/*", "limit": null,
             "held": [], "waiting": [], "closed": []},
        ]});
        assert_eq!(
            text(&view, &nodes),
            "account first: 1 of 1 held, 1 waiting\n  closed: RateLimited, opens in 30.000 s\n  \
             holds n1.r2.a1 since 1.234 s on left/0\n  \
             waits n9.r2.a1 since 0.005 s on a node that has ended\n\
             pool main/anthropic/*: 0 held, 0 waiting\nnode n1 is left/0\n"
        );
        assert_eq!(text(&json!({"gates": []}), &[]), "nobody holds or waits for anything\n");
    }
}
