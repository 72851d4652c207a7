//! Whose accounts serve a request: those that speak the client's protocol, or else those that it can
//! be translated for.

use sluice_engine::roster::Platform;
use sluice_engine::{GroupId, ModelId};

use crate::directory::Directory;
use crate::protocol::Protocol;
use crate::protocol::error::ApiError;

const NO_WAY: ApiError = ApiError::invalid(
    "The accounts of this API key's group cannot serve this protocol: use the path of a protocol that \
     they speak",
);
const NO_GEMINI: ApiError = ApiError::invalid("API key group has no gemini accounts");
const NO_ANTIGRAVITY: ApiError = ApiError::invalid("API key group has no antigravity accounts");

/// The platforms that can serve clients of a protocol, its own first; with `forced`, those that
/// paths of that name are for.
pub(super) const fn reachable(protocol: Protocol, forced: bool) -> &'static [Platform] {
    match protocol {
        Protocol::Anthropic | Protocol::Gemini if forced => &[Platform::Antigravity],
        Protocol::Anthropic => &[Platform::Anthropic, Platform::Gemini],
        Protocol::OpenAi => &[Platform::OpenAi],
        Protocol::Gemini => &[Platform::Gemini],
    }
}

/// The platforms by which a group reaches a protocol's clients.
///
/// # Errors
/// There is none.
pub(super) fn reached(
    directory: &Directory,
    group: GroupId,
    protocol: Protocol,
    forced: bool,
) -> Result<Vec<Platform>, ApiError> {
    let all = reachable(protocol, forced).iter().copied();
    let found: Vec<_> = all.filter(|platform| directory.serves(group, *platform)).collect();
    match protocol {
        _ if !found.is_empty() => Ok(found),
        _ if forced => Err(NO_ANTIGRAVITY),
        Protocol::Gemini => Err(NO_GEMINI),
        Protocol::Anthropic | Protocol::OpenAi => Err(NO_WAY),
    }
}

/// The first platform of which a group has accounts that serve the model. If there is none, it is the
/// first that could, of which nobody will be found.
///
/// # Errors
/// The group has accounts, and none of any platform that could serve such a client.
pub(super) fn resolve(
    directory: &Directory,
    (group, model): (GroupId, ModelId),
    protocol: Protocol,
    forced: bool,
) -> Result<Platform, ApiError> {
    let all = reachable(protocol, forced);
    let serves = |platform: &&Platform| directory.roster.pool(group, **platform, model).is_some();
    if let Some(platform) = all.iter().find(serves) {
        return Ok(*platform);
    }
    if directory.roster.pools.keys().any(|key| key.group == group) {
        reached(directory, group, protocol, forced)?;
    }
    Ok(all[0])
}
