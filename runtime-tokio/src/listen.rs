//! Taking places to listen at, before anybody serves there.
//!
//! All places of a process are taken by the thread that starts it, so that a mistake is told before
//! anything runs; each worker then adopts its share.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use crate::config::Listen;
use crate::net::Listener;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// Who may connect to a socket in the file system: its owner and its group.
const SOCKET_MODE: u32 = 0o660;

/// A place that is taken.
#[derive(Debug)]
pub enum Bound {
    /// An address.
    Tcp(std::net::TcpListener),
    /// A socket in the file system.
    Unix(std::os::unix::net::UnixListener),
}

/// A socket's name in the file system, which is removed with this, if it is still the same.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

/// Device, number and time of a file: numbers are used again.
#[derive(Debug, PartialEq, Eq)]
struct Identity(u64, u64, i64, i64);

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let meta = fs::symlink_metadata(path)?;
        Ok(Self(meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec()))
    }
}

/// Takes a place for so many workers. Returns where it is: port 0 has become one that was free.
///
/// # Errors
/// The system's, with the place's name.
pub fn take(
    listen: &Listen,
    workers: usize,
) -> io::Result<(Listen, Vec<Bound>, Option<SocketFile>)> {
    let taken = match listen {
        Listen::Tcp(address) => take_address(*address, workers).map(|(at, all)| (at, all, None)),
        Listen::Unix(path) => take_path(path, workers),
    };
    taken.map_err(|error| io::Error::new(error.kind(), format!("{listen}: {error}")))
}

fn take_address(address: SocketAddr, workers: usize) -> io::Result<(Listen, Vec<Bound>)> {
    let shared = workers > 1;
    let first = bind_address(address, shared)?;
    let address = first.local_addr()?;
    let mut all = vec![Bound::Tcp(first)];
    for _ in 1..workers {
        all.push(Bound::tcp(address, shared)?);
    }
    Ok((Listen::Tcp(address), all))
}

fn bind_address(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn take_path(path: &Path, workers: usize) -> io::Result<(Listen, Vec<Bound>, Option<SocketFile>)> {
    let (listener, file) = bind_path(path)?;
    let mut all = Vec::new();
    for _ in 1..workers {
        // One queue of connections for all: whoever has room takes the next.
        all.push(Bound::Unix(listener.try_clone()?));
    }
    all.push(Bound::Unix(listener));
    Ok((Listen::Unix(path.to_owned()), all, Some(file)))
}

fn bind_path(path: &Path) -> io::Result<(std::os::unix::net::UnixListener, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let address = SockAddr::unix(path)?;
    if let Err(error) = socket.bind(&address) {
        if error.kind() != io::ErrorKind::AddrInUse {
            return Err(error);
        }
        remove_stale(path)?;
        socket.bind(&address)?;
    }
    let file = SocketFile { path: path.to_owned(), identity: Identity::of(path)? };
    // Nobody can connect before it listens.
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok((socket.into(), file))
}

/// Removes a socket that a process has left behind.
fn remove_stale(path: &Path) -> io::Result<()> {
    let in_use = |why| Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return in_use("there is a file of this name that is no socket; remove it");
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
        Ok(_) => in_use("another process listens there"),
    }
}

impl Bound {
    /// Takes an address; with `shared`, beside others that share it.
    ///
    /// # Errors
    /// The system's.
    pub fn tcp(address: SocketAddr, shared: bool) -> io::Result<Self> {
        bind_address(address, shared).map(Self::Tcp)
    }

    /// The same for the present runtime.
    ///
    /// # Errors
    /// The system's.
    pub fn listener(self) -> io::Result<Listener> {
        Ok(match self {
            Self::Tcp(listener) => Listener::Tcp(TcpListener::from_std(listener)?),
            Self::Unix(listener) => Listener::Unix(UnixListener::from_std(listener)?),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if Identity::of(&self.path).is_ok_and(|identity| identity == self.identity) {
            // If it cannot be removed, the next process finds it stale.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of this test's own, removed with it.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("sluice-{name}-{}", std::process::id()));
            fs::create_dir(&path).expect("a new directory");
            Self(path)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("socket")
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_socket_belongs_to_its_group_and_goes_with_its_process() {
        let place = Place::new("own");
        let (_, all, file) = take(&Listen::Unix(place.socket()), 3).expect("it is free");
        assert_eq!(all.len(), 3);
        let mode = fs::metadata(place.socket()).expect("it is there").mode();
        assert_eq!(mode & 0o777, SOCKET_MODE);
        drop(file);
        assert!(!place.socket().exists());
    }

    #[test]
    fn a_socket_is_taken_over_only_from_nobody() {
        let place = Place::new("over");
        let listen = Listen::Unix(place.socket());
        let (_, all, file) = take(&listen, 1).expect("it is free");
        let error = take(&listen, 1).expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains("another process"), "{error}");
        drop(all);
        assert!(place.socket().exists(), "left behind");
        let (_, all, newer) = take(&listen, 1).expect("nobody listens");
        drop(file);
        assert!(place.socket().exists(), "it is another's now");
        drop((all, newer));
        assert!(!place.socket().exists());
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let place = Place::new("file");
        fs::write(place.socket(), "precious").expect("a file");
        let error = take(&Listen::Unix(place.socket()), 1).expect_err("it is taken");
        assert!(error.to_string().contains("no socket"), "{error}");
        assert_eq!(fs::read_to_string(place.socket()).expect("a file"), "precious");
    }

    #[test]
    fn workers_share_an_address() {
        let any = "127.0.0.1:0".parse().expect("an address");
        let (at, all, file) = take(&Listen::Tcp(any), 2).expect("a free port");
        assert!(file.is_none() && all.len() == 2 && at != Listen::Tcp(any));
        let error = take(&at, 1).expect_err("it is taken");
        assert!(error.to_string().contains(&at.to_string()), "{error}");
    }
}
