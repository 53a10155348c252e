use super::*;
use crate::registry::testing::{caller, name, registry, registry_in, registry_on, user};
use crate::registry::{AuthError, Credentials, LookupError, RegisterError, Registry, UsersError};
use crate::storage::{Backend, Fault, Key, MemoryBackend};
use rollcall_core::{BootMs, Page};

fn names(registry: &Registry) -> Vec<String> {
    registry.users(&Page::default(), BootMs(0)).into_iter().map(|user| user.username.to_string()).collect()
}

async fn register_all(memory: &MemoryBackend, usernames: &[&str]) {
    let registry = registry_on(memory);
    for username in usernames {
        registry.register(user(username), caller(BootMs(0))).await.unwrap();
    }
}

#[tokio::test]
async fn a_rebuilt_index_has_every_profile_and_skips_other_objects() {
    let (registry, memory) = registry();
    register_all(&memory, &["alice", "bob", "carol"]).await;
    let damaged = Key::Profile(name("damaged"));
    memory.create(&damaged, b"{}".as_slice().into()).await.unwrap();
    let other = memory.get(&Key::Profile(name("bob"))).await.unwrap().unwrap();
    memory.create(&Key::Profile(name("not-bob")), other.bytes).await.unwrap();
    let image = rollcall_core::ImageName::parse("1733511234-a1b2c3d4.png").unwrap();
    memory.create(&Key::Image(name("only-images"), image), b"x".as_slice().into()).await.unwrap();
    registry.begin_term(Term(3));
    registry.rebuild_index(Term(3)).await;
    assert_eq!(registry.wait_for_users(Term(3)).await, Ok(()));
    assert_eq!(names(&registry), ["alice", "bob", "carol"]);
}

#[tokio::test]
async fn a_rebuild_reads_only_unknown_profiles() {
    let (registry, memory) = registry();
    register_all(&memory, &["alice", "bob"]).await;
    registry.begin_term(Term(1));
    registry.rebuild_index(Term(1)).await;
    register_all(&memory, &["carol"]).await;
    let before = memory.faults().calls();
    registry.begin_term(Term(2));
    registry.rebuild_index(Term(2)).await;
    // One listing and one profile.
    assert_eq!(memory.faults().calls() - before, 2);
    assert_eq!(names(&registry), ["alice", "bob", "carol"]);
}

#[tokio::test(start_paused = true)]
async fn a_leader_finds_users_that_another_program_registers_within_a_minute() {
    let (registry, memory) = registry();
    registry.begin_term(Term(1));
    registry.rebuild_index(Term(1)).await;
    let search = registry.search_for_new_profiles(Term(1));
    let other = async {
        for (username, calls) in [("alice", 2), ("bob", 2)] {
            register_all(&memory, &[username]).await;
            let before = memory.faults().calls();
            sleep(Duration::from_mins(1)).await;
            assert!(names(&registry).contains(&username.to_owned()), "{username}");
            // One listing and one profile.
            assert_eq!(memory.faults().calls() - before, calls);
        }
        // A profile is found although its user had images before.
        let image = rollcall_core::ImageName::parse("1733511234-a1b2c3d4.png").unwrap();
        memory.create(&Key::Image(name("carol"), image), b"x".as_slice().into()).await.unwrap();
        sleep(Duration::from_mins(1)).await;
        register_all(&memory, &["carol"]).await;
        sleep(Duration::from_mins(1)).await;
        assert!(names(&registry).contains(&"carol".to_owned()));
        // A failed search is not the last one.
        register_all(&memory, &["dave"]).await;
        memory.faults().inject(1, &Fault::Permanent);
        sleep(Duration::from_mins(2)).await;
        registry.begin_term(Term(2));
    };
    tokio::join!(search, other);
    assert_eq!(names(&registry), ["alice", "bob", "carol", "dave"]);
}

#[test]
fn a_search_reads_all_new_names_and_a_bounded_number_of_those_without_a_profile() {
    let all: Vec<Username> = (0..600).map(|number| name(&format!("u{number:03}"))).collect();
    let mut without_profile = WithoutProfile::default();
    assert_eq!(without_profile.select(all.clone()).len(), 600);
    without_profile.names.extend(all.iter().cloned());
    let unknown: Vec<Username> = all.iter().cloned().chain([name("v")]).collect();
    let mut reread = Vec::new();
    for _ in 0..3 {
        let selected = without_profile.select(unknown.clone());
        assert_eq!((selected.len(), &selected[0]), (1 + MAX_REREADS, &name("v")));
        reread.extend(selected.into_iter().skip(1));
    }
    let once: HashSet<&Username> = reread.iter().collect();
    assert_eq!((reread.len(), once.len()), (3 * MAX_REREADS, 600));
}

#[tokio::test(start_paused = true)]
async fn an_index_is_complete_only_in_the_term_in_which_it_was_rebuilt() {
    let (registry, _) = registry();
    registry.begin_term(Term(1));
    assert_eq!(registry.wait_for_users(Term(1)).await, Err(UsersError::IndexRebuilding));
    registry.rebuild_index(Term(1)).await;
    assert_eq!(registry.wait_for_users(Term(1)).await, Ok(()));
    // A request may arrive before the node begins the term.
    assert_eq!(registry.wait_for_users(Term(2)).await, Err(UsersError::IndexRebuilding));
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_began_in_an_earlier_term_does_not_complete_a_later_term() {
    let (registry, memory) = registry();
    registry.begin_term(Term(1));
    memory.faults().inject(1, &Fault::Delay(Duration::from_secs(2)));
    let late = registry.rebuild_index(Term(1));
    let next = async {
        sleep(Duration::from_secs(1)).await;
        registry.begin_term(Term(2));
    };
    tokio::join!(late, next);
    for term in [1, 2] {
        assert_eq!(registry.wait_for_users(Term(term)).await, Err(UsersError::IndexRebuilding));
    }
}

#[tokio::test(start_paused = true)]
async fn a_query_waits_for_the_index_and_a_rebuild_waits_for_the_bucket() {
    let (registry, memory) = registry();
    register_all(&memory, &["alice"]).await;
    registry.begin_term(Term(1));
    memory.faults().inject(3, &Fault::Transient);
    let (result, ()) = tokio::join!(registry.wait_for_users(Term(1)), registry.rebuild_index(Term(1)));
    assert_eq!(result, Ok(()));
    assert_eq!(names(&registry), ["alice"]);
}

#[tokio::test]
async fn an_unreadable_object_does_not_hide_the_other_users() {
    let dir = tempfile::tempdir().unwrap();
    registry_in(dir.path()).register(user("alice"), caller(BootMs(0))).await.unwrap();
    let profile = |username| dir.path().join(Key::Profile(name(username)).path());
    std::fs::create_dir_all(profile("dan")).unwrap();
    std::fs::create_dir_all(profile("eve").parent().unwrap()).unwrap();
    std::fs::write(profile("eve"), vec![b' '; crate::storage::MAX_OBJECT_BYTES + 1]).unwrap();
    let registry = registry_in(dir.path());
    registry.begin_term(Term(1));
    registry.rebuild_index(Term(1)).await;
    assert_eq!(names(&registry), ["alice"]);
    for broken in ["dan", "eve"] {
        let heartbeat = registry.heartbeat(&name(broken), None, Credentials::None, caller(BootMs(0))).await;
        assert!(matches!(heartbeat, Err(AuthError::Lookup(LookupError::Corrupt(_)))), "{heartbeat:?}");
        let registered = registry.register(user(broken), caller(BootMs(0))).await;
        assert!(matches!(registered, Err(RegisterError::Taken(_))), "{registered:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_bucket_is_not_mistaken_for_corrupt_profiles() {
    let (registry, memory) = registry();
    register_all(&memory, &["alice"]).await;
    registry.begin_term(Term(1));
    memory.faults().inject(1, &Fault::None);
    memory.faults().inject(1, &Fault::Permanent);
    registry.rebuild_index(Term(1)).await;
    assert_eq!(names(&registry), ["alice"], "the read was retried");
}

#[test]
fn each_cause_is_logged_once_and_the_number_of_causes_is_limited() {
    let mut causes = LoggedCauses::default();
    assert!(causes.is_new("away"));
    assert!(!causes.is_new("away"));
    let logged = (0..100).filter(|n| causes.is_new(&format!("cause {n}"))).count();
    assert_eq!(logged, MAX_LOGGED_CAUSES - 1);
}
