//! One-time codes: a second factor that a person's authenticator app shows (TOTP, RFC 6238), and recovery codes for when
//! it is lost.
//!
//! Six digits, steps of 30 seconds, HMAC-SHA-1: what every authenticator app does. SHA-1's weakness is one of collisions,
//! which an HMAC does not rest on (RFC 6194 §3.3).
//!
//! Invariant: a code fits for its own step and one beside it, and never for a step at or before the last one used; what
//! was shown is compared with every step in constant time.

use crate::{authorize::redirect::encode, secret::Secret, time::Timestamp};
use aws_lc_rs::{constant_time, hmac};

/// How many seconds a code is shown.
pub const STEP_SECONDS: i64 = 30;
/// How many steps a code may be early or late (RFC 6238 §5.2).
pub const TOLERANCE: i64 = 1;
/// How many bytes a secret has (RFC 4226 §4, R6).
pub const SECRET_LENGTH: usize = 20;
/// How many digits a code has.
pub const DIGITS: usize = 6;
/// How many random bytes a recovery code is made of.
pub const RECOVERY_LENGTH: usize = 10;
/// How many recovery codes a person has.
pub const RECOVERY_CODES: usize = 10;

/// What an authenticator app and this server share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TotpSecret(Secret);

impl TotpSecret {
    /// From random bytes; the caller keeps no copy.
    pub fn new(entropy: [u8; SECRET_LENGTH]) -> Self {
        Self(Secret::new(entropy))
    }

    /// From what was sealed; `None` where it is no secret.
    pub fn from_opened(opened: Secret) -> Option<Self> {
        (opened.expose().len() == SECRET_LENGTH).then_some(Self(opened))
    }

    /// The bytes to seal.
    pub fn to_seal(&self) -> &[u8] {
        self.0.expose()
    }

    /// As a person types it: base 32 (RFC 4648 §6) without padding.
    pub fn text(&self) -> Secret {
        Secret::new(base32(self.0.expose()))
    }

    /// As an app reads it: `otpauth://totp/…` (the key URI format). `account` is who signs in, `issuer` where.
    pub fn url(&self, issuer: &str, account: &str) -> Secret {
        let encoded = |text: &str| {
            let mut out = String::new();
            encode(text, &mut out);
            out
        };
        let (issuer, account) = (encoded(issuer), encoded(account));
        let mut url = format!("otpauth://totp/{issuer}:{account}?secret=").into_bytes();
        url.extend_from_slice(self.text().expose());
        url.extend_from_slice(format!("&issuer={issuer}&algorithm=SHA1&digits=6&period=30").as_bytes());
        Secret::new(url)
    }

    /// The step for which `code` is right at `now`: the present one or one beside it, later than `used`, the step of the
    /// last code that was used. `None` where it is none, or is no code at all.
    pub fn step_of(&self, code: &str, now: Timestamp, used: Option<i64>) -> Option<i64> {
        if code.len() != DIGITS || !code.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let present = now.as_seconds().div_euclid(STEP_SECONDS);
        let mut found = None;
        for step in present - TOLERANCE..=present + TOLERANCE {
            let right = self.code(step);
            let same = constant_time::verify_slices_are_equal(right.as_bytes(), code.as_bytes()).is_ok();
            if same && used.is_none_or(|used| step > used) {
                found = Some(step);
            }
        }
        found
    }

    /// The code of a step (RFC 4226 §5.3).
    pub fn code(&self, step: i64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.0.expose());
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let bytes = tag.as_ref();
        let offset = usize::from(bytes.last().copied().unwrap_or(0) & 0xf);
        let four = bytes.get(offset..offset + 4).and_then(|four| four.try_into().ok()).unwrap_or([0; 4]);
        let number = (u32::from_be_bytes(four) & 0x7fff_ffff) % 1_000_000;
        format!("{number:06}")
    }
}

/// What a person typed as a second factor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// Six digits.
    Code(String),
    /// A recovery code in its one form.
    Recovery(Secret),
    /// Neither.
    Neither,
}

impl Typed {
    /// Reads what was typed: spaces and hyphens don't count, nor does case.
    pub fn read(text: &str) -> Self {
        let kept: String = text
            .chars()
            .filter(|c| !c.is_whitespace() && *c != '-')
            .map(|c| c.to_ascii_lowercase())
            .collect();
        if kept.len() == DIGITS && kept.bytes().all(|byte| byte.is_ascii_digit()) {
            Self::Code(kept)
        } else if kept.len() == RECOVERY_LENGTH * 8 / 5
            && kept.bytes().all(|byte| LETTERS.contains(&byte.to_ascii_uppercase()))
        {
            Self::Recovery(Secret::new(kept))
        } else {
            Self::Neither
        }
    }
}

/// A recovery code of 80 random bits, as it is kept (its one form) and as a person is shown it (in groups).
pub fn recovery_code(entropy: [u8; RECOVERY_LENGTH]) -> (Secret, Secret) {
    let one = base32(&entropy).to_ascii_lowercase();
    let groups: Vec<&[u8]> = one.chunks(4).collect();
    (Secret::new(one.clone()), Secret::new(groups.join(b"-".as_slice())))
}

const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// RFC 4648 §6 without padding; whole groups of 40 bits only lack nothing.
fn base32(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut kept, mut bits) = (0u32, 0);
    for byte in bytes {
        kept = kept << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(LETTERS.get((kept >> bits & 31) as usize).copied().unwrap_or(b'A'));
        }
        kept &= (1 << bits) - 1;
    }
    if bits > 0 {
        out.push(LETTERS.get((kept << (5 - bits) & 31) as usize).copied().unwrap_or(b'A'));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 6238, appendix B.
    fn known() -> TotpSecret {
        TotpSecret::new(*b"12345678901234567890")
    }

    #[test]
    fn the_codes_are_those_of_the_standard() {
        let vectors = [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ];
        for (seconds, code) in vectors {
            assert_eq!(known().code(seconds / STEP_SECONDS), code);
        }
        assert_eq!(known().text().expose(), b"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        // RFC 4648 §10.
        let padded =
            [("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foob", "MZXW6YQ"), ("fooba", "MZXW6YTB")];
        for (text, encoded) in padded {
            assert_eq!(base32(text.as_bytes()), encoded.as_bytes());
        }
    }

    #[test]
    fn an_app_can_read_the_url() {
        let url = known().url("Placet (a:b)", "ada@example.org");
        assert_eq!(
            url.expose_str().unwrap(),
            "otpauth://totp/Placet%20%28a%3Ab%29:ada%40example.org?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Placet%20%28a%3Ab%29&algorithm=SHA1&digits=6&period=30"
        );
    }

    #[test]
    fn a_code_is_good_for_its_step_and_one_beside_it_and_once() {
        let (secret, now) = (known(), Timestamp::from_seconds(1_000_000_000));
        let present = 1_000_000_000 / STEP_SECONDS;
        for step in present - 3..=present + 3 {
            let fits = secret.step_of(&secret.code(step), now, None);
            assert_eq!(fits, ((step - present).abs() <= 1).then_some(step));
        }
        let code = secret.code(present);
        assert_eq!(secret.step_of(&code, now, Some(present - 1)), Some(present));
        assert_eq!(secret.step_of(&code, now, Some(present)), None);
        // One that was shown earlier is gone with it.
        assert_eq!(secret.step_of(&secret.code(present - 1), now, Some(present)), None);
        for wrong in ["", "12345", "1234567", " 123456", "12345a", "+12345", "١٢٣"] {
            assert_eq!(secret.step_of(wrong, now, None), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_typed_has_one_reading() {
        assert_eq!(Typed::read(" 123 456 "), Typed::Code("123456".into()));
        let (kept, shown) = recovery_code([7; RECOVERY_LENGTH]);
        assert_eq!(shown.expose().len(), 19);
        assert_eq!(Typed::read(shown.expose_str().unwrap()), Typed::Recovery(kept.clone()));
        assert_eq!(Typed::read(&shown.expose_str().unwrap().to_uppercase()), Typed::Recovery(kept));
        for neither in ["", "12345", "1234567", "abcd-efgh-ijkl-mno1", "abcd-efgh-ijkl-mnopq", "１２３４５６"]
        {
            assert_eq!(Typed::read(neither), Typed::Neither, "{neither}");
        }
    }

    proptest! {
        #[test]
        fn any_recovery_code_is_read_as_itself(entropy: [u8; RECOVERY_LENGTH]) {
            let (kept, shown) = recovery_code(entropy);
            prop_assert_eq!(Typed::read(shown.expose_str().unwrap()), Typed::Recovery(kept));
        }

        #[test]
        fn a_step_that_was_used_never_fits_again(entropy: [u8; SECRET_LENGTH], seconds in 0i64..1 << 40, late in -1i64..=1) {
            let (secret, now) = (TotpSecret::new(entropy), Timestamp::from_seconds(seconds));
            let code = secret.code(seconds / STEP_SECONDS + late);
            let step = secret.step_of(&code, now, None).unwrap();
            prop_assert!(secret.step_of(&code, now, Some(step)).is_none_or(|again| again > step));
            prop_assert_eq!(secret.step_of(&code, now, Some(step + 2)), None);
        }
    }
}
