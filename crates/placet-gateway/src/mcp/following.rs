//! What a server says while a call is under way, for the client that waits for it; and how the client calls it off.
//!
//! Invariant: nothing is passed on with the connection's credential in it, nothing that is not about this very request,
//! and no more than a client can be expected to read: what is too much is left out, and never held back for later.

use crate::scrub::Scrubber;
use placet_core::mcp::Level;
use serde_json::{Map, Value};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How many notices wait for a client that is slow to read.
const WAITING: usize = 32;
/// How many are passed on within a second, and of one call.
const PER_SECOND: u32 = 20;
const PER_CALL: u32 = 1000;
/// The longest that is passed on, in bytes.
const LONGEST: usize = 16 * 1024;

/// Something that a server says about a request while it is under way: the parameters of its notification.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// How far it is, without the token that the client knows it by.
    Progress(Map<String, Value>),
    /// What it logs.
    Log(Map<String, Value>),
}

/// What is passed on of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// How far it is.
    pub progress: bool,
    /// What its server logs, from this severity on.
    pub log: Option<Level>,
    /// Whether its server is asked to log: else what it logs by itself is passed on.
    pub ask_for_log: bool,
}

/// The end of whoever carries a call out.
#[derive(Debug, Clone)]
pub struct Following {
    wanted: Wanted,
    notices: mpsc::Sender<Notice>,
    off: watch::Receiver<bool>,
    pace: Arc<Mutex<Pace>>,
}

/// The end of whoever waits.
#[derive(Debug)]
pub struct Followed {
    /// What is said, until the call has ended.
    pub notices: mpsc::Receiver<Notice>,
    /// Calls it off.
    pub off: CallOff,
}

/// Calls a call off.
#[derive(Debug, Clone)]
pub struct CallOff(watch::Sender<bool>);

#[derive(Debug)]
struct Pace {
    since: Instant,
    within: u32,
    all: u32,
}

impl CallOff {
    /// What was sent is not waited for any more, and its server is told so.
    pub fn call_off(&self) {
        self.0.send_replace(true);
    }
}

/// Both ends.
pub fn follow(wanted: Wanted) -> (Following, Followed) {
    let (notices, heard) = mpsc::channel(WAITING);
    let (call_off, off) = watch::channel(false);
    let pace = Arc::new(Mutex::new(Pace { since: Instant::now(), within: 0, all: 0 }));
    (Following { wanted, notices, off, pace }, Followed { notices: heard, off: CallOff(call_off) })
}

impl Following {
    pub(super) fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// The same for who may call it off and is told nothing meanwhile.
    #[must_use]
    pub fn in_silence(&self) -> Self {
        Self { wanted: Wanted::default(), ..self.clone() }
    }

    /// Whether it was called off.
    pub fn is_off(&self) -> bool {
        *self.off.borrow()
    }

    /// Waits until it is called off; for ever where nobody can any more.
    pub(crate) async fn called_off(&self) {
        let mut off = self.off.clone();
        if off.wait_for(|off| *off).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Passes on a notification, if it is one that is wanted of the request with this id.
    pub(super) fn hear(&self, method: &str, params: Option<Value>, id: u64, scrubber: &Scrubber) {
        let Some(Value::Object(mut params)) = params else { return };
        let notice = match method {
            "notifications/progress" if self.wanted.progress => {
                if params.remove("progressToken").is_none_or(|token| token != id) {
                    return;
                }
                params.retain(|key, value| match key.as_str() {
                    "progress" | "total" => value.is_number(),
                    "message" => value.is_string(),
                    _ => false,
                });
                if !params.contains_key("progress") {
                    return;
                }
                Notice::Progress
            }
            "notifications/message" => {
                let level = params.get("level").and_then(Value::as_str).and_then(Level::from_word);
                if level.zip(self.wanted.log).is_none_or(|(level, from)| from > level) {
                    return;
                }
                params.retain(|key, _| matches!(key.as_str(), "level" | "logger" | "data"));
                Notice::Log
            }
            _ => return,
        };
        let mut told = Value::Object(params);
        scrubber.scrub_json(&mut told);
        let Value::Object(params) = told else { return };
        let is_long = serde_json::to_vec(&params).map_or(true, |text| text.len() > LONGEST);
        if !is_long && self.is_due() {
            // Whoever does not read it in time does without.
            _ = self.notices.try_send(notice(params));
        }
    }

    fn is_due(&self) -> bool {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        if pace.since.elapsed() >= Duration::from_secs(1) {
            (pace.since, pace.within) = (Instant::now(), 0);
        }
        if pace.within >= PER_SECOND || pace.all >= PER_CALL {
            return false;
        }
        (pace.within, pace.all) = (pace.within.saturating_add(1), pace.all.saturating_add(1));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use placet_core::secret::Secret;
    use serde_json::json;

    fn scrubber() -> Scrubber {
        Scrubber::new(&Secret::new("a-long-secret-value"))
    }

    fn heard(followed: &mut Followed) -> Vec<Notice> {
        std::iter::from_fn(|| followed.notices.try_recv().ok()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_is_wanted_of_this_request_is_passed_on() {
        let wanted = Wanted { progress: true, log: Some(Level::Warning), ask_for_log: false };
        let (following, mut followed) = follow(wanted);
        let hear = |method: &str, params: Value| following.hear(method, Some(params), 7, &scrubber());
        hear("notifications/progress", json!({"progressToken": 8, "progress": 1}));
        hear("notifications/progress", json!({"progressToken": "7", "progress": 1}));
        hear("notifications/progress", json!({"progress": 1}));
        hear("notifications/progress", json!({"progressToken": 7, "progress": "1"}));
        hear("notifications/message", json!({"level": "info", "data": "x"}));
        hear("notifications/message", json!({"level": "loud", "data": "x"}));
        hear("notifications/tools/list_changed", json!({}));
        hear("notifications/message", json!({"level": "error", "data": "x".repeat(LONGEST)}));
        assert_eq!(heard(&mut followed), []);
        hear(
            "notifications/progress",
            json!({"progressToken": 7, "progress": 1, "total": 2, "message": "m", "more": 1}),
        );
        hear(
            "notifications/message",
            json!({"level": "error", "data": {"is": "a-long-secret-value"}, "_meta": {}}),
        );
        let told = heard(&mut followed);
        let progress = json!({"progress": 1, "total": 2, "message": "m"});
        assert_eq!(told.first(), Some(&Notice::Progress(progress.as_object().unwrap().clone())));
        let Some(Notice::Log(logged)) = told.get(1) else { panic!("{told:?}") };
        assert!(!serde_json::to_string(logged).unwrap().contains("a-long-secret-value"), "{logged:?}");
        let (quiet, mut followed) = follow(Wanted::default());
        quiet.hear("notifications/message", Some(json!({"level": "emergency", "data": 1})), 7, &scrubber());
        quiet.hear(
            "notifications/progress",
            Some(json!({"progressToken": 7, "progress": 1})),
            7,
            &scrubber(),
        );
        assert_eq!(heard(&mut followed), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_much_is_heard_now_and_then() {
        let (following, mut followed) = follow(Wanted { progress: true, ..Wanted::default() });
        let mut passed = 0;
        for _ in 0..100 {
            for at in 0..50 {
                following.hear(
                    "notifications/progress",
                    Some(json!({"progressToken": 7, "progress": at})),
                    7,
                    &scrubber(),
                );
            }
            let told = heard(&mut followed).len();
            assert!(told <= 20, "{told} within a second");
            passed += told;
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(passed, 1000);
    }

    #[tokio::test]
    async fn it_is_called_off_once_and_for_all() {
        let (following, followed) = follow(Wanted::default());
        assert!(!following.is_off());
        followed.off.call_off();
        following.clone().called_off().await;
        assert!(following.is_off());
        // Whoever waits going away is no word of theirs.
        let (following, followed) = follow(Wanted::default());
        drop(followed);
        assert!(!following.is_off());
        let waited = tokio::time::timeout(Duration::from_millis(20), following.called_off()).await;
        assert!(waited.is_err());
    }
}
