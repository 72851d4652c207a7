//! Whose accounts serve a request: those that speak the client's protocol, or else those that it can
//! be translated for.

use sluice_engine::roster::Platform;
use sluice_engine::{GroupId, ModelId};

use crate::directory::Directory;
use crate::protocol::Protocol;
use crate::protocol::error::ApiError;

pub(super) const NO_WAY: ApiError = ApiError::invalid(
    "The accounts of this API key's group cannot serve this protocol: use the path of a protocol that \
     they speak",
);

/// The platforms that can serve clients of a protocol, its own first.
pub(super) const fn reachable(protocol: Protocol) -> &'static [Platform] {
    match protocol {
        Protocol::Anthropic => &[Platform::Anthropic, Platform::Gemini],
        Protocol::OpenAi => &[Platform::OpenAi],
        Protocol::Gemini => &[Platform::Gemini],
    }
}

/// The first platform of which a group has accounts that serve the model. If there is none, it is the
/// protocol's own, of which nobody will be found.
///
/// # Errors
/// The group has accounts, and none of any platform that could serve such a client.
pub(super) fn resolve(
    directory: &Directory,
    group: GroupId,
    protocol: Protocol,
    model: ModelId,
) -> Result<Platform, ApiError> {
    let reachable = reachable(protocol);
    let serves = |platform: &&Platform| directory.roster.pool(group, **platform, model).is_some();
    if let Some(platform) = reachable.iter().find(serves) {
        return Ok(*platform);
    }
    let mut keys = directory.roster.pools.keys().filter(|key| key.group == group).peekable();
    if keys.peek().is_some() && !keys.any(|key| reachable.contains(&key.platform)) {
        return Err(NO_WAY);
    }
    Ok(protocol.platform())
}
