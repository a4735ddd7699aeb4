//! How often somebody may ask the OAuth and session endpoints: strangers and people by the address that they come from,
//! clients by their id. A policy's `rate` is another matter: it is about actions.
//!
//! Whoever has tried too often is told when to come back (429, `Retry-After`). What one of them uses up is never another's:
//!
//! - A client that shows a good secret is never refused for what others at its address did: only failures are counted
//!   there, and only failures are answered with 429.
//! - A name is locked for the address that guessed at it, nowhere else: there is no lock of an account.
//! - Who has signed in from an address before is not held up by others there who try many names; who has done so with more
//!   than a password, nor by anybody elsewhere who knows their password and guesses at their one-time codes.
//!
//! Each node remembers this since it started. After a restart nobody is at home anywhere: until they sign in again, a
//! person's own code counts with those that others guess.
//!
//! Invariant: what is remembered is bounded, and losing any of what was counted makes somebody's guesses cheaper, never
//! dearer.

use crate::{app::App, caller::Source, gcra, operations::failures::RefusedWith, problem::Problem};
use axum::{
    Json,
    extract::{ConnectInfo, Request},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use placet_core::{refusal::Code, secret::sha256, time::Timestamp, user::BeganWith};
use quick_cache::sync::Cache;
use serde_json::json;
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

/// How many are remembered.
const MOST: usize = 65_536;
/// How many seconds' worth of requests a client may make at once.
const CLIENT_BURST: u32 = 5;

/// What is limited, and by whom or where from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of<'a> {
    /// Passwords for one name from one address.
    Name(&'a str, Network),
    /// Nothing that is counted: that a name has signed in from one address with more than a password.
    Home(&'a str, Network),
    /// Passwords from one address, whatever the name.
    SignIns(Network),
    /// Codes of devices that a person has entered.
    Codes(&'a str),
    /// Codes of devices that were entered from one address, whoever did.
    CodesFrom(Network),
    /// Polls of one request that waits for a person.
    Polls(&'a str),
    /// Names of people that a client has asked for and that nobody has.
    Hints(&'a str),
    /// One-time codes for one name, by whoever knows its password, from wherever that person is not at home.
    OneTime(&'a str),
    /// Codes that shall confirm a person's new authenticator app, by whoever has a session of theirs, from wherever.
    Confirm(&'a str),
    /// People who have left one address for an identity provider and have not come back.
    Away(Network),
    /// Requests of nobody who is known.
    Strangers(Network),
    /// Requests of public clients that make something: whose they are, anybody can say.
    Public(Network),
    /// Requests of a client or a person who is known.
    Known(&'a str),
}

/// Where a request comes from: an IPv4 address, or the part of an IPv6 address that its holder did not choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: Option<IpAddr>,
    /// A whole site: 65,536 networks of one holder.
    site: bool,
}

#[derive(Debug, Clone, Copy)]
struct Limit {
    burst: u32,
    each: Duration,
}

/// What was asked lately, on this node.
pub struct Rates {
    slots: Cache<[u8; 16], Arc<Mutex<Timestamp>>>,
    /// Names that have signed in from an address, and those that did so with more than a password.
    seen: Cache<[u8; 16], ()>,
    client: Limit,
}

impl Rates {
    /// None yet; a client may ask `per_second` times a second.
    pub fn new(per_second: u32) -> Self {
        let per_second = per_second.max(1);
        let client = Limit {
            burst: per_second.saturating_mul(CLIENT_BURST),
            each: Duration::from_secs(1) / per_second,
        };
        Self { slots: Cache::new(MOST), seen: Cache::new(MOST), client }
    }

    /// Counts a request of somebody known: an agent, a resource server, a person.
    ///
    /// # Errors
    /// `too_many_requests`.
    pub fn known(&self, id: &str, now: Timestamp) -> Result<(), Problem> {
        self.take(Of::Known(id), now).map_err(too_many)
    }

    /// Counts a request that leaves something behind and comes from a client that has only named itself.
    ///
    /// # Errors
    /// `too_many_requests`.
    pub fn public(&self, source: Source, now: Timestamp) -> Result<(), Problem> {
        let (network, site) = networks(source);
        self.take(Of::Public(network), now).map_err(too_many)?;
        self.take(Of::Public(site), now).map_err(too_many)
    }

    /// Counts an attempt to sign in as `name`, before its password is looked at.
    ///
    /// # Errors
    /// `too_many_requests`.
    pub fn sign_in(&self, name: &str, source: Source, now: Timestamp) -> Result<(), Problem> {
        let (network, site) = networks(source);
        self.take(Of::Name(name, network), now).map_err(too_many)?;
        if self.seen.get(&key(Of::Name(name, network))).is_some() {
            return Ok(());
        }
        for of in [Of::SignIns(network), Of::SignIns(site)] {
            self.take(of, now).map_err(too_many)?;
        }
        Ok(())
    }

    /// Counts a one-time code for `name`, before it is looked at and after the password was right. Six digits could be
    /// guessed from many addresses at once, so these attempts are counted over all of them; but where the person has signed
    /// in before with more than a password, what others use up elsewhere counts for nothing. Where a password was enough it
    /// may have been anybody who knew it.
    ///
    /// # Errors
    /// `too_many_requests`.
    pub fn one_time(&self, name: &str, source: Source, now: Timestamp) -> Result<(), Problem> {
        if self.seen.get(&key(Of::Home(name, networks(source).0))).is_some() {
            return Ok(());
        }
        self.take(Of::OneTime(name), now).map_err(too_many)
    }

    /// Counts an attempt to go on with a sign-in whose password was right a moment ago. With the address that was counted,
    /// and it is given back once.
    ///
    /// # Errors
    /// `too_many_requests`.
    pub fn ticket(&self, name: &str, source: Source, now: Timestamp) -> Result<(), Problem> {
        self.take(Of::Name(name, networks(source).0), now).map_err(too_many)
    }

    /// Counts a code that shall confirm a person's new authenticator app, before it is looked at. A session is enough to
    /// try one, so it counts wherever it comes from.
    ///
    /// # Errors
    /// `too_many_requests`.
    pub fn confirm(&self, user: &str, now: Timestamp) -> Result<(), Problem> {
        self.take(Of::Confirm(user), now).map_err(too_many)
    }

    /// The proof was right: what was counted is forgotten, and the name known at this address; at home there, where more
    /// than a password was shown.
    pub fn signed_in(&self, name: &str, source: Source, began_with: BeganWith) {
        let (network, site) = networks(source);
        let (of, home) = (Of::Name(name, network), Of::Home(name, network));
        if self.seen.get(&key(of)).is_none() {
            for shared in [Of::SignIns(network), Of::SignIns(site)] {
                self.give_back(shared);
            }
        }
        self.slots.remove(&key(of));
        self.seen.insert(key(of), ());
        // Whether a provider has asked for more than a password, it alone knows.
        if matches!(began_with, BeganWith::Password | BeganWith::Provider) {
            return;
        }
        let by_code = matches!(began_with, BeganWith::PasswordAndTotp | BeganWith::ProviderAndTotp);
        if by_code && self.seen.get(&key(home)).is_none() {
            self.give_back(Of::OneTime(name));
        }
        self.seen.insert(key(home), ());
    }

    /// Counts a code of a device that a person enters, before it is looked at.
    ///
    /// # Errors
    /// `too_many_requests`.
    pub fn code(&self, person: &str, source: Source, now: Timestamp) -> Result<(), Problem> {
        let (network, site) = networks(source);
        for of in [Of::Codes(person), Of::CodesFrom(network), Of::CodesFrom(site)] {
            self.take(of, now).map_err(too_many)?;
        }
        Ok(())
    }

    /// The code was right: it was no guess.
    pub(crate) fn code_was_right(&self, person: &str, source: Source) {
        let (network, site) = networks(source);
        for of in [Of::Codes(person), Of::CodesFrom(network), Of::CodesFrom(site)] {
            self.give_back(of);
        }
    }

    /// Whether a poll of a request that waits is to be looked at: whoever polls without a pause is not to keep the control
    /// plane busy with being told so.
    pub(crate) fn poll(&self, request: &str, now: Timestamp) -> bool {
        self.take(Of::Polls(request), now).is_ok()
    }

    /// Counts that a client has named somebody whom there is not.
    ///
    /// # Errors
    /// `too_many_requests`.
    pub(crate) fn unknown_person(&self, client: &str, now: Timestamp) -> Result<(), Problem> {
        self.take(Of::Hints(client), now).map_err(too_many)
    }

    /// Counts an answer of a passkey that was not believed; a good one is never counted, as nobody guesses one.
    ///
    /// # Errors
    /// `too_many_requests`.
    pub fn passkey(&self, source: Source, now: Timestamp) -> Result<(), Problem> {
        self.stranger(source, now).map_err(too_many)
    }

    /// Counts that somebody leaves for an identity provider: each may make this server ask it something once.
    ///
    /// # Errors
    /// `too_many_requests`.
    pub fn left(&self, source: Source, now: Timestamp) -> Result<(), Problem> {
        let (network, site) = networks(source);
        self.take(Of::Away(network), now).map_err(too_many)?;
        self.take(Of::Away(site), now).map_err(too_many)
    }

    /// Somebody came back and is known.
    pub(crate) fn came_back(&self, source: Source) {
        let (network, site) = networks(source);
        for of in [Of::Away(network), Of::Away(site)] {
            self.give_back(of);
        }
    }

    /// Counts a request whose sender could not say who it is.
    pub(crate) fn stranger(&self, source: Source, now: Timestamp) -> Result<(), Duration> {
        let (network, site) = networks(source);
        self.take(Of::Strangers(network), now)?;
        self.take(Of::Strangers(site), now)
    }

    /// Answers how long until the next fits, where this one doesn't.
    fn take(&self, of: Of<'_>, now: Timestamp) -> Result<(), Duration> {
        let limit = self.limit(of);
        let slot = self.slot(of, now);
        let Ok(mut paid) = slot.lock() else { return Err(limit.each) };
        gcra::take(&mut paid, now, limit.each, limit.burst)
    }

    fn give_back(&self, of: Of<'_>) {
        if let Some(slot) = self.slots.get(&key(of))
            && let Ok(mut paid) = slot.lock()
        {
            *paid = paid.minus(self.limit(of).each);
        }
    }

    fn slot(&self, of: Of<'_>, now: Timestamp) -> Arc<Mutex<Timestamp>> {
        let key = key(of);
        self.slots.get(&key).unwrap_or_else(|| {
            let fresh = Arc::new(Mutex::new(now));
            self.slots.insert(key, Arc::clone(&fresh));
            fresh
        })
    }

    const fn limit(&self, of: Of<'_>) -> Limit {
        let (burst, millis, site) = match of {
            Of::Known(_) => return self.client,
            Of::Name(_, network) | Of::Home(_, network) => (10, 30_000, network.site),
            // Each is right with a probability of three in a million.
            Of::OneTime(_) => (20, 300_000, false),
            Of::SignIns(network) => (50, 10_000, network.site),
            Of::Codes(_) | Of::Confirm(_) => (10, 60_000, false),
            Of::CodesFrom(network) => (50, 10_000, network.site),
            Of::Polls(_) => (5, 1000, false),
            Of::Hints(_) => (10, 60_000, false),
            Of::Strangers(network) => (1000, 100, network.site),
            Of::Public(network) | Of::Away(network) => (100, 1000, network.site),
        };
        // A site has room for many networks, but not for all that it could make up.
        let room = if site { 16 } else { 1 };
        Limit { burst: burst * room, each: Duration::from_millis(millis / room as u64) }
    }
}

impl fmt::Debug for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rates({})", self.slots.len())
    }
}

fn key(of: Of<'_>) -> [u8; 16] {
    let (kind, name, network) = match of {
        Of::Name(name, network) => ("name", name, Some(network)),
        Of::Home(name, network) => ("home", name, Some(network)),
        Of::SignIns(network) => ("sign-ins", "", Some(network)),
        Of::Codes(person) => ("codes", person, None),
        Of::CodesFrom(network) => ("codes-from", "", Some(network)),
        Of::Polls(request) => ("polls", request, None),
        Of::Hints(client) => ("hints", client, None),
        Of::OneTime(name) => ("one-time", name, None),
        Of::Confirm(user) => ("confirm", user, None),
        Of::Strangers(network) => ("strangers", "", Some(network)),
        Of::Public(network) => ("public", "", Some(network)),
        Of::Away(network) => ("away", "", Some(network)),
        Of::Known(id) => ("known", id, None),
    };
    let place = network.map(|network| network.to_string()).unwrap_or_default();
    let whole = sha256(&[kind.as_bytes(), b"\0", place.as_bytes(), b"\0", name.as_bytes()]);
    let mut half = [0; 16];
    for (to, from) in half.iter_mut().zip(whole) {
        *to = from;
    }
    half
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            None if self.site => f.write_str("anywhere"),
            None => f.write_str("unknown"),
            Some(IpAddr::V4(address)) if self.site => write!(f, "{address}/32"),
            Some(IpAddr::V4(address)) => write!(f, "{address}"),
            Some(IpAddr::V6(address)) => write!(f, "{address}/{}", if self.site { 48 } else { 64 }),
        }
    }
}

/// The network of an address, and the site that it is part of.
pub(crate) fn networks(source: Source) -> (Network, Network) {
    let address = source.0.map(|address| address.ip().to_canonical());
    let cut = |bits: u32| match address {
        Some(IpAddr::V6(address)) => {
            let kept = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            Some(IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & kept)))
        }
        other => other,
    };
    (Network { address: cut(64), site: false }, Network { address: cut(48), site: true })
}

/// What is told to whoever has to wait.
pub(crate) fn too_many(wait: Duration) -> Problem {
    Problem::of(Code::TooManyRequests, "too many attempts: come back when `Retry-After` says")
        .retry_after(seconds(wait))
}

/// Whole seconds, rounded up.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// The layer: who comes through a proxy that is known is known by its own address, and who fails too often to say who it
/// is at an OAuth endpoint is told to wait.
pub(crate) async fn limited<F: Future<Output = Response>>(
    app: &App,
    mut request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let from = peer.map(|peer| forwarded(&app.forwarded_by, peer, request.headers()));
    if let Some(from) = from.filter(|from| Some(*from) != peer) {
        request.extensions_mut().insert(ConnectInfo(from));
    }
    let is_oauth = request.uri().path().contains("/oauth/") && !request.uri().path().starts_with("/proxy/");
    let response = next(request).await;
    if !is_oauth || response.status() != StatusCode::UNAUTHORIZED {
        return response;
    }
    let Err(wait) = app.rates.stranger(Source(from), app.clock.now()) else { return response };
    let description = "too many requests of unknown clients come from this address";
    let body = Json(json!({"error": Code::TooManyRequests.oauth(), "error_description": description}));
    let mut response =
        (StatusCode::TOO_MANY_REQUESTS, [(header::CACHE_CONTROL, "no-store")], body).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds(wait)));
    response.extensions_mut().insert(RefusedWith(Code::TooManyRequests.as_str()));
    response
}

/// The address that a request comes from: of the proxies that are known, each says who came to it.
fn forwarded(known: &[IpAddr], peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
    let is_known = |address: IpAddr| known.contains(&address.to_canonical());
    if !is_known(peer.ip()) {
        return peer;
    }
    let stated: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .map(str::trim)
        .collect();
    let mut from = peer;
    for text in stated.iter().rev() {
        // What a proxy wrote that is no address says nothing; further to the left anybody may have written it.
        let Ok(address) = text.parse::<IpAddr>() else { break };
        from = SocketAddr::new(address, 0);
        if !is_known(address) {
            break;
        }
    }
    from
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> Source {
        Source(Some(SocketAddr::new(text.parse().unwrap(), 1)))
    }

    #[test]
    fn guesses_at_a_name_are_counted_where_they_come_from_and_nowhere_else() {
        let (rates, now) = (Rates::new(10), Timestamp::from_seconds(1000));
        let tries =
            |name: &str, at: &str| (0..100).filter(|_| rates.sign_in(name, from(at), now).is_ok()).count();
        assert_eq!(tries("ada", "192.0.2.1"), 10);
        assert_eq!(tries("lee", "192.0.2.1"), 10);
        assert_eq!(tries("ada", "192.0.2.2"), 10);
        // A whole /64 is one place, and so is an address that is written as IPv6.
        assert_eq!(tries("ada", "2001:db8::1"), 10);
        assert_eq!(tries("ada", "2001:db8::2"), 0);
        assert_eq!(tries("ada", "2001:db8:0:1::1"), 10);
        assert_eq!(tries("ada", "::ffff:192.0.2.1"), 0);
        let later = now.plus(Duration::from_secs(30));
        assert!(rates.sign_in("ada", from("192.0.2.1"), later).is_ok());
        assert!(rates.sign_in("ada", from("192.0.2.1"), later).is_err());
    }

    #[test]
    fn who_has_signed_in_from_a_place_is_not_held_up_by_others_there() {
        let (rates, now, place) = (Rates::new(10), Timestamp::from_seconds(1000), from("192.0.2.1"));
        for _ in 0..100 {
            rates.sign_in("ada", place, now).unwrap();
            rates.signed_in("ada", place, BeganWith::Password);
        }
        let sprayed = (0..100).filter(|name| rates.sign_in(&name.to_string(), place, now).is_ok()).count();
        assert_eq!(sprayed, 50);
        assert!(rates.sign_in("lee", place, now).is_err());
        rates.sign_in("ada", place, now).unwrap();
        rates.sign_in("lee", from("192.0.2.2"), now).unwrap();
    }

    #[test]
    fn codes_are_counted_over_all_places_but_where_the_person_has_signed_in() {
        let (rates, now) = (Rates::new(10), Timestamp::from_seconds(1000));
        let home = from("192.0.2.1");
        rates.signed_in("ada", home, BeganWith::PasswordAndTotp);
        let guessed = (0..200u8).filter(|last| {
            let place = from(&format!("198.51.100.{last}"));
            rates.sign_in("ada", place, now).is_ok() && rates.one_time("ada", place, now).is_ok()
        });
        assert_eq!(guessed.count(), 20);
        assert!(rates.one_time("ada", from("203.0.113.1"), now).is_err());
        assert!(
            rates.one_time("ada", home, now).is_ok()
                && rates.one_time("lee", from("203.0.113.1"), now).is_ok()
        );
        assert!(rates.one_time("ada", from("203.0.113.1"), now.plus(Duration::from_secs(300))).is_ok());
    }

    #[test]
    fn where_a_password_was_enough_codes_are_counted_and_a_right_one_is_given_back() {
        let (rates, now) = (Rates::new(10), Timestamp::from_seconds(1000));
        let (place, elsewhere) = (from("192.0.2.1"), from("192.0.2.2"));
        rates.sign_in("ada", place, now).unwrap();
        rates.signed_in("ada", place, BeganWith::Password);
        assert_eq!((0..100).filter(|_| rates.one_time("ada", place, now).is_ok()).count(), 20);
        rates.signed_in("ada", place, BeganWith::Password);
        assert!(rates.one_time("ada", place, now).is_err());
        // The last one was right: that one did not count, and here the others count no more.
        rates.signed_in("ada", place, BeganWith::PasswordAndTotp);
        assert!(rates.one_time("ada", place, now).is_ok());
        assert!(rates.one_time("ada", elsewhere, now).is_ok());
        assert!(rates.one_time("ada", elsewhere, now).is_err());
        // What took none gives none back.
        for began_with in [BeganWith::Passkey, BeganWith::PasswordAndRecoveryCode] {
            rates.signed_in("ada", from("192.0.2.3"), began_with);
        }
        assert!(rates.one_time("ada", elsewhere, now).is_err());
        assert!(rates.one_time("ada", from("192.0.2.3"), now).is_ok());
    }

    #[test]
    fn good_sign_ins_with_a_code_cost_an_office_nothing() {
        let (rates, now, office) = (Rates::new(10), Timestamp::from_seconds(1000), from("192.0.2.1"));
        for number in 0..200 {
            let name = number.to_string();
            rates.sign_in(&name, office, now).unwrap();
            rates.ticket(&name, office, now).unwrap();
            rates.one_time(&name, office, now).unwrap();
            rates.signed_in(&name, office, BeganWith::PasswordAndTotp);
        }
        let tries = (0..100).filter(|_| rates.ticket("ada", office, now).is_ok()).count();
        assert_eq!(tries, 10);
        assert!(rates.sign_in("ada", office, now).is_err());
    }

    #[test]
    fn codes_that_confirm_an_app_are_counted_wherever_they_come_from() {
        let (rates, now) = (Rates::new(10), Timestamp::from_seconds(1000));
        rates.signed_in("ada", from("192.0.2.1"), BeganWith::Passkey);
        let guesses = |now| (0..100).filter(|_| rates.confirm("ada", now).is_ok()).count();
        assert_eq!((guesses(now), guesses(now.plus(Duration::from_secs(60)))), (10, 1));
        assert!(rates.confirm("lee", now).is_ok());
    }

    #[test]
    fn a_network_is_what_one_can_have_many_addresses_of() {
        let of = |text: &str| networks(from(text)).0.to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(networks(Source(None)).0.to_string(), "unknown");
        // The two that one address is counted by are never taken for one.
        for source in [from("192.0.2.7"), from("2001:db8:1::1"), Source(None)] {
            let (network, site) = networks(source);
            assert_ne!(network.to_string(), site.to_string());
        }
    }

    #[test]
    fn what_public_clients_leave_behind_is_bounded_by_where_it_comes_from() {
        let (rates, now) = (Rates::new(10), Timestamp::from_seconds(1000));
        let fit = |at: &str| (0..500).filter(|_| rates.public(from(at), now).is_ok()).count();
        assert_eq!((fit("192.0.2.1"), fit("192.0.2.1"), fit("192.0.2.2")), (100, 0, 100));
    }

    #[test]
    fn who_leaves_for_a_provider_is_counted_until_they_come_back() {
        let (rates, now, office) = (Rates::new(10), Timestamp::from_seconds(1000), from("192.0.2.1"));
        for _ in 0..1000 {
            rates.left(office, now).unwrap();
            rates.came_back(office);
        }
        assert_eq!((0..500).filter(|_| rates.left(office, now).is_ok()).count(), 100);
        assert!(rates.left(from("192.0.2.2"), now).is_ok());
        // A provider's word alone makes nobody at home.
        rates.signed_in("ada", office, BeganWith::Provider);
        assert_eq!((0..100).filter(|_| rates.one_time("ada", office, now).is_ok()).count(), 20);
        rates.signed_in("ada", office, BeganWith::ProviderAndTotp);
        assert!(rates.one_time("ada", office, now).is_ok());
    }

    #[test]
    fn guesses_at_codes_are_counted_by_who_guesses_and_from_where_and_a_right_one_is_none() {
        let (rates, now) = (Rates::new(10), Timestamp::from_seconds(1000));
        let guesses =
            |who: &str, at: &str| (0..100).filter(|_| rates.code(who, from(at), now).is_ok()).count();
        assert_eq!((guesses("ada", "192.0.2.1"), guesses("lee", "192.0.2.1")), (10, 10));
        // Whoever has many accounts is slowed down by their address.
        let all: usize = (0..10).map(|who| guesses(&format!("sock-{who}"), "192.0.2.1")).sum();
        assert_eq!(all, 30);
        assert_eq!(guesses("pat", "192.0.2.2"), 10);
        for _ in 0..100 {
            rates.code("sam", from("192.0.2.3"), now).unwrap();
            rates.code_was_right("sam", from("192.0.2.3"));
        }
    }

    #[test]
    fn one_clients_requests_never_use_up_anothers() {
        let (rates, now) = (Rates::new(10), Timestamp::from_seconds(1000));
        let fit = |id: &str, now| (0..500).filter(|_| rates.known(id, now).is_ok()).count();
        assert_eq!(fit("one", now), 50);
        assert_eq!(fit("another", now), 50);
        assert_eq!(fit("one", now.plus(Duration::from_secs(1))), 10);
    }

    #[test]
    fn only_a_known_proxy_is_believed_and_only_about_its_own_peer() {
        let known: Vec<IpAddr> = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap()).to_vec();
        let resolve = |peer: &str, stated: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in stated {
                headers.append("x-forwarded-for", HeaderValue::from_str(value).unwrap());
            }
            forwarded(&known, SocketAddr::new(peer.parse().unwrap(), 1), &headers).ip().to_string()
        };
        assert_eq!(resolve("192.0.2.1", &["198.51.100.1"]), "192.0.2.1");
        assert_eq!(resolve("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(resolve("10.0.0.1", &["203.0.113.9, 198.51.100.1, 10.0.0.2"]), "198.51.100.1");
        assert_eq!(resolve("10.0.0.1", &["203.0.113.9", "198.51.100.1"]), "198.51.100.1");
        assert_eq!(resolve("10.0.0.1", &["203.0.113.9, nonsense"]), "10.0.0.1");
        assert_eq!(resolve("10.0.0.1", &[]), "10.0.0.1");
    }
}
