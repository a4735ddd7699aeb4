//! From a token to the live chain that it stands for.
//!
//! A verified token is not verified again while nothing it depends on has changed: the cache holds its claims, its
//! chain and the policies bound to it, under the generation of authority and of rules that they were read at.
//! Whatever changes authority on this node raises the generation; the commit point compares versions besides, so a
//! stale entry can mislead nobody into an effect.
//!
//! Invariant: what is handed out was alive when it was last read, and the token itself has not expired.

use crate::{app::App, problem::Problem, rules::Rules, sender::Held};
use bytes::Bytes;
use placet_core::{
    chain::Chain,
    id::GrantId,
    policy::BoundPolicies,
    refusal::{Code, Reason},
    secret::sha256,
    time::Timestamp,
    token::AccessClaims,
};
use quick_cache::sync::Cache;
use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// How long after the last word of the store what is kept in memory is told to somebody who acts on it elsewhere.
const CURRENT: Duration = Duration::from_secs(1);

/// A token that was verified, with what it stands for.
pub struct Bearer {
    /// What the token says.
    pub claims: AccessClaims,
    /// The live chain of its grant.
    pub chain: Chain,
    /// The policies that apply to the chain, templates filled.
    pub policies: BoundPolicies,
    /// What introspection tells of it, once that was asked: it follows from the claims and the chain alone.
    pub told: OnceLock<Bytes>,
    authority_generation: u64,
    rules_generation: u64,
}

impl Bearer {
    /// Whether its policies were bound by these rules.
    pub(crate) fn is_bound_by(&self, rules: &Rules) -> bool {
        self.rules_generation == rules.generation
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bearer({})", self.claims.jti)
    }
}

/// Verified tokens.
pub struct Bearers {
    cache: Cache<[u8; 32], Arc<Bearer>>,
    generation: AtomicU64,
    changed: Notify,
    /// When the store last said what other nodes have changed.
    heard: Mutex<Option<Instant>>,
}

impl Default for Bearers {
    fn default() -> Self {
        Self {
            cache: Cache::new(16_384),
            generation: AtomicU64::new(0),
            changed: Notify::new(),
            heard: Mutex::default(),
        }
    }
}

impl fmt::Debug for Bearers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bearers({})", self.cache.len())
    }
}

impl Bearers {
    /// Says that authority has changed (a revocation, a suspension, an ended task): every chain is read anew before
    /// it is used again.
    pub(crate) fn authority_changed(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_one();
    }

    /// Waits for the next change of authority, or one that nobody has waited for yet. For one job only.
    pub(crate) async fn next_change(&self) {
        self.changed.notified().await;
    }

    /// Says that all that other nodes have changed is known.
    pub fn heard(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether what other nodes have changed was known a moment ago.
    fn is_current(&self) -> bool {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.is_some_and(|heard| heard.elapsed() < CURRENT)
    }

    /// Rises whenever authority changes; what was read under an older one is read anew.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }
}

/// The bearer of an access token for Placet itself, presented as such a token has to be.
///
/// # Errors
/// A 401 reason of the table; `unavailable` where the store doesn't answer.
pub async fn live(app: &App, held: &Held) -> Result<Arc<Bearer>, Problem> {
    let bearer = live_for(app, held.token(), Meant::Placet).await?;
    held.fits(&bearer.claims)?;
    Ok(bearer)
}

/// Whom a token has to be meant for.
#[derive(Debug, Clone, Copy)]
pub enum Meant<'a> {
    /// Placet itself, by any issuer that it has had.
    Placet,
    /// The resource server with this audience.
    Audience(&'a str),
    /// Whoever it is: who asks about it may be somebody else.
    Anybody,
}

impl Meant<'_> {
    fn is_among(self, audiences: &[String], issuers: &[String]) -> bool {
        match self {
            Self::Placet => audiences.iter().any(|audience| issuers.contains(audience)),
            Self::Audience(meant) => audiences.iter().any(|audience| audience == meant),
            Self::Anybody => true,
        }
    }
}

/// The bearer of an access token, which has to be meant for whoever is shown it. Whether its sender has proved to hold
/// its key is not looked at: that is for whoever was sent it.
///
/// # Errors
/// As [`live`].
pub async fn live_for(app: &App, token: &str, meant: Meant<'_>) -> Result<Arc<Bearer>, Problem> {
    let now = app.clock.now();
    let key = sha256(&[token.as_bytes()]);
    let generation = app.bearers.generation();
    let rules = app.rules.load_full();
    if let Some(found) = app.bearers.cache.get(&key)
        && found.authority_generation == generation
        && found.rules_generation == rules.generation
    {
        if Timestamp::from_seconds(found.claims.exp) <= now || found.chain.expires() <= now {
            return Err(Reason::of(Code::TokenExpired).into());
        }
        if !meant.is_among(&found.claims.aud, &app.issuers.load()) {
            return Err(foreign());
        }
        return Ok(found);
    }
    read(app, token, meant).await
}

/// As [`live_for`], for who acts on the answer where no commit point is: a node that has not heard from the store for a second
/// asks it.
///
/// # Errors
/// As [`live`].
pub(crate) async fn live_now(app: &App, token: &str, meant: Meant<'_>) -> Result<Arc<Bearer>, Problem> {
    // Alone, nobody else changes anything.
    if app.shared && !app.bearers.is_current() {
        return read(app, token, meant).await;
    }
    live_for(app, token, meant).await
}

async fn read(app: &App, token: &str, meant: Meant<'_>) -> Result<Arc<Bearer>, Problem> {
    let (now, generation, rules) = (app.clock.now(), app.bearers.generation(), app.rules.load_full());
    let claims = app.verifier(token).await.access(token, now)?;
    if !meant.is_among(&claims.aud, &app.issuers.load()) {
        return Err(foreign());
    }
    let chain = chain(app, claims.grant.id, now).await?;
    let policies = rules.policies.bind(&chain);
    let bearer = Arc::new(Bearer {
        claims,
        chain,
        policies,
        told: OnceLock::new(),
        authority_generation: generation,
        rules_generation: rules.generation,
    });
    app.bearers.cache.insert(sha256(&[token.as_bytes()]), bearer.clone());
    Ok(bearer)
}

fn foreign() -> Problem {
    Reason::of(Code::TokenInvalid).detail("the token is meant for somebody else").into()
}

/// The live chain of a grant, as stored now.
///
/// # Errors
/// Why there is none.
pub async fn chain(app: &App, grant: GrantId, now: Timestamp) -> Result<Chain, Problem> {
    let found = app.store.read(move |q| placet_store::lineage::load(q, grant)).await?;
    let rows = found.ok_or_else(|| Reason::of(Code::TokenInvalid).detail("the token's grant is unknown"))?;
    Ok(Chain::assemble(rows.links, rows.stamps, now)?)
}
