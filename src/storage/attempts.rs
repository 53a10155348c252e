//! Attempts of one call, until one succeeds or the deadline of the retry policy.

use rand::RngExt;
use tokio::time::{Instant, sleep, timeout};

use super::{BackendError, RetryPolicy};

/// The result of the first attempt that succeeds or fails for good; or the error of the last
/// attempt before the deadline.
pub(super) async fn attempts<T, F, A>(policy: RetryPolicy, attempt: F) -> Result<T, BackendError>
where
    F: Fn() -> A,
    A: Future<Output = Result<T, BackendError>>,
{
    let deadline = Instant::now() + policy.deadline;
    let remaining = || deadline.saturating_duration_since(Instant::now());
    let mut last_error = None;
    for failed in 1.. {
        let attempt_timeout = policy.attempt_timeout().min(remaining());
        let (cause, retry_after) = match timeout(attempt_timeout, attempt()).await {
            Ok(Err(BackendError::Transient { cause, retry_after })) => (cause, retry_after),
            Ok(result) => return result,
            // An attempt that the deadline cut short says less than the attempt before it.
            Err(_) if attempt_timeout < policy.attempt_timeout() && last_error.is_some() => break,
            Err(_) => (format!("no answer within {} ms", attempt_timeout.as_millis()), None),
        };
        last_error = Some(cause);
        let Some(wait) = policy.wait(failed, retry_after, remaining(), random_fraction()) else { break };
        sleep(wait).await;
    }
    Err(BackendError::transient(last_error.expect("the first attempt failed")))
}

#[expect(clippy::disallowed_methods, reason = "no test needs to repeat the jitter of a backoff")]
fn random_fraction() -> f64 {
    rand::rng().random()
}
