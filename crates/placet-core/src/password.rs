//! People's passwords: Argon2id (RFC 9106) with the parameters of the OWASP minimum, stored as a PHC string.
//!
//! Slow on purpose (tens of milliseconds): never used for generated secrets, which have [`crate::secret::HashKey`].

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};

/// The fewest characters that a password may have (NIST SP 800-63B §5.1.1.2 asks for 8; administrators get no less).
pub const MIN_LENGTH: usize = 12;
/// The most bytes that are hashed: a bound on work, far above any passphrase.
pub const MAX_LENGTH: usize = 1024;

/// Why a password can't be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too short or too long.
    #[error("a password has {MIN_LENGTH} to {MAX_LENGTH} characters")]
    Length,
    /// The hash could not be made.
    #[error("the password could not be hashed")]
    Hash,
}

/// The PHC string to store. `salt` comes from the caller's randomness.
///
/// # Errors
/// [`PasswordError::Length`] for a password that is too short or too long.
pub fn hash(password: &str, salt: [u8; 16]) -> Result<String, PasswordError> {
    if password.chars().count() < MIN_LENGTH || password.len() > MAX_LENGTH {
        return Err(PasswordError::Length);
    }
    let hashed: PasswordHash = Argon2::default()
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|_| PasswordError::Hash)?;
    Ok(hashed.to_string())
}

/// Whether `password` is the one that `stored` was made from. An unreadable `stored` is no.
pub fn verify(password: &str, stored: &str) -> bool {
    password.len() <= MAX_LENGTH
        && PasswordHash::new(stored)
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_password_fits() {
        let stored = hash("correct horse battery", [7; 16]).unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(verify("correct horse battery", &stored));
        assert!(!verify("correct horse batterz", &stored));
        assert!(!verify("correct horse battery", "not a hash"));
        assert_eq!(hash("short", [7; 16]), Err(PasswordError::Length));
    }
}
