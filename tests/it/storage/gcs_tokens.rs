//! Tokens of Cloud Storage: failures of the token endpoint, and tokens that the server refuses. The
//! proxy answers as the token endpoint, too.

use std::sync::Arc;
use std::time::Duration;

use rollcall::storage::{Bucket, BucketError, GcsBackend, GcsConfig, Key, RetryPolicy};
use tempfile::TempDir;

use super::fake_gcs::{FakeGcs, bucket_name};
use rollcall_test_support::fault_proxy::{Answer, Fault, FaultProxy, Rule};

/// A bucket with the credentials of a user, who gets tokens from the proxy.
struct Site {
    proxy: FaultProxy,
    bucket: Bucket,
    _fake: FakeGcs,
    _dir: TempDir,
}

/// Opens a bucket with these answers of the token endpoint, before the answer with the token
/// `last`.
async fn open(answers: Vec<Rule>) -> Site {
    let fake = FakeGcs::start();
    let proxy = FaultProxy::start(&fake.url());
    answers.into_iter().chain([Rule::always(token("last"))]).for_each(|rule| proxy.inject(rule.path(TOKEN_PATH)));
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("key.json");
    let user = serde_json::json!({
        "type": "authorized_user", "client_id": "1", "client_secret": SECRET, "refresh_token": SECRET,
        "token_uri": format!("{}{TOKEN_PATH}", proxy.url()),
    });
    std::fs::write(&key_file, user.to_string()).unwrap();
    let config = GcsConfig::emulator(&bucket_name(), &proxy.url()).with_key_file(key_file);
    let backend = GcsBackend::connect(config).await.expect("the key file is valid");
    let bucket = Bucket::new(Arc::new(backend), RetryPolicy::with_deadline(Duration::from_secs(8)));
    Site { proxy, bucket, _fake: fake, _dir: dir }
}

const TOKEN_PATH: &str = "/token";
const SECRET: &str = "a-secret-of-the-user";

fn token(name: &str) -> Fault {
    let body = format!(r#"{{"access_token":"{name}","token_type":"Bearer","expires_in":3600}}"#);
    Fault::Answer(Answer::json(200, body))
}

impl Site {
    /// The tokens of the requests to the store so far.
    fn tokens(&self) -> Vec<String> {
        let requests = self.proxy.requests();
        let to_store = requests.iter().filter(|request| request.uri.path() != TOKEN_PATH);
        to_store.map(|request| request.headers["authorization"].to_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_source_that_gave_up_is_made_anew() {
    for failure in [
        Answer::html(404, "<html>404</html>"),
        Answer::json(400, "{}"),
        Answer::json(200, "{}"),
        Answer::html(200, "<html>log in</html>"),
    ] {
        let site = open(vec![Rule::times(2, Fault::Answer(failure.clone()))]).await;
        let read = site.bucket.get(&Key::Cluster).await;
        assert!(matches!(read, Ok(None)), "{failure:?}: {read:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_is_an_error_at_once_that_shows_no_secret() {
    let revoked = Fault::Answer(Answer::json(400, r#"{"error":"invalid_grant","error_description":"revoked"}"#));
    let site = open(vec![Rule::always(revoked)]).await;
    for _ in 0..2 {
        let Err(BucketError::Unavailable { cause, .. }) = site.bucket.get(&Key::Cluster).await else {
            panic!("no error")
        };
        assert!(cause.contains("make a new key") && !cause.contains(SECRET), "{cause}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_a_refused_token_is_repeated_once_with_a_new_token() {
    let refused = || Fault::Answer(Answer::json(401, r#"{"error":{"message":"Invalid Credentials"}}"#));
    let site = open(vec![Rule::once(token("first"))]).await;
    site.proxy.inject(Rule::once(refused()).path("/storage"));
    assert!(matches!(site.bucket.get(&Key::Cluster).await, Ok(None)));
    assert_eq!(site.tokens(), ["Bearer first", "Bearer last"]);

    // Further refusals do not replace the credentials for some time, and end the call.
    site.proxy.inject(Rule::always(refused()).path("/storage"));
    let refused = site.bucket.create(&Key::Cluster, "{}".into()).await;
    assert!(matches!(refused, Err(BucketError::Unavailable { .. })), "{refused:?}");
    assert_eq!(site.tokens().len(), 4);
}
