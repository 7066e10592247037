//! Options of commands that listen for events: who may send them.

use std::path::PathBuf;

use tidemill_recipe::stream::{Access, TlsFiles, Tokens};

use crate::failure::{Failure, Result};

/// A token, where no file is named: no command line shows it to other users.
const TOKEN_VARIABLE: &str = "TIDEMILL_TOKEN";

#[derive(clap::Args)]
pub(super) struct AccessArguments {
    /// Listen on an address that other machines reach. Senders need a token: --token-file, or $TIDEMILL_TOKEN.
    #[arg(long)]
    allow_remote: bool,
    /// With --allow-remote: events of anyone who reaches the address are taken, without a token.
    #[arg(long, requires = "allow_remote")]
    insecure: bool,
    /// A file of tokens, one a line; requests over HTTP must have one: `Authorization: Bearer TOKEN`
    /// [default: the one in $TIDEMILL_TOKEN, if it is set].
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// HTTP over TLS: the server's certificate and its chain, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// HTTP over TLS: the private key of the certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl AccessArguments {
    /// Reads the tokens.
    pub(super) fn access(&self) -> Result<Access> {
        let usage = |what: String| Failure::usage(what);
        let tokens = match (&self.token_file, std::env::var(TOKEN_VARIABLE)) {
            (Some(path), _) => {
                Tokens::read(path).map_err(|e| usage(format!("--token-file: {e}")))?
            }
            (None, Ok(token)) => {
                Tokens::parse(&token).map_err(|e| usage(format!("{TOKEN_VARIABLE}: {e}")))?
            }
            (None, Err(std::env::VarError::NotPresent)) => Tokens::default(),
            (None, Err(e)) => return Err(usage(format!("{TOKEN_VARIABLE}: {e}"))),
        };
        let files = self.tls_cert.clone().zip(self.tls_key.clone());
        Ok(Access {
            allow_remote: self.allow_remote,
            insecure: self.insecure,
            tokens,
            tls: files.map(|(certificates, key)| TlsFiles { certificates, key }),
        })
    }
}
