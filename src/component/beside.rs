//! Work that takes long on a worker, without other tasks waiting for it.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Above this many encoded bytes (about 100 µs of work) other tasks of this worker are moved away first.
const INLINE_BYTES_MAX: usize = 256 * 1024;

/// Runs what takes long for a payload of that many bytes: other tasks of this worker are moved away first.
///
/// For what reads or writes every record in one call. Never under a lock that other tasks wait for.
pub fn beside_others<T>(bytes: usize, run: impl FnOnce() -> T) -> T {
    match bytes > INLINE_BYTES_MAX && has_other_workers() {
        true => tokio::task::block_in_place(run),
        false => run(),
    }
}

/// Moving tasks away needs a second worker to take them; with one, in place is as good.
fn has_other_workers() -> bool {
    Handle::try_current().is_ok_and(|handle| {
        handle.runtime_flavor() == RuntimeFlavor::MultiThread && handle.metrics().num_workers() > 1
    })
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// Whether a worker has sent its tasks away while so many bytes are worked on: only then may it block, else the
    /// runtime panics.
    fn may_block(bytes: usize) -> bool {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .expect("a runtime needs only threads");
        let work = async move {
            beside_others(bytes, || {
                let block = || Handle::current().block_on(async {});
                catch_unwind(AssertUnwindSafe(block)).is_ok()
            })
        };
        runtime.block_on(async { tokio::spawn(work).await.expect("it does not panic") })
    }

    #[test]
    fn only_large_payloads_send_the_others_away() {
        assert!(!may_block(INLINE_BYTES_MAX));
        assert!(may_block(INLINE_BYTES_MAX + 1));
    }

    #[test]
    fn where_nobody_can_take_them_it_runs_in_place() {
        assert_eq!(beside_others(usize::MAX, || 1), 1);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime needs only threads");
        assert_eq!(runtime.block_on(async { beside_others(usize::MAX, || 2) }), 2);
    }
}
