//! Accounts that are asked with access tokens, and the files that those are kept in.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, io};

use serde_json::{Value, json};
use sluice_runtime_tokio::clock::Clock;
use sluice_runtime_tokio::config::Config;
use sluice_runtime_tokio::mock::{Client, Mock};
use sluice_storage::Watch;

use crate::{World, account_key};

/// A folder that is gone with it.
pub struct Folder(PathBuf);

impl Default for Folder {
    fn default() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let n = LAST.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sluice-tokens-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    /// The file with the tokens of this account.
    #[must_use]
    pub fn file(&self, account: &str) -> PathBuf {
        self.0.join(format!("{account}.json"))
    }

    /// The names of all files in it.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("a folder");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<_> = entries.map(|e| name(e).into_string().expect("text")).collect();
        names.sort();
        names
    }

    /// Reads a configuration that names files, as it would be if it had been written at `stamp`.
    #[must_use]
    pub fn config(&self, text: &str, stamp: u64) -> Config {
        let path = self.0.join("sluice.toml");
        fs::write(&path, text).expect("a file");
        let mut config = Config::load(&path).expect("a good configuration");
        config.version.stamp = stamp;
        fs::remove_file(&path).expect("the file");
        config
    }

    /// An account's section of the configuration, and the file that it names.
    #[must_use]
    pub fn section(&self, account: &str, token_url: &str) -> String {
        let file = self.file(account);
        if !file.exists() {
            put(&file, &json!({"refresh_token": format!("rt-{}-0", account_key(account))}));
        }
        let client = client_id(account);
        format!(
            "[accounts.oauth]\ntoken_url = \"{token_url}\"\nclient_id = \"{client}\"\n\
             client_secret = \"{}\"\ncredential_file = {file:?}\n",
            client_secret(account)
        )
    }
}

/// What an account is known by to the issuer of its tokens.
#[must_use]
pub fn client_id(account: &str) -> String {
    format!("client-{account}")
}

/// Its secret there.
#[must_use]
pub fn client_secret(account: &str) -> String {
    format!("cs-{account}")
}

/// How the issuer serves it, unless it is told otherwise.
#[must_use]
pub fn client(account: &str) -> Client {
    Client { secret: Some(client_secret(account)), ..Client::of(&account_key(account)) }
}

/// Writes tokens into a file, as another process would.
pub fn put(file: &Path, tokens: &Value) {
    let new = file.with_extension("other");
    fs::write(&new, tokens.to_string()).expect("a file");
    fs::rename(&new, file).expect("a file");
}

/// What stands in a file of tokens.
#[must_use]
pub fn stored(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).expect("a file")).expect("JSON")
}

/// Makes it impossible to put another file in the place of this one, also for root.
pub fn protect(file: &Path) {
    let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
    let new = file.with_file_name(format!("{name}.{}.new", std::process::id()));
    fs::create_dir(new).expect("a folder where the new file is to be");
}

/// New tokens of an account, which are said to be good for so many seconds from now.
#[must_use]
pub fn tokens(mock: &Mock, account: &str, secs: u64) -> Value {
    let (refresh, access) = mock.tokens_of(&client_id(account)).expect("a client");
    let expires_at = Clock::system().now().0 / 1_000_000 + secs;
    json!({"refresh_token": refresh, "access_token": access, "expires_at": expires_at})
}

impl<S: Watch> World<S> {
    /// The file with the tokens of this account.
    #[must_use]
    pub fn file(&self, account: &str) -> PathBuf {
        self.folder.file(account)
    }

    /// Puts tokens into an account's file that are said to be good for so many seconds from now.
    pub fn put_tokens(&self, account: &str, secs: u64) {
        put(&self.file(account), &tokens(&self.mock, account, secs));
    }

    /// How often the tokens of this account were called for.
    #[must_use]
    pub fn token_calls(&self, account: &str) -> u64 {
        self.mock.token_calls(&client_id(account))
    }
}
