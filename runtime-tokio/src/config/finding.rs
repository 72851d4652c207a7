//! What is to be said of a configuration: where, what stands there, and what to do about it.
//!
//! Findings are collected, not thrown: an operator is told of all of them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// One mistake, or one warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// From 1; `None` for the file as a whole.
    pub line: Option<usize>,
    /// From 1; only what is no TOML at all has one.
    pub column: Option<usize>,
    /// The field, such as `accounts[1].groups[0]`; empty for the file as a whole.
    pub path: String,
    /// What stands there, shortened. `None` where it may be secret, or where nothing stands.
    pub value: Option<String>,
    /// What is wrong, or what it must be.
    pub remedy: String,
}

impl Finding {
    /// Of a field, or with an empty path of the file as a whole.
    pub(crate) fn of(path: &str, remedy: String) -> Self {
        Self { line: None, column: None, path: path.to_owned(), value: None, remedy }
    }

    /// As a line for people, beginning with the place in this file.
    #[must_use]
    pub fn in_file(&self, file: Option<&Path>) -> String {
        let place = match (file.map(Path::display), self.line, self.column) {
            (Some(file), Some(line), Some(column)) => format!("{file}:{line}:{column}: "),
            (Some(file), Some(line), None) => format!("{file}:{line}: "),
            (Some(file), None, _) => format!("{file}: "),
            (None, Some(line), Some(column)) => format!("line {line}, column {column}: "),
            (None, Some(line), None) => format!("line {line}: "),
            (None, None, _) => String::new(),
        };
        let value = self.value.as_ref().map_or_else(String::new, |value| format!(" = {value}"));
        let colon = if self.path.is_empty() { "" } else { ": " };
        format!("{place}{}{value}{colon}{}", self.path, self.remedy)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.in_file(None))
    }
}

/// Everything that is wrong with a configuration, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, if it was read from one.
    pub file: Option<PathBuf>,
    /// At least one.
    pub mistakes: Vec<Finding>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, mistake) in self.mistakes.iter().enumerate() {
            let end = if n == 0 { "" } else { "\n" };
            write!(f, "{end}{}", mistake.in_file(self.file.as_deref()))?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl From<Finding> for ConfigError {
    fn from(mistake: Finding) -> Self {
        Self { file: None, mistakes: vec![mistake] }
    }
}

/// Collects findings, and knows where every field stands.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The line of every field that was seen.
    lines: BTreeMap<String, usize>,
    /// The fields that have a mistake. One mistake a field: what follows from it is not told.
    wrong: BTreeSet<String>,
    mistakes: Vec<Finding>,
    warnings: Vec<Finding>,
}

impl Report {
    /// A field stands at this line.
    pub(super) fn seen(&mut self, path: &str, line: usize) {
        self.lines.insert(path.to_owned(), line);
    }

    /// The line of a field, or of the nearest thing around it.
    pub(super) fn line(&self, path: &str) -> Option<usize> {
        outwards(path).find_map(|path| self.lines.get(path).copied())
    }

    /// Whether a field, or something in it, has a mistake.
    pub(super) fn is_wrong(&self, path: &str) -> bool {
        let mut from = self.wrong.range(path.to_owned()..).take_while(|p| p.starts_with(path));
        from.any(|wrong| matches!(wrong.as_bytes().get(path.len()), None | Some(b'.' | b'[')))
    }

    /// Notes a mistake, unless the field, or what is around it, has one already.
    pub(super) fn mistake(&mut self, path: &str, value: Option<String>, remedy: String) {
        if !outwards(path).any(|path| self.wrong.contains(path)) {
            self.wrong.insert(path.to_owned());
            let finding = self.finding(path, value, remedy);
            self.mistakes.push(finding);
        }
    }

    /// Notes what is not wrong but hardly meant.
    pub(super) fn warning(&mut self, path: &str, value: Option<String>, remedy: String) {
        let finding = self.finding(path, value, remedy);
        self.warnings.push(finding);
    }

    fn finding(&self, path: &str, value: Option<String>, remedy: String) -> Finding {
        Finding { line: self.line(path), value, ..Finding::of(path, remedy) }
    }

    /// The warnings, or, if there are any, the mistakes.
    pub(super) fn end(mut self) -> Result<Vec<Finding>, Vec<Finding>> {
        self.mistakes.sort_by_key(|finding| finding.line);
        self.warnings.sort_by_key(|finding| finding.line);
        if self.mistakes.is_empty() { Ok(self.warnings) } else { Err(self.mistakes) }
    }
}

/// A path, and what is around it, from the inside out.
fn outwards(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| Some(&path[..path.rfind(['.', '['])?]))
}

/// Text as it is quoted in findings.
pub(super) fn quoted(text: &str) -> String {
    /// Characters shown of a value.
    const SHOWN_MAX: usize = 60;
    let mut start: String = text.chars().take(SHOWN_MAX).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    format!("{start:?}")
}

/// `; did you mean "…"?` if one of the candidates is close to what was written, else nothing.
pub(super) fn did_you_mean<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> String {
    /// From 0 for nothing in common to 1 for equality.
    const CLOSE: f64 = 0.8;
    /// Comparing takes time with the product of the lengths.
    const LENGTH_MAX: usize = 64;
    const CANDIDATES_MAX: usize = 1_000;
    if written.len() > LENGTH_MAX {
        return String::new();
    }
    let short = candidates.into_iter().filter(|c| c.len() <= LENGTH_MAX).take(CANDIDATES_MAX);
    let rated = short.map(|c| (strsim::jaro_winkler(written, c), c));
    let best = rated.filter(|(near, _)| *near >= CLOSE).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or_else(String::new, |(_, c)| format!("; did you mean {}?", quoted(c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_within_counts_for_what_is_around_it() {
        let mut report = Report::default();
        report.mistake("groups[1].name", None, "is missing".to_owned());
        for (path, wrong) in [
            ("groups[1].name", true),
            ("groups[1]", true),
            ("groups", true),
            ("groups[1].n", false),
        ] {
            assert_eq!(report.is_wrong(path), wrong, "{path}");
        }
    }

    #[test]
    fn what_is_absent_is_told_of_where_it_belongs() {
        let mut report = Report::default();
        report.seen("accounts[1]", 7);
        assert_eq!(report.line("accounts[1].models.\"a.b\""), Some(7));
        assert_eq!(report.line("server"), None);
    }

    #[test]
    fn what_follows_from_a_mistake_is_not_told() {
        let mut report = Report::default();
        report.mistake("a[1]", None, "first".to_owned());
        report.mistake("a[1]", None, "second".to_owned());
        report.mistake("a[1].b.c", None, "third".to_owned());
        let mistakes = report.end().expect_err("one");
        assert_eq!(mistakes.iter().map(|m| &*m.remedy).collect::<Vec<_>>(), ["first"]);
    }

    #[test]
    fn only_what_is_close_is_suggested() {
        let fields = ["body_bytes_max", "connections_max"];
        assert_eq!(did_you_mean("body_max", fields), "; did you mean \"body_bytes_max\"?");
        assert_eq!(did_you_mean("conections_max", fields), "; did you mean \"connections_max\"?");
        assert_eq!(did_you_mean("colour", fields), "");
    }
}
