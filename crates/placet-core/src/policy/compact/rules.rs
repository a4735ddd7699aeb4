//! From constraints to rules: actions of which the same is said share a rule.
//!
//! Each rule is an `allow`; a limit that several of them share becomes a `guard`, so that it is one counter for all.
//!
//! Invariant: every constraint ends in a rule for every action that it is about, or in an error.

use super::{
    constraint::Constraint,
    fit::{self, Fit, Piece, Subject},
    list, map, text,
};
use crate::{
    diagnostic::{Diagnostic, Position, Report, nearest},
    pattern::ActionPattern,
    policy::template::Entry,
    service::{Effect, Service, ServiceAction},
    yaml::{Node, Yaml},
};
use std::collections::BTreeSet;

/// Who can be the second person.
const SECOND: &str = "role:approver";
/// The longest list of actions in a rule's name, in characters.
const LONGEST_NAME: usize = 60;

/// What a policy is about, as it was stated.
pub(super) struct About<'a> {
    /// Action patterns.
    pub(super) actions: Vec<Node>,
    /// Entries of `on`; absent: every resource.
    pub(super) resources: Option<Vec<Node>>,
    pub(super) constraints: Vec<Constraint<'a>>,
    /// Where the policy stands.
    pub(super) at: Position,
}

/// Actions of which the same is said.
struct Part<'a> {
    subjects: Vec<Subject<'a>>,
    /// What each constraint says of them, by the constraint's place.
    says: Vec<(usize, Vec<Piece>)>,
}

/// The `rules` of the full form; `None` where an error was reported that leaves nothing to translate.
pub(super) fn rules(about: &About<'_>, services: &[&Service], report: &Report) -> Option<Node> {
    let subjects = subjects(&about.actions, services);
    check_groups(about, &subjects, services, report)?;
    let before = report.has_errors();
    let mut parts: Vec<Part<'_>> = Vec::new();
    let mut tally =
        Tally { lacks: about.constraints.iter().map(|_| (0, Vec::new())).collect(), ..Tally::default() };
    for subject in &subjects {
        let says = tally.says(about, subject, report);
        match parts.iter_mut().find(|part| part.says == says) {
            Some(part) => part.subjects.push(subject.clone()),
            None => parts.push(Part { subjects: vec![subject.clone()], says }),
        }
    }
    tally.finish(about, services, report);
    if !before && report.has_errors() {
        return None;
    }
    let mut writer = Writer { about, report, rules: Vec::new() };
    writer.shared_limits(&mut parts);
    if let [only] = parts.as_slice() {
        writer.allow(only, about.actions.clone());
    } else {
        if !apart(&parts, report) {
            return None;
        }
        for part in &parts {
            writer.allow(part, part.subjects.iter().map(|subject| text(&subject.text, subject.at)).collect());
        }
    }
    Some(list(writer.rules, about.at))
}

/// Whether no action is named by parts of which different things are said: what one of them bounds, another would allow
/// as it is. It can only be so with stars over actions that no service declares.
fn apart(parts: &[Part<'_>], report: &Report) -> bool {
    let mut patterns: Vec<Vec<(&Subject<'_>, ActionPattern)>> = Vec::new();
    for part in parts {
        let mut parsed = Vec::new();
        for subject in &part.subjects {
            parsed.extend(ActionPattern::parse(&subject.text).ok().map(|pattern| (subject, pattern)));
        }
        patterns.push(parsed);
    }
    let mut fine = true;
    for (index, part) in patterns.iter().enumerate() {
        for (subject, pattern) in part.iter().filter(|(subject, _)| subject.action.is_none()) {
            let others = patterns.iter().enumerate().filter(|(other, _)| *other != index);
            let mut others = others.flat_map(|(_, other)| other);
            if let Some((other, _)) = others.find(|(_, other)| other.intersects(pattern)) {
                report.add(
                    Diagnostic::error(format!(
                        "`{}` and `{}` name actions in common, and not the same is said of both",
                        subject.text, other.text
                    ))
                    .at(subject.at)
                    .help("name the actions one by one, or check it with the service that declares them"),
                );
                fine = false;
            }
        }
    }
    fine
}

/// What the constraints are asked about: each action that a service declares and the policy names, and what the policy
/// names that none declares.
fn subjects<'a>(actions: &[Node], services: &[&'a Service]) -> Vec<Subject<'a>> {
    let mut found: Vec<Subject<'a>> = Vec::new();
    let mut add = |subject: Subject<'a>| {
        if !found.iter().any(|known| known.text == subject.text) {
            found.push(subject);
        }
    };
    for node in actions {
        // What is no pattern is reported where it is read.
        let Yaml::String(text) = &node.value else { continue };
        let Ok(pattern) = ActionPattern::parse(text) else { continue };
        let declared: Vec<&'a ServiceAction> = services
            .iter()
            .flat_map(|service| service.actions())
            .filter(|action| pattern.matches(action.name()))
            .collect();
        if declared.is_empty() {
            add(Subject { text: text.clone(), action: None, at: node.position });
        }
        for action in declared {
            add(Subject { text: action.name().as_str().to_owned(), action: Some(action), at: node.position });
        }
    }
    found
}

/// Each group has to be about something.
fn check_groups(
    about: &About<'_>,
    subjects: &[Subject<'_>],
    services: &[&Service],
    report: &Report,
) -> Option<()> {
    let mut seen = BTreeSet::new();
    let mut fine = Some(());
    for group in about.constraints.iter().filter_map(|constraint| constraint.group) {
        if !seen.insert(group.value.as_str()) || subjects.iter().any(|subject| subject.has_word(&group.value))
        {
            continue;
        }
        fine = None;
        let message = format!("the group `{}` is about none of the policy's actions", group.value);
        let words: Vec<&str> = subjects.iter().flat_map(|subject| subject.text.split(['.', '_'])).collect();
        let known = super::constraint::KNOWN.iter().map(|known| known.name);
        let near =
            nearest(&group.value, words.iter().copied().filter(|word| !word.contains('*')).chain(known));
        report.add(Diagnostic::error(message).at(group.position).help(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if services.is_empty() => {
                "a group is about the actions that have its name as a word; name the services, so that theirs are known"
                    .to_owned()
            }
            None => "a group is about the actions that have its name as a word, with or without a final `s`".to_owned(),
        }));
    }
    fine
}

/// How many actions a constraint says something of, and those that lack its parameter: each action with what it lacks
/// and its effect.
type Found = (usize, Vec<(String, String, Option<Effect>)>);

/// What was found of each constraint over all actions.
#[derive(Default)]
struct Tally {
    lacks: Vec<Found>,
    guessed: BTreeSet<(usize, String)>,
}

impl Tally {
    /// What all constraints say of one subject.
    fn says(
        &mut self,
        about: &About<'_>,
        subject: &Subject<'_>,
        report: &Report,
    ) -> Vec<(usize, Vec<Piece>)> {
        let mut says = Vec::new();
        for (index, constraint) in about.constraints.iter().enumerate() {
            if constraint.group.is_some_and(|group| !subject.has_word(&group.value)) {
                continue;
            }
            let guessed = &mut self.guessed;
            let found = fit::fit(constraint, subject, &mut |name| {
                guessed.insert((index, name.to_owned()));
            });
            let Some((fits, lacks)) = self.lacks.get_mut(index) else { continue };
            match found {
                Fit::Yes(pieces) => {
                    *fits += 1;
                    says.push((index, pieces));
                }
                Fit::Lacks(name) => lacks.push((subject.text.clone(), name, subject.effect())),
                Fit::Wrong(message, help) => {
                    *fits += 1;
                    let diagnostic = Diagnostic::error(message).at(constraint.key.position);
                    report.add(match help {
                        Some(help) => diagnostic.help(help),
                        None => diagnostic,
                    });
                }
            }
        }
        says
    }

    fn finish(&self, about: &About<'_>, services: &[&Service], report: &Report) {
        for (constraint, (fits, lacks)) in about.constraints.iter().zip(&self.lacks) {
            let key = &constraint.key.value;
            let at = constraint.key.position;
            let Some((_, name, _)) = lacks.first() else { continue };
            if *fits == 0 {
                let message = format!("`{key}`: none of its actions has a parameter `{name}`");
                let known = services.iter().flat_map(|service| service.actions());
                let known: Vec<&str> = known
                    .filter(|action| lacks.iter().any(|(text, ..)| text == action.name().as_str()))
                    .flat_map(|action| action.params().iter().map(String::as_str))
                    .collect();
                let diagnostic = Diagnostic::error(message).at(at);
                report.add(diagnostic.suggest(name, known.into_iter()));
                continue;
            }
            // What only reads has nothing to bound. What moves money, or may, is not left unbounded by a name.
            let of = |wanted: fn(&Option<Effect>) -> bool| {
                let found = lacks.iter().filter(|(.., effect)| wanted(effect));
                found.map(|(text, ..)| format!("`{text}`")).collect::<Vec<_>>()
            };
            let says = |which: &[String]| {
                format!(
                    "`{key}` says nothing about {}, which has no parameter `{name}`",
                    shortened(which, ", ")
                )
            };
            let costly = of(|effect| matches!(effect, None | Some(Effect::Money)));
            if !costly.is_empty() {
                report.add(Diagnostic::error(says(&costly)).at(at).help(fit::GROUP));
            }
            let others = of(|effect| matches!(effect, Some(Effect::Write | Effect::Delete)));
            if !others.is_empty() {
                report.warning(at, says(&others));
            }
        }
        for (index, name) in &self.guessed {
            let Some(constraint) = about.constraints.get(*index) else { continue };
            report.add(
                Diagnostic::warning(format!(
                    "nothing says what a percentage of `{name}` is: it is taken as a fraction, 15% as 0.15"
                ))
                .at(constraint.value.position())
                .help(format!(
                    "have the service declare `{name}: {{type: number, unit: fraction}}`, or `unit: percent`"
                )),
            );
        }
    }
}

struct Writer<'a, 'b> {
    about: &'b About<'a>,
    report: &'b Report,
    rules: Vec<Node>,
}

impl Writer<'_, '_> {
    /// Takes limits that several parts have out of them, and writes them as guards.
    fn shared_limits(&mut self, parts: &mut [Part<'_>]) {
        for (index, constraint) in self.about.constraints.iter().enumerate() {
            let with: Vec<usize> = parts
                .iter()
                .enumerate()
                .filter(|(_, part)| {
                    part.says.iter().any(|(of, pieces)| *of == index && pieces.iter().any(is_limit))
                })
                .map(|(at, _)| at)
                .collect();
            if with.len() < 2 {
                continue;
            }
            let (mut limits, mut actions) = (Vec::<Node>::new(), Vec::new());
            for (_, part) in parts.iter_mut().enumerate().filter(|(at, _)| with.contains(at)) {
                for (_, pieces) in part.says.iter_mut().filter(|(of, _)| *of == index) {
                    for piece in pieces.extract_if(.., |piece| is_limit(piece)) {
                        if let Piece::Limit(limit) = piece
                            && !limits.contains(&limit)
                        {
                            limits.push(limit);
                        }
                    }
                }
                actions.extend(part.subjects.iter().map(|subject| subject.text.clone()));
            }
            let key = &constraint.key.value;
            if limits.len() > 1 {
                let message = format!("`{key}` would be counted apart for {}", shortened(&actions, ", "));
                self.report.add(
                    Diagnostic::error(message)
                        .at(constraint.key.position)
                        .help("put it into a group of the actions that are counted together"),
                );
                continue;
            }
            let at = constraint.value.position();
            let named = actions.iter().map(|action| text(action, at)).collect();
            let name = match constraint.group {
                Some(group) => format!("{key} of {}", group.value),
                None => key.clone(),
            };
            let mut entries = vec![("name", text(&name, at)), ("guard", list(named, at))];
            if let Some(resources) = &self.about.resources {
                entries.push(("on", list(resources.clone(), at)));
            }
            entries.push(("limits", list(limits, at)));
            self.rules.push(map(entries, at));
        }
    }

    fn allow(&mut self, part: &Part<'_>, actions: Vec<Node>) {
        let about = self.about;
        let names: Vec<String> = actions.iter().filter_map(node_text).map(str::to_owned).collect();
        let at = about.at;
        let named = actions.clone();
        let mut entries = vec![("name", text(&shortened(&names, ", "), at)), ("allow", list(actions, at))];
        let mut pieces = Pieces::default();
        for (index, said) in &part.says {
            let Some(constraint) = about.constraints.get(*index) else { continue };
            said.iter().for_each(|piece| pieces.add(piece, constraint, self.report));
        }
        if let Some(own) = pieces.own {
            entries.extend(self.own(own).map(|on| ("on", list(on, at))));
        } else if let Some(resources) = &about.resources {
            entries.push(("on", list(resources.clone(), at)));
        }
        if let Some((hours, _)) = pieces.hours {
            entries.push(("hours", hours));
        }
        if !pieces.when.is_empty() {
            entries.push(("when", list(pieces.when, at)));
        }
        if !pieces.limits.is_empty() {
            entries.push(("limits", list(pieces.limits, at)));
        }
        if let Some(approve) = pieces.approve {
            entries.push(("approve", approve.node(Vec::new(), pieces.second.is_some())));
        }
        let mut shape = Vec::new();
        if !pieces.rows.is_empty() {
            let rows = pieces.rows.into_iter().map(|(place, rows)| rows.node(&place)).collect();
            shape.push(("rows", list(rows, at)));
        }
        shape.extend(pieces.detect.map(|detect| ("detect", detect)));
        if !shape.is_empty() {
            entries.push(("shape", map(shape, at)));
        }
        self.rules.push(map(entries, at));
        if let Some(second) = pieces.second {
            let by = vec![text(SECOND, at)];
            let name = format!("a second approval of {}", shortened(&names, ", "));
            let mut entries = vec![("name", text(&name, at)), ("guard", list(named, at))];
            if let Some(resources) = &about.resources {
                entries.push(("on", list(resources.clone(), at)));
            }
            entries.push(("approve", second.node(by, true)));
            self.rules.push(map(entries, at));
        }
    }

    /// The entries that contain the user.
    fn own(&self, at: (&str, Position)) -> Option<Vec<Node>> {
        let (key, at) = at;
        let resources = self.about.resources.as_deref().unwrap_or_default();
        let (own, others): (Vec<&Node>, Vec<&Node>) = resources.iter().partition(|node| contains_user(node));
        if own.is_empty() {
            let message =
                format!("`{key}` holds where a resource contains the user, and none of `resources` does");
            self.report.add(
                Diagnostic::error(message)
                    .at(at)
                    .help("name them by the user, as in `order://customer:{{user.id}}/*`"),
            );
            return None;
        }
        for other in others {
            self.report.warning(
                other.position,
                format!("`{key}` never holds here: the resource does not contain the user"),
            );
        }
        Some(own.into_iter().cloned().collect())
    }
}

/// The parts of one rule.
#[derive(Default)]
struct Pieces<'a> {
    own: Option<(&'a str, Position)>,
    when: Vec<Node>,
    limits: Vec<Node>,
    hours: Option<(Node, &'a str)>,
    approve: Option<Asked>,
    /// Of a second person.
    second: Option<Asked>,
    /// Where a list is, with what is said of it.
    rows: Vec<(String, Rows)>,
    detect: Option<Node>,
}

/// What is said of one list.
#[derive(Default)]
struct Rows {
    max: Option<Node>,
    filters: Vec<Node>,
    at: Option<Position>,
}

/// When people are asked.
#[derive(Default)]
struct Asked {
    always: bool,
    conditions: Vec<String>,
    at: Option<Position>,
}

impl<'a> Pieces<'a> {
    fn add(&mut self, piece: &Piece, constraint: &'a Constraint<'_>, report: &Report) {
        let at = constraint.value.position();
        let key = constraint.key.value.as_str();
        match piece {
            Piece::When(condition) => self.when.push(text(condition, at)),
            Piece::Limit(limit) => self.limits.push(limit.clone()),
            Piece::Own => self.own = Some((key, constraint.key.position)),
            Piece::Hours(hours) => {
                if self.hours.is_some() {
                    report.error(
                        constraint.key.position,
                        format!("`{key}` is stated twice for the same actions"),
                    );
                }
                self.hours = Some((hours.clone(), key));
            }
            Piece::Detect(detect) => {
                if self.detect.replace(detect.clone()).is_some() {
                    report.error(
                        constraint.key.position,
                        format!("`{key}` is stated twice for the same actions"),
                    );
                }
            }
            Piece::Rows { at: place, max, filter } => {
                if !self.rows.iter().any(|(known, _)| known == place) {
                    self.rows.push((place.clone(), Rows::default()));
                }
                let Some((_, rows)) = self.rows.iter_mut().find(|(known, _)| known == place) else { return };
                rows.at.get_or_insert(at);
                rows.filters.extend(filter.as_deref().map(|filter| text(filter, at)));
                if let Some(max) = max
                    && rows.max.replace(max.clone()).is_some()
                {
                    report.error(
                        constraint.key.position,
                        format!("`{key}`: how many rows come back is stated twice"),
                    );
                }
            }
            Piece::Approve(when) => self.approve.get_or_insert_default().add(when.as_deref(), at),
            // Whoever is the second one is asked beside a first.
            Piece::Second(when) => {
                self.approve.get_or_insert_default().add(when.as_deref(), at);
                self.second.get_or_insert_default().add(when.as_deref(), at);
            }
        }
    }
}

impl Rows {
    fn node(self, place: &str) -> Node {
        let at = self.at.unwrap_or(Position::START);
        let mut entries = vec![("at", text(place, at))];
        entries.extend(self.max.map(|max| ("max", max)));
        if !self.filters.is_empty() {
            entries.push(("where", list(self.filters, at)));
        }
        map(entries, at)
    }
}

impl Asked {
    fn add(&mut self, when: Option<&str>, at: Position) {
        match when {
            None => self.always = true,
            Some(when) => self.conditions.push(when.to_owned()),
        }
        self.at.get_or_insert(at);
    }

    /// `approve`: whoever of several conditions holds is enough.
    fn node(self, by: Vec<Node>, distinct: bool) -> Node {
        let at = self.at.unwrap_or(Position::START);
        let when = match self.conditions.as_slice() {
            _ if self.always => None,
            [one] => Some(one.clone()),
            several => Some(several.iter().map(|one| format!("({one})")).collect::<Vec<_>>().join(" || ")),
        };
        let mut entries: Vec<(&str, Node)> = Vec::new();
        entries.extend(when.map(|when| ("when", text(&when, at))));
        if !by.is_empty() {
            entries.push(("by", list(by, at)));
        }
        if distinct {
            entries.push(("distinct", Node::made(Yaml::Bool(true), at)));
        }
        map(entries, at)
    }
}

fn is_limit(piece: &Piece) -> bool {
    matches!(piece, Piece::Limit(_))
}

fn contains_user(node: &Node) -> bool {
    let entry = node_text(node).and_then(|text| Entry::parse(text).ok());
    match entry {
        Some(Entry::Template(template)) => template.facts().any(|fact| fact.is_user()),
        _ => false,
    }
}

fn node_text(node: &Node) -> Option<&str> {
    match &node.value {
        Yaml::String(text) => Some(text),
        _ => None,
    }
}

/// As many as fit, and how many more there are.
fn shortened(items: &[String], separator: &str) -> String {
    let mut shown = String::new();
    for (index, item) in items.iter().enumerate() {
        if index > 0 && shown.chars().count() + item.chars().count() > LONGEST_NAME {
            return format!("{shown} and {} more", items.len() - index);
        }
        if index > 0 {
            shown.push_str(separator);
        }
        shown.extend(item.chars().take(LONGEST_NAME));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_differ() {
        let many: Vec<String> = (0..100).map(|n| format!("orders.action{n}")).collect();
        assert_eq!(
            shortened(&many, ", "),
            "orders.action0, orders.action1, orders.action2, orders.action3 and 96 more"
        );
        assert_eq!(shortened(&many[..2], ", "), "orders.action0, orders.action1");
        assert!(shortened(&["x".repeat(500)], ", ").len() <= LONGEST_NAME);
    }
}
