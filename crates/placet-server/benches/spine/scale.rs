//! (e) What a request costs with a thousand, a hundred thousand and a million agents in the store, and what a start
//! costs with the million. Takes a few minutes, most of them to make the agents: run with `-- scale`.

use crate::{
    floor,
    load::{Load, Rate},
    population::Population,
    subject::{self, Subject},
};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const SIZES: [u64; 3] = [1_000, 100_000, 1_000_000];
/// How many different agents send requests.
const CALLERS: u64 = 1_000;
const CONNECTIONS: usize = 16;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(2);
/// The argument after which a directory follows in which the agents are made.
pub(crate) const GROW: &str = "--grow";
/// The argument after which a directory follows that is only opened.
pub(crate) const OPEN: &str = "--open";

/// Both, each in a process of its own: only the end of a process is sure to let go of the store, and the one that made
/// the agents holds what that took.
pub(crate) fn measure() {
    let directory = tempfile::tempdir().unwrap();
    for step in [GROW, OPEN] {
        let mut process = Command::new(std::env::current_exe().unwrap());
        let ended = process.arg(step).arg(directory.path()).stdin(Stdio::null()).status().unwrap();
        assert!(ended.success());
    }
}

/// Makes the agents in steps and measures at each.
pub(crate) async fn grow(directory: &Path) {
    let upstream = floor::upstream().await;
    let subject = Subject::start(directory, upstream).await;
    let mut population = Population::new(&subject);
    let mut first: Option<[Rate; 3]> = None;
    for size in SIZES {
        let began = Instant::now();
        population.grow(size).await;
        println!("(e) {size} agents, made in {:.1?}", began.elapsed());
        let tokens = population.token_requests(CALLERS);
        let actions = tokens.all().await;
        // Tokens of now: an older one may have expired while agents were made.
        let actions: Vec<_> = actions.iter().map(|answer| subject::action_request(answer)).collect();
        let one = Load::each(subject.act.address(), vec![actions[0].clone()], "200");
        let actions = Load::each(subject.act.address(), actions, "200");
        let rates = [median(&one).await, median(&actions).await, median(&tokens).await];
        let names = ["actions, one agent", "actions, 1,000 agents", "tokens, 1,000 agents"];
        for (index, (name, rate)) in names.iter().zip(&rates).enumerate() {
            let cost = first.as_ref().map_or(1.0, |first| first[index].per_second / rate.per_second);
            println!("    {name:<22} {rate}   cost {cost:.2}");
        }
        first.get_or_insert(rates);
    }
}

async fn median(load: &Load) -> Rate {
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        rates.push(load.run(CONNECTIONS, None, ROUND).await);
    }
    rates.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    rates.swap_remove(ROUNDS / 2)
}

/// Opens what is there until a request is answered, and says how long that took and how much memory.
pub(crate) async fn open(directory: &Path) {
    let began = Instant::now();
    let subject = Subject::reopen(directory).await;
    let ready = began.elapsed();
    drop(subject);
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
    println!("    start with all of them: {ready:.2?}, peak memory {peak}");
}
