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
pub struct Bytes(Room);

#[derive(Debug)]
enum Room {
    Small(Vec<u8>),
    Large(MmapMut),
}

impl Bytes {
    /// So many zeros; fails where the system refuses to give so much.
    pub fn zeroed(len: usize) -> io::Result<Bytes> {
        if len < LARGE {
            return Ok(Bytes(Room::Small(vec![0; len])));
        }
        let map = MmapMut::map_anon(len)?;
        // A wish: without huge pages everything is the same, only slower.
        #[cfg(target_os = "linux")]
        let _ = map.advise(Advice::HugePage);
        Ok(Bytes(Room::Large(map)))
    }

    /// The bytes, to write them.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Room::Small(bytes) => bytes,
            Room::Large(map) => map,
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Room::Small(bytes) => bytes,
            Room::Large(map) => map,
        }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes(Room::Small(bytes))
    }
}

impl Clone for Bytes {
    fn clone(&self) -> Bytes {
        Bytes(Room::Small(self.to_vec()))
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
        }
        assert!(Bytes::zeroed(usize::MAX / 2).is_err());
    }
}
