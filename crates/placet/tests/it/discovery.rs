//! How clients find their way: metadata at every place where they look for it, signed; challenges that say where to go
//! and what is missing; the audience of a token by `resource`.

use crate::parties::{ACCESS_TOKEN, TOKEN_EXCHANGE, read, stage, why};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_testkit::{Answer, Client, Server, fresh};
use serde_json::{Value, json};

const FORMS: [&str; 2] = ["oauth-authorization-server", "openid-configuration"];

/// The document of a signed metadata answer, after its statement was checked against the published keys.
fn checked(client: &Client, answer: &Answer, typ: &str, issuer: &str) -> Value {
    let token = answer.text("/signed_metadata");
    let (header, claims) = read(&token);
    assert_eq!(header["typ"], typ);
    assert_eq!(claims["iss"], issuer);
    let keys = client.get("/.well-known/jwks.json").send().expect(200);
    let key = keys.at("/keys").as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let public = bytes(key["x"].as_str().unwrap());
    aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, public)
        .verify(signed.as_bytes(), &bytes(signature))
        .expect("the statement's signature");
    let mut document = answer.body.clone();
    document.as_object_mut().unwrap().remove("signed_metadata");
    for (name, value) in document.as_object().unwrap() {
        assert_eq!(&claims[name], value, "{name}");
    }
    assert!(claims.get("signed_metadata").is_none());
    document
}

#[test]
fn metadata_is_the_same_wherever_it_is_looked_for() {
    let stage = stage();
    let (client, issuer) = (stage.client(), stage.story.server.base());
    let documents: Vec<Value> = FORMS
        .iter()
        .map(|form| {
            let answer = client.get(&format!("/.well-known/{form}")).send().expect(200);
            assert_eq!(answer.header("content-type"), Some("application/json"));
            checked(&client, &answer, "oauth-authorization-server-metadata+jwt", issuer)
        })
        .collect();
    assert_eq!(documents[0], documents[1]);
    assert_eq!(documents[0]["issuer"], issuer);
    for form in FORMS {
        client.get(&format!("/.well-known/{form}/tenant1")).send().refused(404, "not_found");
    }
    // A statement is no token.
    let statement = client.get("/.well-known/oauth-authorization-server").send().text("/signed_metadata");
    client.with(&statement).get("/v1/grants").send().refused(401, "token_invalid");
    assert!(!stage.is_active(&statement));
}

#[test]
fn an_issuer_with_a_path_is_found_at_every_form_and_works() {
    let mut server = Server::start(crate::stage::PLACET);
    let issuer = "https://placet.example/tenant1";
    server.flags(&["--issuer", "https://placet.example/tenant1/"]);
    server.restart();
    let client = server.client();
    let mut found = Vec::new();
    for form in FORMS {
        for place in [format!("/.well-known/{form}/tenant1"), format!("/tenant1/.well-known/{form}")] {
            let answer = client.get(&place).send().expect(200);
            found.push(checked(&client, &answer, "oauth-authorization-server-metadata+jwt", issuer));
        }
    }
    assert!(found.iter().all(|document| document == &found[0]));
    assert_eq!(found[0]["issuer"], issuer);
    for wrong in ["tenant", "tenant1/", "tenant1/x", "tenant2"] {
        client
            .get(&format!("/.well-known/oauth-authorization-server/{wrong}"))
            .send()
            .refused(404, "not_found");
    }
    // Where a proxy in front leaves the path as it is, the endpoints answer below it.
    let token_endpoint =
        found[0]["token_endpoint"].as_str().unwrap().strip_prefix("https://placet.example").unwrap();
    client.post(token_endpoint).form(&[("grant_type", "x")]).send().refused(401, "invalid_client");
    client.post("/oauth/token").form(&[("grant_type", "x")]).send().refused(401, "invalid_client");
    let resource = client.get("/.well-known/oauth-protected-resource/tenant1/proxy/shop").send().expect(200);
    assert_eq!(resource.at("/resource"), "https://placet.example/tenant1/proxy/shop");
    let refused = client.get("/tenant1/v1/grants").send().refused(401, "token_invalid");
    let challenge = refused.header("www-authenticate").unwrap();
    let url = "resource_metadata=\"https://placet.example/.well-known/oauth-protected-resource/tenant1\"";
    assert!(challenge.contains(url), "{challenge}");
}

#[test]
fn each_door_says_from_whom_it_takes_tokens() {
    let stage = stage();
    let (client, issuer) = (stage.client(), stage.story.server.base());
    for door in
        ["", "/v1/actions", "/v1/decisions", "/mcp", "/proxy", "/proxy/shop-main", "/proxy/shop-main/a/b"]
    {
        let answer = client.get(&format!("/.well-known/oauth-protected-resource{door}")).send().expect(200);
        let document = checked(&client, &answer, "oauth-protected-resource-metadata+jwt", issuer);
        assert_eq!(document["resource"], format!("{issuer}{door}"));
        assert_eq!(document["authorization_servers"], json!([issuer]));
        assert_eq!(document["bearer_methods_supported"], json!(["header"]));
        assert_eq!(document["dpop_signing_alg_values_supported"], json!(["EdDSA", "ES256"]));
    }
    for other in ["/", "/v1", "/v1/agents", "/oauth/token", "/mcp/", "/mcpx", "/proxy/", "/v1/actionsx"] {
        client.get(&format!("/.well-known/oauth-protected-resource{other}")).send().refused(404, "not_found");
    }
}

#[test]
fn who_is_turned_away_is_told_where_tokens_come_from() {
    let stage = stage();
    let (client, issuer) = (stage.client(), stage.story.server.base());
    for (request, door) in [
        (client.post("/v1/actions").json(&json!({"action": "orders.read"})), "/v1/actions"),
        (client.get("/proxy/shop-main/x"), "/proxy"),
        (client.get("/v1/grants"), ""),
        (client.get("/v1/grants").bearer("nonsense"), ""),
        (client.get("/v1/grants").header("authorization", "Basic eDp5"), ""),
    ] {
        let refused = request.send().refused(401, "token_invalid");
        let challenges: Vec<&str> =
            refused.headers.get_all("www-authenticate").iter().map(|value| value.to_str().unwrap()).collect();
        let url = format!("resource_metadata=\"{issuer}/.well-known/oauth-protected-resource{door}\"");
        assert!(challenges[0].starts_with("Bearer ") && challenges[0].contains(&url), "{challenges:?}");
        assert!(challenges[1].starts_with("DPoP ") && challenges[1].contains("algs="), "{challenges:?}");
        client.get(url.split('"').nth(1).unwrap()).send().expect(200);
    }
}

#[test]
fn who_lacks_a_scope_is_told_which() {
    let story = stage().story;
    let handle = fresh("lacking-");
    let agent = story.agent(&handle).register();
    story.rules(&handle, "  - {name: all, allow: [orders.*, notes.*]}\n").expect(201);
    let token = agent.token(&story.client(), "orders.list");
    let params = json!({"customer_id": fresh("c"), "order_id": "1"});
    let refused = story.act(&token, "orders.read", &params).refused(403, "not_granted");
    let challenge = refused.header("www-authenticate").unwrap();
    assert!(
        challenge.starts_with("Bearer ") && challenge.contains("error=\"insufficient_scope\""),
        "{challenge}"
    );
    assert!(
        challenge.contains("scope=\"orders.read\"") && challenge.contains("resource_metadata="),
        "{challenge}"
    );
    // Stepping up by what was said works.
    let stepped = agent.token(&story.client(), "orders.list orders.read");
    story.act(&stepped, "orders.read", &params).expect(200);
    // A refusal by policy is no matter of scopes.
    let handle = fresh("forbidden-");
    let agent = story.agent(&handle).register();
    story.rules(&handle, "  - {name: none, deny: [orders.*]}\n").expect(201);
    let token = agent.token(&story.client(), "orders.read");
    assert!(story.act(&token, "orders.read", &params).expect(403).header("www-authenticate").is_none());
}

#[test]
fn a_token_in_the_query_is_refused() {
    let stage = stage();
    let token = stage.given(&stage.agent(), "orders.read").text("/access_token");
    for query in
        [format!("access_token={token}"), format!("limit=1&access%5Ftoken={token}"), "access_token".into()]
    {
        stage.client().get(&format!("/v1/grants?{query}")).send().refused(400, "request_invalid");
        stage
            .client()
            .with(&token)
            .get(&format!("/v1/grants?{query}"))
            .send()
            .refused(400, "request_invalid");
    }
}

#[test]
fn a_token_is_for_the_resources_that_are_named() {
    let stage = stage();
    let (client, issuer) = (stage.client(), stage.story.server.base());
    let agent = stage.agent();
    let audience = format!("https://{}.example/api", fresh("payments-"));
    let server = json!({"name": fresh("payments-"), "audience": audience});
    stage.admin().post("/v1/resource-servers").json(&server).send().expect(201);
    let audience_of = |answer: &Answer| read(&answer.text("/access_token")).1["aud"].clone();
    let asked = |resources: &[&str]| {
        let basic = client.post("/oauth/token").basic(&agent.id, &agent.secret);
        let mut form = vec![("grant_type", "client_credentials"), ("scope", "orders.read")];
        form.extend(resources.iter().map(|resource| ("resource", *resource)));
        basic.form(&form).send()
    };
    assert_eq!(audience_of(&asked(&[]).expect(200)), json!([issuer]));
    assert_eq!(audience_of(&asked(&[&audience]).expect(200)), json!([audience]));
    assert_eq!(audience_of(&asked(&[issuer, &audience]).expect(200)), json!([issuer, audience]));
    // Each door is Placet.
    for door in ["/", "/v1/actions", "/proxy/shop-main"] {
        let token = asked(&[&format!("{issuer}{door}")]).expect(200);
        assert_eq!(audience_of(&token), json!([issuer]));
    }
    for wrong in [
        "https://unknown.example",
        "payments",
        "/v1/actions",
        &format!("{audience}#fragment"),
        &format!("{audience}/"),
        &format!("{issuer}/nowhere"),
        &format!("{issuer}/v1/actions?x"),
        "https://a b.example",
        "://x",
    ] {
        let refused = asked(&[wrong]).refused(400, "invalid_target");
        assert!(!why(&refused).is_empty());
        asked(&[issuer, wrong]).refused(400, "invalid_target");
    }
    // Below a grant it only narrows.
    let wide = asked(&[issuer, &audience]).expect(200).text("/access_token");
    let exchanging = |token: &str, resource: &str| {
        let asked = agent.ask().with("grant_type", TOKEN_EXCHANGE).with("subject_token", token);
        asked.with("subject_token_type", ACCESS_TOKEN).with("resource", resource).send(&client)
    };
    let narrow = exchanging(&wide, issuer).expect(200);
    assert_eq!(audience_of(&narrow), json!([issuer]));
    exchanging(&narrow.text("/access_token"), &audience).refused(400, "invalid_target");
}

#[test]
fn an_introspection_is_signed_for_who_asks() {
    let stage = stage();
    let (client, issuer) = (stage.client(), stage.story.server.base());
    let (agent, other) = (stage.agent(), stage.agent());
    let token = stage.given(&agent, "orders.read").text("/access_token");
    let asked = |by: &placet_testkit::Agent, accept: &str| {
        let request = client.post("/oauth/introspect").basic(&by.id, &by.secret).header("accept", accept);
        request.form(&[("token", &token)]).send().expect(200)
    };
    let kind = "application/token-introspection+jwt";
    for accept in [kind, "application/json;q=0.1, Application/Token-Introspection+JWT"] {
        let answer = asked(&agent, accept);
        assert_eq!(answer.header("content-type"), Some(kind));
        let text = String::from_utf8(answer.bytes.clone()).unwrap();
        let (header, claims) = read(&text);
        assert_eq!(header["typ"], "token-introspection+jwt");
        assert_eq!((&claims["iss"], &claims["aud"]), (&json!(issuer), &json!(agent.id)));
        assert!(claims["iat"].is_i64() && claims.get("exp").is_none() && claims.get("sub").is_none());
        let plain = asked(&agent, "application/json");
        assert_eq!(claims["token_introspection"], plain.body);
        assert_eq!(plain.at("/active"), true);
        // It is a statement about a token, and none itself.
        client.with(&text).get("/v1/grants").send().refused(401, "token_invalid");
    }
    // Who may not know is told nothing, under a signature too.
    let (_, claims) = read(&String::from_utf8(asked(&other, kind).bytes).unwrap());
    assert_eq!(claims["token_introspection"], json!({"active": false}));
    assert_eq!(claims["aud"], json!(other.id));
    let nobody = client.post("/oauth/introspect").header("accept", kind).form(&[("token", &token)]);
    nobody.send().refused(401, "invalid_client");
}
