//! Secrets of a request. An error page may repeat them, and no message may show them. Pure.

use http::HeaderMap;
use reqwest::Url;

use super::config::CredentialVariables;

/// Headers of a request that hold secrets.
const HEADERS: [&str; 4] = ["authorization", "x-amz-security-token", "x-aws-ec2-metadata-token", "x-identity-header"];

/// Parameters that hold secrets, of a URL or of a form.
const PARAMETERS: [&str; 5] = ["sig", "WebIdentityToken", "client_secret", "client_assertion", "refresh_token"];

/// Length of the shortest secret, in bytes. A shorter value is a word such as "Bearer".
const MIN_BYTES: usize = 8;

/// Texts that no message may show. No `Debug`: it would show them.
#[derive(Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// The secrets that the sender of a request knows: the variables, and those in the request.
    /// Contents of token files are among the latter.
    pub(super) fn of_request(variables: &CredentialVariables, headers: &HeaderMap, url: &Url, body: &[u8]) -> Self {
        let mut secrets = Self::default();
        for (_, value) in variables.iter() {
            secrets.add(value);
        }
        for value in HEADERS.iter().filter_map(|name| headers.get(*name)?.to_str().ok()) {
            // The kind of a credential, the credential, and the parts of a signature.
            value.split([' ', ',']).for_each(|part| secrets.add(part));
        }
        secrets.add_parameters(url);
        if headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form")) {
            let mut form = url.clone();
            form.set_query(Some(&String::from_utf8_lossy(body)));
            secrets.add_parameters(&form);
        }
        // A secret may be a part of another one.
        secrets.0.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.0.dedup();
        secrets
    }

    fn add_parameters(&mut self, url: &Url) {
        let query = url.query().unwrap_or_default();
        for (name, value) in url.query_pairs().filter(|(name, _)| PARAMETERS.contains(&name.as_ref())) {
            self.add(&value);
            // As it is in the request.
            let start = format!("{name}=");
            query.split('&').filter_map(|pair| pair.strip_prefix(&start)).for_each(|value| self.add(value));
        }
    }

    /// Adds a secret, also as an error page may write it: in a form, in HTML, and in JSON.
    fn add(&mut self, secret: &str) {
        let secret = secret.trim();
        if secret.len() < MIN_BYTES {
            return;
        }
        let mut url = Url::parse("http://host/").expect("it is a URL");
        url.query_pairs_mut().append_pair("", secret);
        let encoded = url.query().unwrap_or_default().trim_start_matches('=').to_owned();
        let html = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
        let json = secret.replace('\\', "\\\\").replace('"', "\\\"").replace('/', "\\/");
        self.0.extend([secret.to_owned(), encoded, html, json]);
    }

    /// The text without secrets. It may end within one, because only its beginning was read.
    pub(super) fn mask(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            text = text.replace(secret, "***");
            let start = secret.get(..MIN_BYTES).and_then(|start| text.rfind(start));
            if let Some(at) = start.filter(|at| secret.starts_with(&text[*at..])) {
                text.replace_range(at.., "***");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn no_secret_of_a_request_is_shown_in_any_spelling() {
        let variables = [("AZURE_STORAGE_KEY", "variable+hidden/==".to_owned())];
        let form = "client_id=public-client-id&client_secret=form%2Bhidden&client_assertion=assertion-hidden\
                    &refresh_token=refresh-hidden";
        let secrets = Secrets::of_request(
            &CredentialVariables::from_iter(variables),
            &headers(&[
                ("authorization", "Bearer header-hidden"),
                ("x-identity-header", "identity-hidden"),
                ("content-type", "application/x-www-form-urlencoded"),
            ]),
            &Url::parse("https://store.example/?sig=query%2Fhidden&WebIdentityToken=web-hidden").unwrap(),
            form.as_bytes(),
        );
        for text in [
            "variable+hidden/==",
            "variable%2Bhidden%2F%3D%3D",
            r"variable+hidden\/==",
            form,
            "form+hidden",
            "Bearer header-hidden",
            "identity-hidden",
            "query%2Fhidden query/hidden",
            "web-hidden",
            // The end of a body that was read in part.
            "web-hidde",
        ] {
            let masked = secrets.mask(text);
            assert!(!masked.contains("hidd") && masked.contains("***"), "{masked}");
        }
        assert_eq!(secrets.mask("Bearer public-client-id"), "Bearer public-client-id");
    }
}
