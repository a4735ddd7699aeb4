//! Requests for authority that wait for a person: decided once, taken once, counted, and forgotten in the end.

use crate::world::{NOW, World, hash, minutes, on_both_engines};
use placet_core::{
    agent::Agent,
    grant::Origin,
    user::User,
    waiting::{Asked, Consented, Pace, State, Through, Waiting},
};
use placet_store::{
    Fault,
    waiting::{self, Keys},
};

on_both_engines! {
    of_many_answers_and_many_who_come_for_them_one_counts,
    a_code_is_of_one_request_until_somebody_has_decided,
    what_waits_is_counted_by_whose_it_is,
    what_an_agent_waits_for_ends_with_it,
}

fn request(world: &World, agent: &Agent, through: Through, user: Option<&User>) -> Waiting {
    let asked = Asked {
        client_id: agent.id.to_string(),
        query: "scope=orders.read".to_owned(),
        key: None,
        from: Some("192.0.2.7".to_owned()),
        message: Some("W4 … \u{202e}".to_owned()),
    };
    Waiting {
        id: world.id(),
        through,
        agent: agent.id,
        user: user.map(|user| user.id),
        asked,
        state: State::Pending,
        created: NOW,
        expires: minutes(10),
        decided: None,
        pace: Pace::new(NOW),
    }
}

fn device(world: &World, agent: &Agent, name: &'static str) -> Waiting {
    let new = request(world, agent, Through::Device, None);
    let keys = Keys { hash: hash(name), user_code: Some(hash(&format!("code of {name}"))), hint: None };
    let stored = new.clone();
    world.write(move |tx| waiting::insert(tx, &stored, keys)).unwrap();
    new
}

fn named(world: &World, agent: &Agent, user: &User, name: &'static str) -> Waiting {
    let new = request(world, agent, Through::Backchannel, Some(user));
    let keys = Keys { hash: hash(name), user_code: None, hint: Some(hash("ada")) };
    let stored = new.clone();
    world.write(move |tx| waiting::insert(tx, &stored, keys)).unwrap();
    new
}

fn consented(world: &World, agent: &Agent, user: &User) -> Consented {
    let task = world.new_task(agent.id, Some(user.id), None);
    let grant = world.root(agent.id, Origin::Person);
    Consented { grant, task }
}

fn of_many_answers_and_many_who_come_for_them_one_counts(world: &World) {
    let (agent, user, other) = (world.agent("bot"), world.user("ada", &[]), world.user("lee", &[]));
    let new = named(world, &agent, &user, "one");
    assert_eq!(world.read(|q| waiting::by_hash(q, hash("one"))), Some(new.clone()));
    let (id, mine, theirs) = (new.id, user.id, other.id);
    assert!(!world.write(move |tx| waiting::decide(tx, id, theirs, None, minutes(1))).unwrap());
    assert!(!world.write(move |tx| waiting::take(tx, id)).unwrap());
    let yes = consented(world, &agent, &user);
    let given = yes.clone();
    let answers = world.race(8, move |racer, tx| {
        let said = (racer % 2 == 0).then_some(&given);
        Ok(waiting::decide(tx, id, mine, said, minutes(1))?.then_some(racer % 2 == 0))
    });
    let counted: Vec<bool> = answers.into_iter().filter_map(|answer| answer.unwrap()).collect();
    let [approved] = counted[..] else { panic!("{counted:?}") };
    let found = world.read(move |q| waiting::find(q, id)).unwrap();
    assert_eq!(found.decided, Some(minutes(1)));
    assert_eq!(found.state, if approved { State::Approved } else { State::Denied });
    assert_eq!(world.read(move |q| waiting::consented(q, id)), approved.then_some(yes));
    let taken = world.race(8, move |_, tx| waiting::take(tx, id));
    let taken = taken.into_iter().filter(|taken| *taken.as_ref().unwrap()).count();
    assert_eq!(taken, usize::from(approved));
}

fn a_code_is_of_one_request_until_somebody_has_decided(world: &World) {
    let (agent, ada, lee) = (world.agent("bot"), world.user("ada", &[]), world.user("lee", &[]));
    let new = device(world, &agent, "one");
    let twice = request(world, &agent, Through::Device, None);
    let keys = Keys { hash: hash("two"), user_code: Some(hash("code of one")), hint: None };
    assert!(matches!(world.write(move |tx| waiting::insert(tx, &twice, keys)), Err(Fault::Conflict(_))));
    let (id, first, second) = (new.id, ada.id, lee.id);
    let found = || world.read(|q| waiting::by_user_code(q, hash("code of one")));
    assert_eq!(found(), Some(new));
    assert!(world.write(move |tx| waiting::claim(tx, id, first)).unwrap());
    assert!(world.write(move |tx| waiting::claim(tx, id, second)).unwrap());
    assert_eq!(found().unwrap().user, Some(second));
    let of = |user| world.read(move |q| waiting::of_user(q, user, minutes(1), 10)).len();
    assert_eq!((of(first), of(second)), (0, 1));
    assert!(world.write(move |tx| waiting::decide(tx, id, second, None, minutes(1))).unwrap());
    assert_eq!((found(), of(second)), (None, 0));
    assert!(!world.write(move |tx| waiting::claim(tx, id, first)).unwrap());
    // Its time over, it is forgotten; another with the same code may have come since.
    device(world, &agent, "three");
    assert_eq!(world.write(|tx| waiting::purge(tx, minutes(9), 10)).unwrap(), 0);
    assert_eq!(world.write(|tx| waiting::purge(tx, minutes(10), 10)).unwrap(), 2);
    assert_eq!(world.read(move |q| waiting::find(q, id)), None);
}

fn what_waits_is_counted_by_whose_it_is(world: &World) {
    let (bot, other) = (world.agent("bot"), world.agent("other"));
    let (ada, lee) = (world.user("ada", &[]), world.user("lee", &[]));
    let (one, _, _) =
        (named(world, &bot, &ada, "1"), named(world, &bot, &ada, "2"), named(world, &other, &ada, "3"));
    device(world, &bot, "4");
    let (bot, ada, lee) = (bot.id, ada.id, lee.id);
    let counts = |now| {
        world.read(move |q| {
            Ok([
                waiting::count_of_agent(q, bot, now, 100)?,
                waiting::count_of_user(q, ada, now, 100)?,
                waiting::count_of_user(q, lee, now, 100)?,
                waiting::count(q, now, 100)?,
            ])
        })
    };
    assert_eq!(counts(minutes(1)), [3, 3, 0, 4]);
    assert_eq!(world.read(move |q| waiting::count_of_agent(q, bot, NOW, 2)), 2);
    let vain = |since| world.read(move |q| waiting::count_in_vain(q, bot, hash("ada"), since, 100));
    assert_eq!((vain(NOW.minus(std::time::Duration::from_secs(1))), vain(NOW)), (2, 0));
    // A no is in vain, too.
    let id = one.id;
    world.write(move |tx| waiting::decide(tx, id, ada, None, minutes(1))).unwrap();
    assert_eq!(counts(minutes(1)), [2, 2, 0, 4]);
    assert_eq!(vain(NOW.minus(std::time::Duration::from_secs(1))), 2);
    assert_eq!(counts(minutes(10)), [0, 0, 0, 0]);
}

fn what_an_agent_waits_for_ends_with_it(world: &World) {
    let (bot, other, ada) = (world.agent("bot"), world.agent("other"), world.user("ada", &[]));
    let (open, agreed) = (named(world, &bot, &ada, "1"), named(world, &bot, &ada, "2"));
    let (shown, others) = (device(world, &bot, "3"), named(world, &other, &ada, "4"));
    let (id, user, yes) = (agreed.id, ada.id, consented(world, &bot, &ada));
    world.write(move |tx| waiting::decide(tx, id, user, Some(&yes), minutes(1))).unwrap();
    let agent = bot.id;
    assert_eq!(world.write(move |tx| waiting::end_of_agent(tx, agent)).unwrap(), 3);
    for ended in [open.id, agreed.id, shown.id] {
        assert_eq!(world.read(move |q| waiting::find(q, ended)).unwrap().state, State::Ended);
        assert!(!world.write(move |tx| waiting::take(tx, ended)).unwrap());
        assert!(!world.write(move |tx| waiting::decide(tx, ended, user, None, minutes(1))).unwrap());
    }
    assert_eq!(world.read(|q| waiting::by_user_code(q, hash("code of 3"))), None);
    assert_eq!(world.read(move |q| waiting::find(q, others.id)), Some(others.clone()));
    // The pace is kept while it waits, and no longer.
    let (id, slower) = (others.id, Pace::new(NOW).polled(minutes(1)).1);
    world.write(move |tx| waiting::polled(tx, id, slower)).unwrap();
    assert_eq!(world.read(move |q| waiting::find(q, id)).unwrap().pace, slower);
}
