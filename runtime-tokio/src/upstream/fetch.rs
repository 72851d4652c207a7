//! Asking an account for something small: its answer is read to its end before anything is made of it.

use bytes::{Bytes, BytesMut};
use hyper::Response;
use sluice_engine::Outcome;
use tokio::time::{Instant, timeout_at};

use super::access::Access;
use super::outgoing::Outgoing;
use super::pool::{NO_GOOD, NoAnswer, Pool, TOO_LATE};
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
    let sent = pool.send(access, request, by).await;
    let (head, mut exchange) = sent.map_err(NoAnswer::outcome)?;
    let mut body = BytesMut::new();
    loop {
        match timeout_at(by, exchange.chunk()).await {
            Ok(Some(Ok(chunk))) if body.len() + chunk.len() <= bytes_max => {
                body.extend_from_slice(&chunk);
            }
            Ok(None) => break,
            Ok(Some(Ok(_) | Err(_))) => return Err(NO_GOOD),
            Err(_) => return Err(TOO_LATE),
        }
    }
    pool.keep(access.id, access.account, exchange);
    Ok((head, body.freeze()))
}
