//! Sources that need no other server: files, standard input, sockets.

mod directory;
mod file;
mod http;
mod listener;
mod request;
mod stdin;
mod tail;
mod tcp;

pub use directory::DirectorySource;
pub use file::FileSource;
pub use http::{HttpOptions, HttpSource};
pub use stdin::ReadSource;
pub use tail::TailSource;
pub use tcp::{TcpOptions, TcpSource};
