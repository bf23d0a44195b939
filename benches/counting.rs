//! An allocator that counts. Apart from the rest, since most crates forbid the `unsafe` that it takes.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicU64, Ordering};

use mimalloc::MiMalloc;

use crate::support::{ALLOCATIONS, ALLOCATIONS_HERE};

/// Bytes that were asked for and not given back.
pub(crate) static LIVE: AtomicU64 = AtomicU64::new(0);

/// Counts what is allocated; the bench's global allocator.
pub(crate) struct Counting;

fn count() {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    ALLOCATIONS_HERE.set(ALLOCATIONS_HERE.get() + 1);
}

// SAFETY: hands everything on to the allocator that the program uses; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        LIVE.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's promise, handed on.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's promise, handed on.
        unsafe { MiMalloc.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        LIVE.fetch_add(new_size as u64, Ordering::Relaxed);
        LIVE.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's promise, handed on.
        unsafe { MiMalloc.realloc(ptr, layout, new_size) }
    }
}
