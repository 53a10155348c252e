use super::*;

/// Golden bytes of version 2: one profile with all fields, one with the required fields only.
const FULL: &str = r#"{"id":"00112233-4455-6677-8899-aabbccddeeff","username":"alice","addr":"10.0.0.1:9000","status":"active","registered_at":"2026-11-30T06:07:29Z","last_seen":null,"metadata":{"device":"laptop","tags":["a",1,2.5,true,null]},"password_hash":"$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA","password_version":2}"#;
const REQUIRED_ONLY: &str = r#"{"id":"00112233-4455-6677-8899-aabbccddeeff","username":"bob","addr":"","status":"active","registered_at":"2026-11-30T06:07:29Z","last_seen":null,"metadata":{}}"#;

/// The same profiles in version 1.
const FULL_V1: &str = r#"{"user_id":"00112233-4455-6677-8899-aabbccddeeff","username":"alice","addr":"10.0.0.1:9000","registered_at":"2026-11-30T06:07:29Z","metadata":{"device":"laptop","tags":["a",1,2.5,true,null]},"password_hash":"$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA","password_version":2}"#;
const REQUIRED_ONLY_V1: &str = r#"{"user_id":"00112233-4455-6677-8899-aabbccddeeff","username":"bob","addr":null,"registered_at":"2026-11-30T06:07:29Z","metadata":{}}"#;

/// A profile of a program of requirement 004.
const VERA: &str = r#"{"id":"0f5b8a52-1111-4222-8333-444455556666","username":"vera","addr":"192.168.7.20:9000","status":"active","registered_at":"2025-12-06T18:19:25.123456789Z","last_seen":"2025-12-06T18:20:25.123456789Z","metadata":{}}"#;

fn full() -> Profile {
    Profile {
        id: UserId::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
        username: Username::parse("alice").unwrap(),
        addr: Addr::new("10.0.0.1:9000".parse().unwrap()),
        registered_at: "2026-11-30T06:07:29Z".to_owned(),
        last_seen: None,
        metadata: serde_json::from_str(r#"{"device":"laptop","tags":["a",1,2.5,true,null]}"#).unwrap(),
        password_hash: Some(PasswordHash::new("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".to_owned())),
        password_version: 2,
        stored_fields: StoredFields::default(),
    }
}

fn required_only() -> Profile {
    Profile {
        username: Username::parse("bob").unwrap(),
        addr: None,
        metadata: Metadata::default(),
        password_hash: None,
        password_version: 0,
        ..full()
    }
}

fn decode(json: &str) -> Profile {
    Profile::decode(json.as_bytes()).unwrap()
}

fn encode(profile: &Profile) -> String {
    String::from_utf8(profile.encode()).unwrap()
}

/// The profile as if it were new.
fn without_stored_fields(profile: Profile) -> Profile {
    Profile { stored_fields: StoredFields::default(), ..profile }
}

#[test]
fn profiles_have_their_golden_bytes() {
    assert_eq!(Profile::VERSION, 2, "another version has other golden bytes");
    for (profile, golden) in [(full(), FULL), (required_only(), REQUIRED_ONLY)] {
        assert_eq!(encode(&profile), golden);
        assert_eq!(without_stored_fields(decode(golden)), profile);
    }
}

#[test]
fn profiles_of_version_1_are_read_and_written_as_version_2() {
    for (profile, v1, v2) in [(full(), FULL_V1, FULL), (required_only(), REQUIRED_ONLY_V1, REQUIRED_ONLY)] {
        let read = decode(v1);
        assert_eq!(without_stored_fields(read.clone()), profile);
        assert_eq!(encode(&read), v2);
    }
}

#[test]
fn a_profile_of_requirement_004_is_read_and_written_unchanged() {
    let vera = decode(VERA);
    assert_eq!(vera.id.to_string(), "0f5b8a52-1111-4222-8333-444455556666");
    assert_eq!(vera.addr.unwrap().to_string(), "192.168.7.20:9000");
    assert_eq!(vera.registered_at, "2025-12-06T18:19:25.123456789Z");
    assert_eq!(vera.last_seen.as_deref(), Some("2025-12-06T18:20:25.123456789Z"));
    assert_eq!((vera.metadata.is_empty(), &vera.password_hash), (true, &None));
    assert_eq!(encode(&vera), VERA);
}

/// The profile as JSON with one field replaced; removed if `json` is `None`.
fn vera_with(field: &str, json: Option<&str>) -> String {
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(VERA).unwrap();
    match json {
        Some(json) => fields.insert(field.to_owned(), RawValue::from_string(json.to_owned()).unwrap()),
        None => fields.remove(field),
    };
    serde_json::to_string(&fields).unwrap()
}

#[test]
fn optional_fields_have_defaults_and_their_stored_values_are_kept() {
    let vera = decode(VERA);
    for (field, json) in [
        ("status", None),
        ("status", Some("\"banned\"")),
        ("status", Some("7")),
        ("status", Some("null")),
        ("addr", None),
        ("addr", Some("null")),
        ("addr", Some("\"\"")),
        ("addr", Some("\"localhost:9000\"")),
        ("addr", Some("\":9000\"")),
        ("addr", Some("\"[fe80::1%2]:9000\"")),
        ("addr", Some("[]")),
        ("last_seen", None),
        ("last_seen", Some("null")),
        ("last_seen", Some("\"yesterday\"")),
        ("last_seen", Some("1765045165")),
        ("metadata", None),
        ("metadata", Some("null")),
        ("metadata", Some("[1]")),
        ("metadata", Some("\"text\"")),
        (
            "metadata",
            Some(
                r#"{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{}}}}}}}}}}}}}}}}}"#,
            ),
        ),
        ("avatar", Some(r#"{"url":"x","size":123456789012345678901234567890}"#)),
    ] {
        let json_text = vera_with(field, json);
        let read = decode(&json_text);
        let expected = Profile {
            addr: vera.addr.filter(|_| field != "addr"),
            last_seen: vera.last_seen.clone().filter(|_| field != "last_seen"),
            ..without_stored_fields(vera.clone())
        };
        assert_eq!(without_stored_fields(read.clone()), expected, "{json_text}");
        let is_valid = matches!(field, "status" | "avatar") || matches!(json, None | Some("null" | "\"\""));
        let ignored = read.ignored_fields();
        assert_eq!(ignored.len(), usize::from(!is_valid), "{json_text}: {ignored:?}");
        assert!(ignored.iter().all(|reason| reason.starts_with(&format!("\"{field}\" is not shown: "))), "{ignored:?}");
        if let Some(json) = json {
            let changed = Profile { password_version: 1, ..read };
            let written: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&encode(&changed)).unwrap();
            let default = match field {
                "status" => "\"active\"",
                "addr" => "\"\"",
                "metadata" => "{}",
                _ => "null",
            };
            let expected = if json == "null" { default } else { json };
            assert_eq!(written[field].get(), expected, "{json_text}");
            assert_eq!(written["password_version"].get(), "1");
        }
    }
}

#[test]
fn a_time_zone_an_upper_case_id_and_a_byte_order_mark_are_accepted() {
    for (stored, utc) in [
        ("2025-12-06T20:19:25.5+02:00", "2025-12-06T18:19:25.5Z"),
        ("2025-12-06T18:19:25.123456789Z", "2025-12-06T18:19:25.123456789Z"),
        ("2025-12-06T18:19:25.120000000Z", "2025-12-06T18:19:25.120000000Z"),
        ("2025-12-06T18:19:25.120000000+00:00", "2025-12-06T18:19:25.12Z"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999999Z"),
        ("2025-12-06t18:19:25z", "2025-12-06T18:19:25Z"),
        ("2025-12-06 09:49:25-08:30", "2025-12-06T18:19:25Z"),
    ] {
        let json = format!("\"{stored}\"");
        let read = decode(&vera_with("registered_at", Some(&json)));
        assert_eq!(read.registered_at, utc);
        assert!(encode(&read).contains(stored), "it is written as it was");
        assert_eq!(decode(&vera_with("last_seen", Some(&json))).last_seen.as_deref(), Some(utc));
        assert!(utc.len() <= Profile::MAX_TIME_BYTES);
    }
    let read = decode(&vera_with("id", Some("\"0F5B8A52-1111-4222-8333-444455556666\"")));
    assert_eq!(read.id, decode(VERA).id);
    assert_eq!(Profile::decode(format!("\u{feff}{VERA}").as_bytes()), Ok(decode(VERA)));
}

#[test]
fn bytes_that_are_no_profile_are_rejected_with_the_reason() {
    for (field, json, reason) in [
        ("id", None, "field \"id\" is missing"),
        ("id", Some("\"7\""), "field \"id\""),
        ("id", Some("7"), "field \"id\""),
        ("username", None, "field \"username\" is missing"),
        ("username", Some("\"a/b\""), "Invalid username"),
        ("registered_at", None, "field \"registered_at\" is missing"),
        ("registered_at", Some("\"2025-12-06 18:19\""), "no time of RFC 3339"),
        ("registered_at", Some("1765045165"), "field \"registered_at\""),
        ("registered_at", Some("\"2025-12-06x18:19:25Z\""), "no time of RFC 3339"),
        ("registered_at", Some("\"2025-12-06\\n18:19:25Z\""), "no time of RFC 3339"),
        ("password_hash", Some("7"), "field \"password_hash\""),
    ] {
        let error = Profile::decode(vera_with(field, json).as_bytes()).expect_err(reason).to_string();
        assert!(error.contains(reason), "{error}");
    }
    let padded = |bytes: usize| VERA.to_owned() + &" ".repeat(bytes - VERA.len());
    assert!(Profile::decode(padded(MAX_PROFILE_BYTES).as_bytes()).is_ok());
    let error = Profile::decode(padded(MAX_PROFILE_BYTES + 1).as_bytes()).unwrap_err();
    assert!(error.to_string().contains("1048577 bytes"), "{error}");
    for bytes in [&b""[..], b"{", b"[]", b"null", b"\xff\xfe{\0}\0", &VERA.as_bytes()[..100]] {
        assert!(Profile::decode(bytes).is_err(), "{bytes:?}");
    }
}
