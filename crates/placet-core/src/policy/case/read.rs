//! From YAML to tests.
//!
//! Invariant: every key is either understood or reported, with its place.

use super::{
    Case, Expected, Needs,
    given::{self, GIVEN_KEYS, Given},
    spent::{KINDS, OF_GRANTS, Spent, Which},
};
use crate::{
    action::{Action, ServiceVersion},
    chain::{Chain, Link},
    decimal::Decimal,
    diagnostic::{Diagnostic, Report, quoted},
    judge::Verdict,
    pattern::{ActionName, ResourceUri},
    policy::{
        Policy, PolicySet,
        template::{Entry, fact},
    },
    refusal::{Code, Reason},
    service::{Facts, Service, ServiceAction},
    time::Timestamp,
    yaml::{MapReading, Node, Reading, Yaml, to_json},
};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

const KEYS: &[&str] = &["policies", "services", "given", "tests"];
const TEST_KEYS: &[&str] = &["name", "given", "when", "then"];
const WHEN_KEYS: &[&str] = &["action", "resource", "params", "context", "service"];
const THEN_KEYS: &[&str] = &["decision", "reasons", "rule", "remedy"];
const DECISIONS: &[&str] = &["allow", "deny", "hold"];
/// The most tests of one file.
const MOST: usize = 5000;
/// Noon of a Monday.
pub(super) const NOON: &str = "2026-01-05T12:00:00Z";

/// What the tests are about.
pub(super) struct About<'a> {
    pub(super) policies: &'a PolicySet,
    /// The policy that the file names first.
    pub(super) first: Option<Arc<Policy>>,
    pub(super) services: &'a [Service],
}

pub(super) fn needs(root: &Node, report: &Report) -> Option<Needs> {
    let map = root.as_map(report)?;
    let policies = map.required("policies")?;
    let names =
        |reading: &Reading<'_>| reading.one_or_many().iter().filter_map(Reading::text).collect::<Vec<_>>();
    let needs = Needs {
        policies: names(&policies),
        services: map.optional("services").map(|reading| names(&reading)).unwrap_or_default(),
    };
    if needs.policies.is_empty() {
        policies.error("`policies` is empty: name the files of the policies that are tested");
    }
    Some(needs)
}

pub(super) fn cases(root: &Node, report: &Report, about: &About<'_>) -> Option<Vec<Case>> {
    let map = root.as_map(report)?;
    map.finish(KEYS);
    let shared = map.optional("given").and_then(|given| given.map());
    if let Some(given) = &shared {
        given.finish(GIVEN_KEYS);
    }
    let tests = map.required("tests")?;
    let items = tests.list()?;
    if items.is_empty() {
        tests.error("`tests` is empty: write at least one");
    }
    if items.len() > MOST {
        tests.error(format!("a file has at most {MOST} tests"));
        return None;
    }
    let mut names: HashMap<String, usize> = HashMap::new();
    let mut found = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Some(map) = item.map() else { continue };
        map.finish(TEST_KEYS);
        let case = case(&map, shared.as_ref(), about, report);
        let Some(mut case) = case else { continue };
        match map.optional("name") {
            None => case.name = format!("test {}", index + 1),
            Some(name) => {
                let Some(text) = name.text() else { continue };
                if text.value.trim().is_empty() || text.value.chars().any(char::is_control) {
                    name.error("the name of a test is one line of text");
                }
                if let Some(first) = names.insert(text.value.clone(), text.position.line) {
                    report.add(
                        Diagnostic::error(format!("the name {} is used twice", quoted(&text.value)))
                            .at(text.position)
                            .help(format!("the first is on line {first}")),
                    );
                }
                case.name = text.value;
            }
        }
        found.push(case);
    }
    Some(found)
}

/// `None` where something was reported.
fn case(
    map: &MapReading<'_>,
    shared: Option<&MapReading<'_>>,
    about: &About<'_>,
    report: &Report,
) -> Option<Case> {
    let own = match map.optional("given") {
        None => None,
        Some(given) => {
            let given = given.map()?;
            given.finish(GIVEN_KEYS);
            Some(given)
        }
    };
    let given = Given::new(own.into_iter().chain(shared.cloned()));
    let expected = map.required("then").and_then(|then| expected(&then, about));
    let when = map.required("when").and_then(|when| when.map());
    let now = match given.optional("now") {
        None => Timestamp::parse(NOON).ok()?,
        Some(reading) => time(&reading)?,
    };
    let chain = given::chain(&given, about.first.as_deref(), now, map.position(), report)?;
    let spent =
        given.optional("ledger").map_or_else(|| Some(Vec::new()), |reading| ledger(&reading, about, &chain));
    let when = when?;
    when.finish(WHEN_KEYS);
    let action = action(&when, about, &chain)?;
    let (action, declared) = with_facts(action, given.optional("facts").as_ref(), about, &chain)?;
    let context = when.optional("context").map(|reading| to_json(reading.node()));
    Some(Case {
        name: String::new(),
        position: map.position(),
        expected: expected?,
        chain,
        action,
        declared,
        context,
        now,
        spent: spent?,
    })
}

fn time(reading: &Reading<'_>) -> Option<Timestamp> {
    match Timestamp::parse(reading.string()?) {
        Ok(time) if (Timestamp::from_micros(0)..Timestamp::MAX).contains(&time) => Some(time),
        Ok(_) => {
            reading.error("a time between 1970 and the year 9999");
            None
        }
        Err(problem) => {
            reading.error(format!("`{}` is {problem}", reading.name()));
            None
        }
    }
}

/// `allow`, or `{decision, reasons, rule, remedy}`.
fn expected(then: &Reading<'_>, about: &About<'_>) -> Option<Expected> {
    let verdict = |reading: &Reading<'_>| {
        Some(match reading.one_of(DECISIONS)? {
            "allow" => Verdict::Allow,
            "hold" => Verdict::Hold,
            _ => Verdict::Deny,
        })
    };
    if matches!(then.node().value, Yaml::String(_)) {
        return Some(Expected { decision: verdict(then)?, reasons: None, rule: None, remedy: None });
    }
    let map = then.map()?;
    map.finish(THEN_KEYS);
    let decision = verdict(&map.required("decision")?)?;
    let reasons = map.optional("reasons").map(|reading| {
        let codes: BTreeSet<Code> = reading.one_or_many().iter().filter_map(code).collect();
        if decision == Verdict::Allow && !codes.is_empty() {
            reading.error("an `allow` has no reasons");
        }
        codes
    });
    let rule = map.optional("rule").and_then(|reading| {
        let text = reading.string()?;
        let rules =
            || about.policies.policies().iter().flat_map(|policy| policy.rule_names()).chain([OF_GRANTS]);
        if !rules().any(|name| name == text) {
            reading.report().add(
                Diagnostic::error(format!("no policy of this file has a rule {}", quoted(text)))
                    .at(reading.position())
                    .suggest(text, rules()),
            );
        }
        Some(text.to_owned())
    });
    let remedy = map.optional("remedy").and_then(|reading| {
        reading.map()?;
        match to_json(reading.node()) {
            Value::Object(members) => Some(members),
            _ => None,
        }
    });
    Some(Expected { decision, reasons, rule, remedy })
}

fn code(reading: &Reading<'_>) -> Option<Code> {
    let text = reading.string()?;
    let found = Code::ALL.iter().copied().find(|code| code.as_str() == text);
    if found.is_none() {
        reading.report().add(
            Diagnostic::error(format!("{} is no code of a reason", quoted(text)))
                .at(reading.position())
                .suggest(text, Code::ALL.iter().map(|code| code.as_str())),
        );
    }
    found
}

/// What is to be done, as an administrator states it in a dry run.
fn action(when: &MapReading<'_>, about: &About<'_>, chain: &Chain) -> Option<Result<Action, Reason>> {
    let reading = when.required("action")?;
    let name = match ActionName::parse(reading.string()?) {
        Ok(name) => name,
        Err(error) => {
            reading.error(error.to_string());
            return None;
        }
    };
    let params = match when.optional("params") {
        None => Map::new(),
        Some(reading) => {
            reading.map()?;
            match filled(to_json(reading.node()), chain.leaf()) {
                Ok(Value::Object(params)) => params,
                Ok(_) => return None,
                Err(fact) => {
                    reading.error(format!("nothing is given that fills `{fact}`"));
                    return None;
                }
            }
        }
    };
    let resource = match when.optional("resource") {
        None => None,
        Some(reading) => Some(resource(&reading, chain.leaf())?),
    };
    let declared = about.services.iter().find_map(|service| Some((service, service.action(&name)?)));
    if let Some(reading) = when.optional("service") {
        let wanted = reading.string()?;
        if declared.is_none_or(|(service, _)| service.name() != wanted) {
            reading.report().add(
                Diagnostic::error(format!(
                    "no service {} of this file declares `{}`",
                    quoted(wanted),
                    name.as_str()
                ))
                .at(reading.position())
                .suggest(wanted, about.services.iter().map(Service::name)),
            );
            return None;
        }
    }
    let Some((service, declared)) = declared else {
        let Some(resource) = resource else {
            reading.report().add(
                Diagnostic::error(format!(
                    "no service declares `{}`, so nothing says on which resource",
                    name.as_str()
                ))
                .at(reading.position())
                .help("state `resource`, or name the service's file in `services`"),
            );
            return None;
        };
        return Some(Ok(Action::stated(name, resource, params)));
    };
    let service = ServiceVersion { name: service.name().to_owned(), version: 1 };
    Some(match resource {
        Some(resource) => Ok(Action::stated_of(service, declared, resource, params)),
        None => Action::declared(service, declared, None, &params),
    })
}

/// The action with what upstream holds about its resource, and its declaration where that says how to look something up.
fn with_facts(
    action: Result<Action, Reason>,
    given: Option<&Reading<'_>>,
    about: &About<'_>,
    chain: &Chain,
) -> Option<(Result<Action, Reason>, Option<ServiceAction>)> {
    let mut action = match action {
        Ok(action) => action,
        Err(reason) => return Some((Err(reason), None)),
    };
    let declared = about.services.iter().find_map(|service| service.action(&action.name));
    if let Some(reading) = given {
        reading.map()?;
        let known = match filled(to_json(reading.node()), chain.leaf()) {
            Ok(Value::Object(known)) => known,
            Ok(_) => return None,
            Err(fact) => {
                reading.error(format!("nothing is given that fills `{fact}`"));
                return None;
            }
        };
        if let Some(misfit) = declared.and_then(|declared| declared.misfit(&known)) {
            reading.error(misfit);
            return None;
        }
        action.facts = Facts::given(known);
    }
    Some((Ok(action), declared.filter(|declared| !declared.lookups().is_empty()).cloned()))
}

/// One resource; `{{user.id}}` and the like are what is given.
fn resource(reading: &Reading<'_>, leaf: &Link) -> Option<ResourceUri> {
    let text = reading.string()?;
    if !text.contains("{{") {
        return match ResourceUri::parse(text) {
            Ok(uri) => Some(uri),
            Err(error) => {
                reading.error(error.to_string());
                None
            }
        };
    }
    let pattern = match Entry::parse(text) {
        Ok(Entry::Template(template)) => template.fill(leaf),
        Ok(Entry::Pattern(pattern)) => Some(pattern),
        Err(error) => {
            let at = reading.node().position_within(error.offset);
            reading.report().error(at, &error.message);
            return None;
        }
    };
    let Some(pattern) = pattern else {
        reading.error("nothing is given that fills this: state the `user`, `task` or label");
        return None;
    };
    let uri = pattern.single();
    if uri.is_none() {
        reading.error("an action is on one resource: there is no `*` in it");
    }
    uri
}

/// Texts that are a template as a whole become what is given.
///
/// # Errors
/// The one that nothing fills.
fn filled(value: Value, leaf: &Link) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => match fact(&text, leaf) {
            Some(found) => Value::String(found.ok_or(text)?),
            None => Value::String(text),
        },
        Value::Array(items) => {
            Value::Array(items.into_iter().map(|item| filled(item, leaf)).collect::<Result<_, _>>()?)
        }
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| Ok((name, filled(value, leaf)?)));
            Value::Object(members.collect::<Result<_, String>>()?)
        }
        other => other,
    })
}

fn ledger(reading: &Reading<'_>, about: &About<'_>, chain: &Chain) -> Option<Vec<Spent>> {
    let entries: Vec<Option<Spent>> =
        reading.one_or_many().iter().map(|entry| spent(entry, about, chain)).collect();
    entries.into_iter().collect()
}

/// `{policy?, rule, limit?, used}`.
fn spent(entry: &Reading<'_>, about: &About<'_>, chain: &Chain) -> Option<Spent> {
    let map = entry.map()?;
    map.finish(&["policy", "rule", "limit", "used"]);
    let policy = match map.optional("policy") {
        None => None,
        Some(reading) => {
            let name = reading.string()?;
            if about.policies.find(name).is_none() {
                let names = about.policies.policies().iter().map(|policy| policy.name());
                reading.report().add(
                    Diagnostic::error(format!("this file has no policy {}", quoted(name)))
                        .at(reading.position())
                        .suggest(name, names),
                );
                return None;
            }
            Some(name.to_owned())
        }
    };
    let rule = map.required("rule");
    let used = map.required("used")?;
    let rule = rule?;
    let which = match map.optional("limit") {
        None => Which::Only,
        Some(reading) => match &reading.node().value {
            Yaml::Number(_) => Which::Place(usize::try_from(reading.integer(1, 1000)?).ok()?),
            _ => Which::Kind(reading.one_of(KINDS)?),
        },
    };
    let number = Decimal::parse(used.number()?);
    let Ok(number) = number else {
        used.error("the number can't be held exactly");
        return None;
    };
    let spent = Spent { policy, rule: rule.string()?.to_owned(), which, used: number };
    let rules = spent.limits(about.policies, chain);
    if rules.is_empty() {
        let names = about.policies.policies().iter().flat_map(|policy| policy.rule_names());
        rule.report().add(
            Diagnostic::error(format!("no policy of this file has a rule {}", quoted(&spent.rule)))
                .at(rule.position())
                .suggest(&spent.rule, names),
        );
        return None;
    }
    for limits in &rules {
        match spent.which.of(limits).as_slice() {
            [limit] if spent.units(limit).is_some() => {}
            [limit] => {
                used.error(format!(
                    "of `{limit}` so much can't be used: a whole number for what is counted, 0 or more"
                ));
                return None;
            }
            [] => {
                let at = map.optional("limit").map_or(rule.position(), |limit| limit.position());
                rule.report().error(at, format!("the rule {} has no such limit", quoted(&spent.rule)));
                return None;
            }
            [..] => {
                let several = format!("the rule {} has several such limits", quoted(&spent.rule));
                let help = "say which: `limit: 2` is the second, `limit: sum` the one that sums";
                rule.report().add(Diagnostic::error(several).at(rule.position()).help(help));
                return None;
            }
        }
    }
    Some(spent)
}
