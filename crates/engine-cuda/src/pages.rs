//! The emulator's memory: an address past either end of an allocation is a fault, as it may be on a GPU.

use std::ffi::c_void;
use std::ptr;

/// One allocation, which ends where a page that nobody may touch begins; in front of it lies another one.
pub(crate) struct Pages {
    begin: *mut c_void,
    mapped: usize,
    address: u64,
}

// SAFETY: it is memory that nobody else knows.
unsafe impl Send for Pages {}

impl Pages {
    /// Memory without a value on an alignment of 16; `None` where the system has no more.
    pub(crate) fn new(bytes: u64) -> Option<Self> {
        // SAFETY: it reads a constant of the system.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
        let bytes = usize::try_from(bytes).ok()?.checked_next_multiple_of(16)?;
        let inside = bytes.checked_next_multiple_of(page)?;
        let mapped = inside.checked_add(2 * page)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: it asks for new pages wherever the system has room.
        let begin = unsafe { libc::mmap(ptr::null_mut(), mapped, libc::PROT_NONE, flags, -1, 0) };
        if begin == libc::MAP_FAILED {
            return None;
        }
        let first = begin as usize + page;
        let pages = Self {
            begin,
            mapped,
            address: (first + inside - bytes) as u64,
        };
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the pages were mapped above, and are this allocation's.
        let opened = inside == 0 || unsafe { libc::mprotect(first as *mut c_void, inside, access) } == 0;
        opened.then_some(pages)
    }

    pub(crate) const fn address(&self) -> u64 {
        self.address
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the pages were mapped by `new`, and nobody uses them any more.
        unsafe { libc::munmap(self.begin, self.mapped) };
    }
}
