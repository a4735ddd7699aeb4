//! From YAML to rules. Reads on after a mistake, so that an author sees all of them at once.
//!
//! Invariant: every key is either understood or reported, with its place.

use super::{
    Mode, Policy, approvers, compact, duration,
    hours::Hours,
    intent::IntentOf,
    key, lists,
    rule::{Condition, Index, Kind, LimitNodes, LimitOf, Named, On, OnWhat, Reads, Rule},
    selector::{Handle, Selector},
    shape,
    template::{Entry, Template},
};
use crate::{
    cel::{Expression, Lists},
    diagnostic::{Diagnostic, Position, Report},
    ledger::{By, Limit, Per},
    pattern::ActionPattern,
    policy::bind::encoded,
    yaml::{MapReading, Node, Reading, Spanned, Yaml, to_json},
};
use std::collections::HashMap;

pub(super) const KEYS: &[&str] = &["policy", "applies_to", "mode", "lists", "rules", "record"];
pub(super) const SELECTOR_KEYS: &[&str] = &["agents", "labels"];
pub(super) const RECORD_KEYS: &[&str] = &["keep"];
pub(super) const RULE_KEYS: &[&str] =
    &["name", "allow", "deny", "guard", "on", "when", "limits", "approve", "shape", "hours", "intent"];
pub(super) const LIMIT_KEYS: &[&str] =
    &["count", "sum", "max", "per", "zone", "by", "rate", "burst", "concurrent"];

/// The longest name of a rule, in characters.
const LONGEST_NAME: usize = 100;
/// The most rules of one policy.
const MOST_RULES: usize = 1000;

/// Reads the document; `None` or a report with errors where it is not sound.
pub(super) fn read(root: &Node, report: &Report, version: u64) -> Option<Policy> {
    let map = root.as_map(report)?;
    map.finish(KEYS);
    let mode = match map.optional("mode").map(|mode| mode.one_of(&["enforce", "observe"])) {
        Some(Some("observe")) => Mode::Observe,
        _ => Mode::Enforce,
    };
    let keep = map.optional("record").and_then(|reading| keep(&reading));
    let name = map.required("policy").and_then(|reading| name(&reading));
    let selector = map.optional("applies_to").map_or_else(|| Some(Selector::default()), |it| selector(&it));
    let (lists, stated) = map.optional("lists").map(|it| lists::read(&it)).unwrap_or_default();
    let rules = map.required("rules");
    let policy = name.clone().unwrap_or_default();
    let mut reader = Reader { report, policy, lists: &lists, templates: Vec::new() };
    let rules = rules.map(|reading| reader.rules(&reading)).unwrap_or_default();
    if let Some(reading) = map.optional("lists") {
        lists::check_used(&reading, &lists);
    }
    let (name, selector) = (name?, selector?);
    let index = Index::new(&rules);
    Some(Policy {
        label: format!("{name}@{version}").into(),
        name: name.into(),
        version,
        mode,
        compact: false,
        keep,
        selector,
        lists: stated,
        rules: rules.into(),
        templates: reader.templates.into(),
        index,
    })
}

/// `record: {keep: 90d}`, in seconds.
fn keep(reading: &Reading<'_>) -> Option<u64> {
    let map = reading.map()?;
    map.finish(RECORD_KEYS);
    let keep = map.required("keep")?;
    match duration::keep(keep.string()?) {
        Ok(seconds) => Some(seconds),
        Err(problem) => {
            keep.error(problem);
            None
        }
    }
}

fn name(reading: &Reading<'_>) -> Option<String> {
    let text = reading.string()?;
    if !crate::agent::is_handle(text) {
        reading.error(format!(
            "`{text}` is no name of a policy: a letter or digit, then letters, digits, `.`, `_`, `-`, at most 64"
        ));
        return None;
    }
    Some(text.to_owned())
}

fn selector(reading: &Reading<'_>) -> Option<Selector> {
    if matches!(&reading.node().value, Yaml::String(word) if word == compact::NOBODY) {
        return Some(Selector { agents: Some(Box::default()), labels: Box::default() });
    }
    let map = reading.map()?;
    map.finish(SELECTOR_KEYS);
    if map.optional("agents").is_none() && map.optional("labels").is_none() {
        reading.error("`applies_to` is empty; leave it out to apply to every agent");
        return None;
    }
    let agents = match map.optional("agents") {
        None => None,
        Some(agents) => {
            let items = some_of(&agents, "an agent's handle");
            let parse = |item: &Reading<'_>| match Handle::parse(item.string()?) {
                Ok(handle) => Some(handle),
                Err(problem) => {
                    item.error(problem);
                    None
                }
            };
            Some(items.iter().filter_map(parse).collect())
        }
    };
    let mut labels = Vec::new();
    if let Some(reading) = map.optional("labels") {
        let entries = reading.map()?;
        for (name, value) in entries.entries() {
            let values: Box<[String]> =
                some_of(&value, "a value").iter().filter_map(Reading::text).map(|text| text.value).collect();
            labels.push((name.value.clone(), values));
        }
        if labels.is_empty() {
            reading.error("`labels` is empty");
        }
    }
    Some(Selector { agents, labels: labels.into() })
}

/// The items of a list, or the one value; an empty list is reported.
pub(super) fn some_of<'a>(reading: &Reading<'a>, what: &str) -> Vec<Reading<'a>> {
    let items = reading.one_or_many();
    if items.is_empty() {
        reading.error(format!("the list is empty: name at least {what}"));
    }
    items
}

struct Reader<'a> {
    report: &'a Report,
    policy: String,
    /// What conditions may name as `lists.NAME`.
    lists: &'a Lists,
    templates: Vec<Template>,
}

impl Reader<'_> {
    fn rules(&mut self, reading: &Reading<'_>) -> Vec<Rule> {
        let Some(items) = reading.list() else { return Vec::new() };
        if items.is_empty() {
            reading.error("`rules` is empty: a policy without rules allows nothing; write at least one");
        }
        if items.len() > MOST_RULES {
            reading.error(format!("a policy has at most {MOST_RULES} rules"));
            return Vec::new();
        }
        let mut seen: HashMap<String, Position> = HashMap::new();
        let mut rules = Vec::new();
        for item in &items {
            let Some(map) = item.map() else { continue };
            let name = rule_name(&map);
            if let Some(name) = &name
                && let Some(first) = seen.insert(name.value.clone(), name.position)
            {
                self.report.add(
                    Diagnostic::error(format!("the name `{}` is used twice", name.value))
                        .at(name.position)
                        .help(format!("the first is on line {}", first.line)),
                );
            }
            rules.extend(self.rule(item, &map, name.map(|name| name.value)));
        }
        rules
    }

    /// `None` where an error was reported that leaves nothing to judge.
    fn rule(&mut self, item: &Reading<'_>, map: &MapReading<'_>, name: Option<String>) -> Option<Rule> {
        map.finish(RULE_KEYS);
        let kinds: Vec<Kind> =
            Kind::ALL.into_iter().filter(|kind| map.optional(kind.as_str()).is_some()).collect();
        let kind = match kinds.as_slice() {
            [kind] => Some(*kind),
            [] => {
                self.report.add(
                    Diagnostic::error("the rule has none of `allow`, `deny`, `guard`")
                        .at(map.position())
                        .help("say what it does, as in `allow: [orders.read]`"),
                );
                None
            }
            [_, second, ..] => {
                let at = map.key_position(second.as_str()).unwrap_or(map.position());
                self.report.add(
                    Diagnostic::error("a rule has only one of `allow`, `deny`, `guard`")
                        .at(at)
                        .help("split it in two"),
                );
                None
            }
        };
        let actions: Vec<Named> = kinds
            .iter()
            .filter_map(|kind| map.optional(kind.as_str()))
            .flat_map(|reading| some_of(&reading, "an action"))
            .filter_map(|item| action(&item))
            .collect();
        let on = map.optional("on").map(|reading| {
            let items = some_of(&reading, "a resource, or leave `on` out for every resource");
            items.iter().filter_map(|item| self.on(item)).collect()
        });
        let when: Box<[Condition]> = map
            .optional("when")
            .map(|reading| conditions(&reading, self.report, self.lists))
            .unwrap_or_default();
        let hours = map.optional("hours").map(|reading| Hours::read(&reading));
        if kind == Some(Kind::Deny) {
            for key in ["limits", "approve", "shape", "intent"] {
                if let Some(at) = map.key_position(key) {
                    self.report
                        .error(at, format!("a `deny` has no `{key}`: nothing that it matches may run"));
                }
            }
        }
        let shown = name.clone().unwrap_or_default();
        let of = format!("{}/{}", encoded(&self.policy), encoded(&shown));
        let limits = map.optional("limits").map(|reading| self.limits(&reading, &of)).unwrap_or_default();
        let approve = match map.optional("approve") {
            None => None,
            Some(reading) => Some(approvers::read(&reading, self.report, self.lists)?),
        };
        let shape = match map.optional("shape") {
            None => None,
            Some(reading) => Some(shape::read(&reading, self.lists)?),
        };
        let intent = match map.optional("intent") {
            None => None,
            Some(reading) => Some(IntentOf::read(&reading)?),
        };
        Some(Rule {
            name: name?.into(),
            kind: kind?,
            actions: actions.into(),
            on,
            reads: Reads::of_conditions(&when),
            hours: match hours {
                Some(hours) => Some(hours?),
                None => None,
            },
            when,
            limits,
            approve,
            shape,
            intent,
            node: item.node().place(),
        })
    }

    fn on(&mut self, item: &Reading<'_>) -> Option<On> {
        let text = item.string()?;
        let entry = match Entry::parse(text) {
            Ok(entry) => entry,
            Err(error) => {
                let diagnostic =
                    Diagnostic::error(&error.message).at(item.node().position_within(error.offset));
                self.report.add(match &error.unknown {
                    Some((name, known)) => diagnostic.suggest(name, known.iter().copied()),
                    None => diagnostic,
                });
                return None;
            }
        };
        let samples = entry.samples();
        let what = match entry {
            Entry::Pattern(pattern) => OnWhat::Pattern(pattern),
            Entry::Template(template) => {
                for fact in template.facts() {
                    if let Some(name) = fact.unfilled() {
                        item.warning(format!(
                            "no grant fills `{name}` today: the entry matches nothing in an `allow`"
                        ));
                    }
                }
                self.templates.push(template);
                OnWhat::Template(self.templates.len() - 1)
            }
        };
        Some(On { what, samples, node: item.node().clone() })
    }

    fn limits(&self, reading: &Reading<'_>, of: &str) -> Box<[LimitOf]> {
        let mut limits: Vec<LimitOf> = Vec::new();
        for item in some_of(reading, "a limit, or leave `limits` out") {
            let Some((limit, nodes)) = self.limit(&item) else { continue };
            let applied = LimitOf::new(of, limit, nodes);
            if limits.iter().any(|other| other.identity == applied.identity) {
                item.error("the rule has this limit already; only the maximum differs");
            }
            limits.push(applied);
        }
        limits.into()
    }

    fn limit(&self, item: &Reading<'_>) -> Option<(Limit, LimitNodes)> {
        let map = item.map()?;
        map.finish(LIMIT_KEYS);
        if map.entries().any(|(key, _)| !LIMIT_KEYS.contains(&key.value.as_str())) {
            return None;
        }
        let node = |member| map.optional(member).map(|reading| reading.node().clone());
        let nodes = LimitNodes { sum: node("sum"), by: node("by") };
        if let Some(reading) = map.optional("sum") {
            expression(&reading, self.report, self.lists)?;
        }
        if let Some(reading) = map.optional("by").filter(|reading| key::is_expression(&reading.node().value))
        {
            expression(&reading, self.report, self.lists)?;
        }
        match Limit::from_json_with(&to_json(item.node()), self.lists) {
            Ok(limit) => {
                if limit.max() == 0 {
                    item.warning("the maximum is 0: the rule never lets anything through");
                }
                Some((limit, nodes))
            }
            Err(error) => {
                let member = map.optional(error.member);
                let at = member.as_ref().map_or(item.position(), Reading::position);
                let diagnostic = Diagnostic::error(&error.message).at(at);
                let word = member.as_ref().and_then(|reading| match &reading.node().value {
                    Yaml::String(text) => Some(text.as_str()),
                    _ => None,
                });
                self.report.add(match word {
                    Some(word) if error.member == "per" && Per::parse(word).is_none() => {
                        diagnostic.suggest(word, Per::WORDS.iter().map(|(word, _)| *word))
                    }
                    Some(word) if error.member == "by" => diagnostic.suggest(word, By::WORDS.into_iter()),
                    _ => diagnostic,
                });
                None
            }
        }
    }
}

fn rule_name(map: &MapReading<'_>) -> Option<Spanned<String>> {
    let reading = map.required("name")?;
    let name = reading.text()?;
    let length = name.value.chars().count();
    if name.value.trim() != name.value
        || !(1..=LONGEST_NAME).contains(&length)
        || name.value.chars().any(char::is_control)
    {
        reading.error(format!(
            "a rule's name is one line of 1 to {LONGEST_NAME} characters, without spaces around it"
        ));
        return None;
    }
    Some(name)
}

fn action(item: &Reading<'_>) -> Option<Named> {
    match ActionPattern::parse(item.string()?) {
        Ok(pattern) => Some(Named { pattern, node: item.node().clone() }),
        Err(error) => {
            item.error(error.to_string());
            None
        }
    }
}

pub(super) fn conditions(reading: &Reading<'_>, report: &Report, lists: &Lists) -> Box<[Condition]> {
    let items = some_of(reading, "a condition, or leave `when` out");
    let read = |item: &Reading<'_>| {
        Some(Condition { expression: expression(item, report, lists)?, node: item.node().clone() })
    };
    items.iter().filter_map(read).collect()
}

fn expression(item: &Reading<'_>, report: &Report, lists: &Lists) -> Option<Expression> {
    let text = item.string()?;
    if let Some(offset) = text.find("{{") {
        report.error(
            item.node().position_within(offset),
            "a template stands only in `on`; a condition reads the variable: `user.id`",
        );
        return None;
    }
    match Expression::parse_with(text, lists) {
        Ok(expression) => Some(expression),
        Err(error) => {
            report.error(item.node().position_within(error.offset.unwrap_or(0)), &error.message);
            None
        }
    }
}
