use proptest::prelude::*;

use super::*;

const PROXY: &str = "10.0.0.1";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn proxies(header: ForwardedHeader) -> TrustedProxies {
    let networks = ["10.0.0.0/8", "fd00::/8", "192.0.2.7"];
    TrustedProxies::new(networks.map(|text| ProxyNetwork::parse(text).unwrap()).to_vec(), header)
}

/// The client that the proxy [`PROXY`] reports with these lines of the header.
fn client(header: ForwardedHeader, lines: &[&str]) -> String {
    proxies(header).client(ip(PROXY), lines.iter().map(|line| line.as_bytes())).to_string()
}

#[test]
fn the_rightmost_untrusted_address_of_x_forwarded_for_is_the_client() {
    for (lines, expected) in [
        (&["203.0.113.9"][..], "203.0.113.9"),
        (&["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        (&["1.1.1.1,203.0.113.9 , 10.2.3.4,192.0.2.7"], "203.0.113.9"),
        (&["1.1.1.1", "203.0.113.9", "10.2.3.4"], "203.0.113.9"),
        (&["203.0.113.9:4711"], "203.0.113.9"),
        (&["2001:db8::1"], "2001:db8::1"),
        (&["[2001:db8::1]"], "2001:db8::1"),
        (&["[2001:db8::1]:4711, fd00::2"], "2001:db8::1"),
        (&["::ffff:203.0.113.9, ::ffff:10.0.0.2"], "203.0.113.9"),
        (&["\"1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        // Empty elements.
        (&["1.1.1.1, 203.0.113.9,"], "203.0.113.9"),
        (&["203.0.113.9, ,\t,10.2.3.4, "], "203.0.113.9"),
        (&["203.0.113.9", "", " ", "10.2.3.4"], "203.0.113.9"),
        (&[",", "10.2.3.4,,"], "10.2.3.4"),
    ] {
        assert_eq!(client(ForwardedHeader::XForwardedFor, lines), expected, "{lines:?}");
    }
}

#[test]
fn the_rightmost_untrusted_address_of_forwarded_is_the_client() {
    for (lines, expected) in [
        (&["for=203.0.113.9"][..], "203.0.113.9"),
        (&["For=\"203.0.113.9:4711\""], "203.0.113.9"),
        (&["for=\"[2001:db8::1]:4711\";proto=http;by=203.0.113.43"], "2001:db8::1"),
        (&["for=\"[2001:db8::1]\""], "2001:db8::1"),
        (&["for=\"203.0.113.9:_hidden-1\""], "203.0.113.9"),
        (&["by=10.0.0.1; for=203.0.113.9 ;, for=10.9.9.9"], "203.0.113.9"),
        (&["for=203.0.113.9;host=\"a,b;for=1.1.1.1\", for=10.9.9.9"], "203.0.113.9"),
        (&["for=1.1.1.1", "for=203.0.113.9", "for=\"[fd00::2]\""], "203.0.113.9"),
        (&["for=1.1.1.1, for=203.0.113.9, , for=10.9.9.9,", ""], "203.0.113.9"),
        // Quotes that a client opened, before the element of the proxy.
        (&["for=1.1.1.1;x=\", for=203.0.113.9"], "203.0.113.9"),
        (&["for=1.1.1.1;x=\", for=\"[2001:db8::1]\""], "2001:db8::1"),
        (&["for=1.1.1.1;x=\"", "for=203.0.113.9"], "203.0.113.9"),
    ] {
        assert_eq!(client(ForwardedHeader::Forwarded, lines), expected, "{lines:?}");
    }
}

#[test]
fn an_element_without_an_address_ends_the_chain_at_the_last_trusted_proxy() {
    for element in [
        "unknown",
        "_hidden",
        "x",
        "1.1.1",
        "1.1.1.1:",
        "1.1.1.1:port",
        "1.1.1.1:123456",
        "[::1",
        "[::1]x",
        "[1.1.1.1]",
        "1.1.1.1 2.2.2.2",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "fe80::1%eth0",
        "\u{e9}",
    ] {
        assert_eq!(client(ForwardedHeader::XForwardedFor, &[&format!("1.1.1.1, {element}")]), PROXY, "{element:?}");
        assert_eq!(client(ForwardedHeader::XForwardedFor, &[&format!("{element}, 10.2.3.4")]), "10.2.3.4");
        let lines = [format!("for=1.1.1.1, for=\"{element}\""), format!("for=\"{element}\", for=10.2.3.4")];
        assert_eq!(client(ForwardedHeader::Forwarded, &[&lines[0]]), PROXY, "{element:?}");
        assert_eq!(client(ForwardedHeader::Forwarded, &[&lines[1]]), "10.2.3.4", "{element:?}");
    }
    for element in [
        "by=1.1.1.1",
        "for=",
        "for=\"\"",
        ";",
        "for=1.1.1.1;for=2.2.2.2",
        "for",
        "for=\"1.1.1.1",
        "for=1.1.1.1\"",
        "for=\"\\1.1.1.1\"",
    ] {
        assert_eq!(client(ForwardedHeader::Forwarded, &[&format!("for=9.9.9.9, {element}")]), PROXY, "{element}");
    }
}

#[test]
fn without_an_untrusted_address_the_client_is_the_farthest_proxy() {
    assert_eq!(client(ForwardedHeader::XForwardedFor, &[]), PROXY);
    assert_eq!(client(ForwardedHeader::XForwardedFor, &["10.9.9.9, 10.2.3.4"]), "10.9.9.9");
}

#[test]
fn the_number_of_elements_that_are_read_is_bounded() {
    let chain = |proxies: usize| format!("203.0.113.9{}", ", 10.2.3.4".repeat(proxies));
    let client_of = |proxies| client(ForwardedHeader::XForwardedFor, &[&chain(proxies)]);
    assert_eq!(client_of(MAX_PROXY_HOPS - 1), "203.0.113.9");
    assert_eq!(client_of(MAX_PROXY_HOPS), "10.2.3.4");
    let with_empty = |empty: usize| format!("203.0.113.9{}", ",".repeat(empty));
    let client_of = |empty| client(ForwardedHeader::XForwardedFor, &[&with_empty(empty)]);
    assert_eq!(client_of(MAX_PROXY_HOPS - 1), "203.0.113.9");
    assert_eq!(client_of(MAX_PROXY_HOPS), PROXY);
}

#[test]
fn a_proxy_network_is_a_single_address_or_a_network_that_is_not_larger_than_a_private_one() {
    let proxies = proxies(ForwardedHeader::XForwardedFor);
    for (text, is_trusted) in [
        ("10.255.255.255", true),
        ("11.0.0.0", false),
        ("192.0.2.7", true),
        ("192.0.2.8", false),
        ("fdff::1", true),
        ("fe00::1", false),
        ("::ffff:10.0.0.1", true),
    ] {
        assert_eq!(proxies.contains(ip(text)), is_trusted, "{text}");
    }
    assert_eq!(ProxyNetwork::parse("10.1.2.3/8"), ProxyNetwork::parse("10.0.0.0/8"));
    assert_eq!(ProxyNetwork::parse("::ffff:10.1.2.3"), ProxyNetwork::parse("10.1.2.3"));
    for right in ["11.0.0.0/8", "fc00::/7"] {
        assert!(ProxyNetwork::parse(right).is_some(), "{right}");
    }
    // Two halves are everybody, too.
    for wrong in ["0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/7", "::/1", "8000::/1", "fc00::/6"] {
        assert_eq!(ProxyNetwork::parse(wrong), None, "{wrong}");
    }
    for wrong in ["", "10.0.0.0/33", "10.0.0/8", "proxy", "::ffff:10.0.0.0/104", "10.0.0.1:80"] {
        assert_eq!(ProxyNetwork::parse(wrong), None, "{wrong}");
    }
}

/// An element of the header that names `ip`, as a proxy writes it.
fn element(header: ForwardedHeader, ip: IpAddr) -> String {
    match (header, ip) {
        (ForwardedHeader::XForwardedFor, ip) => ip.to_string(),
        (ForwardedHeader::Forwarded, IpAddr::V4(ip)) => format!("for={ip}"),
        (ForwardedHeader::Forwarded, IpAddr::V6(ip)) => format!("for=\"[{ip}]:4711\";proto=https"),
    }
}

fn header() -> impl Strategy<Value = ForwardedHeader> {
    prop::sample::select(&ForwardedHeader::ALL[..])
}

fn untrusted() -> impl Strategy<Value = IpAddr> {
    let is_client = |ip: &IpAddr| is_one_machine(*ip) && !proxies(ForwardedHeader::Forwarded).contains(*ip);
    any::<IpAddr>().prop_map(|ip| ip.to_canonical()).prop_filter("an untrusted address of one machine", is_client)
}

fn trusted() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 3]>().prop_map(|[a, b, c]| IpAddr::from([10, a, b, c])), Just(ip("fd00::2"))]
}

proptest! {
    #[test]
    fn no_header_makes_the_parser_panic(
        header in header(),
        lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..4),
        text in "[for=\",;:\\[\\]0-9._ \\\\]{0,60}",
    ) {
        let lines = lines.iter().map(Vec::as_slice).chain([text.as_bytes()]).collect::<Vec<_>>();
        let _ = proxies(header).client(ip(PROXY), lines.into_iter());
    }

    /// A client may send anything: it cannot change the address that the proxies report.
    #[test]
    fn the_text_of_a_client_never_changes_the_address_that_the_proxies_append(
        header in header(),
        forged in prop_oneof!["[ -~]{0,60}", "(for=1\\.1\\.1\\.1|\"|,|;|\\\\){0,12}"],
        has_own_line: bool,
        client in untrusted(),
        chain in prop::collection::vec(trusted(), 0..MAX_PROXY_HOPS - 1),
    ) {
        let appended: Vec<_> = std::iter::once(client).chain(chain).map(|ip| element(header, ip)).collect();
        let appended = appended.join(", ");
        let lines = if has_own_line { vec![forged, appended] } else { vec![format!("{forged},{appended}")] };
        let found = proxies(header).client(ip(PROXY), lines.iter().map(String::as_bytes));
        prop_assert_eq!(found, client);
    }
}
