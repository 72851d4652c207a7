//! The command `sluice mock-upstream`.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;

use sluice_engine::rng::Seed;

use crate::net::{Net as _, TcpNet};
use crate::serve::{StopSignals, block_on};

use super::{Mock, Script};

/// A script that shows what scripts are like.
pub const EXAMPLE: &str = include_str!("example.toml");

/// Serves until the process is told to stop, as the script says; without one, any key is answered
/// at once.
///
/// # Errors
/// A mistake in the script, or an address that cannot be listened at.
pub fn run(listen: SocketAddr, script: Option<&Path>, seed: Seed) -> io::Result<()> {
    let script = script.map_or_else(|| Ok(Script::default()), Script::load);
    let mock = Mock::scripted(seed, script.map_err(io::Error::other)?);
    block_on(async {
        let failed = |e: io::Error| io::Error::new(e.kind(), format!("{listen}: {e}"));
        let listener = TcpNet::bind(listen, false).await.map_err(failed)?;
        let guide = guide(TcpNet::local_address(&listener)?);
        // Whoever has read where it listens can tell it to stop.
        let mut stop = StopSignals::new()?;
        let serve = async {
            // Standard output closed early is no reason to stop serving.
            let _ = io::stdout().write_all(guide.as_bytes());
            let _ = io::stdout().flush();
            mock.serve::<TcpNet>(listener).await;
        };
        tokio::select! {
            biased; // What is asked for first is done first.
            () = stop.next() => {}
            () = serve => {}
        }
        Ok(())
    })
}

/// What is printed: first a line for programs, then some for people.
fn guide(upstream: SocketAddr) -> String {
    let line = serde_json::json!({ "upstream": format!("http://{upstream}") });
    format!(
        "{line}\n\n\
         A made-up upstream listens at http://{upstream}. Try, in another terminal:\n\n\
         curl -sN http://{upstream}/v1/messages -H 'x-api-key: any' \
         -d '{{\"model\":\"claude-demo\",\"max_tokens\":64,\"stream\":true,\
         \"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\n\n\
         What it has seen, key by key, is at http://{upstream}/ in a browser. Stop with Ctrl-C.\n"
    )
}
