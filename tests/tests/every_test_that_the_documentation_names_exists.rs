//! `docs/protocols.md` says of each box of the flow chart which tests show it. They are there, and
//! no box is left out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Boxes by what their names begin with: the first and last number, and those with a suffix.
const BOXES: [(&str, u32, u32, &[&str]); 8] = [
    (
        "GA",
        0,
        20,
        &[
            "1E", "2E", "3E", "5E", "6E", "7E", "10Y", "10N", "11E1", "11E2", "12Y", "13E1",
            "13E2", "15Y", "15N",
        ],
    ),
    (
        "OA",
        0,
        18,
        &["1E", "2E", "3E", "4N", "4Y", "6E", "7E", "8E", "10E1", "10E2", "11E1", "11E2"],
    ),
    (
        "GM",
        0,
        19,
        &["1E", "2E", "3E", "4E", "6E", "7E", "8E", "11E1", "11E2", "12E1", "12E2", "14Y", "14N"],
    ),
    ("GT", 0, 5, &["1E", "2E", "3E", "4E"]),
    ("GL", 0, 5, &["1E", "2Y", "3Y", "3E", "4E"]),
    ("S", 0, 8, &["3Y", "3N", "6A", "6AY", "6AN", "7A", "7B", "7C", "7CY", "8A", "8B"]),
    ("W", 0, 6, &[]),
    ("Q", 1, 6, &["2Y"]),
];

/// What has no test yet says so.
const NOT_YET: &str = "not served yet";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn boxes() -> Vec<String> {
    let one = |(prefix, first, last, more): &(&str, u32, u32, &[&str])| {
        let numbered = (*first..=*last).map(|n| format!("{prefix}{n}"));
        numbered.chain(more.iter().map(|rest| format!("{prefix}{rest}"))).collect::<Vec<_>>()
    };
    BOXES.iter().flat_map(one).collect()
}

/// The last cell of each row whose first is a box.
fn rows(document: &str) -> BTreeMap<&str, &str> {
    let mut rows = BTreeMap::new();
    for line in document.lines() {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let is_box = |name: &str| {
            let number = name.trim_start_matches(|c: char| c.is_ascii_uppercase());
            number.len() < name.len() && number.starts_with(|c: char| c.is_ascii_digit())
        };
        if let [name, _, shown_by] = cells[..]
            && is_box(name)
        {
            assert_eq!(rows.insert(name, shown_by), None, "{name} has two rows");
        }
    }
    rows
}

/// What stands between backticks and names a test: its file, and its name.
fn tests_in(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('`').skip(1).step_by(2).filter_map(|quoted| {
        let (file, test) = quoted.split_once("::")?;
        file.contains('/').then_some((file, test))
    })
}

/// Whether the source of this kind has a test of this name.
fn has_test(file: &str, source: &str, test: &str) -> bool {
    match file.rsplit_once('.') {
        Some((_, "rs")) => {
            let head = format!("fn {test}(");
            let mut befores = source.match_indices(&head).map(|(at, _)| source[..at].trim_end());
            befores.any(|before| before.ends_with("#[test]"))
        }
        Some((_, "py")) => test.starts_with("test_") && source.contains(&format!("def {test}(")),
        Some(_) | None => false,
    }
}

#[test]
fn in_the_tables_of_the_flow_chart() {
    let document = fs::read_to_string(root().join("docs/protocols.md")).expect("it is there");
    let rows = rows(&document);
    let mut expected = boxes();
    expected.sort_unstable();
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), expected);
    for (name, shown_by) in rows {
        let named = tests_in(shown_by).count();
        assert!(named > 0 || shown_by == NOT_YET, "{name} is shown by nothing");
    }
    for (file, test) in tests_in(&document) {
        let source = fs::read_to_string(root().join(file));
        let source = source.unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(has_test(file, &source, test), "{file} has no test {test}");
    }
}

#[test]
fn a_name_that_is_no_test_is_found_out() {
    let rust = "#[test]\nfn one() {}\nfn two() {}\n";
    assert!(has_test("a/b.rs", rust, "one"));
    assert!(!has_test("a/b.rs", rust, "two"), "no test");
    assert!(!has_test("a/b.rs", rust, "on"));
    assert!(has_test("a/b.py", "    def test_one(self):", "test_one"));
    assert!(!has_test("a/b.py", "def one():", "one"));
    let text = "see `a/b.rs::one` and `Self::two`, `a/c.py::test_three`";
    assert_eq!(tests_in(text).collect::<Vec<_>>(), [("a/b.rs", "one"), ("a/c.py", "test_three")]);
}
