use bytes::Bytes;
use futures_util::future::join_all;

use super::*;
use crate::registry::quotas::{RateLimited, RegistrationRate};
use crate::registry::testing::{caller, name, registry, registry_on, registry_with_quotas, settings, user, wall};
use crate::registry::{Coverage, Credentials, Registry, RegistrySettings, TokenKey};
use crate::storage::{Backend, Bucket, Fault, MemoryBackend, RetryPolicy};
use rollcall_core::BootMs;

fn with_password(password: &str) -> RegisterRequest {
    RegisterRequest { password: Some(Password::new(password.to_owned())), ..user("alice") }
}

#[tokio::test]
async fn one_of_several_concurrent_equal_registrations_is_new_and_the_others_are_repeated() {
    let (registry, memory) = registry();
    let other = registry_on(&memory);
    let attempts = (0..10).map(|n| if n % 2 == 0 { &registry } else { &other });
    let outcomes = join_all(attempts.map(|registry| registry.register(user("alice"), caller(BootMs(0))))).await;
    let outcomes: Vec<RegisterOutcome> = outcomes.into_iter().map(|made| made.unwrap().outcome).collect();
    let new: Vec<&RegisterOutcome> =
        outcomes.iter().filter(|outcome| matches!(outcome, RegisterOutcome::New(_))).collect();
    let [RegisterOutcome::New(id)] = new[..] else { panic!("{outcomes:?}") };
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == RegisterOutcome::Repeated(*id)).count(), 9);
}

#[tokio::test]
async fn a_second_registration_of_a_name_is_rejected_on_every_node() {
    let (registry, memory) = registry();
    registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
    let metadata = serde_json::from_str::<Metadata>(r#"{"x":1}"#).unwrap();
    for registry in [registry, registry_on(&memory)] {
        let other = RegisterRequest { metadata: metadata.clone(), ..user("alice") };
        assert!(
            matches!(registry.register(other, caller(BootMs(0))).await, Err(RegisterError::Taken(taken)) if taken == name("alice"))
        );
    }
}

#[tokio::test]
async fn a_registration_can_be_repeated_only_with_its_password_and_stores_no_plain_password() {
    let (registry, memory) = registry();
    let first = registry.register(with_password("secret"), caller(BootMs(0))).await.unwrap();
    let RegisterOutcome::New(id) = first.outcome else { panic!("{first:?}") };
    assert!(first.issued_token.is_some());
    for registry in [registry, registry_on(&memory)] {
        let repeated = registry.register(with_password("secret"), caller(BootMs(0))).await.unwrap();
        assert_eq!(repeated.outcome, RegisterOutcome::Repeated(id));
        assert!(repeated.issued_token.is_some());
        for other in [with_password("Secret"), with_password(""), user("alice")] {
            assert!(matches!(registry.register(other, caller(BootMs(0))).await, Err(RegisterError::Taken(_))));
        }
        let stored =
            registry.0.users.registrar.profiles.bucket().get(&Key::Profile(name("alice"))).await.unwrap().unwrap();
        let stored = String::from_utf8(stored.bytes.to_vec()).unwrap();
        assert!(stored.contains("$argon2id$") && !stored.contains("secret"), "{stored}");
    }
}

/// Registers `u{n}` and returns the outcome.
async fn register(registry: &Registry, n: usize) -> Result<CompletedRegistration, RegisterError> {
    registry.register(user(&format!("u{n}")), caller(BootMs(0))).await
}

#[tokio::test]
async fn new_users_of_an_address_are_limited_but_repetitions_and_taken_names_are_not() {
    let (_, memory) = registry();
    let rate = RegistrationRate { burst: 3, per_second: 2 };
    let quotas = Quotas { registrations: Some(rate), ..Quotas::default() };
    let registry = registry_with_quotas(&memory, quotas);
    let cold = registry_with_quotas(&memory, quotas);
    register(&registry, 0).await.unwrap();
    for _ in 0..10 {
        // A node with this user in its index, and one that finds it in the bucket.
        for registry in [&registry, &cold] {
            assert!(matches!(register(registry, 0).await.unwrap().outcome, RegisterOutcome::Repeated(_)));
            let other = RegisterRequest { password: Some(Password::new("x".to_owned())), ..user("u0") };
            assert!(matches!(registry.register(other, caller(BootMs(0))).await, Err(RegisterError::Taken(_))));
        }
    }
    register(&registry, 1).await.unwrap();
    memory.faults().inject(1, &Fault::Permanent);
    assert!(matches!(register(&registry, 2).await, Err(RegisterError::Storage(_))), "refused, so it is not counted");
    register(&registry, 2).await.unwrap();
    let refused = register(&registry, 3).await.unwrap_err();
    assert!(
        matches!(&refused, RegisterError::RateLimited(RateLimited::Registrations { wait_ms: 500, .. })),
        "{refused}"
    );
    assert!(refused.to_string().contains("registration_burst allows 3"), "{refused}");
    assert!(!memory.paths().iter().any(|path| path.contains("u3")));
    let other = Caller { from: [10, 0, 0, 8].into(), ..caller(BootMs(0)) };
    assert!(registry.register(user("u3"), other).await.is_ok(), "another address is not limited");
    assert!(registry.register(user("u4"), caller(BootMs(500))).await.is_ok());
}

#[tokio::test]
async fn a_leader_with_all_rows_refuses_a_new_name_without_a_read() {
    let (_, memory) = registry();
    let rate = RegistrationRate { burst: 1, per_second: 1 };
    let registry = registry_with_quotas(&memory, Quotas { registrations: Some(rate), ..Quotas::default() });
    register(&registry, 0).await.unwrap();
    registry.raise_users(registry.term(), Coverage::Certain);
    let calls = memory.faults().calls();
    assert!(matches!(register(&registry, 1).await, Err(RegisterError::RateLimited(_))));
    assert_eq!(memory.faults().calls(), calls);
}

#[tokio::test]
async fn beyond_a_quota_a_leader_without_the_row_still_answers_a_repetition() {
    let (_, memory) = registry();
    let unlimited = registry_on(&memory);
    for n in 0..4 {
        register(&unlimited, n).await.unwrap();
    }
    let rate = RegistrationRate { burst: 1, per_second: 1 };
    let rated = Quotas { registrations: Some(rate), ..Quotas::default() };
    let counted = Quotas { users: Some(1), ..Quotas::default() };
    for (quotas, code) in [(rated, "registration_burst"), (counted, "max_users")] {
        let new_leader = registry_with_quotas(&memory, quotas);
        new_leader.register(user(code), caller(BootMs(0))).await.unwrap();
        for n in 0..3 {
            let repeated = register(&new_leader, n).await.unwrap();
            assert!(matches!(repeated.outcome, RegisterOutcome::Repeated(_)), "{code}: {repeated:?}");
        }
        let other = RegisterRequest { password: Some(Password::new("x".to_owned())), ..user("u3") };
        let taken = new_leader.register(other, caller(BootMs(0))).await;
        assert!(matches!(taken, Err(RegisterError::Taken(_))), "{code}: {taken:?}");
        let refused = register(&new_leader, 9).await.unwrap_err();
        assert!(refused.to_string().contains(code), "a new name is refused: {refused}");
        memory.faults().inject(1, &Fault::Permanent);
        let unknown = register(&new_leader, 10).await;
        assert!(matches!(unknown, Err(RegisterError::Storage(_))), "it may be a repetition: {unknown:?}");
    }
}

#[tokio::test]
async fn an_abandoned_registration_counts() {
    let (_, memory) = registry();
    let rate = RegistrationRate { burst: 1, per_second: 1 };
    let registry = registry_with_quotas(&memory, Quotas { registrations: Some(rate), ..Quotas::default() });
    memory.faults().inject(1, &Fault::Hang);
    let abandoned = tokio::time::timeout(std::time::Duration::from_millis(50), register(&registry, 0));
    assert!(abandoned.await.is_err());
    assert!(matches!(register(&registry, 0).await, Err(RegisterError::RateLimited(_))));
}

#[tokio::test]
async fn the_registry_takes_as_many_users_as_the_quota() {
    let (_, memory) = registry();
    let registry = registry_with_quotas(&memory, Quotas { users: Some(2), ..Quotas::default() });
    register(&registry, 0).await.unwrap();
    register(&registry, 1).await.unwrap();
    let refused = register(&registry, 2).await.unwrap_err();
    assert!(matches!(&refused, RegisterError::Quota(_)) && refused.to_string().contains("max_users is 2"), "{refused}");
    assert!(matches!(register(&registry, 1).await.unwrap().outcome, RegisterOutcome::Repeated(_)));
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_waits_for_its_majority_counts_once() {
    let bucket = Bucket::new(Arc::new(MemoryBackend::new()), RetryPolicy::default());
    let quotas = Quotas { users: Some(2), ..Quotas::default() };
    let settings = RegistrySettings { replicated: true, quotas, ..settings() };
    let registry = Registry::new(bucket, settings, &TokenKey::new([7; 32]), BootMs(0), wall());
    let is_indexed = async {
        while registry.0.users.registrar.profiles.index().len() == 0 {
            tokio::task::yield_now().await;
        }
    };
    let first = register(&registry, 0);
    tokio::pin!(first);
    tokio::select! {
        ended = &mut first => panic!("no node has acknowledged it: {ended:?}"),
        () = is_indexed => {}
    }
    let second = register(&registry, 1).await;
    assert!(matches!(second, Err(RegisterError::NotReplicated(_))), "there is room for two: {second:?}");
    assert!(matches!(first.await, Err(RegisterError::NotReplicated(_))));
}

#[tokio::test]
async fn stored_metadata_equals_the_metadata_sent() {
    let (registry, _) = registry();
    // Numbers that only an exact parser preserves.
    let text =
        r#"{"x":0.1,"y":1.7976931348623157e308,"z":5.0e-324,"w":6.934698245112694e276,"v":-2.693554001703998e265}"#;
    let metadata: Metadata = serde_json::from_str(text).unwrap();
    let alice = RegisterRequest { metadata, ..user("alice") };
    let first = registry.register(alice.clone(), caller(BootMs(0))).await.unwrap();
    let RegisterOutcome::New(id) = first.outcome else { panic!("{first:?}") };
    assert_eq!(first.issued_token, None, "no token without a password");
    let again = registry.register(alice, caller(BootMs(0))).await.unwrap();
    assert_eq!(again.outcome, RegisterOutcome::Repeated(id));
}

#[tokio::test]
async fn a_registration_whose_response_was_lost_can_be_repeated() {
    let (registry, memory) = registry();
    memory.faults().set_outage(Some(Fault::LoseResponse));
    assert!(matches!(registry.register(user("alice"), caller(BootMs(0))).await, Err(RegisterError::Storage(_))));
    memory.faults().set_outage(None);
    let again = registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
    assert!(matches!(again.outcome, RegisterOutcome::Repeated(_)));
    assert!(registry.heartbeat(&name("alice"), None, Credentials::None, caller(BootMs(0))).await.is_ok());
}

#[tokio::test]
async fn a_name_whose_profile_is_damaged_is_not_free() {
    let (registry, _) = registry();
    let key = Key::Profile(name("alice"));
    registry.0.users.registrar.profiles.bucket().create(&key, Bytes::from_static(b"{\"user")).await.unwrap();
    assert!(matches!(registry.register(user("alice"), caller(BootMs(0))).await, Err(RegisterError::Taken(_))));
}

#[tokio::test]
async fn a_registered_name_missing_from_the_bucket_is_not_free() {
    let (registry, memory) = registry();
    registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
    memory.delete(&Key::Profile(name("alice"))).await.unwrap();
    for user in [user("alice"), with_password("other")] {
        assert!(matches!(registry.register(user, caller(BootMs(0))).await, Err(RegisterError::Storage(_))));
    }
    assert_eq!(memory.get(&Key::Profile(name("alice"))).await.unwrap(), None);
}
