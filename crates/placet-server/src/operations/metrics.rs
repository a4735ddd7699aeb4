//! Counters and histograms, and their text for Prometheus (exposition format 0.0.4).
//!
//! Written from atomics by hand: every series is known at compile time but for a few labels with bounded values, so a
//! registry of the kind that metrics libraries bring would be more code than this.
//!
//! Invariant: labels are routes, methods, codes, verdicts and names of jobs; never anything that a caller chooses.

use super::process;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The most series of one family; what comes beyond is counted under `other="true"`.
const SERIES: usize = 2000;
/// Upper bounds of durations, in microseconds.
const DURATIONS: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000, 30_000_000,
];

/// Counts of one name, told apart by labels.
#[derive(Debug, Default)]
pub struct Counter(RwLock<BTreeMap<String, AtomicU64>>);

impl Counter {
    /// One more under these labels.
    pub fn add(&self, labels: &[(&str, &str)]) {
        self.add_many(labels, 1);
    }

    /// `count` more under these labels.
    pub(crate) fn add_many(&self, labels: &[(&str, &str)], count: u64) {
        let key = rendered(labels);
        {
            let series = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = series.get(&key) {
                found.fetch_add(count, Ordering::Relaxed);
                return;
            }
        }
        let mut series = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let key = if series.len() < SERIES { key } else { "other=\"true\"".to_owned() };
        series.entry(key).or_default().fetch_add(count, Ordering::Relaxed);
    }

    /// Every series with its count.
    pub fn read(&self) -> Vec<(String, u64)> {
        let series = self.0.read().unwrap_or_else(PoisonError::into_inner);
        series.iter().map(|(labels, count)| (labels.clone(), count.load(Ordering::Relaxed))).collect()
    }
}

/// How long something took.
#[derive(Debug)]
pub struct Durations {
    buckets: [AtomicU64; DURATIONS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            count: AtomicU64::new(0),
            micros: AtomicU64::new(0),
        }
    }
}

impl Durations {
    /// One more that took this long.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = DURATIONS.iter().zip(&self.buckets).find(|(bound, _)| micros <= **bound);
        if let Some((_, bucket)) = bucket {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(micros, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a server counts and measures while it runs; all of it starts from zero with the process.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests by `method`, `route` and `status` class.
    pub requests: Counter,
    /// Decisions of the way of an action by `verdict` and `code`.
    pub decisions: Counter,
    /// Requests refused before anybody was known, by `code`.
    pub unauthenticated: Counter,
    /// Denials that were counted into the entry of an equal one.
    pub coalesced: Counter,
    /// Tokens issued, by `grant_type`.
    pub tokens: Counter,
    /// What became of calls to upstreams, by `outcome`.
    pub upstream: Counter,
    /// Questions about intent by the `verdict` of the judge.
    pub intents: Counter,
    /// The commit point, from asking to its answer.
    pub admit: Durations,
    /// Concluding an action, from asking to its answer.
    pub conclude: Durations,
    /// Upstreams, from the first byte sent to the whole answer.
    pub upstream_took: Durations,
}

/// What is read from elsewhere when the metrics are asked for.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    /// `name, labels, help, value`; the same names stand together.
    pub values: Vec<Gauge>,
    /// Groups that the writer committed, by the largest size that counts there.
    pub groups: Vec<(u64, u64)>,
    /// Requests that they were made of.
    pub group_requests: u64,
}

/// One value that goes up and down.
#[derive(Debug, Clone)]
pub struct Gauge {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// Its labels, rendered.
    pub labels: String,
    /// The value.
    pub value: u64,
}

impl Gauges {
    /// With one more value.
    pub fn set(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.labelled(name, help, &[], value);
    }

    /// With one more value under labels.
    pub fn labelled(&mut self, name: &'static str, help: &'static str, labels: &[(&str, &str)], value: u64) {
        self.values.push(Gauge { name, help, labels: rendered(labels), value });
    }
}

impl Metrics {
    /// All of it as Prometheus reads it.
    pub fn text(&self, gauges: &Gauges) -> String {
        let mut out = String::with_capacity(16 * 1024);
        let counters = [
            ("placet_requests_total", "Requests answered, by route and status class.", &self.requests),
            (
                "placet_decisions_total",
                "Decisions about actions, by verdict and first code.",
                &self.decisions,
            ),
            (
                "placet_authentication_failures_total",
                "Requests refused before anybody was known, by code.",
                &self.unauthenticated,
            ),
            (
                "placet_denials_coalesced_total",
                "Denials counted into one entry of the record.",
                &self.coalesced,
            ),
            ("placet_tokens_issued_total", "Access and delegation tokens issued.", &self.tokens),
            ("placet_upstream_calls_total", "Calls to upstreams, by what became of them.", &self.upstream),
            (
                "placet_intent_judged_total",
                "Questions to the judge of intent, by its verdict.",
                &self.intents,
            ),
        ];
        for (name, help, counter) in counters {
            head(&mut out, name, help, "counter");
            for (labels, count) in counter.read() {
                sample(&mut out, name, &labels, count);
            }
        }
        let durations = [
            ("placet_admit_seconds", "The commit point, from asking to its answer.", &self.admit),
            ("placet_conclude_seconds", "Recording an outcome, from asking to its answer.", &self.conclude),
            ("placet_upstream_seconds", "Upstreams, from sending to the whole answer.", &self.upstream_took),
        ];
        for (name, help, one) in durations {
            histogram(&mut out, name, help, one);
        }
        groups(&mut out, gauges);
        let mut last = "";
        for gauge in &gauges.values {
            if last != gauge.name {
                head(&mut out, gauge.name, gauge.help, "gauge");
                last = gauge.name;
            }
            sample(&mut out, gauge.name, &gauge.labels, gauge.value);
        }
        process::write(&mut out);
        out
    }
}

/// `# HELP` and `# TYPE`.
pub(super) fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// One line.
pub(super) fn sample(out: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = if labels.is_empty() {
        writeln!(out, "{name} {value}")
    } else {
        writeln!(out, "{name}{{{labels}}} {value}")
    };
}

fn histogram(out: &mut String, name: &str, help: &str, one: &Durations) {
    head(out, name, help, "histogram");
    let mut below = 0;
    for (bound, bucket) in DURATIONS.iter().zip(&one.buckets) {
        below += bucket.load(Ordering::Relaxed);
        let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {below}", seconds(*bound));
    }
    // Read last, and never below a bucket: a scrape may meet an observation half way.
    let count = one.count.load(Ordering::Relaxed).max(below);
    let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {count}");
    let _ = writeln!(out, "{name}_sum {}", seconds(one.micros.load(Ordering::Relaxed)));
    let _ = writeln!(out, "{name}_count {count}");
}

fn groups(out: &mut String, gauges: &Gauges) {
    let name = "placet_store_group_size";
    head(out, name, "How many requests one commit takes.", "histogram");
    let mut below = 0;
    for (bound, count) in &gauges.groups {
        below += count;
        let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {below}");
    }
    let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {below}");
    let _ = writeln!(out, "{name}_sum {}\n{name}_count {below}", gauges.group_requests);
}

/// Microseconds as seconds, exactly.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn rendered(labels: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in labels {
        if !out.is_empty() {
            out.push(',');
        }
        let _ = write!(out, "{name}=\"");
        for letter in value.chars() {
            match letter {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                other => out.push(other),
            }
        }
        out.push('"');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metrics = Metrics::default();
        metrics.decisions.add(&[("verdict", "deny"), ("code", "no_rule")]);
        metrics.decisions.add(&[("verdict", "deny"), ("code", "no_rule")]);
        metrics.admit.observe(Duration::from_micros(300));
        metrics.admit.observe(Duration::from_secs(60));
        let mut gauges = Gauges::default();
        gauges.set("placet_ready", "Whether.", 1);
        let text = metrics.text(&gauges);
        for line in [
            "# TYPE placet_decisions_total counter",
            "placet_decisions_total{verdict=\"deny\",code=\"no_rule\"} 2",
            "placet_admit_seconds_bucket{le=\"0.00025\"} 0",
            "placet_admit_seconds_bucket{le=\"0.0005\"} 1",
            "placet_admit_seconds_bucket{le=\"30\"} 1",
            "placet_admit_seconds_bucket{le=\"+Inf\"} 2",
            "placet_admit_seconds_sum 60.0003",
            "placet_ready 1",
        ] {
            assert!(text.lines().any(|found| found == line), "no `{line}` in:\n{text}");
        }
    }

    #[test]
    fn a_label_can_not_end_its_own_quotes() {
        assert_eq!(rendered(&[("a", "x\"} 1\n\\")]), "a=\"x\\\"} 1\\n\\\\\"");
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let counter = Counter::default();
        for at in 0..SERIES + 50 {
            counter.add(&[("route", &at.to_string())]);
        }
        assert_eq!(counter.read().len(), SERIES + 1);
        assert_eq!(counter.read().iter().find(|(labels, _)| labels == "other=\"true\"").unwrap().1, 50);
    }
}
