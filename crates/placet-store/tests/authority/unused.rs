//! Clients that nobody registered by hand and that nobody uses any more.

use crate::world::{NOW, World, on_both_engines, revoked};
use placet_core::{
    grant::{Grant, Origin as GrantOrigin},
    id::AgentId,
    time::Timestamp,
};
use placet_store::{
    Fault, agents,
    client_use::{self, DAY, day},
    clients::{self, Origin, StoredClient},
    grants,
};
use std::time::Duration;

on_both_engines! {
    a_day_is_noted_for_those_that_nobody_registered_by_hand,
    who_is_unused_is_unused_since_the_end_of_a_day,
    who_was_stopped_or_given_something_stays,
    a_time_that_nobody_noted_begins_when_somebody_looks,
    what_is_forgotten_is_free,
}

const IDLE: Duration = Duration::from_secs(90 * 24 * 3600);

fn days(days: u32) -> Timestamp {
    NOW.plus(DAY * days)
}

/// An agent that was confirmed at [`NOW`], as what stands behind `url` if that is said.
fn adopted(world: &World, handle: &str, url: Option<&str>, last_used: Option<Timestamp>) -> AgentId {
    let id = world.agent(handle).id;
    let origin = if url.is_some() { Origin::Document } else { Origin::Registration };
    let client = StoredClient { origin, url: url.map(str::to_owned), last_used, ..StoredClient::default() };
    world.write(move |tx| clients::adopt(tx, id, &client, None)).unwrap();
    id
}

fn last_used(world: &World, id: AgentId) -> Option<Timestamp> {
    world.read(move |q| clients::find(q, id)).last_used
}

fn unused(world: &World, at: Timestamp) -> Vec<AgentId> {
    world.read(move |q| client_use::unused(q, client_use::before(at, IDLE), 10))
}

fn is_unused(world: &World, id: AgentId, at: Timestamp) -> bool {
    world.write(move |tx| client_use::is_unused(tx, id, client_use::before(at, IDLE))).unwrap()
}

fn a_day_is_noted_for_those_that_nobody_registered_by_hand(world: &World) {
    let by_hand = adopted(world, "by-hand", Some("https://a.example/c"), None);
    let guest = adopted(world, "guest", None, Some(day(NOW)));
    for (at, then) in [(days(3), days(3)), (days(1), days(3)), (days(3), days(3)), (days(4), days(4))] {
        for id in [by_hand, guest] {
            world.write(move |tx| client_use::note(tx, id, at)).unwrap();
        }
        assert_eq!((last_used(world, by_hand), last_used(world, guest)), (None, Some(day(then))));
    }
    let noted = world.read(move |q| client_use::of_page(q, by_hand, guest));
    assert_eq!(noted, [(guest, day(days(4)))].into());
    assert_eq!(day(days(4)).as_seconds() % 86_400, 0);
    // What one says of itself is another matter.
    world.write(move |tx| clients::put(tx, guest, &Default::default())).unwrap();
    assert_eq!(last_used(world, guest), Some(day(days(4))));
    assert_eq!(unused(world, days(10_000)), [guest]);
    assert!(!is_unused(world, by_hand, days(10_000)));
}

fn who_is_unused_is_unused_since_the_end_of_a_day(world: &World) {
    let id = adopted(world, "guest", None, Some(day(NOW)));
    let end = client_use::ends(day(NOW), IDLE).unwrap();
    assert_eq!(end, day(NOW).plus(DAY * 91));
    for at in [NOW, days(90), end] {
        assert_eq!((unused(world, at), is_unused(world, id, at)), (vec![], false));
    }
    let past = end.plus(Duration::from_micros(1));
    assert_eq!((unused(world, past), is_unused(world, id, past)), (vec![id], true));
    // Used between two looks.
    world.write(move |tx| client_use::note(tx, id, days(50))).unwrap();
    assert!(!is_unused(world, id, past));
    // Those of longest ago come first, and so many at once as are asked for.
    let other = adopted(world, "other", None, Some(day(days(10))));
    assert_eq!(unused(world, days(1000)), [other, id]);
    let before = client_use::before(days(1000), IDLE);
    assert_eq!(world.read(move |q| client_use::unused(q, before, 1)), [other]);
}

fn who_was_stopped_or_given_something_stays(world: &World) {
    let (late, used) = (days(200), Some(day(NOW)));
    let suspended = adopted(world, "suspended", None, used);
    world.write(move |tx| agents::suspend(tx, suspended, 0)).unwrap();
    let revoked_one = adopted(world, "revoked", None, used);
    let registration = world.read(move |q| agents::find(q, revoked_one)).unwrap().registration;
    world.write(move |tx| grants::revoke(tx, registration, &revoked("ada"))).unwrap();
    let ended = adopted(world, "ended", None, used);
    world.write(move |tx| agents::end(tx, ended, 0)).unwrap();
    assert_eq!(unused(world, late), []);
    for id in [suspended, revoked_one, ended] {
        assert!(!is_unused(world, id, late));
    }
    // What has ended is not looked at again; the others may come back.
    let before = client_use::before(late, IDLE);
    assert_eq!(world.write(move |tx| client_use::leave(tx, before, 10)), Ok(1));
    assert_eq!(world.write(move |tx| client_use::leave(tx, before, 10)), Ok(0));
    assert_eq!((last_used(world, ended), last_used(world, suspended)), (None, used));
    // A person gave it something, although it has asked for nothing.
    let given = adopted(world, "given", None, used);
    world.insert(&Grant { created: days(150), ..world.root(given, GrantOrigin::Person) });
    assert_eq!(unused(world, late), [given]);
    assert!(!is_unused(world, given, late));
    assert_eq!(last_used(world, given), Some(day(days(150))));
    assert_eq!(unused(world, late), []);
}

fn a_time_that_nobody_noted_begins_when_somebody_looks(world: &World) {
    let old = adopted(world, "old", None, Some(Timestamp::from_micros(0)));
    assert_eq!(client_use::ends(Timestamp::from_micros(0), IDLE), None);
    assert_eq!((unused(world, days(400)), is_unused(world, old, days(400))), (vec![], false));
    assert_eq!(world.write(|tx| client_use::begin(tx, days(400), 10)), Ok(1));
    assert_eq!(world.write(|tx| client_use::begin(tx, days(401), 10)), Ok(0));
    assert_eq!(last_used(world, old), Some(day(days(400))));
    assert_eq!((unused(world, days(401)), unused(world, days(500))), (vec![], vec![old]));
}

fn what_is_forgotten_is_free(world: &World) {
    const URL: &str = "https://a.example/client.json";
    let first = adopted(world, "first", Some(URL), Some(day(NOW)));
    let second = world.agent("second").id;
    let client =
        StoredClient { origin: Origin::Document, url: Some(URL.to_owned()), ..StoredClient::default() };
    let again = client.clone();
    let taken = world.write(move |tx| clients::adopt(tx, second, &again, None));
    assert_eq!(taken, Err(Fault::Conflict("url")));
    world.write(move |tx| client_use::forget(tx, first)).unwrap();
    assert_eq!(world.read(|q| clients::by_url(q, URL)), None);
    world.write(move |tx| clients::adopt(tx, second, &client, None)).unwrap();
    assert_eq!(world.read(|q| clients::by_url(q, URL)), Some(second));
    // The agent is known for what it did.
    assert!(world.read(move |q| agents::find(q, first)).is_some());
}
