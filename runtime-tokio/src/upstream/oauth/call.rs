//! The call for an access token, over the network.
//!
//! **Architecture Invariant:** a refresh token and a client's secret are sent to the host of the token
//! URL and nowhere else, through the account's proxy if it has one. A redirect is a refusal.

use std::fmt;
use std::future::poll_fn;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{timeout, timeout_at};

use super::grant::{self, Granted, Refused};
use crate::clock::Clock;
use crate::config::{OAuth, Secret};
use crate::directory::Proxy;
use crate::net::Net;
use crate::upstream::connect::{Stream, connect};
use crate::upstream::http1::{Connection, Scratch};
use crate::upstream::tls::Tls;

/// How long a call may take, connecting and all.
const TIME_MAX: Duration = Duration::from_secs(20);
/// The most bytes of an answer's body.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The way to a token URL.
pub(super) struct Way<'a> {
    pub(super) proxy: Option<&'a Proxy>,
    pub(super) tls: &'a Tls,
    pub(super) connect_timeout: Duration,
}

/// Exchanges a refresh token for an access token.
///
/// # Errors
/// There is none, within the time that it may take.
pub(super) async fn call<N: Net>(
    way: Way<'_>,
    oauth: &OAuth,
    refresh: &Secret,
) -> Result<Granted, Refused> {
    let by = Clock::after(TIME_MAX);
    let (status, body) = timeout_at(by, answer::<N>(way, oauth, refresh))
        .await
        .map_err(|_| because(&"no answer in time"))??;
    grant::read(status, &body)
}

fn because(why: &dyn fmt::Display) -> Refused {
    Refused::Because(format!("the token URL: {why}"))
}

async fn answer<N: Net>(
    way: Way<'_>,
    oauth: &OAuth,
    refresh: &Secret,
) -> Result<(u16, Bytes), Refused> {
    let tls = way.tls.http1_only();
    let connecting = connect::<N>(&oauth.token_url, way.proxy, &tls);
    let connected = timeout(way.connect_timeout, connecting).await;
    let connected = connected.map_err(|_| because(&"no connection in time"))?;
    let stream = connected.map_err(|error| because(&error))?.stream;
    let mut connection = Connection::<Stream<N::Stream>>::new(stream, Scratch::new());
    let (head, body) = grant::request(oauth, refresh);
    let broken = |_| because(&"the connection broke");
    let head = connection.send(head.into(), body.into()).await.map_err(broken)?;
    let mut answer = BytesMut::new();
    while let Some(piece) = poll_fn(|cx| connection.poll_chunk(cx)).await {
        answer.extend_from_slice(&piece.map_err(broken)?);
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(because(&"its answer is too long"));
        }
    }
    Ok((head.status().as_u16(), answer.freeze()))
}
