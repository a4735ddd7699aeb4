//! The README's tour, run as a stranger would: every block marked `sh tour`, pasted into one shell. Only the ports are
//! others: those that the system picks.

use std::{fs, net::TcpListener, os::unix::fs::symlink, path::Path, process::Command};

/// The repository's root.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[test]
fn the_tour_works_as_it_is_printed() {
    let blocks = blocks("README.md");
    assert!(blocks.len() > 8, "the README has lost its tour");
    let (out, err) = tour(&blocks);
    for word in ["refused, as it should be", "revoked, as it should be", "\"status\": \"held\"", "verified"] {
        assert!(out.contains(word), "`{word}` is missing from the tour:\n{out}\n{err}");
    }
    assert_eq!(out.matches("\"status\": \"executed\"").count(), 2, "{out}\n{err}");
}

#[test]
fn the_page_on_the_proxy_door_works_as_it_is_printed() {
    goes_on(
        "docs/proxy.md",
        &[
            "placet-decision: allow",
            "\"code\":\"condition_failed\"",
            "placet-decision: hold",
            "placet-approval: apr_",
            "\"code\":\"params_invalid\"",
        ],
    );
}

#[test]
fn the_page_on_the_mcp_door_works_as_it_is_printed() {
    goes_on(
        "docs/mcp.md",
        &[
            "\"name\":\"orders__read\"",
            "\"readOnlyHint\":true",
            "\"structuredContent\":{\"body\":",
            "\"code\":\"condition_failed\"",
            "\"code\":\"approval_required\"",
            "\"status\":201",
        ],
    );
}

#[test]
fn the_page_on_the_gateway_works_as_it_is_printed() {
    goes_on(
        "docs/gateway.md",
        &[
            "\"status\":\"held\"",
            "\"amount\": 300",
            "\"status\":201",
            "\"agent_name\":\"support-agent\"",
            "\"door\":\"mcp\"",
            "verified",
        ],
    );
}

#[test]
fn the_page_on_the_authorization_server_works_as_it_is_printed() {
    goes_on(
        "docs/oauth.md",
        &[
            "\"authorization_endpoint\"",
            "It says: “answer tickets”",
            "\"refresh_token\":\"plt_refresh_",
            "the code was used before; its grant was revoked",
            "\"error\":\"invalid_target\"",
            "\"active\":true",
            "\"affected_grants\":[\"gnt_",
            "{\"active\":false}",
            "\"authorization_servers\"",
            "\"error\":\"authorization_pending\"",
            "ses_",
        ],
    );
}

#[test]
fn the_page_on_clients_works_as_it_is_printed() {
    goes_on("docs/clients.md", &["\"access_token\"", "team", "Report", "client-01"]);
}

#[test]
fn the_page_on_bound_tokens_works_as_it_is_printed() {
    goes_on("docs/dpop.md", &["\"status\": \"executed\"", "proof_required", "refused, as it should be"]);
}

#[test]
fn the_page_on_assertions_of_others_works_as_it_is_printed() {
    goes_on(
        "docs/federation.md",
        &[
            "\"task_id\": \"nightly-118\"",
            "good once, as it should be",
            "ended, as it should be",
            "used before",
        ],
    );
}

#[test]
fn the_page_on_consent_elsewhere_works_as_it_is_printed() {
    goes_on(
        "docs/device.md",
        &[
            "or open http://127.0.0.1:",
            "\"state\": \"approved\"",
            "no policy lets the courier do that yet",
            "recognise it by: “ticket 118”",
            "orders.read",
        ],
    );
}

#[test]
fn the_page_on_scopes_works_as_it_is_printed() {
    goes_on("docs/scopes.md", &["See your orders", "support-lead"]);
}

#[test]
fn the_page_on_status_lists_works_as_it_is_printed() {
    goes_on(
        "docs/status-lists.md",
        &["\"status\": \"valid\"", "over, as it should be", "{\"status_lists\":[\"http"],
    );
}

#[test]
fn the_page_on_people_works_as_it_is_printed() {
    goes_on(
        "docs/people.md",
        &[
            "otpauth://totp/Placet%20at%20",
            "second_factor_required",
            "refused, as it should be",
            "password_and_totp",
        ],
    );
}

#[test]
fn the_page_on_mutual_tls_works_as_it_is_printed() {
    goes_on(
        "docs/mtls.md",
        &[
            "https://127.0.0.1:",
            "\"status\": \"executed\"",
            "x5t#S256",
            "certificate_required: the token is bound to a certificate",
            "certificate_required: the token is bound to another certificate",
            "refused, as it should be",
            "another name is nobody",
            "\nBearer\n",
        ],
    );
}

#[test]
fn the_page_on_questions_works_as_it_is_printed() {
    goes_on(
        "docs/authzen.md",
        &[
            "/access/v1/search/subject",
            "\"decision\":true",
            "{\"max\":500}",
            "{\"name\":\"orders.read\"}",
            "\"type\":\"agent\"",
            "\"decision\": \"conditional\"",
            "\"allowed\":[\"order://customer:42/1\",\"order://customer:43/9\"]",
            "\"allowed\":[\"order://customer:42/**\"]",
        ],
    );
}

#[test]
fn the_page_on_the_egress_door_works_as_it_is_printed() {
    goes_on(
        "docs/egress.md",
        &["\"item\":\"kettle\"", "the grant covers no such action", "no tunnel, as it should be"],
    );
}

#[test]
fn the_page_on_authorization_details_works_as_it_is_printed() {
    goes_on(
        "docs/authorization-details.md",
        &[
            "Pay invoices",
            "\"amount\":500",
            "`authorization_details[0].amount`: 5000 is greater than the maximum of 1000",
            "\"amount\":120.5",
            "the parent has no authorization detail that covers entry 0",
        ],
    );
}

/// The page goes on where the tour has its token; these words are printed then.
fn goes_on(page: &str, words: &[&str]) {
    let mut all = blocks("README.md");
    let token = all.iter().position(|block| block.contains("AGENT_TOKEN=")).expect("a token in the tour");
    all.truncate(token + 1);
    let own = blocks(page);
    assert!(!own.is_empty(), "{page} has lost its blocks");
    all.extend(own);
    let (out, err) = tour(&all);
    for word in words {
        assert!(out.contains(word), "`{word}` is missing:\n{out}\n{err}");
    }
}

/// The blocks of a page that are marked.
fn blocks(page: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(ROOT).join(page)).unwrap();
    let marked = text.split("```sh tour\n").skip(1);
    marked.map(|rest| rest.split_once("```").expect("a block that ends").0.to_owned()).collect()
}

/// Runs blocks in one shell, in a directory of their own, and answers what was printed.
fn tour(blocks: &[String]) -> (String, String) {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("target/release")).unwrap();
    symlink(env!("CARGO_BIN_EXE_placet"), at("target/release/placet")).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let elsewhere = |text: &str| text.replace("127.0.0.1:9000", &format!("127.0.0.1:{port}"));
    for example in ["services/shop.yaml", "policies/support-desk.yaml"] {
        let text = fs::read_to_string(Path::new(ROOT).join("examples").join(example)).unwrap();
        fs::create_dir_all(at("examples").join(example).parent().unwrap()).unwrap();
        fs::write(at("examples").join(example), elsewhere(&text)).unwrap();
    }
    let blocks =
        elsewhere(&blocks.join("\n")).replace("placet serve &", "placet serve --listen 127.0.0.1:0 &");
    // A failing command ends the tour; whatever happens, its servers end with it, and it takes a minute at most.
    let script = format!("set -e\ntrap 'kill $SERVER $SHOP 2>/dev/null || true' EXIT\n{blocks}");
    fs::write(at("tour.sh"), script).unwrap();
    let output = Command::new("timeout")
        .args(["--kill-after=5", "60", "bash", "tour.sh"])
        .current_dir(directory.path())
        .env("XDG_STATE_HOME", at("state"))
        .env_remove("PLACET_URL")
        .env_remove("PLACET_TOKEN")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "the tour stopped ({}):\n{out}\n{err}", output.status);
    (out, err)
}
