//! Arrow IPC as JSON lines, which the JSON decoder then takes.
//!
//! Arrow comes in batches of rows; sources, positions and dead letters are of single records. A row
//! as a line of JSON is one, and has a place to go on from. NaN becomes `null` on this way: missing.

#[cfg(feature = "arrow")]
pub use with_arrow::arrow_lines;

/// The rows of an Arrow IPC stream or file (LZ4 included), called `name`, as lines of JSON.
///
/// # Errors
/// Always, as the program was built without the feature `arrow`.
#[cfg(not(feature = "arrow"))]
pub fn arrow_lines(
    name: &str,
    _: Box<dyn std::io::Read + Send>,
) -> crate::error::Result<Box<dyn std::io::Read + Send>> {
    Err(crate::error::Error::Usage(format!(
        "{name}: this program cannot read Arrow; build it with `--features arrow`"
    )))
}

#[cfg(feature = "arrow")]
mod with_arrow {
    use std::io::{self, Chain, Cursor, Read};
    use std::panic::AssertUnwindSafe;

    use arrow_ipc::reader::StreamReader;
    use arrow_json::writer::{LineDelimited, WriterBuilder};

    use crate::error::{Error, Result};

    type Input = Box<dyn Read + Send>;

    /// How an Arrow file begins; what follows is a stream.
    const FILE: &[u8; 8] = b"ARROW1\0\0";

    /// The rows of an Arrow IPC stream or file (LZ4 included), called `name`, as lines of JSON.
    ///
    /// # Errors
    /// If it is no Arrow IPC.
    pub fn arrow_lines(name: &str, mut input: Input) -> Result<Input> {
        let failed = |what: String| Error::Io { place: name.to_owned(), what };
        let mut start = word(&mut input).map_err(|e| failed(e.to_string()))?;
        if start == FILE {
            // The stream begins after zeros: arrow-rs aligns it to 64 bytes.
            start = [0; 8].into();
            while start == [0; 8] {
                start = word(&mut input).map_err(|e| failed(e.to_string()))?;
            }
        }
        let reader = unhurt(|| StreamReader::try_new(Cursor::new(start).chain(input), None));
        let reader = reader
            .map_err(|e| failed(e.to_string()))?
            .map_err(|e| failed(format!("this is no Arrow IPC stream or file: {e}")))?;
        Ok(Box::new(Lines { reader, lines: Vec::new(), at: 0 }))
    }

    /// Runs what reads a file that may be damaged: `arrow-rs` checks much of what it is told there, and panics at the rest. What
    /// it has read so far is not used after that.
    fn unhurt<T>(read: impl FnOnce() -> T) -> io::Result<T> {
        std::panic::catch_unwind(AssertUnwindSafe(read)).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, "the Arrow IPC data is damaged")
        })
    }

    fn word(input: &mut Input) -> io::Result<Vec<u8>> {
        let mut word = Vec::new();
        input.by_ref().take(8).read_to_end(&mut word)?;
        Ok(word)
    }

    struct Lines {
        reader: StreamReader<Chain<Cursor<Vec<u8>>, Input>>,
        /// Of one batch.
        lines: Vec<u8>,
        /// How much of them was given.
        at: usize,
    }

    impl Read for Lines {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            while self.at == self.lines.len() {
                let Some(batch) = unhurt(|| self.reader.next())? else { return Ok(0) };
                let batch = batch.map_err(io::Error::other)?;
                self.lines.clear();
                self.at = 0;
                // With nulls, so that the first event has all keys.
                let mut writer = WriterBuilder::new()
                    .with_explicit_nulls(true)
                    .build::<_, LineDelimited>(&mut self.lines);
                let written = unhurt(|| writer.write(&batch).and_then(|()| writer.finish()))?;
                written.map_err(io::Error::other)?;
            }
            let len = to.len().min(self.lines.len() - self.at);
            to[..len].copy_from_slice(&self.lines[self.at..self.at + len]);
            self.at += len;
            Ok(len)
        }
    }
}
