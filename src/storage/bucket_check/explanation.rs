//! Text of a failed step: the cause and the remedy. Pure.

use super::super::{BucketError, Key, PreconditionError};

pub(super) fn not_found(key: &Key) -> String {
    format!("{key} was written and is not found; look for a lifecycle rule that deletes objects")
}

pub(super) fn explain_precondition(error: PreconditionError) -> String {
    match error {
        PreconditionError::Bucket(error) => explain(error),
        PreconditionError::NotHonoured { .. } | PreconditionError::RefusedWriteTookEffect { .. } => error.to_string(),
    }
}

/// The cause and the remedy. Most errors of a store already name their remedy, after a semicolon.
#[expect(clippy::needless_pass_by_value, reason = "this is the last use of the error")]
pub(super) fn explain(error: BucketError) -> String {
    match &error {
        BucketError::Unavailable { .. }
        | BucketError::Full { .. }
        | BucketError::Unreadable { .. }
        | BucketError::Vanished { .. } => error.to_string(),
        BucketError::TimedOut { last_error, .. } if last_error.contains("; ") => error.to_string(),
        BucketError::TimedOut { .. } => format!("{error}; check this machine's network, DNS and proxy"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_is_added_only_to_a_cause_without_one() {
        let timed_out = |last_error: &str| BucketError::TimedOut {
            operation: "get",
            path: "cluster.json".to_owned(),
            store: "bucket".to_owned(),
            deadline_ms: 1,
            last_error: last_error.to_owned(),
        };
        let remedy = "; check this machine's network, DNS and proxy";
        for last_error in
            ["no answer within 1000 ms", "connection refused; check this machine's network, DNS and proxy"]
        {
            let text = explain(timed_out(last_error));
            assert!(text.matches(remedy).count() == 1 && text.ends_with(remedy), "{text}");
        }
        let text = explain(timed_out("503 Slow Down; wait"));
        assert!(text.ends_with("; wait"), "{text}");
    }
}
