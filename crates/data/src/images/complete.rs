//! Whether a file goes up to its end: decoders that make the best of what there is do not say so.

/// Whether a JPEG file has its end marker. The decoder fills what is missing with grey; Pillow and
/// TensorFlow refuse such files.
pub(super) fn jpeg(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr(0xff, rest)) {
        at += found + 1;
        // Any number of fill bytes may come before a marker.
        while bytes.get(at) == Some(&0xff) {
            at += 1;
        }
        match bytes.get(at) {
            Some(0xd9) => return true,
            // Within data: a stuffed byte or a restart. Neither has a length.
            None | Some(0x00 | 0x01 | 0xd0..=0xd8) => at += 1,
            // A segment, of which a thumbnail with an end of its own may be part.
            Some(_) => match bytes.get(at + 1..at + 3) {
                Some(&[high, low]) => at += 1 + (usize::from(high) << 8 | usize::from(low)),
                _ => return false,
            },
        }
    }
    false
}
