//! Who may send events to a source that listens: addresses, tokens, certificates.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Fewer characters than this could be guessed.
const MIN_TOKEN: usize = 16;
/// Descriptors that the rest of a run needs: files of the log, checkpoints, journals.
#[cfg(unix)]
const OWN_DESCRIPTORS: u64 = 64;

/// Who may send events to a source that listens. By default programs of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Whether addresses that other machines reach may be listened on. It needs `tokens` or `insecure`.
    pub allow_remote: bool,
    /// Whether other machines may send without a token.
    pub insecure: bool,
    /// A request over HTTP must have one of these; if there are none, it needs none.
    pub tokens: Tokens,
    /// HTTP over TLS, in a build with the feature `tls`.
    pub tls: Option<TlsFiles>,
}

/// The files of a server's certificate, both in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those that it is signed by.
    pub certificates: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
}

/// Secrets that senders give as `Authorization: Bearer TOKEN`. Only their hashes are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens(Vec<[u8; 32]>);

impl Tokens {
    /// The tokens of `text`, one a line; empty lines and lines that begin with `#` are none.
    ///
    /// # Errors
    /// If there is none, or one is shorter than 16 characters or has others than visible ASCII.
    pub fn parse(text: &str) -> Result<Tokens> {
        let lines = text.lines().map(str::trim).enumerate();
        let mut tokens = Vec::new();
        for (i, token) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let number = i + 1;
            if token.len() < MIN_TOKEN {
                let what = format!("line {number}: a token has {MIN_TOKEN} characters or more");
                return Err(Error::Usage(what));
            }
            if !token.bytes().all(|b| b.is_ascii_graphic()) {
                let what =
                    format!("line {number}: a token has letters, digits and signs of ASCII only");
                return Err(Error::Usage(what));
            }
            tokens.push(Sha256::digest(token.as_bytes()).into());
        }
        if tokens.is_empty() {
            return Err(Error::Usage("there is no token; give one a line".into()));
        }
        Ok(Tokens(tokens))
    }

    /// The tokens in a file, as [`Tokens::parse`] reads them.
    ///
    /// # Errors
    /// If it cannot be read or has no valid tokens.
    pub fn read(path: &Path) -> Result<Tokens> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path.display(), e))?;
        Tokens::parse(&text).map_err(|e| Error::Usage(format!("{}: {e}", path.display())))
    }

    /// Whether no token is needed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `given` is one of them. The time that this takes does not depend on how much of it is right:
    /// hashes are compared, all of them, to the end.
    pub(crate) fn has(&self, given: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        let differs = |token: &[u8; 32]| {
            std::hint::black_box(token.iter().zip(&given).fold(0, |all, (a, b)| all | (a ^ b)))
        };
        self.0.iter().fold(false, |found, token| found | (differs(token) == 0))
    }
}

impl Access {
    /// The addresses that `address` stands for, if they may be listened on. `has_tokens`: whether the protocol can carry
    /// a token.
    pub(crate) fn addresses(&self, address: &str, has_tokens: bool) -> Result<Vec<SocketAddr>> {
        let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(_))) {
            let what = format!(
                "{address}: has no port; give an address to listen on with its port, such as \
                 127.0.0.1:8080"
            );
            return Err(Error::Usage(what));
        }
        let found = address.to_socket_addrs().map_err(|e| Error::io(address, e))?;
        let found: Vec<SocketAddr> = found.collect();
        if found.iter().all(|a| a.ip().is_loopback()) {
            return Ok(found);
        }
        let reached = format!("{address} can be reached from other machines");
        if !self.allow_remote {
            let what = format!(
                "{reached}, and anyone there could send events; listen on 127.0.0.1, or allow it \
                 with --allow-remote"
            );
            return Err(Error::Usage(what));
        }
        if !self.insecure && !has_tokens {
            let what = format!(
                "{reached}, and nothing protects lines over TCP; use http:// with a token, or let \
                 anyone there send events with --insecure"
            );
            return Err(Error::Usage(what));
        }
        if !self.insecure && self.tokens.is_empty() {
            let what = format!(
                "{reached}: give a token that senders must have, with --token-file or in the \
                 variable TIDEMILL_TOKEN, or let anyone there send events with --insecure"
            );
            return Err(Error::Usage(what));
        }
        Ok(found)
    }
}

/// How many connections may be open at once: `most`, and half of the file descriptors that the process may have,
/// less those that it needs itself.
pub(crate) fn connections(most: usize) -> usize {
    #[cfg(unix)]
    if let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        let half = limit.saturating_sub(OWN_DESCRIPTORS) / 2;
        return most.min(usize::try_from(half).unwrap_or(most)).max(1);
    }
    most.max(1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_and_compared_whole() {
        let tokens = Tokens::parse("# two\n0123456789abcdef\n\n  fedcba9876543210!  \r\n").unwrap();
        assert!(tokens.has(b"0123456789abcdef") && tokens.has(b"fedcba9876543210!"));
        for wrong in ["", "0123456789abcde", "0123456789abcdef0", "# two", "0123456789ABCDEF"] {
            assert!(!tokens.has(wrong.as_bytes()), "{wrong}");
        }
        assert!(!format!("{tokens:?}").contains("0123456789abcdef"));
        assert!(!Tokens::default().has(b""));
        for (text, says) in [
            ("", "no token"),
            ("# 0123456789abcdef", "no token"),
            ("\n0123456789", "line 2"),
            ("0123456789 abcdef", "ASCII"),
            ("0123456789abcdef\u{fc}", "ASCII"),
        ] {
            let error = Tokens::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let error = Tokens::read(Path::new("/no/such/file")).unwrap_err().to_string();
        assert!(error.contains("/no/such/file"), "{error}");
    }

    #[test]
    fn other_machines_need_a_token() {
        let error = |access: &Access, has_tokens| {
            access.addresses("0.0.0.0:0", has_tokens).unwrap_err().to_string()
        };
        let mut access = Access::default();
        assert!(access.addresses("127.0.0.1:0", false).is_ok());
        assert!(access.addresses("localhost:0", true).is_ok());
        assert!(error(&access, true).contains("--allow-remote"));
        access.allow_remote = true;
        assert!(error(&access, true).contains("TIDEMILL_TOKEN"));
        access.tokens = Tokens::parse("0123456789abcdef").unwrap();
        assert!(access.addresses("0.0.0.0:0", true).is_ok());
        assert!(error(&access, false).contains("--insecure"));
        access = Access { allow_remote: true, insecure: true, ..Access::default() };
        assert!(access.addresses("0.0.0.0:0", false).is_ok());
    }
}
