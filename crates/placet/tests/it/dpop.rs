//! DPoP (RFC 9449): a bound token is of use with a proof of its key only, and a proof for one request only.

use crate::parties::{read, stage, why};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_testkit::{Agent, Answer, Client, Request, fresh, together};
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// A key, written anew so that it shares nothing with the server but the standard.
pub(crate) enum Key {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

/// The parts of a proof, to be spoilt.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) header: Value,
    pub(crate) claims: Value,
}

impl Key {
    pub(crate) fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn jwk(&self) -> Value {
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(pair.public_key().as_ref())})
            }
            Self::P256(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": encoded(&point[1..33]), "y": encoded(&point[33..])})
            }
        }
    }

    /// RFC 7638.
    pub(crate) fn thumbprint(&self) -> String {
        let jwk = self.jwk();
        let members = ["crv", "kty", "x", "y"].iter().filter(|name| jwk.get(**name).is_some());
        let members: Vec<String> = members.map(|name| format!("\"{name}\":{}", jwk[*name])).collect();
        let text = format!("{{{}}}", members.join(","));
        URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()))
    }

    /// What a right proof is made of.
    pub(crate) fn parts(&self, method: &str, url: &str, token: Option<&str>, nonce: Option<&str>) -> Parts {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let alg = if matches!(self, Self::Ed25519(_)) { "EdDSA" } else { "ES256" };
        let jti = format!("{}-{}", self.thumbprint(), NEXT.fetch_add(1, Ordering::Relaxed));
        #[expect(clippy::disallowed_methods, reason = "a client has a clock of its own")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({"jti": jti, "htm": method, "htu": url, "iat": now});
        if let Some(token) = token {
            let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
            claims["ath"] = URL_SAFE_NO_PAD.encode(hash).into();
        }
        if let Some(nonce) = nonce {
            claims["nonce"] = nonce.into();
        }
        Parts { header: json!({"typ": "dpop+jwt", "alg": alg, "jwk": self.jwk()}), claims }
    }

    pub(crate) fn sign(&self, parts: &Parts) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&parts.header), part(&parts.claims));
        let signature = match self {
            Self::Ed25519(pair) => pair.sign(signed.as_bytes()).as_ref().to_vec(),
            Self::P256(pair) => pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec(),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    pub(crate) fn proof(&self, method: &str, url: &str, token: Option<&str>, nonce: Option<&str>) -> String {
        self.sign(&self.parts(method, url, token, nonce))
    }
}

/// A nonce of the server's: it asks for one for some minutes after its start, and takes one at any time.
pub(crate) fn nonce(client: &Client, agent: &Agent) -> String {
    let key = Key::ed25519();
    let url = format!("{}/oauth/token", client.base());
    let stale = key.proof("POST", &url, None, Some("AAAA"));
    let asked = agent.ask().request(client).header("dpop", stale).send();
    let asked = asked.refused(400, "use_dpop_nonce");
    asked.header("dpop-nonce").unwrap().to_owned()
}

/// An agent's token that is bound to `key`.
pub(crate) fn bound(client: &Client, agent: &Agent, key: &Key, nonce: &str, scope: &str) -> Answer {
    let url = format!("{}/oauth/token", client.base());
    let proof = key.proof("POST", &url, None, Some(nonce));
    agent.ask().with("scope", scope).request(client).header("dpop", proof).send().expect(200)
}

/// With a token as DPoP presents it.
pub(crate) fn with(request: Request, token: &str, proof: &str) -> Request {
    request.header("authorization", format!("DPoP {token}")).header("dpop", proof)
}

struct World {
    client: Client,
    agent: Agent,
    key: Key,
    nonce: String,
    token: String,
}

impl World {
    fn new() -> Self {
        let stage = stage();
        let (agent, key) = (stage.agent(), Key::ed25519());
        let nonce = nonce(&stage.client(), &agent);
        let token = bound(&stage.client(), &agent, &key, &nonce, "orders.*").text("/access_token");
        Self { client: stage.client(), agent, key, nonce, token }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.client.base())
    }

    /// A right proof for `GET /v1/grants`.
    fn parts(&self) -> Parts {
        self.key.parts("GET", &self.url("/v1/grants"), Some(&self.token), Some(&self.nonce))
    }

    fn listing(&self, proof: &str) -> Answer {
        with(self.client.get("/v1/grants"), &self.token, proof).send()
    }
}

#[test]
fn a_bound_token_is_of_use_with_a_proof_of_its_key_only() {
    for key in [Key::ed25519(), Key::p256()] {
        let world = World { key, ..World::new() };
        let given = bound(&world.client, &world.agent, &world.key, &world.nonce, "orders.read");
        assert_eq!(given.at("/token_type"), "DPoP");
        let world = World { token: given.text("/access_token"), ..world };
        assert_eq!(read(&world.token).1["cnf"], json!({"jkt": world.key.thumbprint()}));
        world.listing(&world.key.sign(&world.parts())).expect(200);
        // The scheme's case doesn't matter, nor does the query.
        let proof = world.key.proof(
            "GET",
            &world.url("/v1/grants?limit=1#x"),
            Some(&world.token),
            Some(&world.nonce),
        );
        let request = world.client.get("/v1/grants?limit=2");
        request
            .header("authorization", format!("dpop {}", world.token))
            .header("dpop", proof)
            .send()
            .expect(200);

        // Stolen, without the key.
        let stolen = world.client.with(&world.token).get("/v1/grants").send().refused(401, "proof_required");
        let challenge = stolen.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("DPoP ") && challenge.contains("algs=\"EdDSA ES256\""), "{challenge}");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        world
            .client
            .with(&world.token)
            .get("/v1/grants")
            .header("dpop", world.key.sign(&world.parts()))
            .send()
            .refused(401, "proof_required");
        let bare = world.client.get("/v1/grants").header("authorization", format!("DPoP {}", world.token));
        bare.send().refused(401, "proof_required");
        // With somebody else's key, of either kind.
        for other in [Key::ed25519(), Key::p256()] {
            let proof = other.proof("GET", &world.url("/v1/grants"), Some(&world.token), Some(&world.nonce));
            let refused = world.listing(&proof).refused(401, "proof_invalid");
            assert!(refused.header("www-authenticate").unwrap().contains("error=\"invalid_dpop_proof\""));
        }
        // Introspection says what it is bound to.
        let told = stage().introspect(&world.token);
        assert_eq!(told.at("/token_type"), "DPoP");
        assert_eq!(told.at("/cnf/jkt"), &json!(world.key.thumbprint()));
    }
}

#[test]
fn what_is_not_bound_is_no_dpop_token() {
    let world = World::new();
    let plain = world.agent.token(&world.client, "orders.read");
    for token in [plain.as_str(), stage().story.ada.as_str(), stage().story.server.admin_token()] {
        let proof = world.key.proof("GET", &world.url("/v1/grants"), Some(token), Some(&world.nonce));
        with(world.client.get("/v1/grants"), token, &proof).send().refused(401, "proof_required");
        // A proof beside a bearer token lends it nothing and takes nothing away.
        let proof = world.key.proof("GET", &world.url("/v1/grants"), Some(token), Some(&world.nonce));
        world.client.with(token).get("/v1/grants").header("dpop", proof).send().expect(200);
    }
}

#[test]
fn a_proof_is_good_once() {
    let world = World::new();
    let proof = world.key.sign(&world.parts());
    world.listing(&proof).expect(200);
    world.listing(&proof).refused(401, "proof_invalid");
    // Another signature over the same `jti` is the same proof.
    let parts = world.parts();
    let (key, url) = (Key::p256(), world.url("/oauth/token"));
    let asking = |proof: &str| {
        world.agent.ask().with("scope", "orders.read").request(&world.client).header("dpop", proof)
    };
    let twice = key.parts("POST", &url, None, Some(&world.nonce));
    asking(&key.sign(&twice)).send().expect(200);
    let again = asking(&key.sign(&twice)).send().refused(400, "invalid_dpop_proof");
    assert!(why(&again).contains("used before"));
    // Of many at once, one.
    let proof = world.key.sign(&parts);
    let answers = together(8, |_| world.listing(&proof).status);
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
    // A proof of another key with the same `jti` is another proof.
    let mut other = Key::ed25519().parts("POST", &url, None, Some(&world.nonce));
    other.claims["jti"] = twice.claims["jti"].clone();
    let key = Key::ed25519();
    other.header["jwk"] = key.jwk();
    asking(&key.sign(&other)).send().expect(200);
    // What fails for its token is not used up by that.
    let fit = world.parts();
    with(world.client.get("/v1/grants"), "no.such.token", &world.key.sign(&fit))
        .send()
        .refused(401, "proof_invalid");
    world.listing(&world.key.sign(&fit)).expect(200);
}

#[test]
fn a_proof_is_for_one_request() {
    let world = World::new();
    let other =
        bound(&world.client, &world.agent, &world.key, &world.nonce, "orders.read").text("/access_token");
    let spoilt = |name: &str, value: Value| {
        let mut parts = world.parts();
        parts.claims[name] = value;
        world.listing(&world.key.sign(&parts)).refused(401, "proof_invalid")
    };
    let now = world.parts().claims["iat"].as_i64().unwrap();
    spoilt("htm", json!("POST"));
    spoilt("htm", json!("get"));
    for url in ["/v1/agents", "/v1/grants/", "/V1/grants", "/v1/grants/..", "/v1/x/../grants"] {
        spoilt("htu", world.url(url).into());
    }
    for url in [
        "https://evil.example/v1/grants",
        "/v1/grants",
        "http://127.0.0.1:1/v1/grants",
        "http://x@127.0.0.1/v1/grants",
    ] {
        spoilt("htu", json!(url));
    }
    spoilt("iat", json!(now - 330));
    spoilt("iat", json!(now + 330));
    spoilt("iat", json!(now.to_string()));
    spoilt("ath", json!("x"));
    spoilt("ath", world.key.parts("GET", "x", Some(&other), None).claims["ath"].clone());
    for name in ["jti", "htm", "htu", "iat", "ath"] {
        spoilt(name, Value::Null);
    }
    spoilt("jti", json!(""));
    spoilt("jti", json!("x".repeat(600)));
    // At the token endpoint too, in OAuth's words.
    let proof = world.key.proof("GET", &world.url("/oauth/token"), None, Some(&world.nonce));
    world.agent.ask().request(&world.client).header("dpop", proof).send().refused(400, "invalid_dpop_proof");
    world.listing(&world.key.sign(&world.parts())).expect(200);
}

#[test]
fn a_proof_is_what_it_says_and_there_is_one() {
    let world = World::new();
    let spoilt = |change: &dyn Fn(&mut Value)| {
        let mut parts = world.parts();
        change(&mut parts.header);
        world.listing(&world.key.sign(&parts)).refused(401, "proof_invalid")
    };
    spoilt(&|header| header["typ"] = "JWT".into());
    spoilt(&|header| header["typ"] = "at+jwt".into());
    for alg in ["none", "HS256", "ES256", "RS256", ""] {
        spoilt(&|header| header["alg"] = alg.into());
    }
    spoilt(&|header| header["jwk"]["d"] = "AAAA".into());
    spoilt(&|header| header["jwk"]["k"] = "AAAA".into());
    spoilt(&|header| header["jwk"]["kty"] = "oct".into());
    spoilt(&|header| header["jwk"] = Key::ed25519().jwk());
    spoilt(&|header| header["jwk"] = Value::Null);
    spoilt(&|header| header["crit"] = json!(["x"]));
    for text in ["", "x", "a.b.c", "....", &"x".repeat(9000)] {
        world.listing(text).refused(401, "proof_invalid");
    }
    let [one, another] = [world.key.sign(&world.parts()), world.key.sign(&world.parts())];
    with(world.client.get("/v1/grants"), &world.token, &one)
        .header("dpop", &another)
        .send()
        .refused(401, "proof_invalid");
    world.listing(&format!("{one}, {another}")).refused(401, "proof_invalid");
    // Two credentials are none.
    let two = with(world.client.get("/v1/grants"), &world.token, &one).header("authorization", "Bearer x");
    two.send().refused(400, "request_invalid");
    world.listing(&one).expect(200);
}

#[test]
fn a_client_that_is_registered_for_bound_tokens_gets_no_other() {
    let stage = stage();
    let agent = stage.story.agent(&fresh("bot-")).with("dpop_bound_access_tokens", json!(true)).register();
    let client = stage.client();
    let refused = agent.ask().with("scope", "orders.read").send(&client).refused(400, "invalid_dpop_proof");
    assert!(why(&refused).contains("registered"));
    let nonce = nonce(&client, &agent);
    assert_eq!(bound(&client, &agent, &Key::p256(), &nonce, "orders.read").at("/token_type"), "DPoP");
}

#[test]
fn a_nonce_is_the_servers_own_and_fresh() {
    let world = World::new();
    for nonce in ["", "x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        let mut parts = world.parts();
        parts.claims["nonce"] = nonce.into();
        let code = if nonce.is_empty() { "proof_invalid" } else { "nonce_required" };
        let refused = world.listing(&world.key.sign(&parts)).refused(401, code);
        assert_eq!(refused.header("dpop-nonce").is_some(), code == "nonce_required");
        if let Some(next) = refused.header("dpop-nonce") {
            assert!(refused.header("www-authenticate").unwrap().contains("error=\"use_dpop_nonce\""));
            let mut parts = world.parts();
            parts.claims["nonce"] = next.into();
            world.listing(&world.key.sign(&parts)).expect(200);
        }
    }
}

#[test]
fn the_action_and_the_proxy_door_take_bound_tokens_once() {
    let stage = stage();
    let (story, customer) = (stage.story, fresh("c"));
    let handle = fresh("bound-");
    let agent = story.agent(&handle).register();
    story.rules(&handle, "  - {name: notes, allow: [notes.write, orders.list]}\n").expect(201);
    let (client, key) = (story.client(), Key::ed25519());
    let nonce = nonce(&client, &agent);
    let token = bound(&client, &agent, &key, &nonce, "notes.write orders.list").text("/access_token");
    let body =
        json!({"service": "shop", "action": "notes.write", "params": {"customer_id": customer, "text": "x"}});
    let url = format!("{}/v1/actions", client.base());
    client.post("/v1/actions").bearer(&token).json(&body).send().refused(401, "proof_required");
    let proof = key.proof("POST", &url, Some(&token), Some(&nonce));
    let act = || with(client.post("/v1/actions"), &token, &proof).json(&body).send();
    act().expect(200);
    act().refused(401, "proof_invalid");
    let path = format!("/proxy/shop-main/customers/{customer}/orders");
    let url = format!("{}{path}", client.base());
    let proof = || key.proof("GET", &url, Some(&token), Some(&nonce));
    with(client.get(&path), &token, &proof()).send().expect(200);
    client
        .get(&path)
        .header("placet-authorization", format!("DPoP {token}"))
        .header("dpop", proof())
        .send()
        .expect(200);
    client
        .get(&path)
        .header("placet-authorization", format!("Bearer {token}"))
        .send()
        .refused(401, "proof_required");
    let calls = story.shop.count(&format!("/customers/{customer}/"));
    assert_eq!(calls, 3, "one note and two listings");
}

#[test]
fn a_proof_of_before_a_restart_is_not_taken_again() {
    let mut story = placet_testkit::Story::new(crate::stage::PLACET);
    // By one name whatever its port, which a restart changes.
    let issuer = "https://placet.example";
    story.server.flags(&["--issuer", issuer]);
    story.server.restart();
    let agent = story.agent("restarted").register();
    let (client, key) = (story.client(), Key::ed25519());
    let first = nonce(&client, &agent);
    let token = bound(&client, &agent, &key, &first, "orders.read").text("/access_token");
    let path = "/v1/grants";
    let proof = |nonce: Option<&str>| key.proof("GET", &format!("{issuer}{path}"), Some(&token), nonce);
    let used = proof(Some(&first));
    with(client.get(path), &token, &used).send().expect(200);
    with(client.get(path), &token, &used).send().refused(401, "proof_invalid");
    story.server.restart();
    let client = story.client();
    let (fresh, nothing) = (nonce(&client, &agent), None);
    let listing = |proof: &str| with(client.get(path), &token, proof).send();
    if placet_testkit::on_postgres() {
        // Nodes that share a database know of every proof, whenever they started.
        listing(&used).refused(401, "proof_invalid");
        listing(&proof(nothing)).expect(200);
    } else {
        // A node alone can't know what it took before, and has it shown that it was made since.
        listing(&used).refused(401, "nonce_required");
        listing(&proof(Some(&first))).refused(401, "nonce_required");
        listing(&proof(nothing)).refused(401, "nonce_required");
    }
    listing(&proof(Some(&fresh))).expect(200);
}
