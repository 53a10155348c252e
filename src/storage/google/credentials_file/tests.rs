//! Malformed key files: each is refused, and no error shows a part of the key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;

const PEM: &str = include_str!("../../../../tests/fixtures/private_key.pem");
const EC_PEM: &str = include_str!("../../../../tests/fixtures/private_key_ec.pem");

fn service_account(private_key: &str) -> Value {
    json!({
        "type": "service_account", "client_email": "a@b.iam.gserviceaccount.com", "private_key_id": "1",
        "private_key": private_key, "project_id": "your-project",
    })
}

fn error_of(content: &[u8]) -> String {
    GoogleAccount::parse(content).err().unwrap_or_else(|| panic!("accepted: {}", String::from_utf8_lossy(content)))
}

/// Panics if the text contains 12 characters of the key, or four of its bytes as decimal or
/// hexadecimal numbers, in base64 or decoded.
fn assert_shows_nothing(text: &str, secret: &str) {
    let lines: Vec<&str> = secret.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(lines.concat()).unwrap_or_default();
    for part in lines.concat().as_bytes().windows(12) {
        let part = std::str::from_utf8(part).unwrap();
        assert!(!text.contains(part) && !text.contains(&STANDARD.encode(part)), "{part} in {text}");
    }
    for part in secret.as_bytes().windows(4).chain(der.windows(4)) {
        let decimal = part.iter().map(u8::to_string).collect::<Vec<_>>();
        let hex = part.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().concat();
        assert!(![decimal.join(", "), decimal.join(","), hex].iter().any(|form| text.contains(form)), "{text}");
    }
}

#[test]
fn a_key_file_is_accepted_with_a_byte_order_mark_and_in_either_line_ending() {
    for pem in [PEM.to_owned(), PEM.replace('\n', "\r\n")] {
        let json = service_account(&pem).to_string();
        assert!(GoogleAccount::parse(json.as_bytes()).is_ok());
        assert!(GoogleAccount::parse(format!("\u{feff}{json}").as_bytes()).is_ok());
    }
}

#[test]
fn no_error_about_a_private_key_shows_a_part_of_it() {
    let body: String = PEM.lines().filter(|line| !line.starts_with("-----")).collect();
    let flipped = PEM.replacen(&body[..20], &body[..20].to_lowercase(), 1);
    for (pem, reason) in [
        (PEM.replace('\n', "\\n"), "two characters"),
        (PEM.replace('\n', ""), "line breaks"),
        (PEM.replace('\n', " "), "line breaks"),
        (PEM.replace('\n', "\\\\n"), "two characters"),
        (PEM.replace('\n', "\n\u{a0}"), "line breaks or other characters"),
        (PEM.replace("-----\n", "-----"), "line breaks"),
        (format!("\u{feff}{PEM}"), "line breaks or other characters"),
        (format!("\"{PEM}\""), "does not begin"),
        (PEM[..PEM.len() / 2].to_owned(), "does not end"),
        (PEM.replace("-----END PRIVATE KEY-----", "-----END"), "does not end"),
        (PEM.replacen(&body[64..128], "", 1), "damaged"),
        (PEM.replace(&PEM[93..PEM.len() - 26], ""), "damaged"),
        (flipped, "damaged"),
        (PEM.replacen(&body[..8], "MIIE!!!!", 1), "other characters"),
        (PEM.replace("PRIVATE KEY", "RSA PRIVATE KEY"), "does not begin"),
        (PEM.replace("PRIVATE KEY", "CERTIFICATE"), "does not begin"),
        (PEM.replace("-----", "—"), "does not begin"),
        (body.clone(), "does not begin"),
        (STANDARD.encode(PEM), "does not begin"),
        (PEM.to_uppercase(), "damaged"),
        (PEM.chars().rev().collect(), "does not begin"),
    ] {
        let text = error_of(service_account(&pem).to_string().as_bytes());
        assert!(text.contains(reason), "{reason}: {text}");
        assert_shows_nothing(&text, PEM);
    }
    let text = error_of(service_account(EC_PEM).to_string().as_bytes());
    assert!(text.contains("no RSA key"), "{text}");
    assert_shows_nothing(&text, EC_PEM);
}

#[test]
fn no_error_about_a_key_in_the_wrong_place_shows_a_part_of_it() {
    let valid = service_account(PEM).to_string();
    let mut contents = vec![
        PEM.to_owned(),
        json!(PEM).to_string(),
        json!([PEM]).to_string(),
        json!({ "type": PEM }).to_string(),
        json!({ "type": "service_account", PEM: 1 }).to_string(),
        valid.replace("\\n", "\n"),
        valid.replace('"', "'"),
        valid.replace(',', ""),
        valid.replace("\"private_key\":", "\"private_key\":["),
    ];
    contents.extend((1..40).map(|part| valid[..valid.len() * part / 40].to_owned()));
    for field in ["client_email", "private_key_id", "private_key", "project_id"] {
        for wrong in [json!([PEM]), json!({ "key": PEM }), json!(null), json!("")] {
            let mut fields = service_account(PEM);
            fields[field] = wrong;
            contents.push(fields.to_string());
        }
    }
    for content in contents {
        assert_shows_nothing(&error_of(content.as_bytes()), PEM);
    }
    let utf16: Vec<u8> = valid.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_shows_nothing(&error_of(&utf16), PEM);
}

#[tokio::test]
async fn secrets_of_other_kinds_of_accounts_are_not_shown_either() {
    let secret = "MIIEvQIBADANBgkq";
    for fields in [
        json!({ "type": "authorized_user", "client_id": "1", "client_secret": secret }),
        json!({ "type": "authorized_user", "client_id": "1", "client_secret": secret, "refresh_token": [secret] }),
        json!({ "type": secret, "client_secret": secret }),
        json!({ "type": "external_account", "audience": secret, "token_url": [secret] }),
    ] {
        let text = error_of(fields.to_string().as_bytes());
        assert!(!text.contains(&secret[..8]), "{text}");
    }
    // A field whose type only Google's crate checks.
    let fields = json!({
        "type": "external_account", "audience": "a", "subject_token_type": "b", "token_url": "c",
        "credential_source": secret,
    });
    let account = GoogleAccount::parse(fields.to_string().as_bytes()).unwrap();
    let text = CredentialsFile { path: "key.json".into(), api: GoogleApi::Storage, account }
        .credentials()
        .unwrap_err()
        .to_string();
    assert!(text.contains("wrong type") && !text.contains(&secret[..8]), "{text}");
}

#[tokio::test]
async fn every_error_names_the_file_and_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key.json");
    for (content, reason) in [
        (None, "No such file"),
        (Some("{"), "not JSON"),
        (Some("{}"), "\"type\""),
        (Some(&*" ".repeat(70_000)), "size"),
    ] {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        for (api, setting) in
            [(GoogleApi::Storage, "GOOGLE_APPLICATION_CREDENTIALS"), (GoogleApi::Drive, "GOOGLE_CREDENTIALS")]
        {
            let Err(BackendError::Permanent(text)) = CredentialsFile::read(&file, api).await else {
                panic!("{reason}")
            };
            for word in ["key.json", reason, setting] {
                assert!(text.contains(word), "{word} in {text}");
            }
        }
    }
}
