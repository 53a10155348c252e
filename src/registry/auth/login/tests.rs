use super::*;
use crate::registry::testing::{caller, name, registry, registry_on, settings, user, wall};
use crate::registry::{
    Coverage, Credentials, DenialReason, LookupError, RegisterError, RegisterRequest, Registry, RegistrySettings,
    TokenKey,
};
use crate::storage::{Backend, Bucket, Fault, MemoryBackend, RetryPolicy};
use rollcall_core::{BootMs, Term, WallMs};

fn password(text: &str) -> Password {
    Password::new(text.to_owned())
}

fn now() -> Caller {
    caller(BootMs(0))
}

async fn register(registry: &Registry, username: &str) -> IssuedToken {
    let user = RegisterRequest { password: Some(password("secret")), ..user(username) };
    registry.register(user, now()).await.unwrap().issued_token.expect("it has a password")
}

async fn beat_at(registry: &Registry, username: &str, with: Credentials<'_>, at: Caller) -> Result<(), AuthError> {
    registry.heartbeat(&name(username), None, with, at).await.map(|_| ())
}

async fn beat(registry: &Registry, issued_token: &IssuedToken) -> Result<(), AuthError> {
    beat_at(registry, "alice", Credentials::Bearer(issued_token.token.reveal()), now()).await
}

fn denial_reason(result: Result<(), AuthError>) -> DenialReason {
    match result {
        Err(AuthError::Unauthorized(_, why)) => why,
        other => panic!("{other:?}"),
    }
}

async fn change(registry: &Registry, old: &str, new: &str) -> Result<IssuedToken, AuthError> {
    registry.change_password(&name("alice"), password(old), password(new), now()).await
}

#[tokio::test]
async fn a_user_with_a_password_is_acted_for_with_its_token_or_password_and_with_nothing_else() {
    let (registry, _) = registry();
    let (alice, bob) = (register(&registry, "alice").await, register(&registry, "bob").await);
    assert!(beat(&registry, &alice).await.is_ok());
    // alice:secret, bob:secret, alice:Secret, alice:, no pair, no base64
    assert!(beat_at(&registry, "alice", Credentials::Basic("YWxpY2U6c2VjcmV0"), now()).await.is_ok());
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
        assert_eq!(denial_reason(beat_at(&registry, "alice", credentials, now()).await), expected);
    }
    let later = |ms: i64| Caller { wall: WallMs::new(alice.expires_at.unix_ms() + ms), ..now() };
    let bearer = Credentials::Bearer(alice.token.reveal());
    assert!(beat_at(&registry, "alice", bearer, later(-1)).await.is_ok());
    assert_eq!(denial_reason(beat_at(&registry, "alice", bearer, later(0)).await), DenialReason::Expired);
}

#[tokio::test]
async fn credentials_are_not_looked_at_for_a_user_without_a_password() {
    let (registry, memory) = registry();
    registry.register(user("open"), now()).await.unwrap();
    let before = memory.faults().calls();
    for credentials in [Credentials::None, Credentials::Other, Credentials::Bearer("x"), Credentials::Basic("x")] {
        assert!(beat_at(&registry, "open", credentials, now()).await.is_ok());
    }
    assert_eq!(memory.faults().calls(), before);
    let login = registry.login(&name("open"), password("x"), now()).await;
    assert!(matches!(login, Err(AuthError::NoPassword(_))));
    let change = registry.change_password(&name("open"), password("x"), password("y"), now()).await;
    assert!(matches!(change, Err(AuthError::NoPassword(_))));
    let unknown = registry.login(&name("nobody"), password("x"), now()).await;
    assert!(matches!(unknown, Err(AuthError::Lookup(LookupError::NotRegistered(_)))));
}

#[tokio::test]
async fn where_passwords_are_required_nobody_goes_without() {
    let (open, memory) = registry();
    open.register(user("open"), now()).await.unwrap();
    let bucket = Bucket::new(std::sync::Arc::new(memory), RetryPolicy::default());
    let settings = RegistrySettings { require_password: true, ..settings() };
    let registry = Registry::new(bucket, settings, &TokenKey::new([7; 32]), BootMs(0));
    let refused = registry.register(user("new"), now()).await;
    assert!(matches!(refused, Err(RegisterError::PasswordRequired)));
    let refused = beat_at(&registry, "open", Credentials::None, now()).await;
    assert!(matches!(refused, Err(AuthError::PasswordRequired(_))));
    let alice = register(&registry, "alice").await;
    assert!(beat(&registry, &alice).await.is_ok());
}

#[tokio::test]
async fn a_changed_password_ends_every_token_and_can_be_changed_again() {
    let (registry, memory) = registry();
    let first = register(&registry, "alice").await;
    let other = registry_on(&memory);
    assert!(beat(&other, &first).await.is_ok());
    let second = change(&registry, "secret", "other").await.unwrap();
    assert_eq!(denial_reason(beat(&registry, &first).await), DenialReason::Outdated);
    assert!(beat(&registry, &second).await.is_ok());
    assert!(matches!(
        registry.login(&name("alice"), password("secret"), now()).await,
        Err(AuthError::WrongPassword(_))
    ));
    let third = registry.login(&name("alice"), password("other"), now()).await.unwrap();
    assert!(beat(&registry, &third).await.is_ok());
    // Back to the first password: its first token stays ended, for it was hashed anew.
    change(&registry, "other", "secret").await.unwrap();
    for ended in [first, second, third] {
        assert_eq!(denial_reason(beat(&registry, &ended).await), DenialReason::Outdated);
    }
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_can_be_repeated() {
    for fault in [Fault::LoseResponse, Fault::Permanent] {
        let (registry, memory) = registry();
        let first = register(&registry, "alice").await;
        memory.faults().inject(1, &Fault::None);
        memory.faults().inject(1, &fault);
        let lost = change(&registry, "secret", "other").await;
        assert!(matches!(lost, Err(AuthError::Lookup(LookupError::Storage(_)))), "{lost:?}");
        let second = change(&registry, "secret", "other").await.unwrap();
        assert_eq!(denial_reason(beat(&registry, &first).await), DenialReason::Outdated);
        assert!(beat(&registry, &second).await.is_ok());
        // Whoever knows neither is not helped by it.
        assert!(matches!(change(&registry, "wrong", "third").await, Err(AuthError::WrongPassword(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_or_a_login_is_not_answered_before_a_majority_knows_the_password() {
    let (alone, memory) = registry();
    let first = register(&alone, "alice").await;
    let bucket = Bucket::new(std::sync::Arc::new(memory), RetryPolicy::default());
    let settings = RegistrySettings { replicated: true, ..settings() };
    let registry = Registry::new(bucket, settings, &TokenKey::new([7; 32]), BootMs(0));
    registry.begin_term(Term(1));
    let login = registry.login(&name("alice"), password("secret"), now()).await;
    assert!(matches!(login, Err(AuthError::NotReplicated(_))), "{login:?}");
    let unknown = change(&registry, "secret", "other").await;
    assert!(matches!(unknown, Err(AuthError::NotReplicated(_))), "{unknown:?}");
    // What was rows before does not count for what is new.
    let (_, up_to) = registry.take_changes(BootMs(0)).unwrap();
    registry.confirm_majority(up_to.unwrap());
    let third = change(&registry, "other", "third");
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
    // A node that heard nothing else knows which tokens have ended.
    let next = registry_on(&MemoryBackend::new());
    next.merge(&rows, BootMs(0));
    next.begin_term(Term(2));
    next.raise_users(Term(2), Coverage::Certain);
    assert!(beat(&next, &third.unwrap()).await.is_ok());
    assert_eq!(denial_reason(beat(&next, &first).await), DenialReason::Outdated);
}

#[tokio::test]
async fn of_two_changes_at_once_one_is_made_and_the_other_is_told_so() {
    let (registry, memory) = registry();
    register(&registry, "alice").await;
    let other = registry_on(&memory);
    let (one, two) = tokio::join!(change(&registry, "secret", "one"), change(&other, "secret", "two"));
    assert_eq!(one.is_ok(), two.is_err(), "{one:?} {two:?}");
    let lost = one.err().or(two.err()).unwrap();
    assert!(matches!(lost, AuthError::WrongPassword(_)), "{lost:?}");
    let logins = [registry.login(&name("alice"), password("one"), now()).await, {
        registry.login(&name("alice"), password("two"), now()).await
    }];
    assert_eq!(logins.iter().filter(|login| login.is_ok()).count(), 1);
}

#[tokio::test]
async fn in_a_new_epoch_a_token_costs_one_read_and_a_bad_one_none() {
    let (registry, memory) = registry();
    let (first, bob) = (register(&registry, "alice").await, register(&registry, "bob").await);
    let other = registry_on(&memory);
    other.rebuild_index(Term(0)).await;
    // Another leader changed it, and this one did not hear of it.
    let second = change(&registry, "secret", "other").await.unwrap();
    other.begin_term(Term(1));
    let before = memory.faults().calls();
    let bad = ["rc1.x", bob.token.reveal()].map(Credentials::Bearer);
    for credentials in bad.into_iter().chain([Credentials::None, Credentials::Other]) {
        assert!(beat_at(&other, "alice", credentials, now()).await.is_err());
    }
    assert_eq!(memory.faults().calls(), before);
    assert_eq!(denial_reason(beat(&other, &first).await), DenialReason::Outdated);
    for _ in 0..3 {
        assert!(beat(&other, &second).await.is_ok());
        assert_eq!(denial_reason(beat(&other, &first).await), DenialReason::Outdated);
    }
    assert_eq!(memory.faults().calls(), before + 1);
}

#[tokio::test]
async fn what_a_majority_told_is_not_read_again() {
    let (registry, memory) = registry();
    let issued_token = register(&registry, "alice").await;
    registry.begin_term(Term(1));
    registry.raise_users(Term(1), Coverage::Certain);
    memory.faults().set_outage(Some(Fault::Transient));
    assert!(beat(&registry, &issued_token).await.is_ok());
    registry.begin_term(Term(2));
    let unknown = beat(&registry, &issued_token).await;
    assert!(matches!(unknown, Err(AuthError::Lookup(LookupError::Storage(_)))), "{unknown:?}");
}

#[tokio::test]
async fn a_list_of_the_bucket_leaves_no_password_for_certain_that_was_not_read_since() {
    let (registry, memory) = registry();
    let first = register(&registry, "alice").await;
    let stale = registry_on(&memory);
    stale.rebuild_index(Term(0)).await;
    let old_rows = stale.users_after(None);
    change(&registry, "secret", "other").await.unwrap();
    stale.begin_term(Term(1));
    stale.rebuild_index(Term(1)).await;
    // A third node that had heard of the old password alone, and hears of the list.
    let third = registry_on(&memory);
    third.merge(&old_rows, BootMs(0));
    third.merge(&stale.users_after(None), BootMs(0));
    third.merge(&old_rows, BootMs(0));
    third.begin_term(Term(2));
    third.raise_users(Term(2), Coverage::Certain);
    assert_eq!(denial_reason(beat(&third, &first).await), DenialReason::Outdated);
}

#[tokio::test]
async fn a_snapshot_says_that_there_is_a_password_and_not_which() {
    let (registry, memory) = registry();
    let issued_token = register(&registry, "alice").await;
    let rows = registry.users_after(None);
    assert_ne!(rows.clone().without_fingerprints(), rows);
    for rows in [rows.clone().without_fingerprints(), rows] {
        let started = registry_on(&memory);
        started.load_snapshot(rows, 0, BootMs(0));
        started.begin_term(Term(1));
        started.rebuild_index(Term(1)).await;
        let before = memory.faults().calls();
        for _ in 0..2 {
            assert!(beat(&started, &issued_token).await.is_ok());
            assert_eq!(memory.faults().calls(), before + 1);
        }
    }
}

#[tokio::test]
async fn wrong_passwords_are_slowed_down_before_they_are_hashed_and_tokens_are_not() {
    let (registry, memory) = registry();
    let issued_token = register(&registry, "alice").await;
    for _ in 0..5 {
        let wrong = registry.login(&name("alice"), password("wrong"), now()).await;
        assert!(matches!(wrong, Err(AuthError::WrongPassword(_))), "{wrong:?}");
    }
    let before = memory.faults().calls();
    let again = RegisterRequest { password: Some(password("wrong")), ..user("alice") };
    for refused in [
        registry.login(&name("alice"), password("secret"), now()).await.err(),
        change(&registry, "secret", "x").await.err(),
        beat_at(&registry, "alice", Credentials::Basic("YWxpY2U6c2VjcmV0"), now()).await.err(),
        registry.register(again, now()).await.err().map(|error| match error {
            RegisterError::Auth(error) => error,
            other => panic!("{other:?}"),
        }),
    ] {
        assert!(matches!(refused, Some(AuthError::TooManyAttempts { wait_ms: 1000 })), "{refused:?}");
    }
    assert_eq!(memory.faults().calls(), before + 1, "only the registration reads, to find whether it is the same");
    assert!(beat(&registry, &issued_token).await.is_ok());
    let elsewhere = Caller { from: [10, 0, 0, 10].into(), ..now() };
    assert!(registry.login(&name("alice"), password("secret"), elsewhere).await.is_ok());
    assert!(registry.login(&name("alice"), password("secret"), caller(BootMs(1000))).await.is_ok());
    assert!(registry.login(&name("alice"), password("secret"), now()).await.is_ok(), "the right one cleared it");
}

#[tokio::test]
async fn passwords_that_could_not_be_compared_are_not_held_against_anybody() {
    let (registry, memory) = registry();
    register(&registry, "alice").await;
    memory.faults().set_outage(Some(Fault::Transient));
    for _ in 0..20 {
        let away = registry.login(&name("alice"), password("secret"), now()).await;
        assert!(matches!(away, Err(AuthError::Lookup(LookupError::Storage(_)))), "{away:?}");
    }
    memory.faults().set_outage(None);
    assert!(registry.login(&name("alice"), password("secret"), now()).await.is_ok());
}

#[tokio::test]
async fn nothing_shows_a_password_a_hash_or_a_token() {
    let (registry, memory) = registry();
    let issued_token = register(&registry, "alice").await;
    let stored = memory.get(&Key::Profile(name("alice"))).await.unwrap().unwrap();
    let profile: Profile = serde_json::from_slice(&stored.bytes).unwrap();
    let hash = profile.password_hash.clone().unwrap();
    let rows = registry.users_after(None);
    let errors = [
        change(&registry, "wrong-one", "other-one").await.unwrap_err(),
        beat_at(&registry, "alice", Credentials::Bearer("rc1.forged"), now()).await.unwrap_err(),
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
async fn nodes_with_one_key_take_each_others_tokens_and_others_do_not() {
    let (registry, memory) = registry();
    let issued_token = register(&registry, "alice").await;
    let on = |memory: &MemoryBackend, key| {
        let bucket = Bucket::new(std::sync::Arc::new(memory.clone()), RetryPolicy::default());
        Registry::new(bucket, settings(), &TokenKey::new([key; 32]), BootMs(0))
    };
    assert!(beat(&on(&memory, 7), &issued_token).await.is_ok());
    assert_eq!(denial_reason(beat(&on(&memory, 8), &issued_token).await), DenialReason::Forged);
}
