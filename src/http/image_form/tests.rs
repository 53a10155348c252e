use super::*;

/// Reads a form with this Content-Type.
async fn read(content_type: &str, body: impl Into<Bytes>) -> Result<Vec<u8>, String> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", content_type.parse().unwrap());
    image_field(&headers, body.into()).await.map(|image| image.to_vec()).map_err(|error| error.to_string())
}

fn form(boundary: &str, part_headers: &str) -> String {
    format!("--{boundary}\r\n{part_headers}\r\n\r\nbytes\r\n--{boundary}--\r\n")
}

const NAMED_IMAGE: &str = "Content-Disposition: form-data; name=\"image\"; filename=\"a.png\"";

#[tokio::test]
async fn the_boundaries_of_real_clients_are_read() {
    for (client, content_type, boundary) in [
        (
            "curl",
            "multipart/form-data; boundary=------------------------d74496d66958873e",
            "------------------------d74496d66958873e",
        ),
        ("Python requests", "multipart/form-data; boundary=0c5d8c6e2cd3a2f1", "0c5d8c6e2cd3a2f1"),
        (
            "Python email",
            "multipart/form-data; boundary=\"===============7330845974216740156==\"",
            "===============7330845974216740156==",
        ),
        (
            "Python email, unquoted",
            "multipart/form-data; boundary================733084597==",
            "===============733084597==",
        ),
        ("Jakarta Mail", "multipart/form-data; boundary=\"----=_Part_1_123.456\"", "----=_Part_1_123.456"),
        ("Jakarta Mail, unquoted", "multipart/form-data; boundary=----=_Part_1_123.456", "----=_Part_1_123.456"),
        ("Apache HttpClient", "multipart/form-data; charset=ISO-8859-1; boundary=n_Xz-LwgH2P5", "n_Xz-LwgH2P5"),
        (
            ".NET",
            "multipart/form-data; boundary=\"5c8f5b3a-04c5-4f1c-a2a5-c7c4a0f4b3e4\"",
            "5c8f5b3a-04c5-4f1c-a2a5-c7c4a0f4b3e4",
        ),
        (
            "Chrome",
            "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
            "----WebKitFormBoundary7MA4YWxkTrZu0gW",
        ),
        (
            "Firefox",
            "multipart/form-data; boundary=---------------------------9051914041544843365972754266",
            "---------------------------9051914041544843365972754266",
        ),
        (
            "node undici",
            "multipart/form-data; boundary=----formdata-undici-012345678901",
            "----formdata-undici-012345678901",
        ),
        (
            "Postman",
            "multipart/form-data; boundary=--------------------------403838420471253482385414",
            "--------------------------403838420471253482385414",
        ),
        ("Perl", "multipart/form-data; boundary=xYzZY", "xYzZY"),
        ("Boost, MIME::Lite", "multipart/form-data; boundary=\"_----------=_1234567890\"", "_----------=_1234567890"),
        ("all characters of RFC 2046", "Multipart/Form-Data; Boundary='()+_,-./:=?aZ9", "'()+_,-./:=?aZ9"),
        (
            "a quoted space",
            "multipart/form-data;boundary=\"gc0p4Jq0M2Yt08j 34c0p\";charset=utf-8",
            "gc0p4Jq0M2Yt08j 34c0p",
        ),
        ("one character", "multipart/form-data; boundary=/", "/"),
        ("other characters", "multipart/form-data; boundary={#!$%&*^|~@[]<>}", "{#!$%&*^|~@[]<>}"),
    ] {
        let read = read(content_type, form(boundary, NAMED_IMAGE)).await;
        assert_eq!(read.as_deref(), Ok(b"bytes".as_slice()), "{client}");
    }
}

#[tokio::test]
async fn a_boundary_has_1_to_70_characters() {
    for (length, is_valid) in [(0, false), (1, true), (70, true), (71, false)] {
        let boundary = "x".repeat(length);
        let read = read(&format!("multipart/form-data; boundary={boundary}"), form(&boundary, NAMED_IMAGE)).await;
        assert_eq!(read.is_ok(), is_valid, "{length}: {read:?}");
    }
}

#[tokio::test]
async fn the_part_headers_of_real_clients_are_read() {
    for part_headers in [
        NAMED_IMAGE,
        "Content-Disposition: form-data; name=image",
        "Content-Disposition: form-data; name=image; filename=a.png",
        "content-disposition: form-data; name=\"image\"\r\ncontent-type: image/png",
        "CONTENT-DISPOSITION: FORM-DATA; NAME=\"image\"",
        "Content-Type: image/png\r\nContent-Disposition: form-data; filename=\"a.png\"; name=\"image\"",
        "Content-Disposition: form-data; filename=\"a name.png\"; name=\"image\"",
        "Content-Disposition: form-data; filename=\"a; name=other.png\"; name=\"image\"",
        "Content-Disposition: form-data; name=\"image\"; filename=\"a\\\"b.png\"",
        "Content-Disposition: form-data; name=\"image\"; filename=\"%22.png\"",
        "Content-Disposition: form-data; name=\"image\"; filename*=UTF-8''%e2%82%ac%20rates.png",
        "Content-Disposition: form-data; name=\"image\"; filename=\"x.png\"; filename*=utf-8''x.png",
        "Content-Disposition: form-data; name=\"image\"; filename=\"Zoë ☃.png\"",
        "Content-Disposition:form-data;name=image;filename=\"\"",
        "Content-Disposition: form-data; name=\"image\"; filename=\"C:\\dir\\a.png\"",
        "Content-Disposition: form-data; name=\"image\"\r\nContent-Transfer-Encoding: binary\r\nContent-Length: 5\r\nMIME-Version: 1.0\r\nX-More: yes",
    ] {
        let read = read("multipart/form-data; boundary=x", form("x", part_headers)).await;
        assert_eq!(read.as_deref(), Ok(b"bytes".as_slice()), "{part_headers}");
    }
}

#[tokio::test]
async fn a_preamble_an_epilogue_padding_and_other_fields_are_skipped() {
    let image = format!("--x\r\n{NAMED_IMAGE}\r\n\r\nbytes\r\n");
    let other = "--x\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nname=image\r\n";
    let unnamed = "--x\r\nContent-Type: text/plain\r\n\r\ntext\r\n";
    for body in [
        format!("This is a multi-part message.\r\n\r\n{image}--x--\r\nThe end."),
        format!("\r\n{image}--x--"),
        format!("{other}{image}{unnamed}--x--\r\n"),
        format!("{unnamed}{image}{other}--x--\r\n"),
        image.replacen("--x\r\n", "--x \t\r\n", 1) + "--x--  \r\n",
    ] {
        assert_eq!(
            read("multipart/form-data; boundary=x", body.clone()).await.as_deref(),
            Ok(b"bytes".as_slice()),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_form_that_cannot_be_read_gets_an_error_that_says_why() {
    let form_data = "multipart/form-data; boundary=x";
    let valid = form("x", NAMED_IMAGE);
    for (content_type, body, part) in [
        ("image/png", valid.clone(), "the Content-Type is \"image/png\""),
        ("multipart/mixed; boundary=x", valid.clone(), "the Content-Type is \"multipart/mixed\""),
        ("multipart/form-data", valid.clone(), "has no boundary"),
        ("multipart/form-data; boundary=", valid.clone(), "1 to 70"),
        ("multipart/form-data; boundary=\"x \"", valid.clone(), "1 to 70"),
        ("multipart/form-data; boundary=other", valid.clone(), "does not have the boundary \"other\""),
        (form_data, String::new(), "does not have the boundary"),
        (form_data, valid.replace("\r\n", "\n"), "end with LF and not with CR LF"),
        (form_data, valid.replace("--x--", ""), "cut off: it does not end with \"--x--\""),
        (form_data, valid.replace("name=\"image\"", "name=\"file\""), "the form has no such field"),
        (form_data, valid.replace("name=\"image\"", "name=\"Image\""), "the form has no such field"),
        (form_data, "--x--\r\n".to_owned(), "the form has no such field"),
        (form_data, valid.replace(NAMED_IMAGE, "no header"), "No image: "),
        (form_data, valid.replace("--x--", &format!("{}--x--", &valid[..valid.len() - 7])), "given twice"),
    ] {
        let error = read(content_type, body.clone()).await.unwrap_err();
        assert!(error.contains(part), "{error}\n{body}");
    }
    let error = image_field(&HeaderMap::new(), valid.into()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "No image: the request has no Content-Type; send multipart/form-data with the image in the field \"image\""
    );
}

proptest::proptest! {
    #[test]
    fn every_body_is_read_without_a_panic(body: Vec<u8>, boundary in "[a-z=/]{1,3}") {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let content_type = format!("multipart/form-data; boundary={boundary}");
        let body = [format!("--{boundary}\r\n").as_bytes(), &body].concat();
        let _ = runtime.block_on(read(&content_type, body));
    }
}
