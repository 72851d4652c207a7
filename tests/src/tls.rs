//! An upstream behind TLS, with a certificate authority of its own.

use std::cell::Cell;
use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use sluice_runtime_tokio::mock::Mock;
use sluice_runtime_tokio::net::{Net, TcpNet};
use tokio_rustls::TlsAcceptor;

/// A certificate authority that nobody else knows, and the certificate it gave to this machine.
pub struct Authority {
    /// Its own certificate, as a file. Removed when this is dropped.
    pub file: PathBuf,
    /// Connections that its upstream has accepted, trusted or not.
    pub connections: Rc<Cell<u32>>,
    acceptor: Arc<ServerConfig>,
}

impl Drop for Authority {
    fn drop(&mut self) {
        // What cannot be removed is a small file in the folder for such files.
        let _ = std::fs::remove_file(&self.file);
    }
}

impl Authority {
    /// An authority, and what an upstream of these protocols, the preferred first, needs.
    #[must_use]
    pub fn new(protocols: &[&str]) -> Self {
        let (ca_key, key) = (keys(), keys());
        let mut ca = CertificateParams::new(Vec::new()).expect("no names are good names");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = ca.self_signed(&ca_key).expect("a certificate");
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let leaf = CertificateParams::new(names).expect("good names");
        let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().expect("known versions");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = builder.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key);
        let mut config = config.expect("a certificate with its key");
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        static MADE: AtomicU32 = AtomicU32::new(0);
        let n = MADE.fetch_add(1, Ordering::Relaxed);
        let file = std::env::temp_dir().join(format!("sluice-ca-{}-{n}.pem", std::process::id()));
        std::fs::write(&file, root.pem()).expect("a folder for temporary files");
        Self { file, connections: Rc::default(), acceptor: Arc::new(config) }
    }

    /// For whoever accepts connections.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone().into()
    }

    /// Serves a made-up upstream behind TLS, for ever.
    pub async fn serve(&self, mock: Rc<Mock>, listener: <TcpNet as Net>::Listener) {
        while let Ok((stream, _)) = TcpNet::accept(&listener).await {
            self.connections.set(self.connections.get() + 1);
            let (mock, acceptor) = (mock.clone(), self.acceptor());
            drop(tokio::task::spawn_local(async move {
                // A client that does not trust the authority leaves here.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                    return mock.connection(stream).await;
                }
                let service = service_fn(|request| mock.clone().handle(request));
                let server = http2::Builder::new(Local);
                drop(server.serve_connection(TokioIo::new(stream), service).await);
            }));
        }
    }
}

fn keys() -> KeyPair {
    KeyPair::generate().expect("a key")
}

#[derive(Clone, Copy)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        drop(tokio::task::spawn_local(async move { drop(future.await) }));
    }
}
