//! Trying again, for whoever has no queue behind: commands, and what is read at start.

use std::time::Duration;

use crate::error::{Class, StoreError};

const TRIES: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Repeats a call while its error may pass: at most six tries within some four seconds, or as the store asks, at most
/// 30 s each. Fit for reads; a write that is repeated answers [`crate::PutOutcome::Exists`] if its first try had worked.
pub async fn patiently<T, F>(mut call: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut wait = FIRST_WAIT;
    for _ in 1..TRIES {
        match call().await {
            Err(StoreError {
                class: Class::Retry { after },
                ..
            }) => {
                tokio::time::sleep(after.unwrap_or(wait).min(WAIT_MAX)).await;
                wait *= 2;
            }
            done => return done,
        }
    }
    call().await
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_six_times() {
        let check = async |failures: usize, class, expected: (usize, u64, bool)| {
            let (began, mut calls) = (Instant::now(), 0);
            let done = patiently(|| {
                calls += 1;
                std::future::ready(match calls > failures {
                    true => Ok(()),
                    false => Err(StoreError::new(class, "x", "")),
                })
            });
            let is_ok = done.await.is_ok();
            assert_eq!((calls, began.elapsed().as_millis() as u64, is_ok), expected);
        };
        let retry = |seconds: Option<u64>| Class::Retry {
            after: seconds.map(Duration::from_secs),
        };
        check(0, retry(None), (1, 0, true)).await;
        check(2, retry(None), (3, 300, true)).await;
        check(5, retry(None), (6, 3100, true)).await;
        check(9, retry(None), (6, 3100, false)).await;
        check(1, retry(Some(7)), (2, 7000, true)).await;
        check(1, retry(Some(700)), (2, 30_000, true)).await;
        check(1, Class::Denied, (1, 0, false)).await;
    }
}
