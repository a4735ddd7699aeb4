//! Users and their sessions.

use crate::world::{NOW, World, hash, minutes, on_both_engines};
use placet_core::{
    id::SessionId,
    user::{ADMINISTRATOR, BeganWith, User},
};
use placet_store::{
    Fault, Tx, assertions,
    passkeys::{self, Passkey},
    second_factors, sessions, users,
};

on_both_engines! {
    a_user_is_read_back_with_roles_in_order,
    roles_and_password_change_on_the_version_that_was_read,
    a_session_is_found_by_its_token_while_it_lasts,
    users_page_without_losing_or_repeating_any,
    a_step_and_a_recovery_code_are_used_once,
    a_credential_and_a_challenge_are_taken_once,
}

fn a_user_is_read_back_with_roles_in_order(world: &World) {
    world.user("zoe", &[]);
    let ada = world.user("ada", &["support-lead", "approver", "administrator"]);
    let id = ada.id;
    assert_eq!(world.read(move |q| users::find(q, id)), Some(ada.clone()));
    assert_eq!(world.read(|q| users::by_name(q, "ada")), Some((ada, "$argon2id$v=19$…".to_owned())));
    assert_eq!(world.read(move |q| users::made_by(q, id)).as_deref(), Some("admin-token"));
    assert_eq!(world.read(|q| users::by_name(q, "Ada")), None);
    assert_eq!(world.read(|q| users::count_with_role(q, ADMINISTRATOR)), 1);
    assert_eq!(world.read(|q| users::count_with_role(q, "admin")), 0);
    let twin = User { id: world.id(), name: "ada".into(), roles: vec![], created: NOW, version: 1 };
    assert_eq!(world.write(move |tx| users::insert(tx, &twin, "x", "y")), Err(Fault::Conflict("name")));
}

fn roles_and_password_change_on_the_version_that_was_read(world: &World) {
    let ada = world.user("ada", &["administrator"]);
    let id = ada.id;
    let answers = world.race(6, move |racer, tx| {
        let roles = [format!("r{racer}"), "approver".to_owned(), format!("r{racer}")];
        users::set_roles(tx, id, 1, &roles, NOW)
    });
    let winner = answers.iter().position(|won| *won == Ok(true)).unwrap();
    assert_eq!(answers.iter().filter(|won| **won == Ok(true)).count(), 1);
    let stored = world.read(move |q| users::find(q, id)).unwrap();
    assert_eq!((stored.roles, stored.version), (vec![format!("r{winner}"), "approver".to_owned()], 2));
    assert_eq!(world.read(|q| users::count_with_role(q, ADMINISTRATOR)), 0);
    assert_eq!(world.write(move |tx| users::set_password(tx, id, 1, "new")), Ok(false));
    assert_eq!(world.write(move |tx| users::set_password(tx, id, 2, "new")), Ok(true));
    assert_eq!(world.read(|q| users::by_name(q, "ada")).unwrap().1, "new");
}

fn a_session_is_found_by_its_token_while_it_lasts(world: &World) {
    let (ada, bob) = (world.user("ada", &["approver"]), world.user("bob", &[]));
    let open = |user: &User, token: &str| {
        let (id, user, token) = (world.id(), user.id, hash(token));
        world
            .write(move |tx| {
                sessions::insert(tx, id, user, token, (BeganWith::Password, None), NOW, minutes(60))
            })
            .unwrap();
        id
    };
    let [first, second, third] = ["1", "2", "3"].map(|token| open(&ada, token));
    let other = open(&bob, "4");
    let live = |token: &str, now| {
        let token = hash(token);
        world.read(move |q| sessions::by_token(q, token, now)).map(|(session, user)| (session.id, user))
    };
    assert_eq!(live("1", NOW), Some((first, ada.clone())));
    assert_eq!(live("1", minutes(60)), None);
    assert_eq!(live("x", NOW), None);
    assert_eq!(world.write(move |tx| sessions::end(tx, first, minutes(1))), Ok(true));
    assert_eq!(world.write(move |tx| sessions::end(tx, first, minutes(2))), Ok(false));
    assert_eq!(live("1", NOW), None);
    let user = ada.id;
    let page = |after: Option<SessionId>| {
        let found = world.read(move |q| sessions::list(q, Some(user), after, 2));
        found.iter().map(|session| (session.id, session.ended)).collect::<Vec<_>>()
    };
    assert_eq!(page(None), [(first, Some(minutes(1))), (second, None)]);
    assert_eq!(page(Some(second)), [(third, None)]);
    let alive = |now| {
        world.read(move |q| sessions::live(q, user, now, 9)).iter().map(|one| one.id).collect::<Vec<_>>()
    };
    assert_eq!((alive(minutes(3)), alive(minutes(60))), (vec![third, second], vec![]));
    assert_eq!(world.write(move |tx| sessions::end_all(tx, user, Some(third), minutes(3))), Ok(1));
    assert_eq!(alive(minutes(3)), [third]);
    assert_eq!(world.write(move |tx| sessions::end_all(tx, user, None, minutes(3))), Ok(1));
    assert_eq!(live("3", NOW), None);
    assert_eq!(live("4", NOW), Some((other, bob)));
    // Two sessions never share a token, and none ends before it begins.
    let (id, token) = (world.id(), hash("4"));
    let twin = world
        .write(move |tx| sessions::insert(tx, id, user, token, (BeganWith::Password, None), NOW, minutes(1)));
    assert_eq!(twin, Err(Fault::Conflict("unique")));
    let token = hash("5");
    let backwards =
        world.write(move |tx| sessions::insert(tx, id, user, token, (BeganWith::Password, None), NOW, NOW));
    assert_eq!(backwards, Err(Fault::Conflict("check")));
}

fn users_page_without_losing_or_repeating_any(world: &World) {
    let all: Vec<User> =
        (0..7).map(|n| world.user(&format!("u{}", 9 - n), &["a", "b", "c"][..n % 4])).collect();
    for limit in 1..9 {
        let mut seen = Vec::new();
        while let page = world.read({
            let after = seen.last().map(|user: &User| user.id);
            move |q| users::list(q, after, limit)
        }) && !page.is_empty()
        {
            assert!(page.len() <= limit);
            seen.extend(page);
        }
        assert_eq!(seen, all, "pages of {limit}");
    }
}

fn a_step_and_a_recovery_code_are_used_once(world: &World) {
    let (ada, bob) = (world.user("ada", &[]).id, world.user("bob", &[]).id);
    let enrol =
        |generation| world.write(move |tx| second_factors::enrol(tx, ada, generation, b"sealed", NOW));
    let confirm = |generation| world.write(move |tx| second_factors::confirm(tx, ada, generation, 10, NOW));
    let step = |generation, step| world.write(move |tx| second_factors::use_step(tx, ada, generation, step));
    assert_eq!(confirm(7), Ok(false));
    assert_eq!((enrol(6), enrol(7)), (Ok(true), Ok(true)));
    // Before it is confirmed no code is one.
    assert_eq!(
        (step(7, 10), confirm(6), confirm(7), confirm(7)),
        (Ok(false), Ok(false), Ok(true), Ok(false))
    );
    assert_eq!(enrol(8), Ok(false));
    assert_eq!(
        (step(7, 9), step(7, 10), step(6, 11), step(7, 11)),
        (Ok(false), Ok(false), Ok(false), Ok(true))
    );
    let won = world.race(6, move |_, tx| second_factors::use_step(tx, ada, 7, 12));
    assert_eq!(won.iter().filter(|won| **won == Ok(true)).count(), 1);
    let codes = [hash("a"), hash("b")];
    world.write(move |tx| second_factors::set_recovery_codes(tx, ada, &codes)).unwrap();
    let uses =
        |user, code| world.write(move |tx| second_factors::use_recovery_code(tx, user, hash(code), NOW));
    assert_eq!((uses(bob, "a"), uses(ada, "c")), (Ok(false), Ok(false)));
    let won = world.race(6, move |_, tx| second_factors::use_recovery_code(tx, ada, hash("a"), NOW));
    assert_eq!(won.iter().filter(|won| **won == Ok(true)).count(), 1);
    assert_eq!(world.read(move |q| second_factors::recovery_codes_left(q, ada)), 1);
    assert!(world.read(move |q| second_factors::has_recovery_code(q, ada, hash("b"))));
    // A secret that waits is forgotten after a while, one that counts is not.
    world.write(move |tx| second_factors::enrol(tx, bob, 1, b"sealed", NOW)).unwrap();
    assert_eq!(world.write(move |tx| second_factors::forget_unconfirmed(tx, minutes(1), 9)), Ok(1));
    assert_eq!(world.write(move |tx| second_factors::remove(tx, ada)), Ok(true));
    assert_eq!(world.write(move |tx| second_factors::remove(tx, ada)), Ok(false));
    assert_eq!((uses(ada, "b"), step(7, 99), enrol(9)), (Ok(false), Ok(false), Ok(true)));
}

fn a_credential_and_a_challenge_are_taken_once(world: &World) {
    let (ada, bob) = (world.user("ada", &[]).id, world.user("bob", &[]).id);
    let passkey = |user, credential: u8, sign_count| Passkey {
        id: world.id(),
        user,
        credential: vec![credential; 32],
        key: vec![1],
        sign_count,
        backup_eligible: true,
        name: "key".into(),
        created: NOW,
        used: None,
    };
    let (first, twin, other) = (passkey(ada, 1, 5), passkey(bob, 1, 0), passkey(ada, 2, 0));
    let add = |passkey: &Passkey| {
        let passkey = passkey.clone();
        world.write(move |tx| passkeys::insert(tx, &passkey))
    };
    assert_eq!((add(&first), add(&twin), add(&other)), (Ok(true), Ok(false), Ok(true)));
    assert_eq!(world.read(|q| passkeys::by_credential(q, &[1; 32])), Some(first.clone()));
    assert_eq!(world.read(|q| passkeys::by_credential(q, &[3; 32])), None);
    let (first, other) = (first.id, other.id);
    let uses = |id, count| world.write(move |tx| passkeys::note_use(tx, id, count, minutes(1)));
    // A counter rises; one that does not count stays at none, until it begins.
    assert_eq!(
        (uses(first, 0), uses(first, 5), uses(first, 6), uses(first, 6)),
        (Ok(false), Ok(false), Ok(true), Ok(false))
    );
    assert_eq!(
        (uses(other, 0), uses(other, 0), uses(other, 1), uses(other, 0)),
        (Ok(true), Ok(true), Ok(true), Ok(false))
    );
    let spend = |tx: &mut Tx<'_>| assertions::spend(tx, "passkey", "https://a.example", "c", minutes(5));
    let won = world.race(6, move |_, tx| spend(tx));
    assert_eq!(won.iter().filter(|won| **won == Ok(true)).count(), 1);
    assert_eq!(world.write(move |tx| assertions::purge(tx, minutes(4), 9)), Ok(0));
    assert_eq!(world.write(spend), Ok(false));
    assert_eq!(world.write(move |tx| assertions::purge(tx, minutes(5), 9)), Ok(1));
    assert_eq!(world.write(move |tx| passkeys::remove(tx, first, bob)), Ok(false));
    assert_eq!(world.write(move |tx| passkeys::remove(tx, first, ada)), Ok(true));
    assert_eq!(world.read(move |q| passkeys::of_user(q, ada)).len(), 1);
    assert_eq!(world.write(move |tx| passkeys::remove_all(tx, ada)), Ok(1));
}
