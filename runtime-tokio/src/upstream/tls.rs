//! TLS towards upstreams and proxies: whom to trust, and which HTTP to speak.
//!
//! One configuration a process, made when it starts, so that a machine without certificate
//! authorities is found out then and not by the first request.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{Roots, Upstream};

const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// See the module's documentation.
#[derive(Clone)]
pub struct Tls {
    /// Offers what the upstream may choose from.
    upstream: TlsConnector,
    /// Offers HTTP/1.1 only: that is what tunnels are asked for in.
    proxy: TlsConnector,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// As the configuration says.
    ///
    /// # Errors
    /// No certificate authorities, or a file of them that cannot be read: the field, and the remedy.
    pub fn new(config: &Upstream) -> Result<Self, (&'static str, String)> {
        let roots = Arc::new(roots(config)?);
        let connector = |offers: &[&[u8]]| {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = ClientConfig::builder_with_provider(provider);
            let builder =
                builder.with_safe_default_protocol_versions().expect("ring knows TLS 1.2 and 1.3");
            let mut tls = builder.with_root_certificates(roots.clone()).with_no_client_auth();
            tls.alpn_protocols = offers.iter().map(|offer| offer.to_vec()).collect();
            TlsConnector::from(Arc::new(tls))
        };
        let both: &[&[u8]] = &[HTTP_2, HTTP_1];
        let offers = if config.http2 { both } else { &both[1..] };
        Ok(Self { upstream: connector(offers), proxy: connector(&[HTTP_1]) })
    }

    /// The same, but HTTP/1.1 is all that is offered.
    pub(crate) fn http1_only(&self) -> Self {
        Self { upstream: self.proxy.clone(), proxy: self.proxy.clone() }
    }

    /// Shakes hands with an upstream; also says whether it chose HTTP/2.
    pub(crate) async fn with_upstream<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        stream: S,
    ) -> std::io::Result<(TlsStream<S>, bool)> {
        let stream = self.upstream.connect(server_name(host)?, stream).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
        Ok((stream, http2))
    }

    /// Shakes hands with a proxy.
    pub(crate) async fn with_proxy<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        stream: S,
    ) -> std::io::Result<TlsStream<S>> {
        self.proxy.connect(server_name(host)?, stream).await
    }
}

fn server_name(host: &str) -> std::io::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)
}

type Wrong = (&'static str, String);

fn roots(config: &Upstream) -> Result<RootCertStore, Wrong> {
    let mut store = RootCertStore::empty();
    match config.roots {
        Roots::Bundled => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Roots::Platform => {
            // What cannot be read or parsed is passed over, as every other program does.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if let Some(path) = &config.ca_file {
        let wrong = |why: &dyn std::fmt::Display| {
            ("upstream.ca_file", format!("{}: {why}; it must be a PEM file", path.display()))
        };
        let all = CertificateDer::pem_file_iter(path).map_err(|e| wrong(&e))?;
        let all: Vec<_> = all.collect::<Result<_, _>>().map_err(|e| wrong(&e))?;
        if all.is_empty() {
            return Err(wrong(&"holds no certificate"));
        }
        for certificate in all {
            store.add(certificate).map_err(|e| wrong(&e))?;
        }
    }
    if store.is_empty() {
        let remedy = "this machine has no certificate authorities; install them \
                      (ca-certificates), or set roots = \"bundled\", or name a ca_file";
        return Err(("upstream.roots", remedy.to_owned()));
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(config: &Upstream) -> String {
        let (field, remedy) = Tls::new(config).expect_err("wrong");
        format!("{field} {remedy}")
    }

    #[test]
    fn bundled_roots_are_always_there() {
        assert!(Tls::new(&Upstream { roots: Roots::Bundled, ..Upstream::default() }).is_ok());
    }

    #[test]
    fn a_file_of_roots_that_is_none_is_named() {
        let with = |path: &str| Upstream {
            roots: Roots::Bundled,
            ca_file: Some(path.into()),
            ..Upstream::default()
        };
        assert!(wrong(&with("/no/such/file")).contains("upstream.ca_file /no/such/file"));
        let text = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(wrong(&with(text)).contains("holds no certificate"));
    }
}
