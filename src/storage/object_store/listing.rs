//! Listings in XML, as S3 and Azure send them. Pure.

use object_store::path::Path;
use quick_xml::escape::unescape;

use super::http_failure::HttpFailure;

/// Names of the XML elements of a listing.
#[derive(Debug)]
pub(super) struct ListingFormat {
    /// The root.
    root: &'static str,
    /// Elements of objects and of folders, each with the element of its name.
    entries: [[&'static str; 2]; 2],
}

/// The listings of S3.
pub(super) const S3: ListingFormat =
    ListingFormat { root: "ListBucketResult", entries: [["Contents", "Key"], ["CommonPrefixes", "Prefix"]] };

/// The listings of Azure.
pub(super) const AZURE: ListingFormat =
    ListingFormat { root: "EnumerationResults", entries: [["Blob", "Name"], ["BlobPrefix", "Name"]] };

/// Listing without some of its entries.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct ReducedListing {
    pub(super) xml: String,
    /// The name of the first entry that was left out.
    pub(super) left_out: String,
}

impl ListingFormat {
    /// Refuses a body that is no listing. The crate would read an error document as an empty last
    /// page, because every part of a listing is optional for it.
    pub(super) fn check(&self, body: &str) -> Result<(), HttpFailure> {
        let root = self.root;
        if !body.contains(&format!("<{root}")) || !body.trim_end().ends_with(&format!("</{root}>")) {
            return Err(HttpFailure::NoProof(format!("the response to a listing has no {root}")));
        }
        let is_truncated = body.contains("<IsTruncated>true</IsTruncated>");
        if is_truncated && !body.contains("<NextContinuationToken>") {
            return Err(HttpFailure::NoProof("the listing goes on, but has no token for its next page".to_owned()));
        }
        Ok(())
    }

    /// Leaves out entries that the crate cannot name, such as `users//a`. Because of one of them it
    /// would refuse the whole page. `None` if there are none.
    pub(super) fn without_unnameable(&self, body: &str) -> Option<ReducedListing> {
        let mut left_out = None;
        let mut xml = body.to_owned();
        for [entry, name] in self.entries {
            xml = without_unnameable(&xml, entry, name, &mut left_out);
        }
        left_out.map(|left_out| ReducedListing { xml, left_out })
    }
}

fn without_unnameable(xml: &str, entry: &str, name: &str, left_out: &mut Option<String>) -> String {
    let (start, end) = (format!("<{entry}>"), format!("</{entry}>"));
    let mut kept = String::with_capacity(xml.len());
    let mut rest = xml;
    while let Some(at) = rest.find(&start) {
        let Some(length) = rest[at..].find(&end) else { break };
        let (before, element) = (&rest[..at], &rest[at..at + length + end.len()]);
        kept.push_str(before);
        match unnameable(element, name) {
            Some(name) => *left_out = left_out.take().or(Some(name)),
            None => kept.push_str(element),
        }
        rest = &rest[at + element.len()..];
    }
    kept.push_str(rest);
    kept
}

/// The name of an entry if the crate cannot name it. A name can have no `<` in XML.
fn unnameable(element: &str, name: &str) -> Option<String> {
    let (_, rest) = element.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once('<')?;
    match unescape(text) {
        Ok(name) => Path::parse(&name).is_err().then(|| name.into_owned()),
        Err(_) => Some(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_no_path_can_name_are_left_out() {
        let s3 = |contents: &str, prefixes: &str| {
            format!(
                "<ListBucketResult><Prefix>users/</Prefix><Contents><Key>users/a&amp;b</Key><Size>1</Size></Contents>\
                 {contents}{prefixes}<CommonPrefixes><Prefix>users/é/</Prefix></CommonPrefixes></ListBucketResult>"
            )
        };
        for name in ["users//", "users/../", "users/./a", "users/a&#x1;/", "users/a\u{7}/", "users/a&#0;/"] {
            for (contents, prefixes) in [
                (format!("<Contents><Key>{name}</Key></Contents>"), String::new()),
                (String::new(), format!("<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>")),
            ] {
                let reduced = S3.without_unnameable(&s3(&contents, &prefixes)).expect(name);
                assert_eq!(reduced.xml, s3("", ""), "{name}");
                assert!(reduced.left_out.starts_with("users/"), "{reduced:?}");
            }
        }
        assert_eq!(S3.without_unnameable(&s3("", "")), None);
        let azure = |entries: &str| {
            format!(
                "<EnumerationResults><Blobs><BlobPrefix><Name>users/a/</Name></BlobPrefix>{entries}</Blobs>\
                 <NextMarker/></EnumerationResults>"
            )
        };
        let entries = "<Blob><Name>users/../a</Name></Blob><BlobPrefix><Name>users//</Name></BlobPrefix>";
        let reduced = AZURE.without_unnameable(&azure(entries)).expect("two entries have no name");
        assert_eq!((reduced.xml, reduced.left_out.as_str()), (azure(""), "users/../a"));
    }

    #[test]
    fn an_error_document_and_half_a_listing_are_no_listing() {
        let next = "<IsTruncated>true</IsTruncated>";
        for (body, is_listing) in [
            ("<Error/>".to_owned(), false),
            ("<ListBucketResult>".to_owned(), false),
            (format!("<ListBucketResult>{next}</ListBucketResult>"), false),
            (
                format!("<ListBucketResult>{next}<NextContinuationToken>a</NextContinuationToken></ListBucketResult>"),
                true,
            ),
            ("<ListBucketResult></ListBucketResult>\n".to_owned(), true),
        ] {
            assert_eq!(S3.check(&body).is_ok(), is_listing, "{body}");
        }
    }
}
