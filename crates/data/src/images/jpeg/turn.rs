//! Images that are stored lying: which way they are turned upright, by their EXIF data.

use crate::RawImage;
use crate::augment::Window;

/// What is done to a stored image: rows and columns exchanged, then mirrored left to right, then turned upside down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Turn {
    exchanged: bool,
    mirrored: bool,
    upside_down: bool,
}

impl Turn {
    /// By the TIFF data of an EXIF segment; none where it does not say.
    pub(super) fn read(tiff: &[u8]) -> Option<Turn> {
        let big = tiff.starts_with(b"MM");
        let half = |at: usize| {
            let two = *tiff.get(at..at.checked_add(2)?)?.as_array::<2>()?;
            Some(usize::from(if big { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) }))
        };
        let (first, second) = (half(4)?, half(6)?);
        let table = if big { first << 16 | second } else { second << 16 | first };
        let entry = (0..half(table)?).map(|entry| table + 2 + 12 * entry);
        let entry =
            entry.take_while(|&at| half(at).is_some()).find(|&at| half(at) == Some(0x0112))?;
        Turn::of(half(entry + 8)?)
    }

    /// By the number of an orientation.
    fn of(number: usize) -> Option<Turn> {
        let turn = |exchanged, mirrored, upside_down| Turn { exchanged, mirrored, upside_down };
        Some(match number {
            1 => turn(false, false, false),
            2 => turn(false, true, false),
            3 => turn(false, true, true),
            4 => turn(false, false, true),
            5 => turn(true, false, false),
            6 => turn(true, true, false),
            7 => turn(true, true, true),
            8 => turn(true, false, true),
            _ => return None,
        })
    }

    /// `[height, width]` of one from that of the other.
    pub(in super::super) fn size(self, [height, width]: [usize; 2]) -> [usize; 2] {
        if self.exchanged { [width, height] } else { [height, width] }
    }

    /// The window of the stored image of `[height, width]` that becomes `window` of the upright one.
    pub(super) fn stored(self, window: Window, stored: [usize; 2]) -> Window {
        let [height, width] = self.size(stored);
        let Window { mut top, mut left, height: h, width: w } = window;
        if self.mirrored {
            left = width - left - w;
        }
        if self.upside_down {
            top = height - top - h;
        }
        match self.exchanged {
            true => Window { top: left, left: top, height: w, width: h },
            false => Window { top, left, height: h, width: w },
        }
    }

    /// A stored image upright.
    pub(in super::super) fn upright(self, image: RawImage) -> RawImage {
        if self == Turn::default() {
            return image;
        }
        let [height, width] = self.size([image.height, image.width]);
        let c = image.channels;
        let mut pixels = Vec::with_capacity(image.pixels.len());
        for y in 0..height {
            let y = if self.upside_down { height - 1 - y } else { y };
            for x in 0..width {
                let x = if self.mirrored { width - 1 - x } else { x };
                let at = if self.exchanged { x * image.width + y } else { y * image.width + x };
                pixels.extend_from_slice(&image.pixels[at * c..][..c]);
            }
        }
        RawImage { height, width, channels: c, pixels }
    }
}
