//! The file that says where key services are, and what they are asked with from the files that it names.
//!
//! Invariant: tokens and PINs are read when they are needed, held as secrets, and printed by no message.

use crate::{exit::Failure, input};
use placet_core::{
    diagnostic::Diagnostic,
    key_service::{KeyServicesConfig, TransitAuth, TransitConfig},
    secret::Secret,
};
use placet_gateway::{KeyServices, Pkcs11, SecretFrom, Transit};
use std::path::{Path, PathBuf};

/// The key services that the file describes. None is asked yet.
///
/// # Errors
/// A sentence, where it can't be read or used.
pub(crate) fn open(path: &Path) -> Result<KeyServices, Failure> {
    let text = input::text_file(path, "file of the key services")?;
    let shown = path.display().to_string();
    let config = KeyServicesConfig::read(text.as_bytes(), Some(&shown)).map_err(|found| {
        let all: Vec<String> = found.iter().map(Diagnostic::render).collect();
        let all = all.join("\n");
        // That it is an error is said before every failure.
        Failure::unreadable(all.strip_prefix("error: ").unwrap_or(&all))
    })?;
    // A relative path is one beside the file that names it.
    let beside = |named: &Path| path.parent().map_or_else(|| named.to_owned(), |parent| parent.join(named));
    let transit = config.transit.map(|config| transit(config, beside)).transpose()?;
    let pkcs11 = config.pkcs11.map(|config| {
        let pin = secret("PIN of the device", beside(&config.pin_file));
        Pkcs11::new(config, pin)
    });
    Ok(KeyServices::new(transit, pkcs11, config.new_keys))
}

fn transit(config: TransitConfig, beside: impl Fn(&Path) -> PathBuf) -> Result<Transit, Failure> {
    let (what, file) = match &config.auth {
        TransitAuth::Token { file } => ("token of the key service", file),
        TransitAuth::AppRole { secret_id_file, .. } => ("secret id of the key service", secret_id_file),
        TransitAuth::Kubernetes { token_file, .. } => ("service account's token", token_file),
    };
    let credential = secret(what, beside(file));
    let roots = config.ca_file.as_ref().map(|file| {
        let file = beside(file);
        let wrong = |why: String| Failure::unreadable(format!("`{}` can't be used: {why}", file.display()));
        let pem = std::fs::read(&file).map_err(|error| wrong(error.to_string()))?;
        placet_gateway::roots_from_pem(&pem).map_err(wrong)
    });
    Ok(Transit::new(config, credential, roots.transpose()?.unwrap_or_default()))
}

/// What stands in a file, without the white space at its end.
fn secret(what: &'static str, path: PathBuf) -> SecretFrom {
    SecretFrom::new(move || {
        let bytes = std::fs::read(&path).map(Secret::new);
        let bytes =
            bytes.map_err(|error| format!("the {what} `{}` can't be read: {error}", path.display()))?;
        let kept = bytes.expose().trim_ascii();
        if kept.is_empty() {
            return Err(format!("the {what} `{}` is empty", path.display()));
        }
        Ok(Secret::new(kept))
    })
}
