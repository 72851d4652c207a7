//! `sluice key`: what it prints goes into a configuration as it is.

use std::io::Write as _;
use std::process::{Command, Stdio};

use sluice_runtime_tokio::config::Config;

/// What `sluice key …` prints, given this on standard input; `None` if it fails.
fn key(arguments: &[&str], input: &str) -> Option<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    let command = command.arg("key").args(arguments);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    // A program that reads nothing may have ended already.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("the program ends");
    output.status.success().then(|| String::from_utf8(output.stdout).expect("UTF-8"))
}

fn is_good(line: &str, group: &str) {
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[[groups]]\nname = {group}\n\
         [[users]]\nname = \"alice\"\nconcurrency = 1\nkeys = [{line}]\n"
    );
    let config = Config::parse(&text, 1).expect("the line fits");
    assert_eq!(config.users[0].keys.len(), 1);
}

#[test]
fn a_new_key_is_random_and_its_line_is_that_of_its_hash() {
    let printed = key(&["new"], "").expect("it prints");
    let (secret, line) = printed.trim_end().split_once('\n').expect("two lines");
    assert!(secret.starts_with("sk-") && secret.len() == 46, "{secret}");
    assert!(!line.contains(secret) && !line.contains('\n'), "{line}");
    is_good(line, "\"main\"");
    assert_eq!(key(&["hash"], &format!("{secret}\n")).as_deref(), Some(&*format!("{line}\n")));
    assert_ne!(key(&["new"], "").expect("it prints"), printed);
}

#[test]
fn a_group_can_be_named() {
    let line = key(&["hash", "--group", "a \"b\" \\c"], "sk-alice").expect("it prints");
    let hash = "099295a3784e1bd368dc348843a7398c1931b6b8ec2504c73e91ed2040bdc46c";
    assert_eq!(line, format!("{{ sha256 = \"{hash}\", group = \"a \\\"b\\\" \\\\c\" }}\n"));
    is_good(&line, "'a \"b\" \\c'");
}

#[test]
fn what_is_no_key_is_refused() {
    for input in ["", "\n", "two words\n", &"k".repeat(4097)] {
        assert_eq!(key(&["hash"], input), None, "{input}");
    }
}
