//! Secrets, and the world outside the file that they come from.
//!
//! Reading a text and looking outside are apart, so that a text alone can be read anywhere: by
//! tests and fuzzers, without its author choosing which of the machine's files are opened.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::read::{Node, Read, Reader, Wrong};

/// A credential. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// The longest secret, in bytes.
pub(crate) const SECRET_BYTES_MAX: u64 = 16 * 1024;

impl Secret {
    /// The value, to be put into a request to the host that it belongs to and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) const fn new(value: String) -> Self {
        Self(value)
    }

    /// Puts the value in the place of its source. What is wrong never contains the value.
    pub(super) fn resolve(&mut self, outside: Outside) -> Result<(), String> {
        let (source, value) = if let Some(name) = self.0.strip_prefix("env:") {
            (format!("the environment variable {name}"), outside.variable(name)?)
        } else if let Some(path) = self.0.strip_prefix("file:") {
            let text = outside.file(Path::new(path), SECRET_BYTES_MAX)?;
            (format!("the file {path:?}"), text.trim_end().to_owned())
        } else {
            ("the value".to_owned(), std::mem::take(&mut self.0))
        };
        if value.is_empty() {
            return Err(format!("{source} is empty"));
        }
        if value.len() as u64 > SECRET_BYTES_MAX || !value.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(format!(
                "{source} must be at most {SECRET_BYTES_MAX} visible ASCII characters, without \
                 spaces"
            ));
        }
        self.0 = value;
        Ok(())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Read for Secret {
    fn must() -> String {
        "must be text in quotes: the value itself, env:NAME or file:PATH".to_owned()
    }

    fn read(node: &Node<'_>, _: &mut Reader<'_>) -> Result<Self, Wrong> {
        node.get_ref().as_str().map(|text| Self(text.to_owned())).ok_or(Wrong::Kind)
    }

    fn stand_in() -> Self {
        Self(String::new())
    }

    fn shown(_: &Node<'_>) -> Option<String> {
        None
    }
}

/// What is outside the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outside {
    /// This machine's environment and files.
    Machine,
    /// Nothing: a text is read by itself.
    Nothing,
}

impl Outside {
    fn variable(self, name: &str) -> Result<String, String> {
        match self {
            Self::Nothing => Err("env: is only for a configuration that is a file".to_owned()),
            // It is not shown: it may be the secret itself.
            Self::Machine if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') => Err(
                "env: must be followed by the name of an environment variable: letters, digits \
                 and _"
                    .to_owned(),
            ),
            Self::Machine => match std::env::var(name) {
                Ok(value) => Ok(value),
                Err(std::env::VarError::NotPresent) => {
                    Err(format!("the environment variable {name} is not set"))
                }
                // The error itself holds the value.
                Err(std::env::VarError::NotUnicode(_)) => {
                    Err(format!("the environment variable {name} is not UTF-8"))
                }
            },
        }
    }

    /// The text of a file of at most so many bytes.
    pub(super) fn file(self, path: &Path, bytes_max: u64) -> Result<String, String> {
        match self {
            Self::Nothing => Err("files are only for a configuration that is one".to_owned()),
            Self::Machine => read_file(path, bytes_max)
                .map_err(|e| format!("the file {path:?} cannot be read: {e}")),
        }
    }
}

/// Reads a file of at most so many bytes.
pub(crate) fn read_file(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("it is longer than {bytes_max} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(source: &str, outside: Outside) -> Result<String, String> {
        let mut secret = Secret(source.to_owned());
        secret.resolve(outside).map(|()| secret.expose().to_owned())
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret("sk-1".to_owned())), "Secret");
        let long = "s".repeat(SECRET_BYTES_MAX as usize + 1);
        for bad in ["se cret", "secrét", "sec\u{7f}ret", &long] {
            let told = resolved(bad, Outside::Machine).expect_err(bad);
            assert!(told.starts_with("the value must be") && !told.contains(bad), "{told}");
        }
    }

    #[test]
    fn a_secret_comes_from_its_source() {
        assert_eq!(resolved("sk-1", Outside::Nothing).as_deref(), Ok("sk-1"));
        let package = resolved("env:CARGO_PKG_NAME", Outside::Machine);
        assert_eq!(package.as_deref(), Ok("sluice-runtime-tokio"));
        let unset = resolved("env:SLUICE_NOT_SET", Outside::Machine);
        let want = "the environment variable SLUICE_NOT_SET is not set";
        assert_eq!(unset, Err(want.to_owned()));
        for bad in ["env:", "env:sk-secret"] {
            let told = resolved(bad, Outside::Machine).expect_err(bad);
            assert!(told.contains("variable") && !told.contains("secret"), "{told}");
        }
        let file = concat!("file:", env!("CARGO_MANIFEST_DIR"), "/../rustfmt.toml");
        let told = resolved(file, Outside::Machine).expect_err("several lines");
        assert!(told.contains("rustfmt.toml\" must be") && !told.contains("edition"), "{told}");
        let told = resolved("file:/no/such", Outside::Machine).expect_err("no such file");
        assert!(told.starts_with("the file \"/no/such\" cannot be read"), "{told}");
    }

    #[test]
    fn a_text_by_itself_looks_at_nothing_outside() {
        assert!(resolved("env:CARGO_PKG_NAME", Outside::Nothing).is_err());
        assert!(resolved("file:/dev/null", Outside::Nothing).is_err());
    }
}
