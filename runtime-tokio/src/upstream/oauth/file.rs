//! The file in which an account's tokens survive the process: JSON, which the operator provides and the
//! gateway keeps up to date.
//!
//! A reader never sees half of it: what is written is another file, which then takes its name. Blocking.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Map, Value};

use super::grant::token;
use crate::config::{Secret, read_file, real_path};

/// The longest file, in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Whoever writes such a file.
static WRITING: Mutex<()> = Mutex::new(());
/// Only its owner may read it, and write it.
const MODE: u32 = 0o600;

const ACCESS: &str = "access_token";
const REFRESH: &str = "refresh_token";
const EXPIRES: &str = "expires_at";

/// Whose turn it is to renew what a file holds. One renewal at a time sends the refresh token that
/// stands there, also if a reload has changed how: the next one finds what the former could write.
pub(super) type Turn = tokio::sync::Mutex<()>;

/// The turn of the file that has this path now, by whatever other it is named.
pub(super) fn turn(path: &Path) -> Arc<Turn> {
    static TURNS: Mutex<BTreeMap<PathBuf, Weak<Turn>>> = Mutex::new(BTreeMap::new());
    // Before: a disk that does not answer holds up nobody else.
    let path = real_path(path);
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    turns.retain(|_, turn| turn.strong_count() > 0);
    let known = turns.entry(path).or_default();
    known.upgrade().unwrap_or_else(|| {
        let turn = Arc::default();
        *known = Arc::downgrade(&turn);
        turn
    })
}

/// What stands in such a file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(super) refresh: Secret,
    pub(super) access: Option<Secret>,
    /// Until when the access token is good, in seconds since the Unix epoch. Without it: until it is
    /// refused.
    pub(super) expires_at: Option<u64>,
    /// What else stands there, which stays as it is.
    rest: Map<String, Value>,
}

impl Stored {
    /// Reads the text of such a file.
    ///
    /// # Errors
    /// What is wrong with it, without anything that stands in it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Ok(Value::Object(mut rest)) = serde_json::from_str(text) else {
            return Err("must hold a JSON object".to_owned());
        };
        let mut take = |name: &str| rest.remove(name).filter(|value| !value.is_null());
        let wrong = |name: &str, must: &str| format!("must hold {name}: {must}");
        let visible = "visible ASCII characters, without spaces, as text";
        let refresh = take(REFRESH).as_ref().and_then(token);
        let access = take(ACCESS).map(|value| token(&value).ok_or_else(|| wrong(ACCESS, visible)));
        let whole = "a whole number, seconds since the Unix epoch";
        let expires =
            take(EXPIRES).map(|value| value.as_u64().ok_or_else(|| wrong(EXPIRES, whole)));
        Ok(Self {
            refresh: refresh.ok_or_else(|| wrong(REFRESH, visible))?,
            access: access.transpose()?,
            expires_at: expires.transpose()?,
            rest,
        })
    }

    /// Reads such a file.
    ///
    /// # Errors
    /// What is wrong, without anything that stands in it.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        Self::parse(&read_file(path, FILE_BYTES_MAX)?).map_err(io::Error::other)
    }

    /// With these tokens in the place of those.
    pub(super) fn renewed(
        &self,
        access: Secret,
        refresh: Option<Secret>,
        expires_at: Option<u64>,
    ) -> Self {
        let refresh = refresh.unwrap_or_else(|| self.refresh.clone());
        Self { refresh, access: Some(access), expires_at, rest: self.rest.clone() }
    }

    /// Puts this in the place of the file, all of it or nothing.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        // What is a link stays one.
        let path = real_path(path);
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut new = name.to_owned();
        // Other processes have other numbers, and of one process one writes at a time.
        let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        new.push(format!(".{}.new", std::process::id()));
        let new = folder.join(new);
        let written = self.write_new(&new).and_then(|()| fs::rename(&new, &path));
        if written.is_err() {
            // There may be none; and the first error tells more than one in clearing up.
            let _ = fs::remove_file(&new);
        }
        written?;
        // The name is on the disk only with the folder.
        File::open(folder)?.sync_all()
    }

    fn write_new(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            // One that was left behind may have another mode.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
        file.write_all(self.text().as_bytes())?;
        file.sync_all()
    }

    fn text(&self) -> String {
        let mut all = self.rest.clone();
        all.insert(REFRESH.to_owned(), Value::from(self.refresh.expose()));
        if let Some(access) = &self.access {
            all.insert(ACCESS.to_owned(), Value::from(access.expose()));
        }
        if let Some(secs) = self.expires_at {
            all.insert(EXPIRES.to_owned(), Value::from(secs));
        }
        format!("{:#}\n", Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;

    /// A folder that is gone after the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("sluice-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let all = fs::read_dir(&self.0).expect("a folder");
            let mut names: Vec<_> = all
                .map(|entry| entry.expect("it").file_name().into_string().expect("text"))
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const WHOLE: &str =
        r#"{"refresh_token":"r","access_token":"a","expires_at":7,"account":{"id":"x"}}"#;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn what_is_needed_is_a_refresh_token() {
        let bare = Stored::parse(r#"{"refresh_token":"r","access_token":null}"#).expect("good");
        assert_eq!((bare.refresh, bare.access, bare.expires_at), (secret("r"), None, None));
        let whole = Stored::parse(WHOLE).expect("good");
        assert_eq!((whole.access, whole.expires_at), (Some(secret("a")), Some(7)));
    }

    #[test]
    fn what_is_wrong_is_told_without_what_stands_there() {
        for (text, told) in [
            ("SECRET", "a JSON object"),
            ("[\"SECRET\"]", "a JSON object"),
            ("{\"access_token\":\"SECRET\"}", "refresh_token: "),
            ("{\"refresh_token\":\"SEC RET\"}", "refresh_token: "),
            ("{\"refresh_token\":\"r\",\"access_token\":[\"SECRET\"]}", "access_token: "),
            ("{\"refresh_token\":\"r\",\"expires_at\":\"SECRET\"}", "expires_at: a whole number"),
        ] {
            let why = Stored::parse(text).err().expect(text);
            assert!(why.contains(told) && !why.contains("SEC"), "{why}");
        }
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_for_its_owner_only() {
        let folder = Folder::new("credential");
        let (path, link) = (folder.0.join("c.json"), folder.0.join("link.json"));
        fs::write(&path, WHOLE).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("its owner's");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        // One that was left behind.
        fs::write(folder.0.join(format!("c.json.{}.new", std::process::id())), "x")
            .expect("a file");
        let before = Stored::read(&link).expect("good");
        let after = before.renewed(secret("b"), Some(secret("s")), Some(9));
        after.write(&link).expect("written");
        assert!(Stored::read(&path).ok() == Some(after), "the rest stays, too");
        assert_eq!(fs::metadata(&path).expect("it").permissions().mode() & 0o777, MODE);
        assert_eq!(folder.names(), ["c.json", "link.json"], "nothing else is left");
        assert!(fs::symlink_metadata(&link).expect("it").is_symlink());
    }

    #[test]
    fn where_nothing_can_be_written_the_file_stays_as_it_was() {
        let folder = Folder::new("credential-kept");
        let path = folder.0.join("c.json");
        fs::write(&path, WHOLE).expect("a file");
        // A folder where the new file is to be: also root cannot write that.
        let new = format!("c.json.{}.new", std::process::id());
        fs::create_dir(folder.0.join(&new)).expect("a folder");
        let stored = Stored::read(&path).expect("good").renewed(secret("b"), None, None);
        stored.write(&path).expect_err("nothing can be written");
        assert_eq!(fs::read_to_string(&path).expect("a file"), WHOLE);
        assert_eq!(folder.names(), ["c.json".to_owned(), new]);
    }
}
