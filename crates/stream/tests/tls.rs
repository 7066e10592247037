//! Events by HTTP over TLS.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use common::{WAIT, texts};
use tidemill_stream::sources::{HttpOptions, HttpSource};
use tidemill_stream::{Access, Log, LogOptions, TlsFiles};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Of localhost, signed by itself, valid until 2126:
/// `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj /CN=localhost
/// -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE`
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBkjCCATigAwIBAgIUS/Q7Uuv6s6cJCh2hZBaEA/vSukwwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNzExNDgzM1oYDzIxMjYxMTAz
MTE0ODMzWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAT5alIjN6dwMPiBtaFKMaSVqdhBnWuGswfzeIh+Yb13Nd/9RUSetfwy
fLPdgdXxEU2ym8lOxgIVLcNx+umjPEVZo2YwZDAdBgNVHQ4EFgQU/bRG/1PXW4qx
S9wHa9xT1bmWnlkwHwYDVR0jBBgwFoAU/bRG/1PXW4qxS9wHa9xT1bmWnlkwFAYD
VR0RBA0wC4IJbG9jYWxob3N0MAwGA1UdEwEB/wQCMAAwCgYIKoZIzj0EAwIDSAAw
RQIhAM2+ZSgrZomBm8WgivKUi3gFxIvjp8FlORFXIWae7S9gAiAvQFw1yIoYzz+x
B+o0dPWzrx3TPzjnDrkbFKelODtFCQ==
-----END CERTIFICATE-----
";

/// Its key, which protects nothing.
const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgFvWbNO3jbtKChO3F
T5bPBAAXzXz0cfhbp5Syhmdi4vqhRANCAAT5alIjN6dwMPiBtaFKMaSVqdhBnWuG
swfzeIh+Yb13Nd/9RUSetfwyfLPdgdXxEU2ym8lOxgIVLcNx+umjPEVZ
-----END PRIVATE KEY-----
";

#[test]
fn events_come_encrypted() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let files =
        TlsFiles { certificates: write("cert.pem", CERTIFICATE), key: write("key.pem", KEY) };
    let bind = |tls: TlsFiles| {
        let log = Log::open(folder.path().join("log"), LogOptions::default()).unwrap();
        let access = Access { tls: Some(tls), ..Access::default() };
        let options = HttpOptions { access, ..HttpOptions::default() };
        HttpSource::bind("127.0.0.1:0", log, &options)
    };
    for (broken, names) in [
        (TlsFiles { key: write("none.pem", ""), ..files.clone() }, "none.pem"),
        (TlsFiles { certificates: files.key.clone(), ..files.clone() }, "key.pem"),
        (TlsFiles { key: folder.path().join("absent"), ..files.clone() }, "absent"),
    ] {
        let error = bind(broken).unwrap_err().to_string();
        assert!(error.contains(names) && error.contains("PEM"), "{error}");
    }
    let mut source = bind(files).unwrap();

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connection =
        ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let socket = TcpStream::connect(source.address()).unwrap();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    let mut stream = StreamOwned::new(connection, socket);
    let request = "POST /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                   Content-Length: 3\r\n\r\none";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(texts(&mut source, 1), ["one"]);

    // Whoever does not speak it gets no answer of HTTP.
    let mut plain = TcpStream::connect(source.address()).unwrap();
    plain.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}
