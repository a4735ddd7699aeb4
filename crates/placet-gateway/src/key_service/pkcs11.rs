//! A device with a PKCS#11 module: an AES key in it wraps vault keys with AES-GCM.
//!
//! The module is the operator's, loaded into this process: it is trusted as much as Placet itself.
//!
//! Invariant: a session is logged in for one piece of work and closed after it; the PIN is read for each.

use super::{KeyService, KeyServiceError, SecretFrom};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11 as Module},
    error::{Error, RvError},
    mechanism::{Mechanism, aead::GcmParams},
    object::{Attribute, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    types::AuthPin,
};
use placet_core::{key_service::Pkcs11Config, secret::Secret};
use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

/// The nonce of AES-GCM, in bytes.
const NONCE: usize = 12;
/// Its tag, in bits.
const TAG: u64 = 128;
/// What begins what is wrapped here.
const FORM: &str = "v1:";

/// A device.
pub struct Pkcs11 {
    config: Pkcs11Config,
    pin: SecretFrom,
    /// Loaded at the first use; one piece of work at a time.
    module: Mutex<Option<Module>>,
}

impl fmt::Debug for Pkcs11 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pkcs11({})", self.name())
    }
}

impl Pkcs11 {
    /// The one that `config` describes.
    pub fn new(config: Pkcs11Config, pin: SecretFrom) -> Self {
        Self { config, pin, module: Mutex::new(None) }
    }

    fn work<T>(
        &self,
        what: &'static str,
        label: &str,
        work: impl FnOnce(&Session, ObjectHandle) -> Result<T, Error>,
    ) -> Result<T, KeyServiceError> {
        let pin = self.pin.read()?;
        let pin = pin.expose_str().map(str::trim_end).map(|pin| AuthPin::new(pin.into()));
        let mut module = self.module.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = match module.take() {
            Some(loaded) => loaded,
            None => self.load()?,
        };
        let loaded = module.insert(loaded);
        let unreachable = |error: Error| self.unreachable(sentence(&error));
        let mut found = None;
        for slot in loaded.get_slots_with_token().map_err(unreachable)? {
            let is_it =
                loaded.get_token_info(slot).is_ok_and(|info| info.label().trim_end() == self.config.token);
            if is_it && found.replace(slot).is_some() {
                return Err(self.unreachable("two tokens have this label".to_owned()));
            }
        }
        let slot = found.ok_or_else(|| self.unreachable("there is no such token".to_owned()))?;
        let session = loaded.open_ro_session(slot).map_err(unreachable)?;
        let refused = |why: String| KeyServiceError::Refused { service: self.name(), what, why };
        match session.login(UserType::User, pin.as_ref()) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(error) => return Err(refused(format!("it does not take the PIN ({})", sentence(&error)))),
        }
        let wanted = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Label(label.as_bytes().to_vec()),
        ];
        let keys = session.find_objects(&wanted).map_err(|error| refused(sentence(&error)))?;
        let done = match keys.as_slice() {
            [key] => work(&session, *key).map_err(|error| match error {
                // The module's own words say nothing of what to do.
                Error::Pkcs11(
                    RvError::MechanismInvalid
                    | RvError::KeyTypeInconsistent
                    | RvError::KeySizeRange
                    | RvError::KeyFunctionNotPermitted,
                    _,
                ) => refused(format!(
                    "the key `{label}` has to be an AES key of 256 bits that may encrypt and decrypt with AES-GCM"
                )),
                error => refused(sentence(&error)),
            }),
            [] => Err(refused(format!("it has no AES key `{label}`"))),
            _ => Err(refused(format!("it has several AES keys `{label}`"))),
        };
        // Closing the last session would do it too; a module that shares its sessions with others might keep one open.
        let _ = session.logout();
        done
    }

    fn load(&self) -> Result<Module, KeyServiceError> {
        let unreachable = |error: Error| self.unreachable(sentence(&error));
        let module = Module::new(&self.config.module).map_err(unreachable)?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(module),
            Err(error) => Err(unreachable(error)),
        }
    }

    fn unreachable(&self, why: String) -> KeyServiceError {
        KeyServiceError::Unreachable { service: self.name(), why }
    }

    fn unread(&self, what: &'static str) -> KeyServiceError {
        let why = "what it wrapped has a form that is not known".to_owned();
        KeyServiceError::Refused { service: self.name(), what, why }
    }
}

impl KeyService for Pkcs11 {
    fn name(&self) -> String {
        format!(
            "`{}` on the token `{}` of {}",
            self.config.key,
            self.config.token,
            self.config.module.display()
        )
    }

    fn under(&self) -> String {
        self.config.key.clone()
    }

    fn wrap(&self, key: &Secret, aad: &[u8]) -> Result<String, KeyServiceError> {
        let (nonce, sealed) = self.work("wrap a vault key", &self.config.key, |session, handle| {
            let mut nonce = [0; NONCE];
            session.generate_random_slice(&mut nonce)?;
            let sealed = {
                let params = GcmParams::new(&mut nonce, aad, TAG.into())?;
                session.encrypt(&Mechanism::AesGcm(params), handle, key.expose())?
            };
            // As it is now: some devices choose it themselves.
            Ok((nonce, sealed))
        })?;
        Ok(format!("{FORM}{}", STANDARD.encode([nonce.as_slice(), &sealed].concat())))
    }

    fn unwrap_key(&self, under: &str, wrapped: &str, aad: &[u8]) -> Result<Secret, KeyServiceError> {
        const WHAT: &str = "unwrap a vault key";
        let bytes = wrapped.strip_prefix(FORM).and_then(|text| STANDARD.decode(text).ok());
        let bytes = bytes.ok_or_else(|| self.unread(WHAT))?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>().ok_or_else(|| self.unread(WHAT))?;
        let mut nonce = *nonce;
        self.work(WHAT, under, |session, handle| {
            let params = GcmParams::new(&mut nonce, aad, TAG.into())?;
            session.decrypt(&Mechanism::AesGcm(params), handle, sealed)
        })
        .map(Secret::new)
    }
}

/// The first sentence of what is wrong: the module's own words, which can be long.
fn sentence(error: &Error) -> String {
    let said = error.to_string();
    said.split_once(". ").map_or(said.as_str(), |(first, _)| first).trim_end_matches('.').to_owned()
}
