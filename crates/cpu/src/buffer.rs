//! Memory that kernels work in: zeroed, aligned, faulted in before the first step, and on huge pages
//! where the system grants them: a step sweeps over more memory than a core has translations for.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Large buffers are whole huge pages, where memory is not short.
const HUGE_PAGE: usize = 2 << 20;
/// Where it is, they are whole pages.
const PAGE: usize = 4 << 10;
/// From here on a buffer is large. On small pages, scattered over memory, weights and optimizer state
/// that would fit the L2 cache meet in some of its sets and push each other out: a matter of luck at
/// each start that was seen to double the time of a step.
pub(crate) const LARGE: usize = 256 << 10;
/// Every buffer starts at least at a cache line.
const LINE: usize = 64;

/// Whether memory is short.
static SHORT: AtomicBool = AtomicBool::new(false);

/// From now on no new buffer takes more than its last page: what is left of its last huge page is on small ones.
pub fn spare_memory() {
    SHORT.store(true, Relaxed);
}

/// Bytes that a new buffer of `len` elements takes.
pub fn bytes_of(len: usize) -> usize {
    let unit = match len * 4 >= LARGE {
        false => LINE,
        true if SHORT.load(Relaxed) => PAGE,
        true => HUGE_PAGE,
    };
    (len * 4).max(1).next_multiple_of(unit)
}

/// A zeroed buffer of f32.
pub struct AlignedBuffer {
    start: *mut f32,
    layout: Layout,
    len: usize,
}

// SAFETY: the buffer owns its memory and hands out references under the usual borrow rules.
unsafe impl Send for AlignedBuffer {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for AlignedBuffer {}

impl AlignedBuffer {
    /// A buffer of `len` zeros; its pages are touched, so that no step pays for faulting them in.
    pub fn new(len: usize) -> AlignedBuffer {
        let large = len * 4 >= LARGE;
        let align = if large { HUGE_PAGE } else { LINE };
        let bytes = bytes_of(len);
        let layout =
            Layout::from_size_align(bytes, align).expect("sizes stay far below isize::MAX");
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        if large {
            ask_for_huge_pages(start, bytes - bytes % HUGE_PAGE);
        }
        // SAFETY: `bytes` bytes were just allocated.
        unsafe { start.write_bytes(0, bytes) };
        AlignedBuffer { start: start.cast(), layout, len }
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.layout.size()
    }

    /// Its elements.
    pub fn as_slice(&self) -> &[f32] {
        // SAFETY: `len` initialised values, owned by self.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    /// Its elements.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: as above, borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }

    /// Its first element.
    pub fn as_mut_ptr(&self) -> *mut f32 {
        self.start
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// From now on the allocator gives each piece of so many bytes or more back to the system when it is freed. By itself it stops
/// doing so after the first one, so that a process which once held a few very long records would look as if it still did.
pub fn return_pieces(from: usize) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if let Ok(from) = i32::try_from(from) {
        // SAFETY: sets two numbers of the allocator, which any thread may do at any time.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, from);
            libc::mallopt(libc::M_TRIM_THRESHOLD, from.saturating_mul(2));
        }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = from;
}

/// The allocator gives back to the system what of its memory nobody holds.
pub fn return_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes the allocator's own locks, and gives back whole pages that are free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Asks the system to back memory with huge pages. It may decline, which changes only the speed.
fn ask_for_huge_pages(start: *mut u8, bytes: usize) {
    #[cfg(target_os = "linux")]
    // SAFETY: the pages are inside a live allocation that starts at one; the advice does not change
    // what they hold.
    unsafe {
        libc::madvise(start.cast(), bytes, libc::MADV_HUGEPAGE);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, bytes);
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`, freed once.
        unsafe { dealloc(self.start.cast(), self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_zeroed_and_aligned() {
        for len in [0, 1, 1023, 1024, 1025, 600_000] {
            let mut buffer = AlignedBuffer::new(len);
            assert_eq!(buffer.as_mut_ptr() as usize % 64, 0);
            assert!(buffer.as_slice().iter().all(|&x| x == 0.0));
            buffer.as_mut_slice().fill(1.0);
            assert_eq!((buffer.len(), buffer.is_empty()), (len, len == 0));
        }
        // Of several huge pages, of less than one, and of none.
        for (len, usual, spared) in
            [(600_000, 4 << 20, 2_400_256), (LARGE / 4 + 1, 2 << 20, LARGE + PAGE), (17, 128, 128)]
        {
            SHORT.store(false, Relaxed);
            assert_eq!((bytes_of(len), AlignedBuffer::new(len).bytes()), (usual, usual));
            spare_memory();
            let mut buffer = AlignedBuffer::new(len);
            assert_eq!((bytes_of(len), buffer.bytes()), (spared, spared));
            assert!(buffer.as_slice().iter().all(|&x| x == 0.0));
            buffer.as_mut_slice().fill(1.0);
            assert_eq!(buffer.as_mut_ptr() as usize % if len > 17 { HUGE_PAGE } else { LINE }, 0);
        }
        return_freed();
    }
}
