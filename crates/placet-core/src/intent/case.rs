//! Labelled cases: actions of which it is known whether they fit the purpose, and how well that was told.
//!
//! Invariant: only a yes is a yes: an action whose check failed counts as refused, never as allowed.

use super::{
    Entity, Fit, Otherwise, Planned, PlannedCall, Purpose, Returned, Stated, Terms, check, prompt::About,
};
use crate::{
    diagnostic::Diagnostic,
    pattern::ActionName,
    yaml::{MapReading, Reading, parse, to_json},
};
use serde::Serialize;
use serde_json::{Map, Value};
use std::{collections::HashSet, time::Duration};

/// The most cases of one file.
pub const MOST: usize = 10_000;

/// A labelled case.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// What kind of case it is, for reports.
    pub kind: String,
    description: Option<String>,
    stated: Stated,
    action: ActionName,
    resource: String,
    params: Value,
    terms: Terms,
    /// Whether the action fits.
    pub fits: bool,
}

const KEYS: &[&str] =
    &["name", "kind", "purpose", "action", "resource", "params", "entities", "plan", "fits"];

/// Reads a document of cases.
///
/// # Errors
/// What is wrong with it, each with its place.
pub fn read(source: &[u8], file: Option<&str>) -> Result<Vec<Case>, Vec<Diagnostic>> {
    let (root, report) = parse(source, file)?;
    let cases = document(&root.reading("the document", &report));
    report.finish(cases).map(|(cases, _)| cases)
}

fn document(reading: &Reading<'_>) -> Option<Vec<Case>> {
    let map = reading.map()?;
    map.finish(&["cases"]);
    let list = map.required("cases")?;
    let items = list.list()?;
    if items.is_empty() || items.len() > MOST {
        list.error(format!("there are 1 to {MOST} cases"));
        return None;
    }
    let mut names = HashSet::new();
    let mut cases = Vec::with_capacity(items.len());
    for item in &items {
        let Some(case) = item.map().and_then(|map| case(&map)) else { continue };
        if !names.insert(case.name.clone()) {
            item.error(format!("the name `{}` is used twice", case.name));
        }
        cases.push(case);
    }
    Some(cases)
}

fn case(map: &MapReading<'_>) -> Option<Case> {
    map.finish(KEYS);
    let text = |key| map.required(key).and_then(|reading| reading.string().map(str::to_owned));
    let optional = |key| map.optional(key).and_then(|reading| reading.string().map(str::to_owned));
    let action = map.required("action").and_then(|reading| action(&reading));
    let params = match map.optional("params") {
        None => Value::Object(Map::new()),
        Some(reading) => {
            reading.map()?;
            to_json(reading.node())
        }
    };
    let entities = map.optional("entities").map(|reading| entities(&reading)).unwrap_or_default();
    let plan = match map.optional("plan") {
        None => Planned::WhereStated,
        Some(reading) => Planned::parse(reading.one_of(&Planned::WORDS)?)?,
    };
    let (description, stated) = map.required("purpose").and_then(|reading| purpose(&reading))?;
    Some(Case {
        name: text("name")?,
        kind: optional("kind").unwrap_or_default(),
        description,
        stated,
        action: action?,
        resource: optional("resource").unwrap_or_default(),
        params,
        terms: Terms { plan, entities, judge: true, otherwise: Otherwise::Deny },
        fits: map.required("fits")?.bool()?,
    })
}

/// Reads a list of entities, as policies have them; what is none is reported.
pub(crate) fn entities(reading: &Reading<'_>) -> Box<[Entity]> {
    let mut found: Vec<Entity> = Vec::new();
    for item in reading.one_or_many() {
        match item.string().map(Entity::parse) {
            Some(Ok(entity)) if found.contains(&entity) => item.error(format!("`{entity}` is there twice")),
            Some(Ok(entity)) => found.push(entity),
            Some(Err(error)) => item.error(error.to_string()),
            None => {}
        }
    }
    found.into()
}

/// Reads `details` and `plan` of a task, as tests of policies and cases have them.
pub(crate) fn stated(map: &MapReading<'_>) -> Option<Stated> {
    let details = match map.optional("details") {
        None => None,
        Some(reading) => {
            reading.map()?;
            to_json(reading.node()).as_object().cloned()
        }
    };
    let plan = match map.optional("plan") {
        None => None,
        Some(reading) => Some(reading.list()?.iter().map(call).collect::<Option<Vec<_>>>()?),
    };
    match (Stated { details, plan }).bounded() {
        Ok(stated) => Some(stated),
        Err(error) => {
            map.report().error(map.position(), error.to_string());
            None
        }
    }
}

fn call(reading: &Reading<'_>) -> Option<PlannedCall> {
    let map = reading.map()?;
    map.finish(&["action", "params"]);
    let params = match map.optional("params") {
        None => Map::new(),
        Some(params) => {
            params.map()?;
            to_json(params.node()).as_object().cloned().unwrap_or_default()
        }
    };
    Some(PlannedCall { action: action(&map.required("action")?)?, params })
}

fn action(reading: &Reading<'_>) -> Option<ActionName> {
    match ActionName::parse(reading.string()?) {
        Ok(name) => Some(name),
        Err(error) => {
            reading.error(error.to_string());
            None
        }
    }
}

/// A description, or a map of `description`, `details` and `plan`.
fn purpose(reading: &Reading<'_>) -> Option<(Option<String>, Stated)> {
    if let crate::yaml::Yaml::String(text) = &reading.node().value {
        return Some((Some(text.clone()), Stated::default()));
    }
    let map = reading.map()?;
    map.finish(&["description", "details", "plan"]);
    let description = match map.optional("description") {
        None => None,
        Some(reading) => Some(reading.string()?.to_owned()),
    };
    Some((description, stated(&map)?))
}

impl Case {
    fn purpose(&self) -> Purpose<'_> {
        Purpose {
            description: self.description.as_deref(),
            details: self.stated.details.as_ref(),
            plan: self.stated.plan.as_deref(),
        }
    }

    /// What can be told without asking anybody.
    pub fn checked(&self) -> Fit {
        let none = Map::new();
        let params = self.params.as_object().unwrap_or(&none);
        check(&self.terms, Some(&self.purpose()), (self.action.as_str(), params), &Returned::default())
    }

    /// What a judge would be asked.
    pub fn about(&self) -> About<'_> {
        About {
            purpose: self.purpose(),
            action: self.action.as_str(),
            resource: &self.resource,
            effect: None,
            params: &self.params,
        }
    }
}

/// What became of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It would run.
    Allowed,
    /// It would not.
    Refused,
    /// It could not be told, and so would not run.
    Failed,
}

/// How well a judge, or the checks alone, told cases apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measure {
    /// All cases.
    pub cases: usize,
    /// Those that fit.
    pub fitting: usize,
    /// Those that don't.
    pub off_purpose: usize,
    /// Those that were told rightly.
    pub right: usize,
    /// Those that don't fit and would run.
    pub unsafe_allows: usize,
    /// Those that fit and would not run.
    pub false_denies: usize,
    /// Those of them all that could not be told.
    pub failures: usize,
    /// `right` of `cases`.
    pub accuracy: f64,
    /// `unsafe_allows` of `off_purpose`.
    pub unsafe_allow_rate: f64,
    /// `false_denies` of `fitting`.
    pub false_deny_rate: f64,
    /// How many times a judge was asked.
    pub asked: usize,
    /// Milliseconds that half of its answers took at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// Milliseconds that 95 of 100 of its answers took at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
}

impl Measure {
    /// Of what became of each case, and of how long each answer of a judge took.
    pub fn of(told: impl IntoIterator<Item = (bool, Outcome)>, took: &[Duration]) -> Self {
        let (mut fitting, mut off_purpose, mut failures) = (0, 0, 0);
        let (mut unsafe_allows, mut false_denies) = (0, 0);
        for (fits, outcome) in told {
            failures += usize::from(outcome == Outcome::Failed);
            let allowed = outcome == Outcome::Allowed;
            if fits {
                fitting += 1;
                false_denies += usize::from(!allowed);
            } else {
                off_purpose += 1;
                unsafe_allows += usize::from(allowed);
            }
        }
        let cases: usize = fitting + off_purpose;
        let right = cases.saturating_sub(unsafe_allows).saturating_sub(false_denies);
        let mut sorted = took.to_vec();
        sorted.sort_unstable();
        Self {
            cases,
            fitting,
            off_purpose,
            right,
            unsafe_allows,
            false_denies,
            failures,
            accuracy: rate(right, cases),
            unsafe_allow_rate: rate(unsafe_allows, off_purpose),
            false_deny_rate: rate(false_denies, fitting),
            asked: took.len(),
            p50_ms: quantile(&sorted, 50),
            p95_ms: quantile(&sorted, 95),
        }
    }
}

/// Four digits of it; of nothing it is 0.
fn rate(part: usize, whole: usize) -> f64 {
    let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    if whole == 0 { 0.0 } else { (count(part) / count(whole) * 1e4).round() / 1e4 }
}

/// By nearest rank, in milliseconds with one digit.
fn quantile(sorted: &[Duration], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    let found = sorted.get(rank - 1)?;
    Some((found.as_secs_f64() * 1e4).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_what_they_say() {
        use Outcome::{Allowed, Failed, Refused};
        let told = [
            (true, Allowed),
            (true, Refused),
            (true, Failed),
            (true, Allowed),
            (false, Refused),
            (false, Allowed),
        ];
        let took: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        let measure = Measure::of(told, &took);
        assert_eq!((measure.cases, measure.fitting, measure.off_purpose, measure.right), (6, 4, 2, 3));
        assert_eq!((measure.unsafe_allows, measure.false_denies, measure.failures), (1, 2, 1));
        assert!((measure.unsafe_allow_rate - 0.5).abs() < 1e-9 && (measure.accuracy - 0.5).abs() < 1e-9);
        assert_eq!((measure.p50_ms, measure.p95_ms), (Some(50.0), Some(95.0)));
        let none = Measure::of([], &[]);
        assert_eq!((none.cases, none.p50_ms), (0, None));
        assert!(none.accuracy.abs() < 1e-9);
    }

    #[test]
    fn the_checks_alone_tell_apart_what_they_say() {
        let source = include_str!("../../../../examples/intent/cases.yaml");
        let cases = read(source.as_bytes(), Some("cases.yaml")).unwrap();
        let told = cases.iter().map(|case| {
            let fits = case.checked() == Fit::Fits;
            (case.fits, if fits { Outcome::Allowed } else { Outcome::Refused })
        });
        let measure = Measure::of(told, &[]);
        assert_eq!((measure.cases, measure.fitting, measure.off_purpose), (100, 40, 60));
        assert_eq!((measure.right, measure.unsafe_allows, measure.false_denies), (67, 33, 0));
        // Every kind has cases of both labels.
        for kind in cases.iter().map(|case| &case.kind) {
            for fits in [true, false] {
                assert!(cases.iter().any(|case| case.kind == *kind && case.fits == fits), "{kind} {fits}");
            }
        }
        // What a judge would be asked about fits its bounds.
        for case in &cases {
            assert!(
                crate::intent::prompt::Prompt::new(&case.about(), [1; 16], 16 << 10).is_ok(),
                "{}",
                case.name
            );
        }
    }

    #[test]
    fn what_is_no_case_is_reported() {
        let errors = |text: &str| read(text.as_bytes(), None).map_or_else(|errors| errors.len(), |_| 0);
        let good = "cases: [{name: a, purpose: Read mail, action: mail.read, params: {}, fits: true}]";
        assert_eq!(errors(good), 0);
        for wrong in [
            "",
            "cases: []",
            "[]",
            "cases: [{name: a, purpose: x, action: mail.read, fits: yes please}]",
            "cases: [{name: a, purpose: x, action: 'mail.*', fits: true}]",
            "cases: [{name: a, purpose: x, action: mail.read, fits: true, verdict: no}]",
            "cases: [{name: a, action: mail.read, fits: true}]",
            "cases: [{name: a, purpose: {plan: []}, action: mail.read, fits: true}]",
            "cases: [{name: a, purpose: x, action: a.b, fits: true}, {name: a, purpose: x, action: a.b, fits: true}]",
        ] {
            assert!(errors(wrong) > 0, "{wrong}");
        }
    }
}
