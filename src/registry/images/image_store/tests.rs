use std::collections::HashSet;

use futures_util::future::join_all;
use image::ImageFormat;

use super::*;
use crate::registry::Registry;
use crate::registry::quotas::{QuotaExceeded, UploadRate};
use crate::registry::testing::{caller, encoded_image, name, registry, registry_on, registry_with_quotas, user};
use crate::registry::users::profile_store::MAX_CONCURRENT_READS;
use crate::storage::{Backend, Fault};
use rollcall_core::Term;

/// An image that differs from those of other widths.
async fn upload(registry: &Registry, user: &str, width: u32) -> ImageName {
    let bytes = encoded_image(ImageFormat::Png, width, 1);
    registry.upload(&name(user), bytes, Credentials::None, caller(BootMs(0))).await.unwrap()
}

async fn images(registry: &Registry, user: &str) -> Vec<String> {
    registry.images(&name(user), caller(BootMs(0))).await.unwrap().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn images_of_the_same_millisecond_have_ascending_numbers() {
    let (registry, _) = registry();
    registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
    let mut names = Vec::new();
    for side in 1..=10 {
        names.push(upload(&registry, "alice", side).await);
    }
    assert_eq!(registry.images(&name("alice"), caller(BootMs(0))).await.unwrap(), names);
    let numbers: Vec<u128> = names.iter().filter_map(ImageName::number).collect();
    assert_eq!(numbers, (1_733_511_234..1_733_511_244).collect::<Vec<_>>());
    // The next leader has not assigned these numbers itself.
    let all = join_all((11..=20).map(|side| upload(&registry, "alice", side))).await;
    let numbers: HashSet<Option<u128>> = all.iter().map(ImageName::number).collect();
    assert_eq!(numbers, (1_733_511_244..1_733_511_254).map(Some).collect());
}

#[tokio::test]
async fn a_new_image_comes_after_all_images_of_its_user_whatever_the_clock_says() {
    let (registry, memory) = registry();
    registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
    // The clock of these tests says 1733511234.
    let stored = ["avatar.png", "999-a.png", "1733511234-a1b2.png", "1765045165-e1c0e532.png", "01.jpeg", "x.txt"];
    for text in stored {
        if let Ok(image) = ImageName::parse(text) {
            memory.create(&Key::Image(name("alice"), image), b"x".as_slice().into()).await.unwrap();
        }
    }
    let first = upload(&registry, "alice", 1).await;
    assert_eq!(first.number(), Some(1_765_045_166));
    // Another node, after a change of the leader.
    let second = upload(&registry_on(&memory), "alice", 2).await;
    assert_eq!(second.number(), Some(1_765_045_167));
    let expected = ["avatar.png", "01.jpeg", "999-a.png", "1733511234-a1b2.png", "1765045165-e1c0e532.png"];
    registry.begin_term(Term(1));
    assert_eq!(images(&registry, "alice").await, [&expected[..], &[first.as_str(), second.as_str()]].concat());
}

#[tokio::test]
async fn a_folder_is_listed_once_a_minute_and_after_a_change_of_the_leader() {
    let (registry, memory) = registry();
    registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
    let first = upload(&registry, "alice", 1).await;
    let before = memory.faults().calls();
    let mut expected = vec![first];
    for (at, lists) in [(0, 0), (59_999, 0), (60_000, 1), (60_001, 1)] {
        assert_eq!(registry.images(&name("alice"), caller(BootMs(at))).await.unwrap(), expected);
        assert_eq!(memory.faults().calls() - before, lists, "at {at}");
    }
    let before = memory.faults().calls();
    expected.push(upload(&registry, "alice", 2).await);
    assert_eq!(registry.images(&name("alice"), caller(BootMs(60_001))).await.unwrap(), expected);
    assert_eq!(memory.faults().calls() - before, 1, "an upload writes and lists nothing");
    // Another leader stores an image, and this node leads again.
    expected.push(upload(&registry_on(&memory), "alice", 3).await);
    assert_eq!(registry.images(&name("alice"), caller(BootMs(60_001))).await.unwrap(), expected[..2]);
    registry.begin_term(Term(1));
    assert_eq!(registry.images(&name("alice"), caller(BootMs(60_001))).await.unwrap(), expected);
}

#[tokio::test]
async fn concurrent_requests_for_the_images_of_a_user_share_the_listings() {
    let (registry, memory) = registry();
    registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
    let before = memory.faults().calls();
    memory.faults().inject(MAX_CONCURRENT_READS, &Fault::Delay(std::time::Duration::from_millis(5)));
    let alice = name("alice");
    let answers = join_all((0..200).map(|_| registry.images(&alice, caller(BootMs(0))))).await;
    assert!(answers.iter().all(Result::is_ok));
    let lists = memory.faults().calls() - before;
    assert!((1..=MAX_CONCURRENT_READS).contains(&lists), "{lists}");
}

#[tokio::test]
async fn a_user_stores_as_many_images_as_the_quota_and_keeps_more() {
    let (unlimited, memory) = registry();
    unlimited.register(user("alice"), caller(BootMs(0))).await.unwrap();
    upload(&unlimited, "alice", 1).await;
    let quotas = Quotas { images_per_user: Some(2), ..Quotas::default() };
    let limited = registry_with_quotas(&memory, quotas);
    upload(&limited, "alice", 2).await;
    let third = encoded_image(ImageFormat::Png, 3, 1);
    let refused = limited.upload(&name("alice"), third.clone(), Credentials::None, caller(BootMs(0))).await;
    let Err(UploadError::Quota(error @ QuotaExceeded::Images { images: 2, .. })) = refused else {
        panic!("{refused:?}")
    };
    assert!(error.to_string().contains("max_images_per_user is 2"), "{error}");
    assert_eq!(images(&limited, "alice").await.len(), 2);
    // A lower limit takes nothing away.
    let lower = registry_with_quotas(&memory, Quotas { images_per_user: Some(1), ..Quotas::default() });
    assert_eq!(images(&lower, "alice").await.len(), 2);
    assert!(lower.upload(&name("alice"), third, Credentials::None, caller(BootMs(0))).await.is_err());
}

#[tokio::test]
async fn concurrent_uploads_store_no_more_bytes_than_the_quota() {
    let (_, memory) = registry();
    let bytes = encoded_image(ImageFormat::Png, 1, 1);
    let max = 5 * bytes.len() as u64;
    let registry = registry_with_quotas(&memory, Quotas { image_bytes_per_user: Some(max), ..Quotas::default() });
    registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
    memory.faults().inject(11, &Fault::Delay(std::time::Duration::from_millis(1)));
    let alice = name("alice");
    let upload = |_| registry.upload(&alice, bytes.clone(), Credentials::None, caller(BootMs(0)));
    let uploads = join_all((0..10).map(upload)).await;
    assert_eq!(uploads.iter().filter(|upload| upload.is_ok()).count(), 5);
    assert_eq!(memory.paths().iter().filter(|path| path.contains("/images/")).count(), 5);
    let refused = uploads.into_iter().find_map(Result::err).unwrap();
    assert!(refused.to_string().contains("max_image_bytes_per_user"), "{refused}");
}

#[tokio::test]
async fn an_address_stores_as_many_bytes_as_its_budget_for_all_users_together() {
    let (_, memory) = registry();
    let bytes = encoded_image(ImageFormat::Png, 1, 1);
    let size = bytes.len() as u64;
    // Room for two images and then one each second.
    let uploads = Some(UploadRate { burst_bytes: 2 * size, bytes_per_second: size });
    let quotas = Quotas { uploads, images_per_user: Some(2), ..Quotas::default() };
    let registry = registry_with_quotas(&memory, quotas);
    for user_name in ["alice", "bob", "carol"] {
        registry.register(user(user_name), caller(BootMs(0))).await.unwrap();
    }
    let upload = async |user_name: &str, bytes: &Bytes, caller: Caller<'_>| {
        registry.upload(&name(user_name), bytes.clone(), Credentials::None, caller).await
    };
    let here = caller(BootMs(0));
    upload("alice", &bytes, here).await.unwrap();
    let not_an_image = Bytes::from_static(b"GIF89a");
    assert!(matches!(upload("bob", &not_an_image, here).await, Err(UploadError::Rejected(_))));
    memory.faults().inject(1, &Fault::None);
    memory.faults().inject(1, &Fault::Permanent);
    assert!(matches!(upload("bob", &bytes, here).await, Err(UploadError::Storage(_))), "refused by the bucket");
    upload("bob", &bytes, here).await.expect("what stored nothing does not count");
    let refused = upload("carol", &bytes, here).await.unwrap_err();
    let UploadError::RateLimited(limited) = refused else { panic!("{refused}") };
    assert_eq!(limited.wait_ms(), 1000);
    assert!(limited.to_string().contains(&format!("upload_burst_bytes allows {}", 2 * size)), "{limited}");
    assert!(!memory.paths().iter().any(|path| path.contains("carol/images")));
    let there = Caller { from: [10, 0, 0, 8].into(), ..here };
    upload("carol", &bytes, there).await.expect("another address has a budget of its own");
    upload("alice", &bytes, Caller { now: BootMs(1000), ..here }).await.expect("a second later");
    let over = upload("alice", &bytes, Caller { now: BootMs(2000), ..here }).await;
    assert!(matches!(over, Err(UploadError::Quota(_))), "{over:?}");
    upload("bob", &bytes, Caller { now: BootMs(2000), ..here }).await.expect("a refusal does not count");
}

#[tokio::test]
async fn an_upload_whose_end_is_unknown_counts_for_the_budget() {
    let (_, memory) = registry();
    let uploads = Some(UploadRate { burst_bytes: 1, bytes_per_second: 1 });
    let registry = registry_with_quotas(&memory, Quotas { uploads, ..Quotas::default() });
    registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
    assert_eq!(images(&registry, "alice").await, Vec::<String>::new());
    let bytes = encoded_image(ImageFormat::Png, 1, 1);
    let alice = name("alice");
    memory.faults().inject(1, &Fault::LoseResponse);
    for is_limited in [false, true] {
        let again = registry.upload(&alice, bytes.clone(), Credentials::None, caller(BootMs(0))).await;
        assert_eq!(matches!(again, Err(UploadError::RateLimited(_))), is_limited, "{again:?}");
    }
}

#[tokio::test]
async fn after_a_change_of_the_leader_a_late_image_is_listed_within_the_deadline_of_a_write() {
    let (registry, memory) = registry();
    registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
    registry.begin_term(Term(1));
    assert_eq!(registry.images(&name("alice"), caller(BootMs(0))).await.unwrap(), []);
    // The write of the leader before.
    let late = upload(&registry_on(&memory), "alice", 1).await;
    assert_eq!(registry.images(&name("alice"), caller(BootMs(19_999))).await.unwrap(), []);
    assert_eq!(registry.images(&name("alice"), caller(BootMs(20_000))).await.unwrap(), [late]);
}

#[tokio::test]
async fn an_abandoned_upload_counts_until_the_bucket_shows_its_end() {
    let (_, memory) = registry();
    let registry = registry_with_quotas(&memory, Quotas { images_per_user: Some(1), ..Quotas::default() });
    registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
    assert_eq!(images(&registry, "alice").await, Vec::<String>::new());
    let bytes = encoded_image(ImageFormat::Png, 1, 1);
    let alice = name("alice");
    memory.faults().inject(1, &Fault::Hang);
    let before = memory.faults().calls();
    let has_begun = async {
        while memory.faults().calls() == before {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        ended = registry.upload(&alice, bytes.clone(), Credentials::None, caller(BootMs(0))) => panic!("{ended:?}"),
        () = has_begun => {}
    }
    for (at, is_stored) in [(59_999, false), (60_000, true)] {
        let again = registry.upload(&alice, bytes.clone(), Credentials::None, caller(BootMs(at))).await;
        assert_eq!(again.is_ok(), is_stored, "at {at}: {again:?}");
    }
}

#[tokio::test]
async fn an_upload_fails_if_the_users_images_cannot_be_listed() {
    let (registry, memory) = registry();
    registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
    memory.faults().inject(1, &Fault::Permanent);
    let bytes = encoded_image(ImageFormat::Png, 1, 1);
    let uploaded = registry.upload(&name("alice"), bytes, Credentials::None, caller(BootMs(0))).await;
    assert!(matches!(uploaded, Err(UploadError::Storage(_))), "{uploaded:?}");
    assert_eq!(images(&registry, "alice").await, Vec::<String>::new());
}

#[tokio::test]
async fn an_image_is_read_from_the_bucket_once_a_minute_and_a_missing_one_each_time() {
    let (registry, memory) = registry();
    registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
    let bytes = encoded_image(ImageFormat::Png, 1, 1);
    let image = registry.upload(&name("alice"), bytes.clone(), Credentials::None, caller(BootMs(0))).await.unwrap();
    let other = ImageName::new(1_733_511_234, 1, rollcall_core::ImageKind::Png);
    let before = memory.faults().calls();
    for (asked, at, calls) in
        [(&image, 0, 1), (&image, 59_999, 1), (&image, 60_000, 2), (&other, 60_000, 3), (&other, 60_000, 4)]
    {
        let found = registry.image(&name("alice"), asked, caller(BootMs(at))).await;
        assert_eq!(found.ok(), (asked == &image).then(|| bytes.clone()));
        assert_eq!(memory.faults().calls() - before, calls, "{asked} at {at}");
    }
    // An image of the same name in another user's folder is a different image.
    assert!(matches!(registry.image(&name("bob"), &image, caller(BootMs(60_000))).await, Err(ImageError::NotFound)));
}

#[tokio::test]
async fn only_images_of_registered_users_are_listed() {
    let (registry, memory) = registry();
    registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
    assert_eq!(registry.images(&name("alice"), caller(BootMs(0))).await.unwrap(), []);
    let image = ImageName::new(1_733_511_234, 1, rollcall_core::ImageKind::Png);
    memory.create(&Key::Image(name("alice"), image.clone()), b"x".as_slice().into()).await.unwrap();
    assert_eq!(registry.images(&name("alice"), caller(BootMs(60_000))).await.unwrap(), [image]);
    let unknown = registry.images(&name("bob"), caller(BootMs(0))).await;
    assert!(matches!(unknown, Err(LookupError::NotRegistered(_))));
}
