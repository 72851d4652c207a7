//! Places to listen at.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::read::{Node, Read, Reader, Wrong};

/// A place to listen at: `ADDRESS:PORT`, `[IPV6]:PORT` or `unix:/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port; port 0 takes any free one.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// The longest path of a socket that every system takes, in bytes.
const UNIX_PATH_MAX: usize = 103;

impl Listen {
    /// Whether both cannot be listened at, at once.
    pub(super) fn collides(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix(a), Self::Unix(b)) => a == b,
            (Self::Tcp(a), Self::Tcp(b)) => {
                let same = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
                a.port() == b.port() && a.port() != 0 && a.is_ipv4() == b.is_ipv4() && same
            }
            (Self::Unix(_), Self::Tcp(_)) | (Self::Tcp(_), Self::Unix(_)) => false,
        }
    }

    fn parse(text: &str) -> Result<Self, Wrong> {
        let because = |why: &str| Err(Wrong::Because(why.to_owned()));
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                _ if !path.starts_with('/') => because("the path after unix: must begin with /"),
                _ if path.ends_with('/') || path.contains('\0') => {
                    because("the path after unix: must be that of a file")
                }
                _ if path.len() > UNIX_PATH_MAX => {
                    because("the path after unix: must be at most 103 bytes long")
                }
                _ => Ok(Self::Unix(path.into())),
            };
        }
        let address: SocketAddr = text.parse().map_err(|_| Wrong::Kind)?;
        if address.ip().is_multicast() || address.ip() == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return because("must be an address of this machine, not one for many");
        }
        Ok(Self::Tcp(address))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Read for Listen {
    fn must() -> String {
        "must be \"ADDRESS:PORT\", \"[IPV6]:PORT\" or \"unix:/PATH\"; addresses are numbers, such \
         as 127.0.0.1"
            .to_owned()
    }

    fn read(node: &Node<'_>, _: &mut Reader<'_>) -> Result<Self, Wrong> {
        Self::parse(node.get_ref().as_str().ok_or(Wrong::Kind)?)
    }

    fn stand_in() -> Self {
        Self::Tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_addresses_and_sockets() {
        let long = format!("unix:/{}", "a".repeat(UNIX_PATH_MAX));
        for good in ["127.0.0.1:0", "[::1]:8080", "[fe80::1%2]:1", "0.0.0.0:1", "unix:/run/s"] {
            let listen = Listen::parse(good).ok().expect(good);
            assert_eq!(listen.to_string(), good);
        }
        for bad in
            ["", "8080", "localhost:8080", "::1:80", "224.0.0.1:1", "unix:a", "unix:/a/", &long]
        {
            assert!(Listen::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_listened_at_twice_collides() {
        let collide = |a, b| {
            let (a, b) = (Listen::parse(a).ok().expect(a), Listen::parse(b).ok().expect(b));
            assert_eq!(a.collides(&b), b.collides(&a));
            a.collides(&b)
        };
        assert!(collide("127.0.0.1:1", "127.0.0.1:1"));
        assert!(collide("127.0.0.1:1", "0.0.0.0:1"));
        assert!(collide("unix:/a", "unix:/a"));
        assert!(!collide("127.0.0.1:0", "127.0.0.1:0"));
        assert!(!collide("127.0.0.1:1", "127.0.0.1:2"));
        assert!(!collide("127.0.0.1:1", "[::]:1"));
        assert!(!collide("127.0.0.1:1", "unix:/a"));
    }
}
