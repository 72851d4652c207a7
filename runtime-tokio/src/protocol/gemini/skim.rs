//! How a conversation begins, by which its later requests are known.

use sluice_engine::session::Prefix;

use crate::protocol::json::{Broken, Walk};

/// The parts of a body that stay the same while its conversation grows; none of a body that is no JSON
/// object, which is the upstream's to refuse.
#[must_use]
pub fn prefix(body: &[u8]) -> Prefix<'_> {
    read(body).unwrap_or_default()
}

fn read(body: &[u8]) -> Result<Prefix<'_>, Broken> {
    let mut walk = Walk::new(body);
    let mut prefix = Prefix::default();
    if !walk.enter(b'{') {
        return Ok(prefix);
    }
    while let Some(name) = walk.member()? {
        match &*name {
            b"systemInstruction" | b"system_instruction" => prefix.system = walk.raw()?,
            b"tools" => prefix.tools = walk.raw()?,
            b"contents" if walk.enter(b'[') => {
                if walk.element(b']')? {
                    prefix.first_user = walk.raw()?;
                    walk.leave(b']')?;
                }
            }
            _ => {
                walk.value()?;
            }
        }
    }
    walk.end()?;
    Ok(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_conversation_begins_alike() {
        let body = |more: &str| {
            format!(
                "{{\"contents\":[{{\"parts\":[1]}}{more}],\"systemInstruction\":\"s\",\"x\":[{{]]}}"
            )
        };
        let short = body("");
        let long = body(",{\"parts\":[2]},nonsense");
        assert_eq!(prefix(short.as_bytes()), prefix(long.as_bytes()));
        assert_eq!(prefix(short.as_bytes()).first_user, b"{\"parts\":[1]}");
        for none in ["", "[]", "{", "{\"contents\":[]}", "{\"contents\":7}"] {
            assert_eq!(prefix(none.as_bytes()), Prefix::default(), "{none}");
        }
    }
}
