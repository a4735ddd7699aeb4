use super::*;
use placet_core::time::Timestamp;
use std::os::unix::fs::PermissionsExt as _;

const PREFIX: &str = "plt_admin_";

fn load(directory: &DataDir) -> Result<Keys, Failure> {
    Keys::load(directory, None, PREFIX, Timestamp::from_seconds(1))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn keys_are_made_once_and_only_their_owner_may_read_them() {
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("a/b");
    let directory = DataDir::open(&path).unwrap();
    let made = load(&directory).unwrap();
    assert_eq!(mode(&path), 0o700);
    for name in [
        "admin.token",
        "keys/token.pk8",
        "keys/record.pk8",
        "keys/hash.key",
        "keys/approval.key",
        "keys/body.key",
        "vault.key",
    ] {
        assert_eq!(mode(&path.join(name)), 0o600, "{name}");
    }
    let line = fs::read_to_string(path.join("admin.token")).unwrap();
    assert_eq!(line.lines().count(), 1);
    // 256 bits in base64url.
    assert_eq!(line.trim_end().len(), PREFIX.len() + 43);
    fs::write(directory.database(), "").unwrap();
    let read = load(&directory).unwrap();
    assert_eq!((read.node, read.hash, read.vault), (made.node, made.hash, made.vault));
    assert!(read.admin_token == made.admin_token && read.token == made.token && read.record == made.record);
}

#[test]
fn a_missing_key_beside_a_database_is_named_and_not_made_anew() {
    let outside = tempfile::tempdir().unwrap();
    let directory = DataDir::open(outside.path()).unwrap();
    load(&directory).unwrap();
    fs::write(directory.database(), "").unwrap();
    for name in [
        "admin.token",
        "keys/token.pk8",
        "keys/record.pk8",
        "keys/hash.key",
        "keys/approval.key",
        "keys/body.key",
        "vault.key",
        "node",
    ] {
        let path = outside.path().join(name);
        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let failure = load(&directory).unwrap_err();
        assert!(matches!(&failure, Failure::NotStarted(message) if message.contains(name)), "{failure}");
        assert!(!path.exists());
        fs::write(&path, "x").unwrap();
        // A token key that is no key is found where it is used.
        if !name.ends_with(".pk8") {
            let failure = load(&directory).unwrap_err();
            assert!(
                failure.to_string().contains(if name == "vault.key" { "vault" } else { name }),
                "{failure}"
            );
        }
        fs::write(&path, kept).unwrap();
    }
    load(&directory).unwrap();
}

#[test]
fn a_vault_key_from_elsewhere_leaves_no_file_and_must_stay_the_same() {
    let outside = tempfile::tempdir().unwrap();
    let directory = DataDir::open(outside.path()).unwrap();
    let with = |key| Keys::load(&directory, key, PREFIX, Timestamp::default());
    with(Some([7; 32])).unwrap();
    assert!(!outside.path().join("vault.key").exists());
    fs::write(directory.database(), "").unwrap();
    assert_eq!(with(Some([7; 32])).unwrap().vault, [7; 32]);
    assert!(with(Some([8; 32])).unwrap_err().to_string().contains("vault key"));
    assert!(with(None).unwrap_err().to_string().contains("vault.key"));
}

#[test]
fn a_directory_has_one_holder_and_a_lock_file_left_behind_is_no_obstacle() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join(LOCK), "").unwrap();
    let first = DataDir::open(outside.path()).unwrap();
    let second = DataDir::open(outside.path()).unwrap_err();
    assert!(matches!(&second, Failure::NotStarted(message) if message.contains("another")), "{second}");
    drop(first);
    DataDir::open(outside.path()).unwrap();
}

#[test]
fn an_address_left_by_a_killed_server_is_taken_away() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join(ADDRESS), "http://127.0.0.1:1\n").unwrap();
    let directory = DataDir::open(outside.path()).unwrap();
    assert!(!outside.path().join(ADDRESS).exists());
    directory.announce("http://127.0.0.1:2").unwrap();
    assert_eq!(fs::read_to_string(outside.path().join(ADDRESS)).unwrap(), "http://127.0.0.1:2\n");
    directory.withdraw();
    assert!(!outside.path().join(ADDRESS).exists());
}

#[test]
fn a_draft_left_by_a_killed_process_is_no_obstacle() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("x.new"), "half").unwrap();
    write_whole(&outside.path().join("x"), b"whole").unwrap();
    assert_eq!(fs::read(outside.path().join("x")).unwrap(), b"whole");
    assert!(!outside.path().join("x.new").exists());
}

#[test]
fn a_file_in_the_way_is_a_sentence() {
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("file");
    fs::write(&path, "").unwrap();
    let failure = DataDir::open(&path).unwrap_err();
    assert!(
        matches!(&failure, Failure::NotStarted(message) if message.contains("can't be written")),
        "{failure}"
    );
}
