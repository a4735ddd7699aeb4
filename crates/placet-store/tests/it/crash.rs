//! A process that is killed while it writes: what it answered is there, what it didn't is there whole or not at all.

use crate::world::{Engine, World, admission, charge, options, place};
use placet_store::{Refused, Store};
use std::{
    collections::HashSet,
    env,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

const PLACE: &str = "PLACET_TEST_CRASH";
const MAX: i64 = 3000;

/// What is killed: it says each action whose admission was answered.
#[test]
#[ignore = "the body of the process that the test below kills"]
fn killed() {
    let Some(at) = env::var_os(PLACE) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let store = Store::open(options(place(at.to_str().unwrap()))).unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let store = store.clone();
            tasks.spawn(async move {
                loop {
                    let mut admission = admission(vec![charge("c", 0, 1, MAX)]);
                    admission.action = random();
                    match store.admit(admission).await {
                        Ok(admitted) => println!("\nadmitted {}", admitted.action()),
                        Err(Refused::Limit { .. }) => return println!("\nfull"),
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
        tasks.join_all().await;
    });
}

/// Ids that differ between runs: a hash map's seed is random.
fn random() -> placet_core::id::ActionId {
    use std::hash::{BuildHasher as _, RandomState};
    crate::world::from(RandomState::new().hash_one(0))
}

#[test]
fn what_a_killed_process_answered_is_there() {
    what_was_answered_is_there(&World::new(Engine::Sqlite));
}

#[test]
fn what_a_killed_process_answered_is_on_the_server() {
    what_was_answered_is_there(&World::new(Engine::Postgres));
}

fn what_was_answered_is_there(world: &World) {
    let mut answered = HashSet::new();
    let mut full = false;
    for round in 0..4 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "crash::killed", "--nocapture"])
            .env(PLACE, world.place())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = 0;
        // Read on after the kill: what is in the pipe was answered. The last line may be torn.
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            if let Some(action) = line.strip_prefix("admitted ").filter(|action| action.len() == 30) {
                assert!(answered.insert(action.to_owned()));
                said += 1;
            }
            full |= line == "full";
            if said == 100 * (round + 1) {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(said > 0, "round {round} said nothing");
        drop(world.open());
        let entries = world.verify_chain();
        let stored = world.column("SELECT id FROM actions");
        let used = world.number("SELECT used FROM counters");
        assert_eq!((used, entries), (stored.len() as i64, stored.len() as u64));
        assert!(used <= MAX);
        let stored: HashSet<_> = stored.into_iter().collect();
        assert!(answered.is_subset(&stored));
    }
    assert!(!full, "the limit was reached before anything was killed");
}
