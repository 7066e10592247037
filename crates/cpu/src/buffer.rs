//! Memory that kernels work in: zeroed, aligned, faulted in before the first step, and on huge pages
//! where the system grants them: a step sweeps over more memory than a core has translations for.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

/// Large buffers are whole huge pages.
const HUGE_PAGE: usize = 2 << 20;
/// From here on a buffer is large. On small pages, scattered over memory, weights and optimizer state
/// that would fit the L2 cache meet in some of its sets and push each other out: a matter of luck at
/// each start that was seen to double the time of a step.
pub(crate) const LARGE: usize = 256 << 10;
/// Every buffer starts at least at a cache line.
const LINE: usize = 64;

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
        let bytes = (len * 4).max(1).next_multiple_of(align);
        let layout =
            Layout::from_size_align(bytes, align).expect("sizes stay far below isize::MAX");
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        if large {
            ask_for_huge_pages(start, bytes);
        }
        // SAFETY: `bytes` bytes were just allocated.
        unsafe { start.write_bytes(0, bytes) };
        AlignedBuffer { start: start.cast(), layout, len }
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

/// From now on the allocator gives each piece of 4 MiB or more back to the system when it is freed. By itself it stops doing so
/// after the first one, so that a process which once held a few very long records would look as if it still did.
pub fn return_large_pieces() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: sets two numbers of the allocator, which any thread may do at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 4 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 8 << 20);
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
    }
}
