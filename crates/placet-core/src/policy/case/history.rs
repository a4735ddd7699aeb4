//! What was recorded, decided again in its order: each action that was done is charged where these policies allow it too,
//! and given back where it was, so that the next one finds the counters as the ledger would have had them.
//!
//! An action that was not done is charged nothing, whatever is decided of it now: nobody knows what would have come of it.
//!
//! Invariant: what is not known of the counters is said. A count that reaches back before what is known is no count to
//! rely on.

use super::{Case, Decided};
use crate::{
    judge::Verdict,
    ledger::{Book, Charge, Meter},
    pattern::ActionName,
    policy::PolicySet,
    time::Timestamp,
};
use serde::Serialize;
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

/// The longest that an action counts as under way: a charged decision whose outcome nobody tells.
const UNDER_WAY: Duration = Duration::from_secs(15 * 60);

/// The counters of one set of policies, while the record is decided again by it.
#[derive(Debug)]
pub struct History {
    book: Book,
    /// What each action that has not ended was charged.
    open: HashMap<String, Vec<Charge>>,
    /// Until when anything may have been used that is not known; `None` where all is known from the beginning.
    from: Option<Timestamp>,
    missed: Vec<Missed>,
    incomplete: BTreeSet<Incomplete>,
}

/// Something that was done and can't be decided again: what it used is not known.
#[derive(Debug, Clone)]
pub struct Missed {
    /// When.
    pub at: Timestamp,
    /// What was done, where that is known.
    pub action: Option<ActionName>,
    /// The grants that it was done under.
    pub grants: Vec<String>,
}

/// A limit that counts too little, as some of what was used of it is not known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Incomplete {
    /// The policy, or the grant.
    pub policy: String,
    /// The rule.
    pub rule: String,
    /// The limit as its author would write it.
    pub limit: String,
}

impl History {
    /// Begins with unused counters. `from`: what happened before it is not known; `None` where nothing did.
    pub fn new(from: Option<Timestamp>) -> Self {
        Self {
            book: Book::default(),
            open: HashMap::new(),
            from,
            missed: Vec::new(),
            incomplete: BTreeSet::new(),
        }
    }

    /// Notes what was done and can't be charged.
    pub fn miss(&mut self, missed: Missed) {
        self.missed.push(missed);
    }

    /// Decides the next one, on the counters as they stand. Whether they count all that was used of its limits is the
    /// second answer.
    pub fn decide(&mut self, case: &Case, policies: &PolicySet) -> (Decided, bool) {
        let decided = case.decide_on(policies, |_, charge| self.book.standing(charge, case.now));
        let mut whole = true;
        for charge in &decided.trace.charges {
            let Some(applied) = decided.trace.limits.get(charge.limit) else { continue };
            let policy = applied.policy.split('@').next().unwrap_or_default();
            if self.counts_all(charge, (policy, &applied.rule), policies, case.now) {
                continue;
            }
            whole = false;
            let (policy, rule) = (policy.to_owned(), applied.rule.to_string());
            self.incomplete.insert(Incomplete { policy, rule, limit: applied.limit.to_string() });
        }
        (decided, whole)
    }

    /// Charges what was decided of an action that was done. `until`: when its leases end by themselves.
    pub fn done(&mut self, action: &str, decided: &Decided, at: Timestamp, until: Timestamp) {
        if decided.decision == Verdict::Deny || decided.trace.charges.is_empty() {
            return;
        }
        self.book.charge(&decided.trace.charges, action, at, until);
        self.open.insert(action.to_owned(), decided.trace.charges.clone());
    }

    /// An action has ended, and nobody will say anything else of it: its charges stay, or are given back. Of one of which
    /// nobody knows what became this is not said.
    pub fn ended(&mut self, action: &str, given_back: bool) {
        let Some(charges) = self.open.remove(action) else { return };
        self.book.release(&charges, action);
        if given_back {
            self.book.give_back(&charges);
        }
    }

    /// The limits of what was decided that count too little, each once.
    pub fn incomplete(&self) -> impl Iterator<Item = &Incomplete> {
        self.incomplete.iter()
    }

    fn counts_all(&self, charge: &Charge, owner: (&str, &str), policies: &PolicySet, now: Timestamp) -> bool {
        let reaches = |at: Timestamp| match charge.meter {
            // What happened in its first moment is in it.
            Meter::Window => charge.window.start <= at && at < charge.window.end,
            // A full bucket of then may not be empty yet.
            Meter::Rate(rate) => rate.holding(charge.max, at).micros > now.as_micros(),
            Meter::Concurrent => at.plus(UNDER_WAY) > now,
        };
        // A window that begins when what is known begins misses nothing.
        let before =
            |at: Timestamp| reaches(at) && !(charge.meter == Meter::Window && charge.window.start == at);
        self.from.is_none_or(|from| !before(from))
            && !self.missed.iter().any(|missed| reaches(missed.at) && missed.may_use(owner, policies))
    }
}

impl Missed {
    /// Whether a limit of this rule, or of this grant, may have been charged for it.
    fn may_use(&self, (policy, rule): (&str, &str), policies: &PolicySet) -> bool {
        let Some(policy) = policies.find(policy) else {
            return self.grants.is_empty() || self.grants.iter().any(|grant| grant == policy);
        };
        let mut rules = policy.rules.iter().filter(|found| &*found.name == rule);
        rules.any(|rule| self.action.as_ref().is_none_or(|action| rule.names(action)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Policy, fixture::policy};
    use proptest::prelude::*;
    use serde_json::json;
    use std::sync::Arc;

    const START: i64 = 1_767_614_400_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(START + seconds * 1_000_000)
    }

    /// One that was recorded: whose it is, for how much, and what became of it after how long.
    #[derive(Debug, Clone)]
    struct Recorded {
        at: i64,
        agent: usize,
        user: usize,
        amount: i64,
        key: usize,
        end: End,
    }

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum End {
        /// It was not done.
        Refused,
        /// Nobody knows.
        Unknown,
        Kept(i64),
        GivenBack(i64),
    }

    impl Recorded {
        fn case(&self) -> Case {
            let test = json!({
                "given": {"agent": {"handle": format!("bot-{}", self.agent)}, "user": format!("user-{}", self.user),
                          "now": at(self.at).to_string()},
                "when": {"action": "pay.out", "resource": "bank://a/b",
                         "params": {"amount": self.amount, "to": format!("to-{}", self.key)}},
                "then": "allow",
            });
            Case::from_json(&test, &[]).unwrap()
        }
    }

    fn recorded() -> impl Strategy<Value = Vec<Recorded>> {
        let end = prop_oneof![
            1 => Just(End::Refused),
            1 => Just(End::Unknown),
            4 => (0..9000i64).prop_map(End::Kept),
            2 => (0..9000i64).prop_map(End::GivenBack),
        ];
        let gap = prop_oneof![0..90i64, 0..5000i64, 0..90_000i64];
        let one = (gap, 0..2usize, 0..2usize, 1..9i64, 0..3usize, end);
        prop::collection::vec(one, 1..40).prop_map(|all| {
            let mut now = 0;
            let timed = all.into_iter().map(|(gap, agent, user, amount, key, end)| {
                now += gap;
                Recorded { at: now, agent, user, amount, key, end }
            });
            timed.collect()
        })
    }

    const LIMITS: [&str; 7] = [
        "{count: 3, per: day}",
        "{sum: params.amount, max: 12, per: hour, by: user}",
        "{sum: params.amount, max: 20, per: day, zone: America/New_York, by: params.to}",
        "{rate: 4/hour, burst: 2}",
        "{concurrent: 2}",
        "{count: 9, per: week, by: resource}",
        "{count: 5, per: total, by: params.to}",
    ];

    /// As the record says it from outside: everything that was done is looked at again for each question.
    struct Oracle {
        limits: Vec<usize>,
        done: Vec<Recorded>,
    }

    impl Oracle {
        fn fits(&self, one: &Recorded) -> bool {
            self.limits.iter().all(|limit| self.has_room(*limit, one))
        }

        fn has_room(&self, limit: usize, one: &Recorded) -> bool {
            let ended = |other: &Recorded| match other.end {
                End::Kept(after) | End::GivenBack(after) => other.at + after <= one.at,
                End::Refused | End::Unknown => false,
            };
            let kept = |other: &&Recorded| !(matches!(other.end, End::GivenBack(_)) && ended(other));
            let day = |seconds: i64| seconds.div_euclid(86_400);
            let noon = 12 * 3600;
            let used = |same: &dyn Fn(&Recorded) -> bool, of: &dyn Fn(&Recorded) -> i64| -> i64 {
                self.done.iter().filter(kept).filter(|other| same(other)).map(of).sum()
            };
            let (once, amount) = (|_: &Recorded| 1, |other: &Recorded| other.amount);
            match limit {
                // START is noon in London, 7 in the morning in New York, on a Monday.
                0 => used(&|it| it.agent == one.agent && day(it.at + noon) == day(one.at + noon), &once) < 3,
                1 => {
                    let same = |it: &Recorded| it.user == one.user && it.at / 3600 == one.at / 3600;
                    used(&same, &amount) + one.amount <= 12
                }
                2 => {
                    let same =
                        |it: &Recorded| it.key == one.key && day(it.at + 7 * 3600) == day(one.at + 7 * 3600);
                    used(&same, &amount) + one.amount <= 20
                }
                3 => {
                    // A bucket of two that drips once in 900 s, filled again from the first drop on.
                    let mut level = 0;
                    let mut last = 0;
                    for other in self.done.iter().filter(|other| other.agent == one.agent) {
                        level = (level - (other.at - last)).max(0) + 900;
                        last = other.at;
                    }
                    (level - (one.at - last)).max(0) + 900 <= 1800
                }
                4 => {
                    let under_way = self
                        .done
                        .iter()
                        .filter(|it| it.agent == one.agent && !ended(it) && it.at + 900 > one.at);
                    under_way.count() < 2
                }
                5 => {
                    let week = |seconds: i64| (seconds + noon).div_euclid(7 * 86_400);
                    used(&|it| week(it.at) == week(one.at), &once) < 9
                }
                _ => used(&|it| it.key == one.key, &once) < 5,
            }
        }
    }

    fn paying(limits: &[usize]) -> Arc<Policy> {
        let texts: Vec<&str> = limits.iter().map(|limit| LIMITS[*limit]).collect();
        policy(&format!(
            "policy: p\nrules:\n  - {{name: pay, allow: [pay.out], limits: [{}]}}",
            texts.join(", ")
        ))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn counters_are_those_of_whoever_counts_everything_again(
            all in recorded(), chosen in prop::sample::subsequence((0..LIMITS.len()).collect::<Vec<_>>(), 1..4),
        ) {
            let policies = PolicySet::new(vec![paying(&chosen)]);
            let mut oracle = Oracle { limits: chosen, done: Vec::new() };
            let mut history = History::new(None);
            // What has ended by then is said before the next one is asked.
            let mut ends: Vec<(i64, usize, bool)> = Vec::new();
            for (index, one) in all.iter().enumerate() {
                ends.sort_unstable();
                let due = ends.iter().take_while(|(when, ..)| *when <= one.at).count();
                for (_, which, given_back) in ends.drain(..due) {
                    history.ended(&which.to_string(), given_back);
                }
                let (decided, whole) = history.decide(&one.case(), &policies);
                prop_assert!(whole);
                let expected = oracle.fits(one);
                prop_assert_eq!(decided.decision == Verdict::Allow, expected, "{}: {:?}", index, all);
                if !expected {
                    prop_assert_eq!(decided.reasons[0].code, crate::refusal::Code::LimitExceeded);
                }
                if one.end == End::Refused {
                    continue;
                }
                history.done(&index.to_string(), &decided, at(one.at), at(one.at + 900));
                if expected {
                    oracle.done.push(one.clone());
                    match one.end {
                        End::Kept(after) => ends.push((one.at + after, index, false)),
                        End::GivenBack(after) => ends.push((one.at + after, index, true)),
                        End::Refused | End::Unknown => {}
                    }
                }
            }
        }
    }

    fn one(seconds: i64) -> Recorded {
        Recorded { at: seconds, agent: 0, user: 0, amount: 1, key: 0, end: End::Kept(1) }
    }

    #[test]
    fn what_reaches_back_before_what_is_known_is_said() {
        // Known from half past twelve on; limit, a moment at which it reaches back, and one at which it doesn't.
        let from = 1800;
        for (limit, short, whole) in [
            (0, from + 11 * 3600, 12 * 3600),
            (1, from + 1799, from + 1800),
            (2, from + 16 * 3600, 17 * 3600),
            (3, from + 1799, from + 1800),
            (4, from + 899, from + 900),
            (5, from + 6 * 86_400, from + 7 * 86_400),
        ] {
            let policies = PolicySet::new(vec![paying(&[limit])]);
            let mut history = History::new(Some(at(from)));
            assert!(history.decide(&one(whole).case(), &policies).1, "{limit}");
            assert_eq!(history.incomplete().count(), 0, "{limit}");
            assert!(!history.decide(&one(short).case(), &policies).1, "{limit}");
            let told = history.incomplete().next().unwrap();
            assert_eq!((told.policy.as_str(), told.rule.as_str()), ("p", "pay"));
        }
        let policies = PolicySet::new(vec![paying(&[6])]);
        let mut history = History::new(Some(at(0)));
        assert!(!history.decide(&one(1_000_000_000).case(), &policies).1);
    }

    #[test]
    fn what_is_missed_counts_too_little_where_it_would_have_been_charged() {
        let policies = PolicySet::new(vec![paying(&[0])]);
        let missed =
            |action: &str| Missed { at: at(60), action: ActionName::parse(action).ok(), grants: Vec::new() };
        let mut history = History::new(None);
        history.miss(missed("mail.send"));
        assert!(history.decide(&one(120).case(), &policies).1);
        history.miss(missed("pay.out"));
        assert!(!history.decide(&one(120).case(), &policies).1);
        assert!(history.decide(&one(120 + 86_400).case(), &policies).1);
    }
}
