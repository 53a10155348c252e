//! Parameters of a header value, such as `boundary` in `multipart/form-data; boundary=x`.
//!
//! The parser accepts more than RFC 9110, because clients send more: an unquoted value may have any
//! character but a semicolon, and spaces may surround semicolons and equals signs.

/// The value of the first parameter `name` (ignoring case). Parameters follow the first semicolon.
/// `None` if there is no such parameter.
pub(super) fn parameter(header: &[u8], name: &str) -> Option<Vec<u8>> {
    let (_, mut rest) = split_at_byte(header, b';')?;
    loop {
        let is_in_name = |byte: &u8| !matches!(byte, b'=' | b';');
        let name_end = rest.iter().position(|byte| !is_in_name(byte)).unwrap_or(rest.len());
        let (found, after) = rest.split_at(name_end);
        let (value, next) = match after {
            [b'=', after @ ..] => value(after.trim_ascii_start()),
            [_, after @ ..] => (Vec::new(), after),
            [] => return None,
        };
        if found.trim_ascii().eq_ignore_ascii_case(name.as_bytes()) && after.first() == Some(&b'=') {
            return Some(value);
        }
        rest = next;
    }
}

/// Splits the text after an equals sign into the value and the text after the next semicolon.
fn value(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let [b'"', quoted @ ..] = text else {
        let (value, rest) = split_at_byte(text, b';').unwrap_or((text, &[]));
        return (value.trim_ascii_end().to_vec(), rest);
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' => break,
            // A backslash quotes the next character.
            b'\\' => value.extend(bytes.next()),
            other => value.push(other),
        }
    }
    let rest = bytes.as_slice();
    (value, split_at_byte(rest, b';').map_or(&[], |(_, rest)| rest))
}

fn split_at_byte(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == separator)?;
    Some((&text[..at], &text[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boundary(header: &str) -> Option<String> {
        parameter(header.as_bytes(), "boundary").map(|value| String::from_utf8(value).unwrap())
    }

    #[test]
    fn a_parameter_is_found_as_clients_write_it() {
        for (header, found) in [
            ("multipart/form-data; boundary=x", "x"),
            ("multipart/form-data;boundary=x", "x"),
            ("multipart/form-data; BOUNDARY=X", "X"),
            ("multipart/form-data ;  boundary = x ", "x"),
            ("multipart/form-data; boundary=\"x y\"", "x y"),
            ("multipart/form-data; boundary = \"x\" ; charset=utf-8", "x"),
            ("multipart/form-data; charset=UTF-8; boundary=x", "x"),
            ("multipart/form-data; charset=\"a; boundary=b\"; boundary=x", "x"),
            ("multipart/form-data; boundary=----=_Part_1_123.456", "----=_Part_1_123.456"),
            ("multipart/form-data; boundary=--==sep==", "--==sep=="),
            ("multipart/form-data; boundary=a/b?c:d,e(f)'g+h_i.j-k=", "a/b?c:d,e(f)'g+h_i.j-k="),
            ("multipart/form-data; boundary=\"a\\\"b\\\\c\"", "a\"b\\c"),
            ("multipart/form-data; boundary=\"not closed; x", "not closed; x"),
            ("multipart/form-data; ; x; boundary=y;", "y"),
            ("multipart/form-data; boundary=first; boundary=second", "first"),
            ("multipart/form-data; boundary=", ""),
            ("multipart/form-data; boundary=\"\"", ""),
        ] {
            assert_eq!(boundary(header).as_deref(), Some(found), "{header}");
        }
    }

    #[test]
    fn a_header_without_the_parameter_has_none() {
        for header in [
            "",
            "boundary=x",
            "multipart/form-data",
            "multipart/form-data;",
            "multipart/form-data; boundary",
            "multipart/form-data; boundary; x=y",
            "multipart/form-data; xboundary=x; boundary2=x; boundary*=x",
            "multipart/form-data; charset=\"; boundary=x\"",
        ] {
            assert_eq!(boundary(header), None, "{header}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_quoted_value_is_read_as_it_was_before_quoting(value: Vec<u8>, rest in "(; [a-z]{1,9}=[a-z]{0,9}){0,3}") {
            let mut header = b"a/b; other=\"1;2\"; name=\"".to_vec();
            for byte in &value {
                header.extend([b'\\', *byte]);
            }
            header.push(b'"');
            header.extend_from_slice(rest.as_bytes());
            proptest::prop_assert_eq!(parameter(&header, "name"), Some(value));
        }

        #[test]
        fn every_header_is_read_without_a_panic(header: Vec<u8>, name in "[a-z]{0,3}") {
            let _ = parameter(&header, &name);
        }
    }
}
