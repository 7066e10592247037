//! Sources that need no server: files, standard input, sockets.

mod file;
mod stdin;

pub use file::FileSource;
pub use stdin::ReadSource;
