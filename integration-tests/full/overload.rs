//! A blocked exporter under ten times its load for a minute.

use std::time::Duration;

use super::overload_run::withstands;

const BLOCKED: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_of_overload_is_withstood() {
    for queue in [
        "{sizer: bytes, queue_size: 33554432}",
        "{sizer: bytes, queue_size: 33554432, wait_for_result: true}",
        "{enabled: false}",
        "{storage: file_storage, sizer: bytes, queue_size: 1000000000}",
    ] {
        withstands(queue, BLOCKED).await;
    }
}
