//! What the authorization server says about itself is true: each endpoint, grant type and method that it names works.

use crate::authorize::browser::{App, Browser};
use crate::federation::{Idp, JWT_BEARER, present};
use crate::parties::{exchange, stage};
use placet_testkit::Answer;
use serde_json::json;

fn document() -> Answer {
    stage().client().get("/.well-known/oauth-authorization-server").send().expect(200)
}

fn texts(document: &Answer, name: &str) -> Vec<String> {
    let list = document.at(&format!("/{name}")).as_array().unwrap().clone();
    list.iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

#[test]
fn it_promises_this_and_no_more() {
    let issuer = stage().story.server.base().to_owned();
    let document = document();
    assert_eq!(document.at("/issuer"), &json!(issuer));
    assert_eq!(document.header("content-type"), Some("application/json"));
    let mut shown = document.body.clone();
    // A statement of the same under a signature: `discovery.rs`.
    assert!(shown.as_object_mut().unwrap().remove("signed_metadata").is_some());
    // There where other tests have registered some: `scopes.rs`.
    shown.as_object_mut().unwrap().remove("scopes_supported");
    // And where other tests have declared some: `detail_types.rs`.
    let types = shown["authorization_details_types_supported"].as_array_mut().unwrap();
    types.truncate(1);
    let shown = serde_json::to_string_pretty(&shown).unwrap().replace(&issuer, "ISSUER");
    let shown = shown.replace(&stage().story.server.pages(), "PAGES");
    insta::assert_snapshot!(shown, @r#"
    {
      "authorization_details_types_supported": [
        "placet_action"
      ],
      "authorization_endpoint": "PAGES/oauth/authorize",
      "authorization_grant_profiles_supported": [
        "urn:ietf:params:oauth:grant-profile:id-jag"
      ],
      "authorization_response_iss_parameter_supported": true,
      "backchannel_authentication_endpoint": "ISSUER/oauth/backchannel_authentication",
      "backchannel_token_delivery_modes_supported": [
        "poll"
      ],
      "backchannel_user_code_parameter_supported": false,
      "client_id_metadata_document_supported": true,
      "code_challenge_methods_supported": [
        "S256"
      ],
      "device_authorization_endpoint": "ISSUER/oauth/device_authorization",
      "dpop_signing_alg_values_supported": [
        "EdDSA",
        "ES256"
      ],
      "grant_types_supported": [
        "authorization_code",
        "client_credentials",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "urn:ietf:params:oauth:grant-type:device_code",
        "urn:openid:params:grant-type:ciba"
      ],
      "introspection_endpoint": "ISSUER/oauth/introspect",
      "introspection_endpoint_auth_methods_supported": [
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt"
      ],
      "introspection_endpoint_auth_signing_alg_values_supported": [
        "EdDSA",
        "ES256",
        "RS256",
        "PS256"
      ],
      "introspection_signing_alg_values_supported": [
        "EdDSA"
      ],
      "issuer": "ISSUER",
      "jwks_uri": "ISSUER/.well-known/jwks.json",
      "protected_resources": [
        "ISSUER"
      ],
      "pushed_authorization_request_endpoint": "ISSUER/oauth/par",
      "registration_endpoint": "ISSUER/oauth/register",
      "response_modes_supported": [
        "query"
      ],
      "response_types_supported": [
        "code"
      ],
      "revocation_endpoint": "ISSUER/oauth/revoke",
      "revocation_endpoint_auth_methods_supported": [
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
        "none"
      ],
      "revocation_endpoint_auth_signing_alg_values_supported": [
        "EdDSA",
        "ES256",
        "RS256",
        "PS256"
      ],
      "token_endpoint": "ISSUER/oauth/token",
      "token_endpoint_auth_methods_supported": [
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
        "none"
      ],
      "token_endpoint_auth_signing_alg_values_supported": [
        "EdDSA",
        "ES256",
        "RS256",
        "PS256"
      ]
    }
    "#);
}

#[test]
fn every_endpoint_that_it_names_answers() {
    let stage = stage();
    let document = document();
    let mut named = 0;
    for (name, value) in document.body.as_object().unwrap() {
        let Some(url) = value.as_str().filter(|_| name.ends_with("_endpoint") || name == "jwks_uri") else {
            continue;
        };
        named += 1;
        if name == "jwks_uri" {
            let keys = stage.client().get(url).send().expect(200);
            assert_eq!(keys.header("content-type"), Some("application/jwk-set+json"));
            assert!(!keys.at("/keys").as_array().unwrap().is_empty());
        } else if name == "authorization_endpoint" {
            // A page, which says what is missing.
            let page = stage.client().get(url).send();
            assert_eq!((page.status, page.header("location")), (400, None));
            assert_eq!(stage.client().post(url).form(&[]).send().status, 405);
        } else {
            // Without authentication each wants one: it is there, and it is protected.
            let answer = stage.client().post(url).form(&[("token", "x")]).send();
            if name == "registration_endpoint" {
                // Anybody may, but for saying nothing in the right form.
                answer.refused(415, "invalid_client_metadata");
            } else {
                answer.refused(401, "invalid_client");
            }
            stage.client().get(url).send().refused(405, "method_not_allowed");
        }
    }
    assert_eq!(named, 9);
}

#[test]
fn every_grant_type_and_method_that_it_names_works() {
    let stage = stage();
    let document = document();
    let (agent, child) = (stage.agent(), stage.agent());
    let token = stage.given(&agent, "orders.read").text("/access_token");
    let (app, public, mut browser) = (App::confidential(), App::public(), Browser::of("pat"));
    for grant_type in texts(&document, "grant_types_supported") {
        match grant_type.as_str() {
            "client_credentials" => agent.ask().with("grant_type", &grant_type).send(&stage.client()),
            "urn:ietf:params:oauth:grant-type:token-exchange" => {
                exchange(&agent, &token, &child.id).with("grant_type", &grant_type).send(&stage.client())
            }
            "refresh_token" => {
                let refresh =
                    exchange(&agent, &token, "").with("requested_token_type", crate::refresh::REFRESH_TOKEN);
                let refresh = refresh.send(&stage.client()).expect(200).text("/access_token");
                let asked = agent.ask().with("grant_type", &grant_type).with("refresh_token", &refresh);
                asked.send(&stage.client())
            }
            "authorization_code" => app.exchange(&browser.code(&app.asking())),
            JWT_BEARER => present(&agent, &Idp::of_pat().jag(&agent, |_, _| {}), &[]),
            crate::device::DEVICE => crate::device::given(&app, &mut browser),
            crate::device::CIBA => crate::device::given_by_name(&app, &mut browser, &stage.pat),
            other => panic!("no test shows that `{other}` works"),
        }
        .expect(200);
    }
    for (endpoint, form) in [
        ("token", [("grant_type", "client_credentials"), ("scope", "orders.read")]),
        ("introspection", [("token", token.as_str()), ("include_task_history", "false")]),
        ("revocation", [("token", "unknown"), ("reason", "none")]),
    ] {
        let url = document.text(&format!("/{endpoint}_endpoint"));
        for method in texts(&document, &format!("{endpoint}_endpoint_auth_methods_supported")) {
            let request = stage.client().post(&url);
            let request = match method.as_str() {
                "client_secret_basic" => request.basic(&agent.id, &agent.secret).form(&form),
                "client_secret_post" => {
                    let own = [("client_id", agent.id.as_str()), ("client_secret", &agent.secret)];
                    request.form(&[form.as_slice(), &own].concat())
                }
                // A public client's only grants are those that a person has just taken part in.
                "none" if endpoint == "token" => {
                    public.exchange(&browser.code(&public.asking())).expect(200);
                    continue;
                }
                "none" => request.form(&[form.as_slice(), &[("client_id", public.id.as_str())]].concat()),
                // Shown in `clients_keys`.
                "private_key_jwt" => continue,
                other => panic!("no test shows that `{other}` works"),
            };
            request.send().expect(200);
        }
    }
    assert_eq!(texts(&document, "response_types_supported"), ["code"]);
}
