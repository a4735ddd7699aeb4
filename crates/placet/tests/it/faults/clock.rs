//! A clock that jumps: the binary under a clock that a test sets, by a library that is put before the system's.

use crate::stage::PLACET;
use placet_testkit::{Agent, Server, Story};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Adds the number in a file to the time of day; what measures spans is left alone.
const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long long ahead(void) {
    char text[32] = {0};
    int file = open(getenv("TEST_CLOCK"), O_RDONLY | O_CLOEXEC);
    if (file < 0 || read(file, text, sizeof text - 1) <= 0) abort();
    close(file);
    return atoll(text);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*system)(clockid_t, struct timespec *);
    if (!system) system = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = system(clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += ahead();
    return failed;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec at;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &at);
    now->tv_sec = at.tv_sec;
    now->tv_usec = at.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *now) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (now) *now = at.tv_sec;
    return at.tv_sec;
}
"#;

/// The clock of a server, and of its command line.
pub(crate) struct Clock {
    home: tempfile::TempDir,
    /// By how much it is ahead where it shows noon, so that an hour more or less is the same day.
    noon: i64,
}

impl Clock {
    pub(crate) fn at_noon() -> Self {
        let home = tempfile::tempdir().unwrap();
        let now = placet_server::clock::Clock::System.now().as_micros() / 1_000_000;
        let clock = Self { home, noon: DAY / 2 - now.rem_euclid(DAY) };
        let (source, library) = (clock.path("clock.c"), clock.path("clock.so"));
        fs::write(&source, LIBRARY).unwrap();
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
        let built = compile.output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let program = format!(
            "#!/bin/sh\nTEST_CLOCK='{}' LD_PRELOAD='{}' exec {PLACET} \"$@\"\n",
            clock.path("ahead").display(),
            library.display()
        );
        fs::write(clock.path("placet"), program).unwrap();
        fs::set_permissions(clock.path("placet"), fs::Permissions::from_mode(0o700)).unwrap();
        clock.set(0);
        clock
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// So many seconds from noon.
    pub(crate) fn set(&self, from_noon: i64) {
        let draft = self.path("draft");
        fs::write(&draft, (self.noon + from_noon).to_string()).unwrap();
        fs::rename(draft, self.path("ahead")).unwrap();
    }

    pub(crate) fn server(&self) -> Server {
        Server::start(self.path("placet").to_str().unwrap())
    }

    pub(crate) fn story(&self) -> Story {
        Story::on(self.server())
    }
}

fn write(story: &Story, token: &str, customer: &str) -> u16 {
    story.act(token, "notes.write", &json!({"customer_id": customer, "text": "x"})).status
}

fn all(story: &Story, agent: &Agent, customer: &str) -> usize {
    let token = agent.token(&story.client(), "notes.write");
    (0..20).take_while(|_| write(story, &token, customer) == 200).count()
}

fn verified(story: &Story) {
    let output = story.server.cli().args(["record", "verify", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

fn active(story: &Story, token: &str) -> bool {
    let told = story.server.admin().post("/oauth/introspect").form(&[("token", token)]).send().expect(200);
    told.body["active"] == true
}

#[test]
fn a_clock_that_jumps_gives_no_limit_anew() {
    let clock = Clock::at_noon();
    // An agent has no authority before the time at which it was registered.
    clock.set(-2 * DAY);
    let story = clock.story();
    let limited = |limit: &str| {
        story.ready(&format!("  - {{name: some, allow: [notes.write], limits: [{limit}]}}\n")).0
    };
    let (daily, total) = (limited("{count: 3, per: day}"), limited("{count: 3, per: total}"));
    let (hourly, rated) = (limited("{count: 3, per: hour}"), limited("{rate: 3/hour}"));
    clock.set(0);
    for (agent, name) in [(&daily, "daily"), (&total, "total"), (&hourly, "hourly"), (&rated, "rated")] {
        assert_eq!(all(&story, agent, name), 3, "{name}");
    }
    // Within a day nothing is given anew, whichever way the clock goes.
    for from_noon in [-HOUR, 0, HOUR, -2 * HOUR, 5 * HOUR, 0] {
        clock.set(from_noon);
        assert_eq!(all(&story, &daily, "daily"), 0, "{from_noon}");
        assert_eq!(all(&story, &total, "total"), 0, "{from_noon}");
    }
    // An hour that was used up is used up when it comes again.
    clock.set(0);
    assert_eq!(all(&story, &hourly, "hourly"), 0);
    // A bucket is no emptier some minutes earlier. What only a clock that was set back by more can have left behind
    // costs one extra, and not the time until then.
    for from_noon in [-60, -500] {
        clock.set(from_noon);
        assert_eq!(all(&story, &rated, "rated"), 0, "{from_noon}");
    }
    clock.set(-HOUR);
    assert!(all(&story, &rated, "rated") <= 1);
    // Each day has its own budget, also where the clock shows it out of turn, and has it once.
    for day in [-1, 1, 0, -1, 1, 0] {
        clock.set(day * DAY);
        all(&story, &daily, "daily");
        assert_eq!(all(&story, &total, "total"), 0);
    }
    assert_eq!(story.shop.count("/customers/daily/"), 9);
    assert_eq!(story.shop.count("/customers/total/"), 3);
    // The order of the record is its own: entries follow one another though their times don't.
    let record = story.record();
    let times: Vec<&str> = record.iter().map(|entry| entry["at"].as_str().unwrap()).collect();
    assert!(!times.is_sorted());
    let ids: std::collections::BTreeSet<String> =
        record.iter().map(|entry| entry["id"].to_string()).collect();
    assert_eq!(ids.len(), record.len());
    verified(&story);
}

#[test]
fn what_has_ended_by_the_clock_is_refused_and_what_ended_otherwise_does_not_come_back() {
    let clock = Clock::at_noon();
    clock.set(-2 * HOUR);
    let mut story = clock.story();
    let rules = "  - {name: all, allow: [notes.write]}\n";
    let (agent, _) = story.ready(rules);
    clock.set(0);
    let token = agent.token(&story.client(), "notes.write");
    let revoked = agent.token(&story.client(), "notes.write");
    story.admin().post("/oauth/revoke").form(&[("token", &revoked)]).send().expect(200);
    let key = |story: &Story, token: &str| {
        let note = json!({"customer_id": "once", "text": "x"});
        story.acting(token, "notes.write", &note).header("idempotency-key", "once").send().status
    };
    assert_eq!(key(&story, &token), 200);
    assert_eq!(write(&story, &token, "c"), 200);
    // Forward: over, everywhere and at once.
    for from_noon in [2 * HOUR, DAY] {
        clock.set(from_noon);
        assert_eq!(write(&story, &token, "late"), 401, "{from_noon}");
        assert!(!active(&story, &token));
    }
    assert_eq!(story.shop.count("/customers/late/"), 0);
    // And a token that was made then works then.
    let later = agent.token(&story.client(), "notes.write");
    assert_eq!(write(&story, &later, "then"), 200);
    // Back: what was revoked stays so, and the key is used up.
    clock.set(0);
    assert!(!active(&story, &revoked));
    assert_eq!(write(&story, &revoked, "late"), 401);
    let again = agent.token(&story.client(), "notes.write");
    assert_eq!(key(&story, &again), 200);
    assert_eq!(story.shop.count("/customers/once/"), 1);
    // The same across a restart an hour back.
    clock.set(-HOUR);
    story.server.restart();
    assert!(!active(&story, &revoked));
    let early = agent.token(&story.client(), "notes.write");
    assert_eq!(write(&story, &early, "early"), 200);
    verified(&story);
    let record: Vec<Value> = story.record();
    let indices: Vec<u64> = record.iter().map(|entry| entry["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, (0..indices.len() as u64).collect::<Vec<_>>());
    assert!(!story.server.log().contains("panicked"));
}
