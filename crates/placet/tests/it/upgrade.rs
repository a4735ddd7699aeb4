//! Data directories of the version before, which kept the keys in files: they are taken into the database, whenever
//! the start is cut off.

use crate::{
    process::{run, stderr},
    stage::PLACET,
};
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_testkit::Server;
use serde_json::Value;
use std::{fs, path::Path, sync::LazyLock};

const TOKEN: &str = "plt_admin_0123456789012345678901234567890123456789012";
/// What the version before left beside the database, but for the vault key and the administrator token.
const KEYS: [&str; 5] =
    ["keys/token.pk8", "keys/record.pk8", "keys/hash.key", "keys/approval.key", "keys/body.key"];

fn pkcs8(seed: u8) -> Vec<u8> {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap().to_pkcs8().unwrap().as_ref().to_vec()
}

/// The key that signs tokens in a directory that [`lay_out`] made, in PKCS#8.
pub(crate) fn token_key() -> Vec<u8> {
    static KEY: LazyLock<Vec<u8>> = LazyLock::new(|| pkcs8(11));
    KEY.clone()
}

/// A token of these parts by that key.
pub(crate) fn signed(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let parts = format!("{}.{}", part(header), part(claims));
    let pair = Ed25519KeyPair::from_pkcs8(&token_key()).unwrap();
    format!("{parts}.{}", URL_SAFE_NO_PAD.encode(pair.sign(parts.as_bytes())))
}

fn keys(data: &Path) {
    fs::create_dir_all(data.join("keys")).unwrap();
    for (name, bytes) in
        KEYS.into_iter().zip([token_key(), pkcs8(12), vec![13; 32], vec![14; 32], vec![15; 32]])
    {
        fs::write(data.join(name), bytes).unwrap();
    }
    fs::write(data.join("vault.id"), "vault-fb00206ac47b25d7\n").unwrap();
}

/// Lays out a data directory as the version before did at its first start, up to the database.
pub(crate) fn lay_out(data: &Path) {
    keys(data);
    fs::write(data.join("vault.key"), [16; 32]).unwrap();
    fs::write(data.join("node"), "nod_01k0000000000000000000000a\n").unwrap();
    fs::write(data.join("admin.token"), format!("{TOKEN}\n")).unwrap();
}

fn left(data: &Path) -> Vec<&'static str> {
    KEYS.into_iter().chain(["keys", "vault.id"]).filter(|name| data.join(name).exists()).collect()
}

#[test]
fn keys_in_files_are_taken_into_the_database_and_the_files_removed() {
    let mut server = Server::prepared(PLACET, lay_out);
    assert_eq!(server.admin_token(), TOKEN);
    assert_eq!(left(&server.data()), [""; 0]);
    let keys = server.admin().get("/v1/keys").send().expect(200).body;
    let kid = placet_core::keys::SigningKey::from_pkcs8(&token_key()).unwrap().kid().to_owned();
    let token = keys["keys"].as_array().unwrap().iter().find(|key| key["id"] == format!("token/{kid}"));
    assert_eq!(token.unwrap()["state"], "active", "{keys:#}");
    let record = fs::read(server.data().join("record.pub")).unwrap();
    assert!(
        String::from_utf8(record.clone())
            .unwrap()
            .starts_with("placet/record/nod_01k0000000000000000000000a+")
    );
    // Cut off after the commit and before the files were removed, or while they were.
    for count in [5, 3, 1] {
        assert_eq!(server.stop(), Some(0));
        crate::upgrade::keys(&server.data());
        for name in KEYS.into_iter().filter(|name| *name != "keys/record.pk8").take(5 - count) {
            fs::remove_file(server.data().join(name)).unwrap();
        }
        server.restart();
        assert_eq!(left(&server.data()), [""; 0]);
        server.admin().get("/v1/keys").send().expect(200);
        assert_eq!(fs::read(server.data().join("record.pub")).unwrap(), record);
    }
}

#[test]
fn what_is_missing_or_not_right_is_named_and_nothing_is_taken() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let refused = |part: &str| {
        let output = run(home.path(), &["serve", "--listen", "127.0.0.1:0", "--data", "data"]);
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert!(stderr(&output).contains(part), "{part}: {}", stderr(&output));
    };
    lay_out(&data);
    for name in KEYS.into_iter().chain(["vault.key", "admin.token"]) {
        let kept = fs::read(data.join(name)).unwrap();
        fs::remove_file(data.join(name)).unwrap();
        refused(name);
        assert!(!data.join(name).exists());
        fs::write(data.join(name), "x").unwrap();
        refused(name);
        fs::write(data.join(name), kept).unwrap();
    }
    fs::write(data.join("vault.key"), [17; 32]).unwrap();
    refused("vault-fb00206ac47b25d7");
    fs::write(data.join("vault.key"), [16; 32]).unwrap();
    let server = crate::process::Server::start(home.path(), &data);
    assert_eq!(left(&data), [""; 0]);
    assert_eq!(server.stop(), Some(0));
}
