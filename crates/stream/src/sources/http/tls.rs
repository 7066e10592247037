//! TLS, in builds with the feature `tls`.

use std::io;

use tokio::net::TcpStream;

use crate::access::TlsFiles;
use crate::error::{Error, Result};

#[cfg(feature = "tls")]
pub(super) use with::Tls;
#[cfg(not(feature = "tls"))]
pub(super) use without::Tls;

#[cfg(feature = "tls")]
mod with {
    use std::path::Path;
    use std::sync::Arc;

    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::ring::default_provider;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::server::TlsStream;

    use super::*;

    /// A server's certificate and key.
    pub(in super::super) struct Tls(tokio_rustls::TlsAcceptor);

    impl Tls {
        /// Reads the files of a certificate.
        pub(in super::super) fn open(files: &TlsFiles) -> Result<Tls> {
            let fail = |path: &Path, e: &dyn std::fmt::Display| Error::io(path.display(), e);
            let TlsFiles { certificates, key } = files;
            let chain = CertificateDer::pem_file_iter(certificates)
                .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
                .map_err(|e| fail(certificates, &format!("no certificate in PEM: {e}")))?;
            if chain.is_empty() {
                return Err(fail(certificates, &"there is no certificate in PEM"));
            }
            let private = PrivateKeyDer::from_pem_file(key)
                .map_err(|e| fail(key, &format!("no private key in PEM: {e}")))?;
            let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|e| fail(certificates, &e))?
                .with_no_client_auth()
                .with_single_cert(chain, private)
                .map_err(|e| fail(certificates, &e))?;
            Ok(Tls(tokio_rustls::TlsAcceptor::from(Arc::new(config))))
        }

        /// The encrypted stream of a connection.
        pub(in super::super) async fn accept(
            &self,
            stream: TcpStream,
        ) -> io::Result<TlsStream<TcpStream>> {
            self.0.accept(stream).await
        }
    }
}

#[cfg(not(feature = "tls"))]
mod without {
    use super::*;

    /// There is none.
    pub(in super::super) enum Tls {}

    impl Tls {
        /// Says that it is not there.
        pub(in super::super) fn open(files: &TlsFiles) -> Result<Tls> {
            let what = "this build has no TLS; build it with `cargo install --path crates/cli \
                        --features tls`, or let a proxy do it";
            Err(Error::Usage(format!("{}: {what}", files.certificates.display())))
        }

        /// Never called.
        pub(in super::super) async fn accept(&self, _: TcpStream) -> io::Result<TcpStream> {
            match *self {}
        }
    }
}
