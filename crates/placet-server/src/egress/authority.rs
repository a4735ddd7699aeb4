//! Who certifies hosts at the egress door: an authority of this installation, which only its own agents are told to trust.
//!
//! There are always two: the one that certifies, and the next, which is in what agents trust already. A rotation has the
//! next one certify at once, and makes another next one, so that who runs meanwhile sees nothing of it.
//!
//! Invariant: a private key leaves the vault only to sign certificates here; those hold for a day, and only for a host of a
//! service that the agent reaches.

use crate::{
    app::App,
    clock,
    keys::rotation::By,
    problem::{Answer, Problem},
    recording,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::{
    record::{EntryType, Envelope},
    refusal::Code,
    seal::{Aad, SealEntropy, Sealed},
    time::Timestamp,
};
use placet_store::{
    Fault, PreparedEntry,
    egress_authorities::{self as stored, AuthorityState, StoredAuthority},
};
use quick_cache::sync::Cache;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::{
    fmt,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The kind of row that a key is sealed to.
pub const AUTHORITY_KIND: &str = "egress_authority";

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long an authority certifies, and for how long the next one has been trusted before that.
const LIFETIME: Duration = Duration::from_secs(2 * 365 * 24 * 3600);
/// How long before its end the next one takes over, at the latest at a start.
const TAKES_OVER: Duration = Duration::from_secs(60 * 24 * 3600);
/// How long a certificate of a host is used; it holds for longer.
const USED: Duration = Duration::from_secs(12 * 3600);
/// By how much an agent's clock may be behind.
const BEHIND: Duration = Duration::from_secs(3600);
/// How long what was read of the store is taken for what is there.
const CURRENT: Duration = Duration::from_secs(5);
/// Of how many hosts certificates are kept.
const KEPT: usize = 1024;

/// The authorities, as last read, and what they have certified.
pub struct Authorities {
    known: Mutex<Option<Arc<Known>>>,
    /// Held by the one who reads them.
    turn: tokio::sync::Mutex<()>,
    certified: Cache<String, Arc<Certified>>,
}

struct Known {
    read: Instant,
    both: Vec<StoredAuthority>,
    active: String,
    issuer: Arc<Issuer<'static, KeyPair>>,
}

struct Certified {
    by: String,
    made: Instant,
    config: Arc<ServerConfig>,
}

impl Default for Authorities {
    fn default() -> Self {
        Self { known: Mutex::default(), turn: tokio::sync::Mutex::default(), certified: Cache::new(KEPT) }
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({} certified)", self.certified.len())
    }
}

impl Authorities {
    /// What the door presents itself with as `host`.
    ///
    /// # Errors
    /// `unavailable` or `internal`, where there is nothing to certify it with.
    pub(super) async fn identity(&self, app: &App, host: &str) -> Answer<Arc<ServerConfig>> {
        let known = self.known(app).await?;
        if let Some(found) = self.certified.get(host)
            && found.by == known.active
            && found.made.elapsed() < USED
        {
            return Ok(Arc::clone(&found.config));
        }
        let config = certify(&known.issuer, host, app.clock.now()).map_err(failed)?;
        let certified =
            Certified { by: known.active.clone(), made: Instant::now(), config: Arc::clone(&config) };
        self.certified.insert(host.to_owned(), Arc::new(certified));
        Ok(config)
    }

    /// Both authorities, the one that certifies first; made where there are none yet.
    ///
    /// # Errors
    /// What stands in the vault can't be read.
    pub async fn both(&self, app: &App) -> Answer<Vec<StoredAuthority>> {
        Ok(self.known(app).await?.both.clone())
    }

    /// For a start: makes the authorities where there are none, and has the next one take over where it is time.
    ///
    /// # Errors
    /// What stands in the vault can't be read.
    pub async fn ready(&self, app: &App) -> Answer<()> {
        let both = self.both(app).await?;
        let ends = both.first().map(|active| active.expires);
        if ends.is_some_and(|ends| ends.minus(TAKES_OVER) <= app.clock.now()) {
            let rotated = self.rotate(app, &By { by: "placet".to_owned(), source: None }).await;
            // Another node that starts has done the same, and once will do.
            if let Err(problem) = rotated
                && problem.code() != Code::Conflict
            {
                return Err(problem);
            }
        }
        Ok(())
    }

    /// Has the next authority certify from now on, and makes another next one.
    ///
    /// # Errors
    /// `conflict` where another rotation was faster.
    pub async fn rotate(&self, app: &App, by: &By) -> Answer<Vec<StoredAuthority>> {
        let both = self.both(app).await?;
        let now = app.clock.now();
        let [active, next] = both.as_slice() else { return Err(failed("an authority is missing")) };
        let (active, next) = (active.id.clone(), next.id.clone());
        let new = make(app, AuthorityState::Next, now)?;
        let entries = [
            entry(EntryType::KeyRemoved, &active, by, now),
            entry(EntryType::KeyActivated, &next, by, now),
            entry(EntryType::KeyCreated, &new.id, by, now),
        ];
        let written = app
            .store
            .write(move |tx| {
                if !stored::advance(tx, &active, &next)? {
                    let detail = "another rotation was faster; look at the authorities again";
                    return Err(Problem::of(Code::Conflict, detail));
                }
                stored::insert(tx, &new)?;
                entries.iter().try_for_each(|entry| tx.record(entry.clone()))?;
                Ok(())
            })
            .await;
        // What was known is not so any more, whoever has changed it.
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
        written?;
        self.both(app).await
    }

    fn current(&self) -> Option<Arc<Known>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone().filter(|known| known.read.elapsed() < CURRENT)
    }

    async fn known(&self, app: &App) -> Answer<Arc<Known>> {
        if let Some(known) = self.current() {
            return Ok(known);
        }
        let _turn = self.turn.lock().await;
        if let Some(known) = self.current() {
            return Ok(known);
        }
        let mut both = app.store.read(|q| stored::all(q)).await?;
        if both.is_empty() {
            both = found(app).await?;
        }
        let active = both.first().filter(|first| first.state == AuthorityState::Active);
        let active = active.ok_or_else(|| failed("no authority is active"))?;
        let before = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let issuer = match before.filter(|before| before.active == active.id) {
            Some(before) => Arc::clone(&before.issuer),
            None => Arc::new(open(app, active)?),
        };
        let known = Known { read: Instant::now(), active: active.id.clone(), both, issuer };
        let known = Arc::new(known);
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&known));
        Ok(known)
    }
}

/// Makes the first two, unless another node has.
async fn found(app: &App) -> Answer<Vec<StoredAuthority>> {
    let now = app.clock.now();
    let new = [make(app, AuthorityState::Active, now)?, make(app, AuthorityState::Next, now)?];
    let by = By { by: "placet".to_owned(), source: None };
    let entries = new.each_ref().map(|new| entry(EntryType::KeyCreated, &new.id, &by, now));
    let made = app.store.write(move |tx| {
        let there = stored::all(tx)?;
        if !there.is_empty() {
            return Ok(there);
        }
        for (new, entry) in new.iter().zip(&entries) {
            stored::insert(tx, new)?;
            tx.record(entry.clone())?;
        }
        stored::all(tx)
    });
    match made.await {
        // Another node was faster.
        Err(Fault::Conflict(_)) => Ok(app.store.read(|q| stored::all(q)).await?),
        made => Ok(made?),
    }
}

/// A fresh authority with its key, sealed.
fn make(app: &App, state: AuthorityState, now: Timestamp) -> Answer<StoredAuthority> {
    let id = clock::entropy::<8>().iter().fold(String::new(), |mut id, byte| {
        _ = write!(id, "{byte:02x}");
        id
    });
    let expires = expires(state, now);
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params(&id, now, expires).self_signed(&key).map_err(failed)?;
    let aad = Aad { kind: AUTHORITY_KIND, row: &id, version: 1 };
    let sealed = app.secrets.vault.seal(&aad, SealEntropy::new(clock::entropy()), key.serialized_der());
    let sealed = sealed.map_err(failed)?.to_bytes();
    Ok(StoredAuthority { certificate: certificate.der().to_vec(), id, state, sealed, created: now, expires })
}

/// Until when an authority holds that is made now. The next one is there before it certifies: it outlasts the active one by
/// as much as that one has before it, so that it is of use once that one ends.
fn expires(state: AuthorityState, now: Timestamp) -> Timestamp {
    match state {
        AuthorityState::Active => now.plus(LIFETIME),
        AuthorityState::Next => now.plus(LIFETIME * 2),
    }
}

/// What signs, from the vault.
fn open(app: &App, authority: &StoredAuthority) -> Answer<Issuer<'static, KeyPair>> {
    let aad = Aad { kind: AUTHORITY_KIND, row: &authority.id, version: 1 };
    let key = Sealed::from_bytes(&authority.sealed).and_then(|sealed| app.secrets.vault.open(&aad, &sealed));
    let key = key.map_err(failed)?;
    let key = KeyPair::try_from(key.expose()).map_err(failed)?;
    Ok(Issuer::new(params(&authority.id, authority.created, authority.expires), key))
}

/// What an authority's certificate says.
fn params(id: &str, created: Timestamp, expires: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Placet");
    params.distinguished_name.push(DnType::CommonName, format!("Placet egress {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    holds(&mut params, created.minus(BEHIND), expires);
    params
}

/// A certificate for a host, with a key of its own.
fn certify(
    issuer: &Issuer<'static, KeyPair>,
    host: &str,
    now: Timestamp,
) -> Result<Arc<ServerConfig>, Box<dyn std::error::Error + Send + Sync>> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // Names are in the list below; this one is for people, and at most 64 characters of it are allowed.
    params.distinguished_name.push(DnType::CommonName, host.chars().take(64).collect::<String>());
    params.subject_alt_names = vec![match host.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(host.try_into()?),
    }];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    holds(&mut params, now.minus(BEHIND), now.plus(DAY));
    let key = KeyPair::generate()?;
    let certificate: CertificateDer<'static> = params.signed_by(&key, issuer)?.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Within when a certificate holds.
fn holds(params: &mut CertificateParams, from: Timestamp, to: Timestamp) {
    let since = |at: Timestamp| Duration::from_secs(u64::try_from(at.as_seconds()).unwrap_or(0));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    (params.not_before, params.not_after) = (epoch + since(from), epoch + since(to));
}

/// A certificate as text (RFC 7468).
pub fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at_checked(64).unwrap_or((rest, ""));
        out.push_str(line);
        out.push('\n');
        rest = more;
    }
    out + "-----END CERTIFICATE-----\n"
}

fn entry(entry_type: EntryType, id: &str, by: &By, now: Timestamp) -> PreparedEntry {
    let envelope = Envelope {
        key: Some(format!("egress/{id}")),
        source: by.source.clone(),
        ..recording::by(entry_type, now, by.by.clone())
    };
    PreparedEntry::new(&envelope, None)
}

fn failed(error: impl fmt::Display) -> Problem {
    tracing::error!(%error, "the egress door's authority can't be used");
    Problem::of(Code::Internal, "the egress door's authority can't be used; the log has the cause")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_takes_over_at_the_end_of_the_one_before_lasts_as_long_as_that_did() {
        let mut now = Timestamp::from_seconds(1_800_000_000);
        let (mut active, mut next) =
            (expires(AuthorityState::Active, now), expires(AuthorityState::Next, now));
        for _ in 0..5 {
            // At the very end, which is the worst.
            now = active;
            (active, next) = (next, expires(AuthorityState::Next, now));
            assert!(active >= now.plus(LIFETIME), "it would be taken over from at the next start");
            assert!(next >= active.plus(LIFETIME));
        }
    }
}
