//! `sluice check` on configurations that are wrong in every way, in none, or no TOML at all.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn sluice_in(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    let command = command.args(arguments).current_dir(folder);
    let command = command.env_remove("SLUICE_NOT_SET").env_remove("EXAMPLE_KEY");
    command.env("ANTHROPIC_API_KEY", "sk-example").output().expect("the program starts")
}

fn sluice(arguments: &[&str]) -> Output {
    sluice_in(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")), arguments)
}

#[test]
fn the_list_is_exact_and_holds_no_secret() {
    let output = sluice(&["check", "--config", "many-mistakes.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "standard output is for what is right");
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(told, include_str!("data/many-mistakes.txt"));
    assert!(include_str!("data/many-mistakes.toml").contains("SECRET"));
    assert!(!told.contains("SECRET"), "{told}");
}

#[test]
fn serving_tells_the_same() {
    let output = sluice(&["serve", "--config", "many-mistakes.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(told, include_str!("data/many-mistakes.txt"));
}

#[test]
fn what_is_no_toml_is_told_by_line_and_column_without_the_line_itself() {
    let output = sluice(&["check", "--config", "no-toml.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    let want = "no-toml.toml:5:18: this is no TOML: invalid basic string, expected `\"`\n\
                sluice: 1 mistake in no-toml.toml\n";
    assert_eq!(told, want);
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let output = sluice(&["check", "--config", "no-such.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(told.starts_with("no-such.toml: cannot be read: "), "{told}");
}

#[test]
fn a_good_file_is_summed_up_with_its_warnings() {
    let output = sluice(&["check", "--config", "good.toml"]);
    let warnings = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{warnings}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), include_str!("data/good.txt"));
    let want = "good.toml:8: groups[1].name = \"spare\": no account is in this group; its users \
                are served by nobody (warning)\n";
    assert_eq!(warnings, want);
}

#[test]
fn it_prints_what_the_document_says() {
    let document = include_str!("../../docs/configuration.md");
    let block = |kind: &str, n: usize| {
        let begin = format!("```{kind}\n");
        let block = document.split(&begin).nth(n + 1).expect("a block of that kind");
        block.split("```").next().expect("split gives one at least").to_owned()
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("document");
    fs::create_dir_all(&folder).expect("a folder");
    let printed = |text: &str| {
        fs::write(folder.join("sluice.toml"), text).expect("a file");
        let Output { stdout, stderr, .. } =
            sluice_in(&folder, &["check", "--config", "sluice.toml"]);
        [stdout, stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8")).concat()
    };
    assert_eq!(printed(&block("toml", 0)), block("text", 0));
    assert_eq!(printed(include_str!("../../sluice.example.toml")), block("text", 1));
}
