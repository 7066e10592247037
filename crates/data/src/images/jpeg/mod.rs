//! A window of a JPEG file, at a reduced scale where it is much larger than what is wanted.
//!
//! The library that decodes whole images knows neither: of a window it would compute all pixels around it, and of a photo that becomes
//! 224 x 224 every one of its pixels. Here blocks outside of the window are parsed and not computed, and what is below it is
//! not even parsed; a block gives 8 x 8, 4 x 4, 2 x 2 or 1 pixel, by the low frequencies that these have.
//!
//! Only what cameras and web sites write is known: sequential Huffman coding of 8 bits, grey or YCbCr with colours in full, half or
//! quarter resolution. Anything else, and anything that is not as it should be, gives none: then the image is decoded as a whole.
//!
//! - `head`: the segments before the pixels; `turn`: images that are stored lying; `huffman`: codes and bits; `scan`: from bits to planes
//! - `idct`: from frequencies to pixels; `color`: from planes to RGB

mod color;
mod head;
mod huffman;
mod idct;
mod scan;
mod turn;

use std::cell::RefCell;

use crate::RawImage;
use crate::augment::Window;
use head::Head;
pub(super) use turn::Turn;

/// A part of an image at some scale, and where in it the window is that was asked for.
pub(super) struct Part {
    /// The pixels: 1 or 3 channels.
    pub(super) image: RawImage,
    /// Of the window in them: left, top, width and height.
    pub(super) place: [f64; 4],
    /// What is still to be done to it.
    pub(super) turn: Turn,
}

/// Memory that is worth keeping from image to image.
#[derive(Default)]
struct Scratch {
    /// The coded data without what was stuffed in.
    data: Vec<u8>,
    planes: [Vec<u8>; 3],
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The largest scale, as pixels of a block's side, at which a window is not smaller than `size` (`[height, width]`).
fn scale(window: Window, size: [usize; 2]) -> usize {
    let fits = |n: usize| window.height * n >= 8 * size[0] && window.width * n >= 8 * size[1];
    [1, 2, 4].into_iter().find(|&n| fits(n)).unwrap_or(8)
}

/// The window that is drawn for an upright image of `[height, width]`, for a sample of `size`; none where the file is of another kind, or broken.
pub(super) fn window(
    bytes: &[u8],
    size: [usize; 2],
    draw: &dyn Fn([usize; 2]) -> Option<Window>,
    most_pixels: u64,
) -> Option<Part> {
    let head = Head::read(bytes)?;
    if (head.width * head.height) as u64 > most_pixels {
        return None;
    }
    let (turn, stored) = (head.turn.unwrap_or_default(), [head.height, head.width]);
    let window = turn.stored(draw(turn.size(stored))?, stored);
    let side = scale(window, turn.size(size));
    SCRATCH.with_borrow_mut(|scratch| {
        let region = scan::Region::new(&head, window, side);
        let decoding = Decoding { head: &head, bytes, region: &region, scratch };
        let image = pulp::Arch::new().dispatch(decoding)?;
        // One huge file must not make every thread hold its size for ever.
        if scratch.data.capacity() > 8 << 20 {
            *scratch = Scratch::default();
        }
        Some(Part { image, place: region.place(window), turn })
    })
}

/// What is compiled for the instruction set at hand; integers alone, so that the bits are the same with any.
struct Decoding<'a> {
    head: &'a Head,
    bytes: &'a [u8],
    region: &'a scan::Region,
    scratch: &'a mut Scratch,
}

impl pulp::WithSimd for Decoding<'_> {
    type Output = Option<RawImage>;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) -> Option<RawImage> {
        let Decoding { head, bytes, region, scratch } = self;
        scan::decode(head, bytes, region, scratch)?;
        Some(color::convert(head, region, &scratch.planes))
    }
}

#[cfg(test)]
mod tests;
