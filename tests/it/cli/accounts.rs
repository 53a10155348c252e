//! `register`, `login` and `passwd`: what they keep, what they refuse, and what nobody else can do.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::typed::{Desk, server};
use crate::cluster::Plan;
use crate::sample_images::png;

#[tokio::test]
async fn a_registration_is_kept_for_its_owner_alone_and_a_failed_one_changes_nothing() {
    let cluster = Plan::quick().start().await;
    let (follower, leader) = cluster.follower().await;
    let desk = Desk::new();
    let [flag, url] = server(&cluster, follower);
    let typed =
        desk.types(&["register", "--username", "alice", "--addr", "10.0.0.1:9000", &flag, &url, "--json"]).await;
    let json = typed.code(0).json();
    assert_eq!((&json["username"], &json["settings"]), (&"alice".into(), &"data/client_alice.json".into()), "{json}");
    assert!(json["user_id"].as_str().is_some_and(|id| id.len() == 36), "{json}");

    let path = desk.path().join("data/client_alice.json");
    assert_eq!(fs::metadata(&path).expect("it was written").permissions().mode() & 0o777, 0o600);
    let before = fs::read(&path).expect("it is ours");
    let kept: Value = serde_json::from_slice(&before).expect("JSON");
    let servers = kept["servers"].as_array().expect("servers");
    assert!(servers.contains(&cluster.url(follower).into()) && servers.contains(&cluster.url(leader).into()), "{kept}");

    // Taken by us with another address, which is another registration.
    let again = desk.types(&["register", "--username", "alice", "--addr", "10.0.0.2:9000", &flag, &url]).await.code(1);
    assert!(again.error().contains("alice"), "{}", again.stderr());
    assert_eq!(fs::read(&path).expect("it is ours"), before);
    // The very same one is no error.
    desk.types(&["register", "--username", "alice", "--addr", "10.0.0.1:9000", &flag, &url]).await.code(0);
}

#[tokio::test]
async fn a_password_is_neither_shown_nor_kept() {
    let cluster = Plan::quick().nodes(1).start().await;
    let desk = Desk::new();
    let url = cluster.url(0);
    let common = ["register", "--server", &url, "--username"];
    let typed = desk.types(&[&common[..], &["alice", "--password", "correct horse"]].concat()).await.code(0);
    assert!(typed.stderr().contains("hint: ") && typed.stderr().contains("--password-file"), "{}", typed.stderr());
    fs::write(desk.path().join("secret"), "correct horse\n").expect("the directory is ours");
    let by_file = desk.types(&[&common[..], &["bob", "--password-file", "secret"]].concat()).await.code(0);
    assert_eq!(by_file.stderr(), "");
    let by_variable = [&common[..], &["carol"]].concat();
    let by_variable = desk.types_with(&by_variable, &[("ROLLCALL_PASSWORD", "correct horse")]).await.code(0);
    for text in [typed.stdout(), typed.stderr(), by_file.stdout(), by_variable.stdout(), by_variable.stderr()] {
        assert!(!text.contains("correct horse"), "{text}");
    }
    for user in ["alice", "bob", "carol"] {
        let kept = fs::read_to_string(desk.path().join(format!("data/client_{user}.json"))).expect("it was kept");
        assert!(!kept.contains("horse"), "{kept}");
        // A registration with a password can be repeated with the same one only.
        desk.types(&["register", "--server", &url, "--username", user, "--password", "wrong"]).await.code(1);
    }
    // Standard input is no terminal, so nobody can be asked.
    let nobody = desk.types(&["login", "--username", "alice", "--server", &url]).await.code(2);
    assert!(nobody.error().contains("--password-file"), "{}", nobody.stderr());
}

#[tokio::test]
async fn nobody_else_can_speak_for_a_user_with_a_password() {
    let cluster = Plan::quick().start().await;
    let desk = Desk::new();
    let (follower, _) = cluster.follower().await;
    let [flag, url] = server(&cluster, follower);
    desk.types(&["register", "--username", "alice", "--password", "secret123", &flag, &url]).await.code(0);
    let picture = desk.path().join("a.png");
    fs::write(&picture, png(8, 8, 1)).expect("the directory is ours");
    desk.types(&["upload", "--username", "alice", "a.png"]).await.code(0);

    let stranger = Desk::new();
    fs::copy(&picture, stranger.path().join("a.png")).expect("the directory is ours");
    let upload = stranger.types(&["upload", "--username", "alice", "a.png", &flag, &url]).await.code(1);
    assert!(upload.error().contains("rollcall login"), "{}", upload.stderr());
    let beat = stranger.types(&["start-heartbeat", "--username", "alice", &flag, &url]).await.code(1);
    assert!(beat.error().contains("rollcall login --username alice"), "{}", beat.stderr());
    let login = stranger.types(&["login", "--username", "alice", "--password", "guess", &flag, &url]).await;
    login.code(1).error();
    assert!(!stranger.path().join("data/client_alice.json").exists(), "a failed login keeps nothing");

    // Who knows the password becomes the user.
    let login =
        stranger.types(&["login", "--username", "alice", "--password", "secret123", &flag, &url, "--json"]).await;
    assert!(login.code(0).json()["token_expires_at"].is_string());
    stranger.types(&["upload", "--username", "alice", "a.png"]).await.code(0);
}

#[tokio::test]
async fn a_changed_password_ends_the_tokens_of_a_user_with_a_password() {
    let cluster = Plan::quick().nodes(1).start().await;
    let (desk, other) = (Desk::new(), Desk::new());
    let url = cluster.url(0);
    let as_alice = ["--username", "alice", "--server", &url];
    desk.types(&[&["register", "--password", "old"][..], &as_alice].concat()).await.code(0);
    other.types(&[&["login", "--password", "old"][..], &as_alice].concat()).await.code(0);
    let change = ["passwd", "--password", "old", "--new-password", "new"];
    let changed = desk.types(&[&change[..], &as_alice].concat()).await.code(0);
    assert!(changed.stderr().contains("hint: ") && !changed.stdout().contains("new\n"), "{}", changed.stdout());
    for desk in [&desk, &other] {
        fs::write(desk.path().join("a.png"), png(8, 8, 1)).expect("the directory is ours");
    }
    desk.types(&["upload", "--username", "alice", "a.png"]).await.code(0);
    other.types(&["upload", "--username", "alice", "a.png"]).await.code(1);
    // With the password it logs in by itself, once, and keeps the token.
    other.types(&["upload", "--username", "alice", "--password", "new", "a.png"]).await.code(0);
    other.types(&["upload", "--username", "alice", "a.png"]).await.code(0);
    // The very same change again is no error, as after an answer that was lost; another one needs the new password.
    desk.types(&[&change[..], &as_alice].concat()).await.code(0);
    let another = ["passwd", "--password", "old", "--new-password", "newer"];
    desk.types(&[&another[..], &as_alice].concat()).await.code(1);
}
