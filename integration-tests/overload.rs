//! A blocked exporter under load: bounded memory, retryable answers with hints, and recovery. Longer in tier 3.

use std::time::Duration;

use crate::support::overload::withstands;

const BLOCKED: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_in_memory_is_bounded_by_its_size() {
    withstands("{sizer: bytes, queue_size: 16777216}", BLOCKED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_wait_for_the_result_are_bounded_too() {
    withstands(
        "{sizer: bytes, queue_size: 16777216, wait_for_result: true}",
        BLOCKED,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_queue_callers_hear_it_in_time() {
    withstands("{enabled: false}", BLOCKED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_on_disk_costs_disk_and_not_memory() {
    withstands(
        "{storage: file_storage, sizer: bytes, queue_size: 16777216}",
        BLOCKED,
    )
    .await;
}
