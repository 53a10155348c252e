use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::registry::testing::{caller, name, registry, registry_on, settings, user, wall};
use crate::registry::{
    Coverage, Credentials, DenialReason, LookupError, RegisterError, RegisterRequest, Registry, RegistrySettings,
    TokenKey,
};
use crate::storage::{Backend, Bucket, Fault, MemoryBackend, RetryPolicy};
use rollcall_core::{BootMs, MAX_PASSWORD_BYTES, Term, WallMs};

fn password(text: &str) -> Password {
    Password::new(text.to_owned())
}

fn caller_now() -> Caller<'static> {
    caller(BootMs(0))
}

async fn register(registry: &Registry, username: &str) -> IssuedToken {
    let user = RegisterRequest { password: Some(password("secret")), ..user(username) };
    registry.register(user, caller_now()).await.unwrap().issued_token.expect("the user has a password")
}

async fn heartbeat_at(
    registry: &Registry,
    username: &str,
    credentials: Credentials<'_>,
    caller: Caller<'_>,
) -> Result<(), AuthError> {
    registry.heartbeat(&name(username), None, credentials, caller).await.map(|_| ())
}

/// Sends a heartbeat of alice with a token.
async fn heartbeat(registry: &Registry, issued_token: &IssuedToken) -> Result<(), AuthError> {
    heartbeat_at(registry, "alice", Credentials::Bearer(issued_token.token.reveal()), caller_now()).await
}

fn denial_reason(result: Result<(), AuthError>) -> DenialReason {
    match result {
        Err(AuthError::Unauthorized(_, why)) => why,
        other => panic!("{other:?}"),
    }
}

/// Changes the password of alice.
async fn change_password(registry: &Registry, old: &str, new: &str) -> Result<IssuedToken, AuthError> {
    registry.change_password(&name("alice"), password(old), password(new), caller_now()).await
}

#[tokio::test]
async fn only_its_token_or_password_authorizes_a_request_for_a_user_with_a_password() {
    let (registry, _) = registry();
    let (alice, bob) = (register(&registry, "alice").await, register(&registry, "bob").await);
    assert!(heartbeat(&registry, &alice).await.is_ok());
    // The Base64 texts are alice:secret, bob:secret, alice:Secret, `alice:`, `alice`, which has no
    // colon, and `*`, which is not Base64.
    assert!(heartbeat_at(&registry, "alice", Credentials::Basic("YWxpY2U6c2VjcmV0"), caller_now()).await.is_ok());
    for (credentials, expected) in [
        (Credentials::None, DenialReason::Missing),
        (Credentials::Other, DenialReason::Malformed),
        (Credentials::Bearer("rc1.x"), DenialReason::Forged),
        (Credentials::Bearer(bob.token.reveal()), DenialReason::OtherUser),
        (Credentials::Basic("Ym9iOnNlY3JldA=="), DenialReason::OtherUser),
        (Credentials::Basic("YWxpY2U6U2VjcmV0"), DenialReason::WrongPassword),
        (Credentials::Basic("YWxpY2U6"), DenialReason::WrongPassword),
        (Credentials::Basic("YWxpY2U="), DenialReason::Malformed),
        (Credentials::Basic("*"), DenialReason::Malformed),
    ] {
        assert_eq!(denial_reason(heartbeat_at(&registry, "alice", credentials, caller_now()).await), expected);
    }
    let later = |ms: i64| Caller { wall: WallMs::new(alice.expires_at.unix_ms() + ms), ..caller_now() };
    let bearer = Credentials::Bearer(alice.token.reveal());
    assert!(heartbeat_at(&registry, "alice", bearer, later(-1)).await.is_ok());
    assert_eq!(denial_reason(heartbeat_at(&registry, "alice", bearer, later(0)).await), DenialReason::Expired);
}

#[tokio::test]
async fn credentials_are_ignored_for_a_user_without_a_password() {
    let (registry, memory) = registry();
    registry.register(user("open"), caller_now()).await.unwrap();
    let before = memory.faults().calls();
    for credentials in [Credentials::None, Credentials::Other, Credentials::Bearer("x"), Credentials::Basic("x")] {
        assert!(heartbeat_at(&registry, "open", credentials, caller_now()).await.is_ok());
    }
    assert_eq!(memory.faults().calls(), before);
    let login = registry.login(&name("open"), password("x"), caller_now()).await;
    assert!(matches!(login, Err(AuthError::NoPassword(_))));
    let change = registry.change_password(&name("open"), password("x"), password("y"), caller_now()).await;
    assert!(matches!(change, Err(AuthError::NoPassword(_))));
    let result = registry.login(&name("nobody"), password("x"), caller_now()).await;
    assert!(matches!(result, Err(AuthError::Lookup(LookupError::NotRegistered(_)))));
}

#[tokio::test]
async fn required_passwords_apply_to_registrations_and_heartbeats() {
    let (open, memory) = registry();
    open.register(user("open"), caller_now()).await.unwrap();
    let bucket = Bucket::new(std::sync::Arc::new(memory), RetryPolicy::default());
    let settings = RegistrySettings { require_password: true, ..settings() };
    let registry = Registry::new(bucket, settings, &TokenKey::new([7; 32]), BootMs(0), wall());
    let rejected = registry.register(user("new"), caller_now()).await;
    assert!(matches!(rejected, Err(RegisterError::PasswordRequired)));
    let rejected = heartbeat_at(&registry, "open", Credentials::None, caller_now()).await;
    assert!(matches!(rejected, Err(AuthError::PasswordRequired(_))));
    let alice = register(&registry, "alice").await;
    assert!(heartbeat(&registry, &alice).await.is_ok());
}

#[tokio::test]
async fn a_password_change_invalidates_every_token_and_can_be_repeated_with_another_password() {
    let (registry, memory) = registry();
    let first = register(&registry, "alice").await;
    let other = registry_on(&memory);
    assert!(heartbeat(&other, &first).await.is_ok());
    let second = change_password(&registry, "secret", "other").await.unwrap();
    assert_eq!(denial_reason(heartbeat(&registry, &first).await), DenialReason::Outdated);
    assert!(heartbeat(&registry, &second).await.is_ok());
    assert!(matches!(
        registry.login(&name("alice"), password("secret"), caller_now()).await,
        Err(AuthError::WrongPassword(_))
    ));
    let third = registry.login(&name("alice"), password("other"), caller_now()).await.unwrap();
    assert!(heartbeat(&registry, &third).await.is_ok());
    // Back to the first password. Its first token stays invalid, because the new hash has another
    // salt.
    change_password(&registry, "other", "secret").await.unwrap();
    for ended in [first, second, third] {
        assert_eq!(denial_reason(heartbeat(&registry, &ended).await), DenialReason::Outdated);
    }
}

#[tokio::test]
async fn a_password_change_whose_response_was_lost_can_be_repeated() {
    for fault in [Fault::LoseResponse, Fault::Permanent] {
        let (registry, memory) = registry();
        let first = register(&registry, "alice").await;
        memory.faults().inject(1, &Fault::None);
        memory.faults().inject(1, &fault);
        let lost = change_password(&registry, "secret", "other").await;
        assert!(matches!(lost, Err(AuthError::Lookup(LookupError::Storage(_)))), "{lost:?}");
        let second = change_password(&registry, "secret", "other").await.unwrap();
        assert_eq!(denial_reason(heartbeat(&registry, &first).await), DenialReason::Outdated);
        assert!(heartbeat(&registry, &second).await.is_ok());
        // A caller with neither password gets nothing.
        assert!(matches!(change_password(&registry, "wrong", "third").await, Err(AuthError::WrongPassword(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_or_password_change_waits_for_a_majority() {
    let (alone, memory) = registry();
    let first = register(&alone, "alice").await;
    let bucket = Bucket::new(std::sync::Arc::new(memory), RetryPolicy::default());
    let settings = RegistrySettings { replicated: true, ..settings() };
    let registry = Registry::new(bucket, settings, &TokenKey::new([7; 32]), BootMs(0), wall());
    registry.begin_term(Term(1));
    let login = registry.login(&name("alice"), password("secret"), caller_now()).await;
    assert!(matches!(login, Err(AuthError::NotReplicated(_))), "{login:?}");
    let result = change_password(&registry, "secret", "other").await;
    assert!(matches!(result, Err(AuthError::NotReplicated(_))), "{result:?}");
    // The confirmation of earlier rows does not confirm later rows.
    let (_, up_to) = registry.take_changes(BootMs(0)).unwrap();
    registry.confirm_majority(up_to.unwrap());
    let third = change_password(&registry, "other", "third");
    let rows = async {
        loop {
            registry.wait_for_new_users().await;
            if let Some((rows, up_to)) = registry.take_changes(BootMs(0)) {
                registry.confirm_majority(up_to.unwrap());
                return rows;
            }
        }
    };
    let (third, rows) = tokio::join!(third, rows);
    // A node that has only these rows detects invalid tokens.
    let next = registry_on(&MemoryBackend::new());
    next.merge(&rows, BootMs(0));
    next.begin_term(Term(2));
    next.raise_users(Term(2), Coverage::Certain);
    assert!(heartbeat(&next, &third.unwrap()).await.is_ok());
    assert_eq!(denial_reason(heartbeat(&next, &first).await), DenialReason::Outdated);
}

#[tokio::test]
async fn of_two_concurrent_password_changes_one_succeeds_and_one_fails() {
    let (registry, memory) = registry();
    register(&registry, "alice").await;
    let other = registry_on(&memory);
    let (one, two) =
        tokio::join!(change_password(&registry, "secret", "one"), change_password(&other, "secret", "two"));
    assert_eq!(one.is_ok(), two.is_err(), "{one:?} {two:?}");
    let lost = one.err().or(two.err()).unwrap();
    assert!(matches!(lost, AuthError::WrongPassword(_)), "{lost:?}");
    let logins = [registry.login(&name("alice"), password("one"), caller_now()).await, {
        registry.login(&name("alice"), password("two"), caller_now()).await
    }];
    assert_eq!(logins.iter().filter(|login| login.is_ok()).count(), 1);
}

#[tokio::test]
async fn in_a_new_term_a_valid_token_costs_one_read_and_an_invalid_token_costs_none() {
    let (registry, memory) = registry();
    let (first, bob) = (register(&registry, "alice").await, register(&registry, "bob").await);
    let other = registry_on(&memory);
    other.rebuild_index(Term(0)).await;
    // Another leader changed the password, and this node did not receive the row.
    let second = change_password(&registry, "secret", "other").await.unwrap();
    other.begin_term(Term(1));
    let before = memory.faults().calls();
    let invalid_tokens = ["rc1.x", bob.token.reveal()].map(Credentials::Bearer);
    for credentials in invalid_tokens.into_iter().chain([Credentials::None, Credentials::Other]) {
        assert!(heartbeat_at(&other, "alice", credentials, caller_now()).await.is_err());
    }
    assert_eq!(memory.faults().calls(), before);
    assert_eq!(denial_reason(heartbeat(&other, &first).await), DenialReason::Outdated);
    for _ in 0..3 {
        assert!(heartbeat(&other, &second).await.is_ok());
        assert_eq!(denial_reason(heartbeat(&other, &first).await), DenialReason::Outdated);
    }
    assert_eq!(memory.faults().calls(), before + 1);
}

#[tokio::test]
async fn a_password_known_with_certainty_is_not_read_from_the_bucket_again() {
    let (registry, memory) = registry();
    let issued_token = register(&registry, "alice").await;
    registry.begin_term(Term(1));
    registry.raise_users(Term(1), Coverage::Certain);
    memory.faults().set_outage(Some(Fault::Transient));
    assert!(heartbeat(&registry, &issued_token).await.is_ok());
    registry.begin_term(Term(2));
    let result = heartbeat(&registry, &issued_token).await;
    assert!(matches!(result, Err(AuthError::Lookup(LookupError::Storage(_)))), "{result:?}");
}

#[tokio::test]
async fn a_bucket_listing_invalidates_passwords_not_read_in_this_term() {
    let (registry, memory) = registry();
    let first = register(&registry, "alice").await;
    let stale = registry_on(&memory);
    stale.rebuild_index(Term(0)).await;
    let old_rows = stale.users_after(None);
    change_password(&registry, "secret", "other").await.unwrap();
    stale.begin_term(Term(1));
    stale.rebuild_index(Term(1)).await;
    // A third node has only the old rows. It receives the reconciled rows, and then the old rows
    // again.
    let third = registry_on(&memory);
    third.merge(&old_rows, BootMs(0));
    third.merge(&stale.users_after(None), BootMs(0));
    third.merge(&old_rows, BootMs(0));
    third.begin_term(Term(2));
    third.raise_users(Term(2), Coverage::Certain);
    assert_eq!(denial_reason(heartbeat(&third, &first).await), DenialReason::Outdated);
}

#[tokio::test]
async fn a_snapshot_states_that_a_password_exists_without_its_fingerprint() {
    let (registry, memory) = registry();
    let issued_token = register(&registry, "alice").await;
    let rows = registry.users_after(None);
    assert_ne!(rows.clone().without_fingerprints(), rows);
    for rows in [rows.clone().without_fingerprints(), rows] {
        let started = registry_on(&memory);
        assert_eq!(started.load_snapshot(rows, wall(), 0, BootMs(0)), None, "nothing is absurd");
        started.begin_term(Term(1));
        started.rebuild_index(Term(1)).await;
        let before = memory.faults().calls();
        for _ in 0..2 {
            assert!(heartbeat(&started, &issued_token).await.is_ok());
            assert_eq!(memory.faults().calls(), before + 1);
        }
    }
}

#[tokio::test]
async fn a_text_that_cannot_be_a_password_counts_as_a_wrong_one() {
    let (registry, _) = registry();
    let issued_token = register(&registry, "alice").await;
    let empty = STANDARD.encode("alice:");
    let too_long = STANDARD.encode(format!("alice:{}", "x".repeat(MAX_PASSWORD_BYTES + 1)));
    for text in [&empty, &too_long, &empty, &too_long, &empty] {
        let denied = heartbeat_at(&registry, "alice", Credentials::Basic(text), caller_now()).await;
        assert_eq!(denial_reason(denied), DenialReason::WrongPassword);
    }
    for text in [empty.as_str(), "YWxpY2U6c2VjcmV0"] {
        let throttled = heartbeat_at(&registry, "alice", Credentials::Basic(text), caller_now()).await;
        assert!(matches!(throttled, Err(AuthError::TooManyAttempts { wait_ms: 1000 })), "{throttled:?}");
    }
    assert!(heartbeat(&registry, &issued_token).await.is_ok());
}

#[tokio::test]
async fn wrong_passwords_are_throttled_before_hashing_and_tokens_are_not_throttled() {
    let (registry, memory) = registry();
    let issued_token = register(&registry, "alice").await;
    for _ in 0..5 {
        let wrong = registry.login(&name("alice"), password("wrong"), caller_now()).await;
        assert!(matches!(wrong, Err(AuthError::WrongPassword(_))), "{wrong:?}");
    }
    let before = memory.faults().calls();
    let again = RegisterRequest { password: Some(password("wrong")), ..user("alice") };
    for rejected in [
        registry.login(&name("alice"), password("secret"), caller_now()).await.err(),
        change_password(&registry, "secret", "x").await.err(),
        heartbeat_at(&registry, "alice", Credentials::Basic("YWxpY2U6c2VjcmV0"), caller_now()).await.err(),
        registry.register(again, caller_now()).await.err().map(|error| match error {
            RegisterError::Auth(error) => error,
            other => panic!("{other:?}"),
        }),
    ] {
        assert!(matches!(rejected, Some(AuthError::TooManyAttempts { wait_ms: 1000 })), "{rejected:?}");
    }
    assert_eq!(memory.faults().calls(), before + 1, "only the registration reads the profile, to compare it");
    assert!(heartbeat(&registry, &issued_token).await.is_ok());
    let elsewhere = Caller { from: [10, 0, 0, 10].into(), ..caller_now() };
    assert!(registry.login(&name("alice"), password("secret"), elsewhere).await.is_ok());
    assert!(registry.login(&name("alice"), password("secret"), caller(BootMs(1000))).await.is_ok());
    assert!(
        registry.login(&name("alice"), password("secret"), caller_now()).await.is_ok(),
        "the correct password cleared the count"
    );
}

#[tokio::test]
async fn attempts_that_could_not_be_verified_are_not_counted() {
    let (registry, memory) = registry();
    register(&registry, "alice").await;
    memory.faults().set_outage(Some(Fault::Permanent));
    for _ in 0..20 {
        let unverified = registry.login(&name("alice"), password("secret"), caller_now()).await;
        assert!(matches!(unverified, Err(AuthError::Lookup(LookupError::Storage(_)))), "{unverified:?}");
    }
    memory.faults().set_outage(None);
    assert!(registry.login(&name("alice"), password("secret"), caller_now()).await.is_ok());
}

#[tokio::test]
async fn no_debug_output_error_or_row_contains_a_password_a_hash_or_a_token() {
    let (registry, memory) = registry();
    let issued_token = register(&registry, "alice").await;
    let stored = memory.get(&Key::Profile(name("alice"))).await.unwrap().unwrap();
    let profile = Profile::decode(&stored.bytes).unwrap();
    let hash = profile.password_hash.clone().unwrap();
    let rows = registry.users_after(None);
    let errors = [
        change_password(&registry, "wrong-one", "other-one").await.unwrap_err(),
        heartbeat_at(&registry, "alice", Credentials::Bearer("rc1.forged"), caller_now()).await.unwrap_err(),
    ];
    let shown = format!("{issued_token:?} {profile:?} {rows:?} {errors:?} {} {}", errors[0], errors[1]);
    for secret in ["secret", "wrong-one", "other-one", "rc1.", hash.reveal(), issued_token.token.reveal()] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    let rows = postcard::to_stdvec(&rows).unwrap();
    let salt_and_hash = hash.reveal().rsplit('$').next().unwrap().as_bytes();
    assert!(!rows.windows(salt_and_hash.len()).any(|window| window == salt_and_hash));
    assert_eq!(wall().unix_seconds() + 3600, issued_token.expires_at.unix_seconds());
}

#[tokio::test]
async fn a_token_is_valid_on_every_node_with_the_same_key_and_on_no_other() {
    let (registry, memory) = registry();
    let issued_token = register(&registry, "alice").await;
    let registry_with_key = |memory: &MemoryBackend, key| {
        let bucket = Bucket::new(std::sync::Arc::new(memory.clone()), RetryPolicy::default());
        Registry::new(bucket, settings(), &TokenKey::new([key; 32]), BootMs(0), wall())
    };
    assert!(heartbeat(&registry_with_key(&memory, 7), &issued_token).await.is_ok());
    assert_eq!(denial_reason(heartbeat(&registry_with_key(&memory, 8), &issued_token).await), DenialReason::Forged);
}
