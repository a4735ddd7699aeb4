//! What is not exactly right is refused: forged, replayed, meant for somebody else, or of another kind.

use super::{Idp, JWT_BEARER, add, alone, here, present};
use crate::{
    clients::signer::{Signer, b64, now},
    parties::{stage, why},
};
use placet_testkit::{Answer, Story, fresh};
use serde_json::{Value, json};

use crate::stage::PLACET;

#[track_caller]
fn refused(answer: &Answer, what: &str) {
    assert_eq!(
        (answer.status, answer.at("/error")),
        (400, &json!("invalid_grant")),
        "{what}: {}",
        answer.body
    );
    assert!(why(answer).len() > 20, "{what}: {}", why(answer));
}

#[test]
fn an_id_jag_that_is_not_exactly_right_is_refused() {
    let stage = stage();
    let (idp, agent, other) = (Idp::of_pat(), stage.agent(), stage.agent());
    let claim = |name: &str, value: Value| {
        let jag = idp.jag(&agent, |_, claims| {
            if value.is_null() {
                _ = claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        });
        refused(&present(&agent, &jag, &[]), &format!("{name} {value}"));
    };
    for name in ["iss", "sub", "aud", "client_id", "jti", "exp", "iat", "resource"] {
        claim(name, Value::Null);
    }
    claim("aud", json!([here()]));
    claim("aud", json!(format!("{}/", here())));
    claim("aud", json!(format!("{}/oauth/token", here())));
    claim("aud", json!([here(), "https://other.example"]));
    claim("iss", json!("https://unknown.example"));
    claim("iss", json!(format!("{}/", idp.iss)));
    claim("iss", json!(here()));
    claim("sub", json!("00u-PAT"));
    claim("sub", json!("pat"));
    claim("sub", json!(["00u-pat"]));
    claim("client_id", json!(other.id));
    claim("client_id", json!(agent.handle));
    claim("client_id", json!([agent.id]));
    claim("exp", json!(now() - 120));
    claim("exp", json!(now() + 7200));
    claim("exp", json!("9999999999"));
    claim("iat", json!(now() + 600));
    claim("iat", json!(now() - 7200));
    claim("nbf", json!(now() + 600));
    claim("jti", json!("x".repeat(300)));
    claim("cnf", json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}));
    claim("cnf", json!({}));
    claim("scope", json!(["orders.read"]));
    let header = |name: &str, value: &str| {
        let jag = idp.jag(&agent, |header, _| header[name] = json!(value));
        refused(&present(&agent, &jag, &[]), &format!("{name} {value}"));
    };
    for typ in ["at+jwt", "JWT", "dpop+jwt", "wit+jwt", "oauth-id-jag", "id-jag+jwt", ""] {
        header("typ", typ);
    }
    for alg in ["none", "None", "HS256", "RS256", "ES256"] {
        header("alg", alg);
    }
    header("kid", "another");
    let critical = idp.jag(&agent, |header, _| header["crit"] = json!(["x"]));
    refused(&present(&agent, &critical, &[]), "crit");
    // Only who authenticates, and with its own.
    let jag = idp.jag(&agent, |_, _| {});
    alone(&stage.client(), &jag, &[]).refused(401, "invalid_client");
    alone(&stage.client(), &jag, &[("client_id", &agent.id)]).refused(401, "invalid_client");
    refused(&present(&other, &jag, &[]), "another client");
    // After all that it is as good as ever.
    present(&agent, &jag, &[]).expect(200);
}

#[test]
fn forged_signatures_and_ambiguous_texts_are_refused() {
    let stage = stage();
    let agent = stage.agent();
    let idp = Idp::signing(Signer::rsa(false), &json!({"id_jag": {"users": {"00u-pat": "pat"}}}));
    let other = Signer::rsa(false);
    let claims =
        json!({"iss": idp.iss, "sub": "00u-pat", "aud": here(), "client_id": agent.id, "jti": fresh("jti-"),
        "iat": now(), "exp": now() + 60, "resource": here(), "scope": "orders.read"})
        .to_string();
    let typ = "oauth-id-jag+jwt";
    let header = |more: &str| format!(r#"{{"typ":"{typ}","alg":"RS256"{more}}}"#);
    refused(&present(&agent, &other.sign(&header(""), &claims), &[]), "another key");
    // Keys that the header brings.
    let jwk = format!(r#","jwk":{}"#, other.jwk());
    refused(&present(&agent, &other.sign(&header(&jwk), &claims), &[]), "jwk");
    let jku = r#","jku":"https://evil.example/keys","x5u":"https://evil.example/x5u""#;
    refused(&present(&agent, &other.sign(&header(jku), &claims), &[]), "jku");
    // The public key as the secret of an HMAC.
    for alg in ["HS256", "RS256"] {
        let signed = format!(
            "{}.{}",
            b64(format!(r#"{{"typ":"{typ}","alg":"{alg}"}}"#).as_bytes()),
            b64(claims.as_bytes())
        );
        for secret in
            [idp.signer.jwk().to_string(), idp.signer.jwk()["n"].as_str().unwrap().to_owned(), String::new()]
        {
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
            let forged = format!("{signed}.{}", b64(aws_lc_rs::hmac::sign(&key, signed.as_bytes()).as_ref()));
            refused(&present(&agent, &forged, &[]), alg);
        }
    }
    let unsigned = format!(
        "{}.{}.",
        b64(format!(r#"{{"typ":"{typ}","alg":"none"}}"#).as_bytes()),
        b64(claims.as_bytes())
    );
    refused(&present(&agent, &unsigned, &[]), "none");
    // Two readings.
    let double = claims.replacen('{', r#"{"sub":"00u-sam","#, 1);
    refused(&present(&agent, &idp.signer.sign(&header(""), &double), &[]), "sub twice");
    for wrong in ["", ".", "..", "a.b.c", "plt_refresh_x", &"x".repeat(20_000)] {
        let answer = present(&agent, wrong, &[]);
        assert_eq!(answer.status, 400, "{}", answer.body);
    }
    present(&agent, &idp.signer.sign(&header(""), &claims), &[]).expect(200);
}

#[test]
fn a_workloads_token_that_is_not_exactly_right_is_refused() {
    let stage = stage();
    let agent = stage.agent();
    let idp = Idp::of_jobs(&agent);
    let ask = |job: &str| alone(&stage.client(), job, &[("scope", "orders.read")]);
    let claim = |name: &str, value: Value| {
        let job = idp.job(|_, claims| {
            if value.is_null() {
                _ = claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        });
        refused(&ask(&job), &format!("{name} {value}"));
    };
    for name in ["iss", "sub", "aud", "exp"] {
        claim(name, Value::Null);
    }
    claim("aud", json!([here(), "https://other.example"]));
    claim("aud", json!([here(), here()]));
    claim("aud", json!("sts.amazonaws.com"));
    claim("exp", json!(now() - 120));
    claim("exp", json!(now() + 3 * 24 * 3600));
    claim("nbf", json!(now() + 600));
    claim("iss", json!(here()));
    for typ in ["at+jwt", "oauth-id-jag+jwt", "wit+jwt", "logout+jwt"] {
        let answer = ask(&idp.job(|header, _| header["typ"] = json!(typ)));
        // An ID-JAG without a client is nobody's.
        assert!(matches!(answer.status, 400 | 401), "{typ}: {}", answer.body);
    }
    ask(&idp.job(|_, _| {})).expect(200);
}

#[test]
fn no_kind_is_taken_for_the_other() {
    let stage = stage();
    let agent = stage.agent();
    let (people, jobs) = (Idp::of_pat(), Idp::of_jobs(&agent));
    // An issuer of people says nothing about workloads, and the other way round.
    let about = people.job(|_, claims| claims["sub"] = json!("00u-pat"));
    refused(&alone(&stage.client(), &about, &[("scope", "orders.read")]), "people");
    refused(
        &present(&agent, &jobs.jag(&agent, |_, claims| claims["sub"] = json!("job:nightly")), &[]),
        "jobs",
    );
    // A subject that another issuer maps means nothing here.
    let other = Idp::trusted(&json!({"id_jag": {"users": {"00u-sam": "sam"}}}));
    refused(&present(&agent, &other.jag(&agent, |_, _| {}), &[]), "another's subject");
    // One issuer's key does not sign for another.
    let stolen = Idp { iss: people.iss.clone(), id: String::new(), signer: other.signer };
    refused(&present(&agent, &stolen.jag(&agent, |_, _| {}), &[]), "another's key");
}

#[test]
fn nothing_that_this_server_issues_is_an_assertion() {
    let stage = stage();
    let agent = stage.agent();
    let access = stage.given(&agent, "orders.read").text("/access_token");
    let delegation = stage.delegated(&agent, &access, &stage.agent(), "orders.read");
    let metadata = stage.client().get("/.well-known/oauth-authorization-server").send().expect(200);
    for own in [access, delegation, metadata.text("/signed_metadata")] {
        refused(&present(&agent, &own, &[]), "own token");
        refused(&alone(&stage.client(), &own, &[("scope", "orders.read")]), "own token");
    }
    // And nobody can have it trusted: by its name, its keys, or the place of its keys.
    let workload = json!({"agents": [{"subject": "a", "agent": agent.id}]});
    let keys = stage.client().get("/.well-known/jwks.json").send().expect(200).body;
    for document in [
        json!({"issuer": here(), "jwks": Signer::ed25519().jwks(None), "workload": workload}),
        json!({"issuer": "https://x.example", "jwks": keys, "workload": workload}),
        json!({"issuer": "https://x.example", "jwks_uri": format!("{}/.well-known/jwks.json", here()),
            "workload": workload}),
    ] {
        let answer = stage.admin().post("/v1/trusted-issuers").json(&document).send();
        assert!(answer.refused(400, "request_invalid").text("/detail").contains("itself"));
    }
}

#[test]
fn the_parameter_is_needed_and_public_clients_are_not_for_it() {
    let stage = stage();
    let agent = stage.agent();
    let idp = Idp::of_pat();
    agent.ask().with("grant_type", JWT_BEARER).send(&stage.client()).refused(400, "invalid_request");
    let public = crate::clients::client(
        json!({"token_endpoint_auth_method": "none", "redirect_uris": ["http://localhost/back"]}),
    );
    let jag = idp.jag(&public, |_, _| {});
    alone(&stage.client(), &jag, &[("client_id", &public.id)]).refused(400, "unauthorized_client");
    let narrow = crate::clients::client(json!({"grant_types": ["client_credentials"]}));
    let refused = present(&narrow, &idp.jag(&narrow, |_, _| {}), &[]).refused(400, "unauthorized_client");
    assert!(why(&refused).contains("jwt-bearer"));
    // A suspended agent is nobody.
    stage.admin().post(&format!("/v1/agents/{}/suspend", agent.id)).send().expect(200);
    present(&agent, &idp.jag(&agent, |_, _| {}), &[]).refused(401, "invalid_client");
    // Many who are nobody are told to wait; it is answered all the same.
    let unknown = add("https://self.example", &Signer::ed25519(), &json!({})).refused(400, "request_invalid");
    assert!(unknown.text("/detail").contains("id_jag"));
}

#[test]
fn who_sends_too_many_that_are_refused_waits() {
    let mut story = Story::new(PLACET);
    story.server.flags(&["--client-rate", "2"]);
    story.server.restart();
    let [busy, quiet] = ["busy", "quiet"].map(|handle| story.agent(handle).register());
    let idp = Idp { iss: "https://ci.example".into(), id: String::new(), signer: Signer::ed25519() };
    let document = json!({"issuer": idp.iss, "jwks": idp.signer.jwks(None),
        "workload": {"agents": [{"subject": "job:*", "agent": busy.handle}]}});
    story.admin().post("/v1/trusted-issuers").json(&document).send().expect(201);
    // A client that is known, whatever it sends.
    let jag = |agent: &placet_testkit::Agent| {
        let jag = idp.jag(agent, |_, claims| claims["iss"] = json!("https://unknown.example"));
        agent.ask().with("grant_type", JWT_BEARER).with("assertion", &jag).send(&story.client())
    };
    let refused = (0..40).map(|_| jag(&busy)).find(|answer| answer.status == 429);
    refused.expect("a limit").refused(429, "slow_down");
    jag(&quiet).refused(400, "invalid_grant");
    // A job that is no agent here, with a signature that is right.
    let base = story.server.base().to_owned();
    let stranger = idp.job(|_, claims| {
        claims["sub"] = json!("another-job");
        claims["aud"] = json!(base);
    });
    let ask = || alone(&story.client(), &stranger, &[("scope", "orders.read")]);
    ask().refused(400, "unauthorized_client");
    let refused = (0..2000).map(|_| ask()).find(|answer| answer.status == 429);
    refused.expect("a limit").refused(429, "slow_down");
}
