//! Where a judge is, as the operator writes it down in a file.
//!
//! ```yaml
//! url: https://llm.example.com/v1        # `/chat/completions` is added
//! model: small-judge
//! key: {env: JUDGE_KEY}                  # or {file: /run/secrets/judge}; left out, none is sent
//! timeout: 5s
//! ```
//!
//! Invariant: the key itself does not stand in it; it is sent over TLS, or within this machine.

use crate::{
    client::Uri,
    diagnostic::Diagnostic,
    yaml::{Reading, parse},
};
use std::{path::PathBuf, time::Duration};

/// A judge's place and bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgeConfig {
    /// The whole URL that questions are sent to.
    pub url: String,
    /// The model that is asked for, and recorded.
    pub model: String,
    /// Where its key is.
    pub key: Option<KeyFrom>,
    /// How long one question may take, with waiting for a place. 5 s where it isn't said, at most 60 s.
    pub timeout: Duration,
    /// The most bytes of a question. 16 KiB where it isn't said.
    pub question_bytes: usize,
    /// The most bytes of an answer. 64 KiB where it isn't said.
    pub answer_bytes: usize,
    /// How many questions are under way at a time. 8 where it isn't said.
    pub concurrent: usize,
    /// How many of them one agent's actions may have. Half of them where it isn't said.
    pub agent_concurrent: usize,
    /// How many questions one agent's actions may come to in a minute. 60 where it isn't said.
    pub agent_per_minute: u32,
    /// After how many times that it said no to actions of a task nobody is asked about others of that task. 5 where it
    /// isn't said.
    pub task_refusals: u64,
    /// After how many failures in a row nobody is asked for a while. 5 where it isn't said.
    pub failures: u32,
    /// For how long. 30 s where it isn't said.
    pub rest: Duration,
}

/// Where a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFrom {
    /// In this variable of the environment.
    Env(String),
    /// In this file, without the white space at its end.
    File(PathBuf),
}

const KEYS: &[&str] = &[
    "url",
    "model",
    "key",
    "timeout",
    "question_bytes",
    "answer_bytes",
    "concurrent",
    "agent_concurrent",
    "agent_per_minute",
    "task_refusals",
    "failures",
    "rest",
];

impl JudgeConfig {
    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong with it, each with its place.
    pub fn read(source: &[u8], file: Option<&str>) -> Result<Self, Vec<Diagnostic>> {
        let (root, report) = parse(source, file)?;
        let config = Self::of(&root.reading("the document", &report));
        report.finish(config).map(|(config, _)| config)
    }

    fn of(reading: &Reading<'_>) -> Option<Self> {
        let map = reading.map()?;
        map.finish(KEYS);
        let url = map.required("url").and_then(|reading| url(&reading));
        let model = map.required("model").and_then(|reading| reading.string().map(str::to_owned));
        let key = match map.optional("key") {
            None => None,
            Some(reading) => Some(key(&reading)?),
        };
        let number = |name, default: i64, low, high| match map.optional(name) {
            None => Some(default),
            Some(reading) => reading.integer(low, high),
        };
        let seconds = |name, default: u64, most: u64| match map.optional(name) {
            None => Some(Duration::from_secs(default)),
            Some(reading) => span(&reading, most),
        };
        let (timeout, rest) = (seconds("timeout", 5, 60), seconds("rest", 30, 3600));
        let bytes = (
            number("question_bytes", 16 << 10, 1 << 10, 1 << 20),
            number("answer_bytes", 64 << 10, 1 << 10, 1 << 20),
        );
        let (concurrent, failures) = (number("concurrent", 8, 1, 1000), number("failures", 5, 1, 1000));
        let half = concurrent.map_or(1, |all| (all / 2).max(1));
        let agent = (
            number("agent_concurrent", half, 1, concurrent.unwrap_or(1000)),
            number("agent_per_minute", 60, 1, 100_000),
        );
        let task_refusals = number("task_refusals", 5, 1, 1_000_000);
        Some(Self {
            url: url?,
            model: model?,
            key,
            timeout: timeout?,
            question_bytes: usize::try_from(bytes.0?).ok()?,
            answer_bytes: usize::try_from(bytes.1?).ok()?,
            concurrent: usize::try_from(concurrent?).ok()?,
            agent_concurrent: usize::try_from(agent.0?).ok()?,
            agent_per_minute: u32::try_from(agent.1?).ok()?,
            task_refusals: u64::try_from(task_refusals?).ok()?,
            failures: u32::try_from(failures?).ok()?,
            rest: rest?,
        })
    }
}

fn url(reading: &Reading<'_>) -> Option<String> {
    let text = reading.string()?;
    let sound = Uri::parse(text).ok().is_some_and(|uri| match (uri.scheme, uri.authority) {
        ("https", Some(_)) => true,
        ("http", Some(authority)) => authority.is_loopback(),
        _ => false,
    });
    if !sound || text.contains(['?', '#', '@']) {
        reading
            .error("`url` is an https URL, or an http one of this machine, without user, query and fragment");
        return None;
    }
    let base = text.trim_end_matches('/');
    Some(if base.ends_with("/chat/completions") {
        base.to_owned()
    } else {
        format!("{base}/chat/completions")
    })
}

fn key(reading: &Reading<'_>) -> Option<KeyFrom> {
    const FORM: &str = "`key` says where the key is: `{env: NAME}` or `{file: PATH}`";
    let map = reading.map()?;
    map.finish(&["env", "file"]);
    match (map.optional("env"), map.optional("file")) {
        (Some(env), None) => env.string().map(|name| KeyFrom::Env(name.to_owned())),
        (None, Some(file)) => file.string().map(|path| KeyFrom::File(path.into())),
        _ => {
            reading.error(FORM);
            None
        }
    }
}

/// `500ms`, `5s`, `2m`.
fn span(reading: &Reading<'_>, most: u64) -> Option<Duration> {
    let text = reading.string()?;
    let number = |unit| text.strip_suffix(unit).and_then(|digits| digits.parse::<u32>().ok()).map(u64::from);
    let found = number("ms")
        .map(Duration::from_millis)
        .or_else(|| number("s").map(Duration::from_secs))
        .or_else(|| number("m").map(|minutes| Duration::from_secs(minutes * 60)));
    let found = found.filter(|span| !span.is_zero() && *span <= Duration::from_secs(most));
    if found.is_none() {
        reading.error(format!("it is a time such as `500ms`, `5s` or `1m`, at most {most} s"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> usize {
        JudgeConfig::read(text.as_bytes(), None).map_or_else(|errors| errors.len(), |_| 0)
    }

    #[test]
    fn a_file_says_where_the_judge_is() {
        let text = "url: https://llm.example/v1/\nmodel: m\nkey: {env: KEY}\ntimeout: 250ms\nrest: 2m";
        let config = JudgeConfig::read(text.as_bytes(), None).unwrap();
        assert_eq!(config.url, "https://llm.example/v1/chat/completions");
        assert_eq!(config.key, Some(KeyFrom::Env("KEY".to_owned())));
        assert_eq!((config.timeout, config.rest), (Duration::from_millis(250), Duration::from_secs(120)));
        assert_eq!((config.concurrent, config.failures, config.question_bytes), (8, 5, 16384));
        assert_eq!((config.agent_concurrent, config.agent_per_minute, config.task_refusals), (4, 60, 5));
        let few = JudgeConfig::read(b"url: https://llm.example/v1\nmodel: m\nconcurrent: 1", None).unwrap();
        assert_eq!(few.agent_concurrent, 1);
        assert_eq!(errors("url: http://127.0.0.1:9/v1\nmodel: m"), 0);
        for wrong in [
            "url: http://llm.example/v1\nmodel: m",
            "url: ftp://llm.example/v1\nmodel: m",
            "url: https://user@llm.example/v1\nmodel: m",
            "url: https://llm.example/v1?x=1\nmodel: m",
            "url: https://llm.example/v1",
            "url: https://llm.example/v1\nmodel: m\nkey: sk-secret",
            "url: https://llm.example/v1\nmodel: m\nkey: {env: A, file: B}",
            "url: https://llm.example/v1\nmodel: m\ntimeout: 0s",
            "url: https://llm.example/v1\nmodel: m\ntimeout: 5m",
            "url: https://llm.example/v1\nmodel: m\ntemperature: 1",
            "url: https://llm.example/v1\nmodel: m\nconcurrent: 2\nagent_concurrent: 3",
            "url: https://llm.example/v1\nmodel: m\ntask_refusals: 0",
        ] {
            assert!(errors(wrong) > 0, "{wrong}");
        }
    }
}
