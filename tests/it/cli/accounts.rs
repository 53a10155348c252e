//! Tests of `register`, `login` and `passwd`: saved settings, rejections, and protection by a
//! password.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::shell::{Shell, server_flag};
use crate::cluster::Plan;
use crate::sample_images::png;

#[tokio::test]
async fn a_registration_saves_private_settings_and_a_failed_one_changes_nothing() {
    let cluster = Plan::quick().start().await;
    let (follower, leader) = cluster.follower().await;
    let shell = Shell::new();
    let [flag, url] = server_flag(&cluster, follower);
    let result =
        shell.run(&["register", "--username", "alice", "--addr", "10.0.0.1:9000", &flag, &url, "--json"]).await;
    let json = result.code(0).json();
    assert_eq!((&json["username"], &json["settings"]), (&"alice".into(), &"data/client_alice.json".into()), "{json}");
    assert!(json["user_id"].as_str().is_some_and(|id| id.len() == 36), "{json}");

    let path = shell.path().join("data/client_alice.json");
    assert_eq!(fs::metadata(&path).expect("it was written").permissions().mode() & 0o777, 0o600);
    let before = fs::read(&path).expect("a readable file");
    let kept: Value = serde_json::from_slice(&before).expect("JSON");
    let servers = kept["servers"].as_array().expect("servers");
    assert!(servers.contains(&cluster.url(follower).into()) && servers.contains(&cluster.url(leader).into()), "{kept}");

    // A registration of the same name with another address is rejected, because the name is taken.
    let again = shell.run(&["register", "--username", "alice", "--addr", "10.0.0.2:9000", &flag, &url]).await.code(1);
    assert!(again.error().contains("alice"), "{}", again.stderr());
    assert_eq!(fs::read(&path).expect("a readable file"), before);
    // The same registration again succeeds.
    shell.run(&["register", "--username", "alice", "--addr", "10.0.0.1:9000", &flag, &url]).await.code(0);
}

#[tokio::test]
async fn a_password_is_neither_printed_nor_saved() {
    let cluster = Plan::quick().nodes(1).start().await;
    let shell = Shell::new();
    let url = cluster.url(0);
    let common = ["register", "--server", &url, "--username"];
    let result = shell.run(&[&common[..], &["alice", "--password", "correct horse"]].concat()).await.code(0);
    assert!(result.stderr().contains("hint: ") && result.stderr().contains("--password-file"), "{}", result.stderr());
    let secret = shell.path().join("secret");
    fs::write(&secret, "correct horse\n").expect("the directory is ours");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).expect("the file is ours");
    let exposed = shell.run(&[&common[..], &["bob", "--password-file", "secret"]].concat()).await.code(0);
    assert!(exposed.stderr().starts_with("warning: ") && exposed.stderr().contains("chmod 600 secret"));
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("the file is ours");
    let by_file = shell.run(&[&common[..], &["bob", "--password-file", "secret"]].concat()).await.code(0);
    assert_eq!(by_file.stderr(), "");
    let by_variable = [&common[..], &["carol"]].concat();
    let by_variable = shell.run_with_env(&by_variable, &[("ROLLCALL_PASSWORD", "correct horse")]).await.code(0);
    for text in [result.stdout(), result.stderr(), by_file.stdout(), by_variable.stdout(), by_variable.stderr()] {
        assert!(!text.contains("correct horse"), "{text}");
    }
    for user in ["alice", "bob", "carol"] {
        let kept = fs::read_to_string(shell.path().join(format!("data/client_{user}.json"))).expect("it was kept");
        assert!(!kept.contains("horse"), "{kept}");
        // A registration with a password can be repeated only with the same password.
        shell.run(&["register", "--server", &url, "--username", user, "--password", "wrong"]).await.code(1);
    }
    // Standard input is not a terminal, so the program cannot ask for the password.
    let login = shell.run(&["login", "--username", "alice", "--server", &url]).await.code(2);
    assert!(login.error().contains("--password-file"), "{}", login.stderr());
}

#[tokio::test]
async fn requests_for_a_user_with_a_password_need_the_password_or_a_token() {
    let cluster = Plan::quick().start().await;
    let shell = Shell::new();
    let (follower, _) = cluster.follower().await;
    let [flag, url] = server_flag(&cluster, follower);
    shell.run(&["register", "--username", "alice", "--password", "secret123", &flag, &url]).await.code(0);
    let image = shell.path().join("a.png");
    fs::write(&image, png(8, 8, 1)).expect("the directory is ours");
    shell.run(&["upload", "--username", "alice", "a.png"]).await.code(0);

    let other_shell = Shell::new();
    fs::copy(&image, other_shell.path().join("a.png")).expect("the directory is ours");
    let upload = other_shell.run(&["upload", "--username", "alice", "a.png", &flag, &url]).await.code(1);
    assert!(upload.error().contains("rollcall login"), "{}", upload.stderr());
    let beat = other_shell.run(&["start-heartbeat", "--username", "alice", &flag, &url]).await.code(1);
    assert!(beat.error().contains("rollcall login --username alice"), "{}", beat.stderr());
    let login = other_shell.run(&["login", "--username", "alice", "--password", "guess", &flag, &url]).await;
    login.code(1).error();
    assert!(!other_shell.path().join("data/client_alice.json").exists(), "a failed login saves nothing");

    // With the password, the other client can act as the user.
    let login =
        other_shell.run(&["login", "--username", "alice", "--password", "secret123", &flag, &url, "--json"]).await;
    assert!(login.code(0).json()["token_expires_at"].is_string());
    other_shell.run(&["upload", "--username", "alice", "a.png"]).await.code(0);
}

#[tokio::test]
async fn a_password_change_invalidates_all_earlier_tokens() {
    let cluster = Plan::quick().nodes(1).start().await;
    let (shell, other) = (Shell::new(), Shell::new());
    let url = cluster.url(0);
    let as_alice = ["--username", "alice", "--server", &url];
    shell.run(&[&["register", "--password", "old"][..], &as_alice].concat()).await.code(0);
    other.run(&[&["login", "--password", "old"][..], &as_alice].concat()).await.code(0);
    let change = ["passwd", "--password", "old", "--new-password", "new"];
    let changed = shell.run(&[&change[..], &as_alice].concat()).await.code(0);
    assert!(changed.stderr().contains("hint: ") && !changed.stdout().contains("new\n"), "{}", changed.stdout());
    for shell in [&shell, &other] {
        fs::write(shell.path().join("a.png"), png(8, 8, 1)).expect("the directory is ours");
    }
    shell.run(&["upload", "--username", "alice", "a.png"]).await.code(0);
    other.run(&["upload", "--username", "alice", "a.png"]).await.code(1);
    // With the password, the command logs in and saves the token, so the next one needs no
    // password.
    other.run(&["upload", "--username", "alice", "--password", "new", "a.png"]).await.code(0);
    other.run(&["upload", "--username", "alice", "a.png"]).await.code(0);
    // A repeated change succeeds, so that a client can repeat it after a lost response. Another
    // change needs the new password.
    shell.run(&[&change[..], &as_alice].concat()).await.code(0);
    let another = ["passwd", "--password", "old", "--new-password", "newer"];
    shell.run(&[&another[..], &as_alice].concat()).await.code(1);
}
