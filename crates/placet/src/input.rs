//! How a command is given what must not stand in its flags: secrets, from standard input or a prompt without echo.
//!
//! Invariant: nothing read here is printed.

use crate::exit::Failure;
use placet_core::secret::Secret;
use std::{
    io::{IsTerminal as _, Read as _},
    path::Path,
};

/// The longest secret or document that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// Reads a secret: all of standard input without its last newline, or what is typed at `prompt` where that is a
/// terminal.
///
/// # Errors
/// A sentence, where nothing can be read or it is empty.
pub(crate) fn secret(prompt: &str) -> Result<Secret, Failure> {
    let bytes = if std::io::stdin().is_terminal() {
        let typed = rpassword::prompt_password(format!("{prompt}: "));
        typed
            .map_err(|error| {
                Failure::unreadable(format!("nothing could be read from the terminal: {error}"))
            })?
            .into_bytes()
    } else {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().take(LONGEST).read_to_end(&mut bytes);
        read.map_err(|error| Failure::unreadable(format!("standard input can't be read: {error}")))?;
        let kept = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        kept.strip_suffix(b"\r").unwrap_or(kept).to_vec()
    };
    if bytes.is_empty() {
        return Err(Failure::unreadable(format!("nothing was given for the {}", prompt.to_lowercase())));
    }
    Ok(Secret::new(bytes))
}

/// What a person shows to be known: a password, and a code where one is asked for.
pub(crate) struct Shown {
    /// The password.
    pub(crate) password: String,
    /// A code of an authenticator app, or a recovery code, where one was given.
    pub(crate) code: Option<String>,
}

/// Whether a person at a terminal can be asked.
pub(crate) fn is_person() -> bool {
    std::io::stdin().is_terminal()
}

/// What a person shows: typed at a terminal, where a code is asked for later; else the first line of standard input is
/// the password, and the second, where there is one, the code.
///
/// # Errors
/// As [`secret_text`].
pub(crate) fn shown() -> Result<Shown, Failure> {
    let given = secret_text("Password")?;
    if is_person() {
        return Ok(Shown { password: given, code: None });
    }
    let mut lines = given.lines().map(str::to_owned);
    Ok(Shown { password: lines.next().unwrap_or_default(), code: lines.next() })
}

/// What a person shows to get a new password, and that one: typed at a terminal, else the lines of standard input: the old
/// one, the new one, a code.
///
/// # Errors
/// As [`secret_text`], and where two new ones differ.
pub(crate) fn change_of_password() -> Result<(Shown, String), Failure> {
    let given = secret_text("Password")?;
    if is_person() {
        return Ok((Shown { password: given, code: None }, typed_twice("New password")?));
    }
    let mut lines = given.lines().map(str::to_owned);
    let (password, new) = (lines.next().unwrap_or_default(), lines.next());
    let new = new.ok_or_else(|| Failure::unreadable("nothing was given for the new password"))?;
    Ok((Shown { password, code: lines.next() }, new))
}

/// A one-time code.
///
/// # Errors
/// As [`secret_text`].
pub(crate) fn code() -> Result<String, Failure> {
    secret_text("Code")
}

/// A secret that must be text.
///
/// # Errors
/// As [`secret`], and where it is not UTF-8.
pub(crate) fn secret_text(prompt: &str) -> Result<String, Failure> {
    text_of(&secret(prompt)?, prompt)
}

/// Whether a person at a terminal says yes. Nobody there is a no.
///
/// # Errors
/// A sentence, where the terminal can't be read.
pub(crate) fn confirmed(question: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    crate::output::note(&format!("{question} [y/N]"));
    let mut typed = String::new();
    let read = std::io::stdin().read_line(&mut typed);
    read.map_err(|error| Failure::unreadable(format!("nothing could be read from the terminal: {error}")))?;
    Ok(matches!(typed.trim(), "y" | "Y" | "yes"))
}

/// A new password: typed twice at a terminal, else as [`secret_text`].
///
/// # Errors
/// As [`secret_text`], and where the two differ.
pub(crate) fn new_password() -> Result<String, Failure> {
    if is_person() { typed_twice("Password") } else { secret_text("Password") }
}

fn typed_twice(prompt: &str) -> Result<String, Failure> {
    let first = secret(prompt)?;
    if secret("The same again")? != first {
        return Err(Failure::unreadable("the two passwords differ"));
    }
    text_of(&first, "password")
}

/// The text of a secret.
///
/// # Errors
/// A sentence, where it is not UTF-8.
pub(crate) fn text_of(secret: &Secret, what: &str) -> Result<String, Failure> {
    let text = secret.expose_str().map(str::to_owned);
    text.ok_or_else(|| Failure::unreadable(format!("the {} is not UTF-8 text", what.to_lowercase())))
}

/// The secret that is alone in a file, without the end of its line.
///
/// # Errors
/// Exit 2 where the file can't be read.
pub(crate) fn secret_in(path: &Path, what: &str) -> Result<String, Failure> {
    Ok(text_file(path, what)?.trim_end_matches(['\r', '\n']).to_owned())
}

/// The text of a file, which may be a secret.
///
/// # Errors
/// As [`file()`], and where it is not UTF-8.
pub(crate) fn text_file(path: &Path, what: &str) -> Result<String, Failure> {
    text_of(&Secret::new(file(path)?), what)
}

/// A file's bytes.
///
/// # Errors
/// A sentence, where it can't be read or is larger than a mebibyte.
pub(crate) fn file(path: &Path) -> Result<Vec<u8>, Failure> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| Failure::unreadable(format!("`{shown}` can't be read: {error}"));
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .map_err(unreadable)?
        .take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LONGEST {
        return Err(Failure::unreadable(format!("`{shown}` is larger than a mebibyte")));
    }
    Ok(bytes)
}
