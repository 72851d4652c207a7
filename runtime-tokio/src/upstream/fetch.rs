//! Asking an account for something small: its answer is read to its end before anything is made of it.

use bytes::{Bytes, BytesMut};
use hyper::Response;
use sluice_engine::Outcome;
use tokio::time::{Instant, timeout_at};

use super::access::Access;
use super::outgoing::Outgoing;
use super::pool::{NoAnswer, Pool};
use crate::net::Net;

/// Asks, and reads an answer of at most so many bytes, until `by` at most.
///
/// # Errors
/// There was no answer, or none that could be read to its end.
pub(crate) async fn fetch<N: Net>(
    pool: &Pool<N>,
    access: &Access<'_>,
    request: &Outgoing<'_>,
    bytes_max: usize,
    by: Instant,
) -> Result<(Response<()>, Bytes), Outcome> {
    let (head, mut exchange) = pool.send(access, request, by).await.map_err(|why| match why {
        NoAnswer::Connect => Outcome::Unreachable,
        NoAnswer::Stale | NoAnswer::Broken => Outcome::ServerError { status: 502 },
        NoAnswer::HeadTimeout => Outcome::ServerError { status: 504 },
    })?;
    let mut body = BytesMut::new();
    loop {
        match timeout_at(by, exchange.chunk()).await {
            Ok(Some(Ok(chunk))) if body.len() + chunk.len() <= bytes_max => {
                body.extend_from_slice(&chunk);
            }
            Ok(None) => break,
            Ok(Some(Ok(_) | Err(_))) => return Err(Outcome::ServerError { status: 502 }),
            Err(_) => return Err(Outcome::ServerError { status: 504 }),
        }
    }
    pool.keep(access.id, access.account, exchange);
    Ok((head, body.freeze()))
}
