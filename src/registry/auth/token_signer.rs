//! Signed tokens: after a registration or login with a password, a client acts for its user with a
//! token until the token expires. Pure.
//!
//! A token is `rc1.` and Base64url of the claims and a MAC. The claims are the user, the
//! fingerprint of the password and the time of expiry. Only nodes have the MAC key. So every node
//! can verify a token without asking another node, and a new leader accepts the tokens of the old
//! leader. A password change makes earlier tokens invalid, because they have the fingerprint of the
//! old password.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::credential_state::{CredentialState, PasswordFingerprint};
use super::token_key::TokenKey;
use rollcall_core::{Profile, Term, Token, UserId, WallMs};

/// Prefix of every token. It makes a leaked token recognizable and names the version of the format.
const PREFIX: &str = "rc1.";

/// Domain separator: a MAC that is computed with the key for another purpose is never valid for a
/// token.
const DOMAIN_SEPARATOR: &[u8] = b"rollcall token 1";

const USER_BYTES: usize = 16;
const TIME_BYTES: usize = 8;
const MAC_BYTES: usize = 32;
const CLAIMS_BYTES: usize = USER_BYTES + PasswordFingerprint::BYTES + TIME_BYTES;
const TOKEN_BYTES: usize = CLAIMS_BYTES + MAC_BYTES;
/// Length in Base64 without padding.
const TEXT_BYTES: usize = (TOKEN_BYTES * 4).div_ceil(3);

/// A token and its expiry.
#[derive(Clone, Debug, PartialEq)]
pub struct IssuedToken {
    /// The token.
    pub token: Token,
    /// The token is invalid from this time on.
    pub expires_at: WallMs,
}

/// The claims of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Claims {
    /// The user.
    pub(crate) user: UserId,
    /// The fingerprint of the password that was verified.
    pub(crate) fingerprint: PasswordFingerprint,
    /// Unix time in seconds from which the token is invalid.
    pub(crate) expires_at_s: i64,
}

/// Signs and verifies tokens.
pub(crate) struct TokenSigner {
    keyed_mac: Hmac<Sha256>,
    lifetime_s: i64,
}

impl Claims {
    /// Whether the token has expired at `now`.
    pub(crate) fn is_expired(&self, now: WallMs) -> bool {
        now.unix_seconds() >= self.expires_at_s
    }

    fn to_bytes(self) -> [u8; CLAIMS_BYTES] {
        let mut bytes = [0; CLAIMS_BYTES];
        let (user, rest) = bytes.split_at_mut(USER_BYTES);
        let (fingerprint, time) = rest.split_at_mut(PasswordFingerprint::BYTES);
        user.copy_from_slice(self.user.as_bytes());
        fingerprint.copy_from_slice(self.fingerprint.as_bytes());
        time.copy_from_slice(&self.expires_at_s.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; CLAIMS_BYTES]) -> Option<Self> {
        let (user, rest) = bytes.split_first_chunk()?;
        let (fingerprint, time) = rest.split_first_chunk()?;
        let (user, fingerprint) = (UserId::from_bytes(*user), PasswordFingerprint::from_bytes(*fingerprint));
        Some(Self { user, fingerprint, expires_at_s: i64::from_be_bytes(time.try_into().ok()?) })
    }
}

impl TokenSigner {
    /// A signer with this key, for tokens with this lifetime.
    pub(crate) fn new(key: &TokenKey, lifetime_s: u64) -> Self {
        let mut keyed_mac = Hmac::<Sha256>::new_from_slice(key.reveal()).expect("an HMAC takes keys of any length");
        keyed_mac.update(DOMAIN_SEPARATOR);
        Self { keyed_mac, lifetime_s: i64::try_from(lifetime_s).unwrap_or(i64::MAX) }
    }

    /// Issues a token at `now` to `user`, whose verified password has this fingerprint.
    pub(crate) fn issue(&self, user: UserId, fingerprint: PasswordFingerprint, now: WallMs) -> IssuedToken {
        let expires_at_s = now.unix_seconds().saturating_add(self.lifetime_s);
        let claims = Claims { user, fingerprint, expires_at_s }.to_bytes();
        let mac = self.mac(&claims).finalize().into_bytes();
        let mut text = String::with_capacity(PREFIX.len() + TEXT_BYTES);
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string([&claims[..], &mac].concat(), &mut text);
        IssuedToken { token: Token::new(text), expires_at: WallMs::new(expires_at_s.saturating_mul(1000)) }
    }

    /// Issues a token for the password in `profile`; `None` if the user has no password.
    pub(crate) fn issue_for_profile(&self, profile: &Profile, now: WallMs) -> Option<IssuedToken> {
        let fingerprint = CredentialState::from_profile(profile, Term::default()).fingerprint()?;
        Some(self.issue(profile.id, fingerprint, now))
    }

    /// The claims of a token; `None` if its MAC is invalid. MACs are compared in constant time.
    pub(crate) fn verify(&self, token: &str) -> Option<Claims> {
        let text = token.strip_prefix(PREFIX).filter(|text| text.len() == TEXT_BYTES)?;
        let mut bytes = [0; TOKEN_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        let (claims, mac) = bytes.get(..length)?.split_first_chunk::<CLAIMS_BYTES>()?;
        self.mac(claims).verify_slice(mac).ok()?;
        Claims::from_bytes(claims)
    }

    fn mac(&self, claims: &[u8; CLAIMS_BYTES]) -> Hmac<Sha256> {
        let mut mac = self.keyed_mac.clone();
        mac.update(claims);
        mac
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signer(key: u8) -> TokenSigner {
        TokenSigner::new(&TokenKey::new([key; 32]), 60)
    }

    fn issue(user: u128, fingerprint: u8) -> IssuedToken {
        signer(1).issue(
            UserId::from_u128(user),
            PasswordFingerprint::from_bytes([fingerprint; 16]),
            WallMs::new(10_999),
        )
    }

    #[test]
    fn a_token_expires_exactly_at_its_time() {
        let issued = issue(7, 7);
        assert_eq!(issued.expires_at, WallMs::new(70_000));
        let claims = signer(1).verify(issued.token.reveal()).unwrap();
        assert!(!claims.is_expired(WallMs::new(69_999)));
        assert!(claims.is_expired(WallMs::new(70_000)));
    }

    #[test]
    fn a_token_has_a_recognizable_form_and_debug_output_hides_it() {
        let issued = issue(7, 7);
        let text = issued.token.reveal();
        assert!(text.starts_with("rc1.") && text.len() == PREFIX.len() + 96, "{text}");
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{text}");
        assert!(!format!("{issued:?}").contains(text));
        assert_eq!(format!("{:?}", TokenKey::new([1; 32])), "TokenKey(…)");
    }

    proptest! {
        #[test]
        fn a_token_contains_the_claims_it_was_issued_with(user: u128, fingerprint: [u8; 16], now in 0_i64..1_i64 << 50) {
            let (user, fingerprint) = (UserId::from_u128(user), PasswordFingerprint::from_bytes(fingerprint));
            let issued = signer(1).issue(user, fingerprint, WallMs::new(now));
            let claims = signer(1).verify(issued.token.reveal()).unwrap();
            prop_assert_eq!((claims.user, claims.fingerprint), (user, fingerprint));
            prop_assert_eq!(claims.expires_at_s, now / 1000 + 60);
        }

        #[test]
        fn a_token_of_another_key_is_invalid(user: u128, key in 2_u8..) {
            prop_assert_eq!(signer(key).verify(issue(user, 7).token.reveal()), None);
        }

        #[test]
        fn a_shortened_lengthened_or_modified_token_is_invalid(
            position in any::<prop::sample::Index>(), letter in "[A-Za-z0-9._-]"
        ) {
            let text = issue(7, 7).token.reveal().to_owned();
            let position = position.index(text.len());
            prop_assert_eq!(signer(1).verify(&text[..position]), None);
            prop_assert_eq!(signer(1).verify(&format!("{text}{letter}")), None);
            let changed = format!("{}{letter}{}", &text[..position], &text[position + 1..]);
            prop_assert_eq!(signer(1).verify(&changed).is_some(), changed == text);
        }

        #[test]
        fn the_claims_of_one_token_do_not_match_the_mac_of_another(one: u128, other: u128) {
            prop_assume!(one != other);
            let parts = |user| {
                let text = issue(user, 7).token.reveal()[PREFIX.len()..].to_owned();
                URL_SAFE_NO_PAD.decode(text).unwrap()
            };
            let mixed = [&parts(one)[..CLAIMS_BYTES], &parts(other)[CLAIMS_BYTES..]].concat();
            prop_assert_eq!(signer(1).verify(&format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(mixed))), None);
        }

        #[test]
        fn no_text_makes_verify_panic(text in "\\PC{0,120}") {
            prop_assert_eq!(signer(1).verify(&text), None);
            prop_assert_eq!(signer(1).verify(&format!("{PREFIX}{text}")), None);
        }
    }
}
