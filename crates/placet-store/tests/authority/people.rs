//! Users and their sessions.

use crate::world::{NOW, World, hash, minutes, on_both_engines};
use placet_core::{
    id::SessionId,
    user::{ADMINISTRATOR, User},
};
use placet_store::{Fault, sessions, users};

on_both_engines! {
    a_user_is_read_back_with_roles_in_order,
    roles_and_password_change_on_the_version_that_was_read,
    a_session_is_found_by_its_token_while_it_lasts,
    users_page_without_losing_or_repeating_any,
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
        world.write(move |tx| sessions::insert(tx, id, user, token, NOW, minutes(60))).unwrap();
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
    assert_eq!(world.write(move |tx| sessions::end_all(tx, user, minutes(3))), Ok(2));
    assert_eq!(live("3", NOW), None);
    assert_eq!(live("4", NOW), Some((other, bob)));
    // Two sessions never share a token, and none ends before it begins.
    let (id, token) = (world.id(), hash("4"));
    let twin = world.write(move |tx| sessions::insert(tx, id, user, token, NOW, minutes(1)));
    assert_eq!(twin, Err(Fault::Conflict("unique")));
    let token = hash("5");
    let backwards = world.write(move |tx| sessions::insert(tx, id, user, token, NOW, NOW));
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
