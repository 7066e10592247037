//! Many bytes in few pages.

use std::io;
use std::ops::Deref;

use memmap2::{Advice, MmapMut};

/// From here on memory is asked for in huge pages, of 2 MB.
const LARGE: usize = 4 << 20;

/// Bytes that stay where they are.
///
/// Samples in random order are nearly always in another page than the one before, and finding that
/// page takes as long as fetching the sample itself, unless the pages are huge; making the room for
/// MNIST out of 12,000 small pages takes 10 ms besides.
#[derive(Debug)]
pub struct Bytes {
    room: Room,
    /// Bytes of the room before the first.
    start: usize,
}

#[derive(Debug)]
enum Room {
    Small(Vec<u8>),
    Large(MmapMut),
}

impl Bytes {
    /// So many zeros; fails where the system refuses to give so much.
    pub fn zeroed(len: usize) -> io::Result<Bytes> {
        if len < LARGE {
            return Ok(Bytes { room: Room::Small(vec![0; len]), start: 0 });
        }
        let map = MmapMut::map_anon(len)?;
        // A wish: without huge pages everything is the same, only slower.
        #[cfg(target_os = "linux")]
        let _ = map.advise(Advice::HugePage);
        Ok(Bytes { room: Room::Large(map), start: 0 })
    }

    /// Has the system find the pages now rather than when each is first touched. Only for a length
    /// that is known to be true: a damaged file may claim any.
    pub fn populate(&mut self) {
        if let Room::Large(map) = &self.room {
            populate(map);
        }
    }

    /// The bytes, to write them.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        let bytes: &mut [u8] = match &mut self.room {
            Room::Small(bytes) => bytes,
            Room::Large(map) => map,
        };
        &mut bytes[self.start..]
    }

    /// The same without the first `n`, which stay in memory.
    pub fn skip(self, n: usize) -> Bytes {
        let start = self.start + n.min(self.len());
        Bytes { start, ..self }
    }
}

/// Each half by a thread of its own: clearing pages takes about as long as filling them does, and
/// would wait for it.
#[cfg(target_os = "linux")]
fn populate(map: &MmapMut) {
    let half = map.len() / 2 / (2 << 20) * (2 << 20);
    // Linux before 5.14 refuses, and finds each page when it is first touched.
    std::thread::scope(|scope| {
        let first = std::thread::Builder::new().name("populate".into());
        let first = first.spawn_scoped(scope, || {
            let _ = map.advise_range(Advice::PopulateWrite, 0, half);
        });
        let _ = map.advise_range(Advice::PopulateWrite, half, map.len() - half);
        drop(first);
    });
}

#[cfg(not(target_os = "linux"))]
fn populate(_map: &MmapMut) {}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let bytes: &[u8] = match &self.room {
            Room::Small(bytes) => bytes,
            Room::Large(map) => map,
        };
        &bytes[self.start..]
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes { room: Room::Small(bytes), start: 0 }
    }
}

impl Clone for Bytes {
    fn clone(&self) -> Bytes {
        Bytes::from(self.to_vec())
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Bytes) -> bool {
        **self == **other
    }
}

impl Eq for Bytes {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_are_alike() {
        for len in [0, 1, 1000, LARGE - 1, LARGE, LARGE + 12_345] {
            let mut bytes = Bytes::zeroed(len).unwrap();
            assert!(bytes.len() == len && bytes.iter().all(|&b| b == 0));
            if let Some(last) = bytes.as_mut_slice().last_mut() {
                *last = 7;
            }
            let copy = bytes.clone();
            assert!(copy == bytes && copy.last().is_none_or(|&b| b == 7));
            assert!(bytes == Bytes::from(bytes.to_vec()));
            let rest = Bytes::from(bytes.get(1..).unwrap_or_default().to_vec());
            assert!(bytes.skip(1) == rest);
        }
        assert!(Bytes::zeroed(usize::MAX / 2).is_err());
    }
}
