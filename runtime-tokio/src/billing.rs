//! Whether a user may spend.

use sluice_engine::{Denial, UserId};

use crate::directory::Directory;

/// A user whose balance is counted may spend while there is some.
///
/// # Errors
/// Why not.
pub(crate) fn check(directory: &Directory, user: UserId) -> Result<(), Denial> {
    match directory.users.get(&user).map(|user| user.balance_cents) {
        Some(None) => Ok(()),
        Some(Some(cents)) if cents > 0 => Ok(()),
        Some(Some(_)) | None => Err(Denial { retry_after: None }),
    }
}
