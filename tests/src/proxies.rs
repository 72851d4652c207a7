//! Proxies as an account may have one, as small as can be: they tunnel, and count.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// What a proxy has seen.
#[derive(Default)]
pub struct Proxy {
    /// Tunnels that were made.
    pub tunnels: Cell<u32>,
    /// What was asked for, as it was said.
    pub asked: RefCell<Vec<String>>,
    /// Refuse everything.
    pub closed: Cell<bool>,
}

impl Proxy {
    /// Serves one client that speaks `CONNECT`.
    ///
    /// # Errors
    /// Either side's.
    pub async fn http<S>(self: Rc<Self>, mut client: S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        self.asked.borrow_mut().push(head);
        if self.closed.get() {
            return client.write_all(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n").await;
        }
        let upstream = TcpStream::connect(target).await?;
        client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
        self.tunnel(client, upstream).await
    }

    /// Serves one client that speaks SOCKS 5 (RFC 1928) and says who it is (RFC 1929).
    ///
    /// # Errors
    /// Either side's.
    pub async fn socks5(self: Rc<Self>, mut client: TcpStream) -> io::Result<()> {
        let [_, methods] = bytes(&mut client).await?;
        let offered = text(&mut client, methods).await?;
        let named = offered.as_bytes().contains(&2);
        client.write_all(&[5, if named { 2 } else { 0 }]).await?;
        let mut who = String::new();
        if named {
            let [_, user] = bytes(&mut client).await?;
            who = text(&mut client, user).await?;
            let [password] = bytes(&mut client).await?;
            who = format!("{who}:{}@", text(&mut client, password).await?);
            client.write_all(&[1, 0]).await?;
        }
        let [_, _, _, kind] = bytes(&mut client).await?;
        let host = match kind {
            1 => bytes::<4>(&mut client).await?.map(|byte| byte.to_string()).join("."),
            _ => {
                let [len] = bytes(&mut client).await?;
                text(&mut client, len).await?
            }
        };
        let port = client.read_u16().await?;
        self.asked.borrow_mut().push(format!("{who}{host}:{port}"));
        if self.closed.get() {
            return client.write_all(&[5, 2, 0, 1, 0, 0, 0, 0, 0, 0]).await;
        }
        let upstream = TcpStream::connect((host.as_str(), port)).await?;
        client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
        self.tunnel(client, upstream).await
    }

    async fn tunnel<S>(&self, mut client: S, mut upstream: TcpStream) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.tunnels.set(self.tunnels.get() + 1);
        copy_bidirectional(&mut client, &mut upstream).await.map(drop)
    }
}

/// Hands every connection to `serve`, for ever.
pub async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = io::Result<()>> + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        let served = serve(stream);
        // A tunnel that breaks is its two ends' affair.
        drop(tokio::task::spawn_local(async move { drop(served.await) }));
    }
}

async fn bytes<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn text(stream: &mut TcpStream, len: u8) -> io::Result<String> {
    let mut bytes = vec![0; len.into()];
    stream.read_exact(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
