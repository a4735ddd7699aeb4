use super::*;
use proptest::prelude::*;
use serde_json::json;

fn read(value: Value, author: Author) -> Result<Metadata, MetadataError> {
    Metadata::read(value.as_object().unwrap(), author)
}

fn key() -> Value {
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]})
}

#[test]
fn a_redirect_uri_is_https_or_at_this_machine_or_of_an_application() {
    use RedirectKind::{Https, Loopback, PrivateUse};
    for (good, kind) in [
        ("https://app.example/back", Https),
        ("https://app.example", Https),
        ("https://app.example:8443/back?x=1&y=%20", Https),
        ("https://xn--bcher-kva.example/back", Https),
        ("https://[2001:db8::1]/back", Https),
        ("https://localhost/back", Https),
        ("http://localhost/back", Loopback),
        ("http://localhost:3456/callback", Loopback),
        ("http://127.0.0.1/back", Loopback),
        ("http://127.8.8.8:1/", Loopback),
        ("http://[::1]:8080/back", Loopback),
        ("com.example.app:/back", PrivateUse),
        ("com.example.app://host/back", PrivateUse),
        ("cursor://anysphere.cursor-mcp/oauth/callback", PrivateUse),
        ("myapp://back", PrivateUse),
    ] {
        let uri = RedirectUri::parse(good).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(uri.kind(), kind, "{good}");
        assert!(uri.permits(good));
    }
    for wrong in [
        "",
        "/back",
        "app.example/back",
        "//app.example/back",
        "http://app.example/back",
        "http://127.0.0.1.example/back",
        "http://localhost.example/back",
        "http://localhost@evil.example/back",
        "http://evil.example#@localhost/",
        "https://user@app.example/back",
        "https://app.example@evil.example/",
        "https://app.example/back#part",
        "https://app.example/back#",
        "https://*.app.example/back",
        "https://app.example/*",
        "https://",
        "https:///back",
        "https:app.example/back",
        "https://app.example:/back",
        "https://app.example:0/back",
        "https://app.example:080/back",
        "https://app.example:65536/back",
        "https://app.example:443:443/",
        "https://app..example/back",
        "https://[::1/back",
        "https://[::1]x/back",
        "https://[localhost]/back",
        "http://2130706433/",
        "http://0x7f.1/",
        "https://1.2.3/",
        "https://0x7f000001/",
        "https://app.example/a/../b",
        "https://app.example/a/%2e%2E/b",
        "https://app.example/./b",
        "https://app.example/%zz",
        "https://app.example/%2",
        "https://app.example\\@evil.example/",
        "https://app.example/back\n",
        " https://app.example/back",
        "https://app.example/ back",
        "https://app.exämple/back",
        "https://app.example/\u{202e}kcab",
        "https://аpp.example/back",
        "HTTPS://app.example/back",
        "Https://app.example/back",
        "javascript:alert(1)",
        "javascript.x:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "ftp://app.example/",
        "myapp:/back",
        "myapp:///back",
        "my://back",
        "javascript://back/%0aalert(1)",
        "data://text/html",
        "intent://back/#Intent",
        "intent://back/x",
        "ms-msdt://back",
        "com.example.app:back",
        "com.example.app:",
        "urn:ietf:wg:oauth:2.0:oob",
    ] {
        assert!(RedirectUri::parse(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_scheme_that_anybody_can_choose_needs_an_administrator() {
    let registers = |uri: &str, author| {
        let members = json!({"redirect_uris": [uri], "client_id": "https://app.example/client", "client_name": "X",
            "token_endpoint_auth_method": "none"});
        let members: Map<String, Value> = members.as_object().unwrap().clone();
        let own = |(name, _): &(String, Value)| MEMBERS.contains(&name.as_str());
        Metadata::read(&members.into_iter().filter(own).collect(), author).map(|read| read.redirect_uris)
    };
    for author in [Author::Administrator, Author::Client, Author::Document] {
        for known in
            ["cursor://anysphere.cursor-mcp/oauth/callback", "vscode://x.y/cb", "com.example.app:/back"]
        {
            assert_eq!(registers(known, author).unwrap()[0].as_str(), known);
        }
    }
    let own = registers("myapp://back/there", Author::Administrator).unwrap();
    assert_eq!((own[0].host(), own[0].needs_administrator()), ("myapp", true));
    for author in [Author::Client, Author::Document] {
        let refused = registers("myapp://back/there", author).unwrap_err();
        assert_eq!(refused.oauth(), "invalid_redirect_uri");
        assert!(refused.to_string().contains("administrator"), "{refused}");
    }
    // What people are shown is what decides who gets the answer.
    assert_eq!(RedirectUri::parse("cursor://app.example/back").unwrap().host(), "cursor");
}

#[test]
fn only_the_port_of_this_machine_may_differ() {
    let permits = |registered: &str, named: &str| RedirectUri::parse(registered).unwrap().permits(named);
    assert!(permits("http://127.0.0.1/back", "http://127.0.0.1:51004/back"));
    assert!(permits("http://localhost:1/back", "http://localhost:2/back"));
    assert!(permits("http://[::1]/back?x", "http://[::1]:9/back?x"));
    for (registered, named) in [
        ("https://app.example/back", "https://app.example:8443/back"),
        ("https://app.example/back", "https://app.example/back/"),
        ("https://app.example/back", "https://app.example/back?"),
        ("https://app.example/back", "https://APP.example/back"),
        ("https://app.example/back", "https://app.example/%62ack"),
        ("https://app.example/", "https://app.example"),
        ("https://localhost/back", "https://localhost:1/back"),
        ("http://localhost/back", "http://127.0.0.1/back"),
        ("http://127.0.0.1/back", "http://127.0.0.2/back"),
        ("http://127.0.0.1/back", "http://127.0.0.1/back2"),
        ("http://127.0.0.1/back", "http://127.0.0.1/back?x=1"),
        ("http://127.0.0.1/back", "http://127.0.0.1:1@evil.example/back"),
        ("http://127.0.0.1/back", "http://127.0.0.1:1/back#x"),
        ("http://127.0.0.1/back", "https://127.0.0.1/back"),
        ("com.example.app:/back", "com.example.app:/other"),
        ("cursor://host/back", "cursor://host:1/back"),
        ("cursor://host/back", "cursor://other/back"),
        ("cursor://host/back", "vscode://host/back"),
    ] {
        assert!(!permits(registered, named), "{registered} {named}");
    }
}

#[test]
fn nothing_said_is_a_client_with_a_secret() {
    let metadata = read(json!({}), Author::Administrator).unwrap();
    assert_eq!(metadata, Metadata::default());
    assert!(
        metadata.may_use(GrantType::ClientCredentials) && !metadata.may_use(GrantType::AuthorizationCode)
    );
    let with_return = read(json!({"redirect_uris": ["https://a.example/b"]}), Author::Administrator).unwrap();
    assert!(
        with_return.may_use(GrantType::AuthorizationCode) && with_return.may_use(GrantType::TokenExchange)
    );
    assert_eq!(with_return.response_types, [ResponseType::Code]);
}

#[test]
fn a_public_client_has_only_what_a_person_takes_part_in() {
    let value = json!({"token_endpoint_auth_method": "none", "redirect_uris": ["http://localhost/b"]});
    let public = read(value, Author::Administrator).unwrap();
    let grants = [GrantType::AuthorizationCode, GrantType::RefreshToken, GrantType::DeviceCode];
    assert_eq!(public.grant_types, grants);
    for grant in ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"] {
        let value = json!({"token_endpoint_auth_method": "none", "grant_types": [grant]});
        assert!(matches!(read(value.clone(), Author::Administrator), Err(MetadataError::Metadata(_))));
        assert!(matches!(read(value, Author::Client), Err(MetadataError::Metadata(_))));
    }
    // A client that names more than it can have is told what it has.
    let value = json!({"token_endpoint_auth_method": "none", "redirect_uris": ["http://localhost/b"],
        "grant_types": ["client_credentials", "authorization_code", "implicit"]});
    assert_eq!(read(value, Author::Client).unwrap().grant_types, [GrantType::AuthorizationCode]);
}

#[test]
fn what_is_wrong_is_named() {
    let back = json!(["https://a.example/b"]);
    for (value, named) in [
        (json!({"redirect_uri": back}), "redirect_uri"),
        (json!({"token_endpoint_auth_method": "client_secret_jwt"}), "token_endpoint_auth_method"),
        (json!({"token_endpoint_auth_method": "private_key_jwt"}), "jwks"),
        (json!({"jwks": key(), "jwks_uri": "https://a.example/keys"}), "jwks_uri"),
        (json!({"jwks": {"keys": []}}), "jwks"),
        (json!({"jwks": {"keys": [{"kty": "oct", "k": "AAAA"}]}}), "symmetric"),
        (json!({"jwks_uri": "http://a.example/keys"}), "jwks_uri"),
        (json!({"logo_uri": "javascript:alert(1)"}), "logo_uri"),
        (json!({"client_name": "a\u{202e}b"}), "client_name"),
        (json!({"client_name": ""}), "client_name"),
        (json!({"client_name": 1}), "client_name"),
        (json!({"grant_types": ["implicit"]}), "implicit"),
        (json!({"grant_types": []}), "grant_types"),
        (json!({"grant_types": ["authorization_code"]}), "redirect_uris"),
        (json!({"redirect_uris": back, "response_types": ["token"]}), "code"),
        (json!({"redirect_uris": back, "response_types": []}), "response_types"),
        (json!({"redirect_uris": ["http://localhost/b"], "application_type": "web"}), "web"),
        (json!({"redirect_uris": "https://a.example/b"}), "redirect_uris"),
        (json!({"redirect_uris": [1]}), "redirect_uris"),
        (json!({"dpop_bound_access_tokens": "true"}), "dpop_bound_access_tokens"),
    ] {
        let error = read(value.clone(), Author::Administrator).unwrap_err().to_string();
        assert!(error.contains(named), "{value}: {error}");
    }
}

#[test]
fn a_document_shares_no_secret() {
    let back = json!(["https://a.example/b"]);
    for method in ["client_secret_basic", "client_secret_post"] {
        let value = json!({"redirect_uris": back, "token_endpoint_auth_method": method});
        assert!(read(value, Author::Document).is_err());
    }
    assert!(read(json!({"redirect_uris": back, "client_secret": "x"}), Author::Document).is_err());
    assert!(read(json!({"redirect_uris": back}), Author::Document).unwrap().is_public());
    let with_key = read(json!({"redirect_uris": back, "jwks": key()}), Author::Document).unwrap();
    assert_eq!(with_key.token_endpoint_auth_method, AuthMethod::PrivateKeyJwt);
}

#[test]
fn a_change_replaces_what_it_names() {
    let before =
        read(json!({"redirect_uris": ["https://a.example/b"], "client_name": "A"}), Author::Administrator);
    let before = before.unwrap();
    let change = |value: Value| before.changed(value.as_object().unwrap(), Author::Administrator);
    assert_eq!(change(json!({})).unwrap(), before);
    assert_eq!(change(json!({"client_name": null})).unwrap().client_name, None);
    // Grant types that nobody stated follow.
    assert!(!change(json!({"redirect_uris": null})).unwrap().may_use(GrantType::AuthorizationCode));
    assert!(
        !change(json!({"token_endpoint_auth_method": "none"})).unwrap().may_use(GrantType::ClientCredentials)
    );
    // Those that somebody did, stay.
    let stated = change(json!({"grant_types": ["authorization_code"]})).unwrap();
    let again = stated.changed(json!({"client_name": "B"}).as_object().unwrap(), Author::Administrator);
    assert_eq!(again.unwrap().grant_types, [GrantType::AuthorizationCode]);
    assert!(
        stated.changed(json!({"redirect_uris": []}).as_object().unwrap(), Author::Administrator).is_err()
    );
}

proptest! {
    #[test]
    fn what_is_shown_is_read_again(port in 1u16.., path in "[a-z]{0,8}", name in "[A-Za-z ]{1,20}[a-z]", dpop: bool) {
        let value = json!({"redirect_uris": [format!("http://127.0.0.1:{port}/{path}"), "https://a.example/x"],
            "client_name": name, "dpop_bound_access_tokens": dpop, "jwks": key(),
            "token_endpoint_auth_method": "private_key_jwt"});
        let metadata = read(value, Author::Administrator).unwrap();
        let shown = metadata.to_members();
        prop_assert_eq!(&Metadata::read(&shown, Author::Administrator).unwrap(), &metadata);
        prop_assert_eq!(serde_json::from_value::<Metadata>(Value::Object(shown)).unwrap(), metadata);
    }

    #[test]
    fn no_text_is_a_redirect_uri_that_goes_elsewhere(text in "\\PC{0,40}") {
        if let Ok(uri) = RedirectUri::parse(&format!("http://localhost{text}")) {
            prop_assert_eq!(uri.host(), "localhost");
        }
        if let Ok(uri) = RedirectUri::parse(&format!("https://app.example/{text}")) {
            prop_assert_eq!(uri.host(), "app.example");
        }
    }
}
