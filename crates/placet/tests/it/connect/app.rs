//! Installations of an app: a key of the connection signs, and a server that is no authorization server gives a token for that
//! in a form of its own. The server here believes what an independent library believes, and no more.

use super::{asserted::key, *};
use aws_lc_rs::{
    encoding::{AsDer, EcPrivateKeyRfc5915Der},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use placet_core::time::Timestamp;
use placet_server::clock::Clock;
use placet_testkit::{Seen, until};
use std::{
    sync::atomic::{AtomicI64, AtomicUsize, Ordering},
    thread,
};

const APP: &str = "Iv23liKqCanaryApp";
const INSTALLATION: &str = "4711";

/// An app's server: who has installed it, and the API that its tokens are for.
struct Hub {
    story: &'static Story,
    service: String,
    server: Upstream,
    /// For how long the next token lives.
    lives: Arc<AtomicI64>,
    /// What it answers instead, where that is said.
    instead: Arc<Mutex<Option<Reply>>>,
}

/// The keys of an app as PEM, by how they sign, each with what checks it.
fn keys() -> Vec<(Algorithm, String, DecodingKey)> {
    let (rsa, pem) = key();
    let n_e = DecodingKey::from_rsa_der(rsa.public_key().as_ref());
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = pair.public_key().as_ref();
    let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(point.get(range).unwrap());
    let x_y = DecodingKey::from_ec_components(&part(1..33), &part(33..65)).unwrap();
    let pem_of = |label: &str, der: &[u8]| {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
    };
    let pkcs8 = pair.to_pkcs8v1().unwrap();
    let sec1: EcPrivateKeyRfc5915Der<'_> = pair.private_key().as_der().unwrap();
    vec![
        (Algorithm::RS256, pem, n_e),
        (Algorithm::ES256, pem_of("PRIVATE KEY", pkcs8.as_ref()), x_y.clone()),
        (Algorithm::ES256, pem_of("EC PRIVATE KEY", sec1.as_ref()), x_y),
    ]
}

/// Whether an app's server would believe what came: who has signed, how, when, and for how long.
fn believed(seen: &Seen, algorithm: Algorithm, key: &DecodingKey) -> Result<(), String> {
    let shown =
        seen.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).ok_or("no assertion")?;
    if decode_header(shown).map_err(|error| error.to_string())?.alg != algorithm {
        return Err("another algorithm".to_owned());
    }
    let mut wanted = Validation::new(algorithm);
    wanted.leeway = 0;
    wanted.set_issuer(&[APP]);
    wanted.set_required_spec_claims(&["exp", "iss"]);
    let claims = decode::<Value>(shown, key, &wanted).map_err(|error| error.to_string())?.claims;
    let (now, at) =
        (Clock::System.now().as_seconds(), |name: &str| claims[name].as_i64().unwrap_or_default());
    if at("iat") > now || at("exp") > now + 600 || claims.get("sub").is_some() {
        return Err(format!("its claims: {claims}"));
    }
    Ok(())
}

impl Hub {
    fn new(algorithm: Algorithm, key: DecodingKey) -> Self {
        let (story, service) = (stage(), fresh("hub"));
        let agent = format!("placet/{}", env!("CARGO_PKG_VERSION"));
        let server = Upstream::with_header("user-agent", &agent);
        let (lives, instead) = (Arc::new(AtomicI64::new(3600)), Arc::new(Mutex::new(None)));
        let (of, other, given) = (Arc::clone(&lives), Arc::clone(&instead), AtomicUsize::new(0));
        server.answer("/app/installations/", move |seen| {
            if let Some(reply) = other.lock().unwrap().clone() {
                return reply;
            }
            let path = format!("/app/installations/{INSTALLATION}/access_tokens");
            if seen.method != "POST" || seen.path != path {
                return Reply::json(404, &json!({"message": "canary-not-found"}));
            }
            let whole = seen.json() == json!({"permissions": {"issues": "write"}})
                && seen.header("accept") == Some("application/vnd.hub+json")
                && seen.header("content-type") == Some("application/json");
            match believed(seen, algorithm, &key) {
                Ok(()) if whole => {}
                wrong => return Reply::json(401, &json!({"message": format!("canary: {wrong:?} {whole}")})),
            }
            let number = given.fetch_add(1, Ordering::SeqCst) + 1;
            let ends = Clock::System.now().as_seconds() + of.load(Ordering::SeqCst);
            let ends = Timestamp::from_seconds(ends).to_string();
            Reply::json(
                201,
                &json!({"token": format!("ghs_canary{number}"), "expires_at": ends, "permissions": {}}),
            )
        });
        let hub = Self { story, service, server, lives, instead };
        let (name, base) = (&hub.service, hub.server.base());
        let yaml = format!(
            "service: {name}\nbase_url: {base}\nauth:\n  type: oauth2\n  token_url: {base}/app/installations/{{subject}}/access_tokens\n  \
             exchange:\n    headers: {{Accept: application/vnd.hub+json}}\n    body: {{permissions: {{issues: write}}}}\n    \
             token: /token\n    expires_at: /expires_at\ncheck: {{action: {name}.get, params: {{id: me}}}}\nactions:\n  \
             {name}.get: {{method: GET, path: '/things/{{id}}', resource: '{name}://things/{{id}}', effect: read}}\n"
        );
        hub.story.service(name, &yaml).expect(201);
        hub
    }

    fn connection(&self, pem: &str, subject: &str) -> Answer {
        let auth = json!({"client_id": APP, "subject": subject, "signing_key": pem});
        let body = json!({"name": self.service, "service": self.service, "auth": auth, "check": true});
        self.story.admin().post("/v1/connections").json(&body).send()
    }

    fn agent(&self) -> String {
        let (story, name) = (self.story, &self.service);
        let agent = story.agent(&fresh("agent-")).with("allowed_tools", json!(["**"]));
        let agent = agent.with("resource_access", json!(["**"])).register();
        story.rules(&agent.handle, &format!("  - {{name: all, allow: [{name}.get]}}\n")).expect(201);
        agent.token(&story.client(), &format!("{name}.*"))
    }

    fn get(&self, token: &str) -> Answer {
        let body = json!({"service": self.service, "action": format!("{}.get", self.service), "params": {"id": "1"}});
        self.story.client().post("/v1/actions").bearer(token).json(&body).send()
    }

    fn asked(&self) -> usize {
        self.server.seen_at("/app/").len()
    }

    fn shown(&self) -> Vec<String> {
        let seen = self.server.seen_at("/things/");
        seen.iter().map(|seen| seen.header("authorization").unwrap().to_owned()).collect()
    }

    fn state(&self) -> Value {
        let path = format!("/v1/connections/{}", self.service);
        self.story.admin().get(&path).send().expect(200).body
    }
}

#[test]
fn an_installation_gets_its_tokens_for_what_the_key_of_the_app_signs() {
    for (algorithm, pem, key) in keys() {
        let hub = Hub::new(algorithm, key);
        hub.lives.store(2, Ordering::SeqCst);
        let made = hub.connection(&pem, INSTALLATION).expect(201);
        assert_eq!(made.text("/check/result"), "works");
        hub.lives.store(3600, Ordering::SeqCst);
        let agent = hub.agent();
        // Ahead of its end, or behind it: of many that need another one, one asks.
        until("the next token to be used", || {
            thread::scope(|scope| {
                (0..6).for_each(|_| drop(scope.spawn(|| hub.get(&agent).expect(200))));
            });
            hub.shown().last().is_some_and(|shown| shown == "Bearer ghs_canary2").then_some(())
        });
        assert_eq!(hub.asked(), 2);
        let inside = pem.get(60..100).unwrap();
        let told = [made.body.to_string(), json!(hub.story.record()).to_string(), hub.story.server.log()];
        for text in told {
            assert!(!text.contains(inside) && !text.contains("ghs_canary"), "{text}");
        }
    }
}

#[test]
fn what_the_server_does_not_believe_is_found_when_the_connection_is_made() {
    let mut all = keys();
    let (_, other, _) = all.remove(0);
    let (algorithm, pem, key) = all.remove(0);
    let hub = Hub::new(algorithm, key);
    for (pem, subject, says) in [
        (other.as_str(), INSTALLATION, "status_401"),
        (pem.as_str(), "4712", "status_404"),
        (pem.as_str(), "4711/../4711", "`subject`"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", INSTALLATION, "P-256"),
    ] {
        let refused = hub.connection(pem, subject).refused(400, "request_invalid").text("/detail");
        assert!(refused.contains(says) && !refused.contains("canary"), "{refused}");
    }
    let (service, client) = (&hub.service, hub.story.admin());
    let auth =
        json!({"client_id": APP, "client_secret": "s3cret", "subject": INSTALLATION, "signing_key": pem});
    let body = json!({"name": service, "service": service, "auth": auth});
    client.post("/v1/connections").json(&body).send().refused(400, "request_invalid");
    // Without a key nothing is asked, and nothing shown.
    let before = hub.asked();
    let auth = json!({"client_id": APP, "client_secret": "s3cret-value"});
    let body = json!({"name": service, "service": service, "auth": auth});
    client.post("/v1/connections").json(&body).send().refused(400, "request_invalid");
    assert_eq!(hub.asked(), before);
    hub.connection(&pem, INSTALLATION).expect(201);
}

#[test]
fn an_installation_that_is_gone_parks_its_connection_and_a_server_that_is_busy_does_not() {
    let (algorithm, pem, key) = keys().remove(1);
    let hub = Hub::new(algorithm, key);
    hub.lives.store(1, Ordering::SeqCst);
    hub.connection(&pem, INSTALLATION).expect(201);
    let agent = hub.agent();
    let busy = Reply::json(403, &json!({"message": "canary-rate-limit"})).header("retry-after", "60");
    *hub.instead.lock().unwrap() = Some(busy);
    until("the first token to have ended", || (hub.get(&agent).status == 503).then_some(()));
    assert_eq!(hub.state()["state"], "active");
    *hub.instead.lock().unwrap() = Some(Reply::json(404, &json!({"message": "canary-gone"})));
    until("it to be parked", || {
        hub.get(&agent);
        (hub.state()["state"] == "needs_attention").then_some(())
    });
    assert_eq!(hub.state()["attention"]["reason"], "token_refused");
    assert!(!json!(hub.story.record()).to_string().contains("canary-gone"));
}

#[test]
fn a_check_of_a_token_that_has_ended_early_gets_another() {
    let (algorithm, pem, key) = keys().remove(1);
    let hub = Hub::new(algorithm, key);
    hub.connection(&pem, INSTALLATION).expect(201);
    hub.server.answer("/things/", |seen| {
        let ended = seen.header("authorization") == Some("Bearer ghs_canary1");
        Reply::json(if ended { 401 } else { 200 }, &json!({}))
    });
    let check = format!("/v1/connections/{}/check", hub.service);
    let told = hub.story.admin().post(&check).send().expect(200);
    assert_eq!((told.text("/check/result"), told.text("/state")), ("works".to_owned(), "active".to_owned()));
    assert_eq!(hub.asked(), 2);
    // One that is refused all the same parks it.
    hub.server.reply("/things/", Reply::status(401));
    let told = hub.story.admin().post(&check).send().expect(200);
    assert_eq!(
        (told.text("/check/result"), hub.state()["attention"]["reason"].clone()),
        ("refused".to_owned(), json!("credential_refused"))
    );
}

/// What was refused may have a token that has ended since: it is tried with another, and woken.
#[test]
fn a_check_wakes_what_it_had_parked_though_its_token_has_ended() {
    let (algorithm, pem, key) = keys().remove(1);
    let hub = Hub::new(algorithm, key);
    hub.connection(&pem, INSTALLATION).expect(201);
    hub.lives.store(2, Ordering::SeqCst);
    hub.server.reply("/things/", Reply::status(401));
    let check = format!("/v1/connections/{}/check", hub.service);
    let told = hub.story.admin().post(&check).send().expect(200);
    assert_eq!(told.text("/check/result"), "refused");
    assert_eq!(hub.state()["attention"]["reason"], "credential_refused");
    // From now on upstream takes every token but those that there have been.
    let refused = hub.asked();
    hub.server.answer("/things/", move |seen| {
        let number = seen.header("authorization").and_then(|value| value.strip_prefix("Bearer ghs_canary"));
        let is_new =
            number.and_then(|number| number.parse().ok()).is_some_and(|number: usize| number > refused);
        Reply::json(if is_new { 200 } else { 401 }, &json!({}))
    });
    until("the token to have ended, and another to be tried", || {
        let told = hub.story.admin().post(&check).send();
        (told.status == 200 && told.text("/check/result") == "works").then_some(())
    });
    let state = hub.state();
    assert_eq!((&state["state"], &state["attention"]), (&json!("active"), &Value::Null));
}
