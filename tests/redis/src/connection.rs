//! Redis' protocol, as much of it as a test needs: one question, one answer.

use std::io::{BufRead, BufReader, Error, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A server that stands still must not hold up a test for ever.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// One connection. An answer is a flat list of texts.
pub struct Connection(BufReader<UnixStream>);

impl Connection {
    /// A new one.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn open(socket: &Path) -> Result<Self, Error> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// What is answered to a command.
    ///
    /// # Errors
    /// The connection's, or what Redis answers as an error.
    pub fn ask<T: AsRef<str>>(&mut self, words: &[T]) -> Result<Vec<String>, Error> {
        self.tell(words)?;
        self.hear()
    }

    /// Asks, and leaves the answer to be [heard](Self::hear) later.
    ///
    /// # Errors
    /// The connection's.
    pub fn tell<T: AsRef<str>>(&mut self, words: &[T]) -> Result<(), Error> {
        let mut bytes = format!("*{}\r\n", words.len());
        for word in words {
            let word = word.as_ref();
            bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.0.get_mut().write_all(bytes.as_bytes())
    }

    /// The next answer, or message that was pushed.
    ///
    /// # Errors
    /// As of [`ask`](Self::ask).
    pub fn hear(&mut self) -> Result<Vec<String>, Error> {
        let mut texts = Vec::new();
        self.read(&mut texts)?;
        Ok(texts)
    }

    fn read(&mut self, texts: &mut Vec<String>) -> Result<(), Error> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let line = line.trim_end();
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| Error::other("it has ended"))?;
        let count = || rest.parse::<i64>().map_err(Error::other);
        match kind {
            "+" | ":" => texts.push(rest.into()),
            "$" if rest == "-1" => texts.push(String::new()),
            "$" => {
                let mut bytes = vec![0; count()? as usize + 2];
                self.0.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                texts.push(String::from_utf8(bytes).map_err(Error::other)?);
            }
            "*" => {
                for _ in 0..count()? {
                    self.read(texts)?;
                }
            }
            _ => return Err(Error::other(line)),
        }
        Ok(())
    }
}
