//! The compact form: `{agent?, policy: {actions, resources, constraints, audit}}`, translated to the full form.
//!
//! The tree of the document becomes the tree that a document in the full form would have, each value with the place
//! that it comes from, and the one reader of the full form reads that. So there is one meaning; `placet policy rules`
//! prints it.
//!
//! Invariant: what a document says ends in a rule or in an error; nothing is passed over.

mod constraint;
mod expression;
mod fit;
mod rules;
mod words;

pub(super) use constraint::KNOWN;

use crate::{
    diagnostic::{Position, Report},
    service::Service,
    yaml::{MapReading, Node, Reading, Spanned, Yaml},
};
use constraint::Constraint;
use rules::About;

/// The keys of a document.
pub(super) const KEYS: &[&str] = &["agent", "policy", "mode", "lists"];
/// The keys of its `policy`.
pub(super) const POLICY_KEYS: &[&str] =
    &["action", "actions", "resource", "resources", "constraints", "audit"];
/// The keys of `audit`.
pub(super) const AUDIT_KEYS: &[&str] = &["logAllActions", "retainFor"];

/// What a document is called, and whom it is about, where it doesn't say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Given<'a> {
    /// The name where it has no `agent`.
    pub(super) name: Option<&'a str>,
    /// The agents that it is applied to.
    pub(super) agents: &'a [String],
}

/// Whether a document is in the compact form.
pub(super) fn is(root: &Node) -> bool {
    root.get("agent").is_some() || matches!(root.get("policy").map(|node| &node.value), Some(Yaml::Map(_)))
}

/// The document in the full form; `None` where an error was reported.
pub(super) fn translate(
    root: &Node,
    given: Given<'_>,
    services: &[&Service],
    report: &Report,
) -> Option<Node> {
    let map = root.as_map(report)?;
    map.finish(KEYS);
    let agent = match map.optional("agent") {
        Some(reading) => Some(agent(&reading)?),
        None => None,
    };
    let policy = map.required("policy")?.map()?;
    policy.finish(POLICY_KEYS);
    let at = policy.position();
    let mut lists = Lists::new(&map);
    let record = policy.optional("audit").map(|reading| audit(&reading));
    let actions = one_or_other(&policy, "action", "actions", report);
    if actions.is_none() {
        report.error(at, "`actions` is missing: name what the agent may do");
    }
    let resources = one_or_other(&policy, "resource", "resources", report);
    let constraints = policy.optional("constraints").map(|reading| constraints(&reading, &mut lists));
    let constraints = match constraints {
        Some(read) => read?,
        None => Vec::new(),
    };
    let about = About { actions: actions?, resources, constraints, at };
    let rules = rules::rules(&about, services, report)?;
    let name = self::name(agent.as_ref(), given, &map, report)?;
    let applies = applies_to(agent.as_ref(), given, &map, report)?;
    let mut entries = vec![("policy", name), ("applies_to", applies)];
    if let Some(mode) = map.optional("mode") {
        entries.push(("mode", mode.node().clone()));
    }
    entries.extend(lists.node().map(|lists| ("lists", lists)));
    entries.push(("rules", rules));
    if let Some(record) = record {
        entries.extend(record?.map(|keep| ("record", keep)));
    }
    Some(self::map(entries, root.position))
}

/// The name that a document would be applied under: its `agent`, or its file's name without the ending.
pub(super) fn stem(file: &str) -> &str {
    let last = file.rsplit(['/', '\\']).next().unwrap_or_default();
    [".yaml", ".yml", ".json"].iter().find_map(|ending| last.strip_suffix(ending)).unwrap_or(last)
}

fn agent(reading: &Reading<'_>) -> Option<Spanned<String>> {
    let text = reading.text()?;
    if !crate::agent::is_handle(&text.value) {
        reading.report().add(
            crate::diagnostic::Diagnostic::error(format!("`{}` is no handle of an agent", text.value))
                .at(text.position)
                .help(
                    "for several agents leave `agent` out and apply with `--agent`, or write the full form",
                ),
        );
        return None;
    }
    Some(text)
}

fn name(
    agent: Option<&Spanned<String>>,
    given: Given<'_>,
    map: &MapReading<'_>,
    report: &Report,
) -> Option<Node> {
    if let Some(agent) = agent {
        return Some(text(&agent.value, agent.position));
    }
    match given.name {
        Some(name) if crate::agent::is_handle(name) => Some(text(name, map.position())),
        Some(name) => {
            report.error(
                map.position(),
                format!("the file's name gives no name to the policy: `{name}`; state `agent`"),
            );
            None
        }
        None => {
            report.error(map.position(), "the policy has no name: state `agent`, or read it from a file");
            None
        }
    }
}

fn applies_to(
    agent: Option<&Spanned<String>>,
    given: Given<'_>,
    map: &MapReading<'_>,
    report: &Report,
) -> Option<Node> {
    match (agent, given.agents) {
        (Some(agent), []) => {
            let at = agent.position;
            Some(self::map(vec![("agents", list(vec![text(&agent.value, at)], at))], at))
        }
        (Some(agent), [..]) => {
            report.error(
                agent.position,
                format!(
                    "the document is for `{}` already: `--agent` is for one without `agent`",
                    agent.value
                ),
            );
            None
        }
        (None, []) => {
            let at = map.position();
            report.warning(
                at,
                "without `agent` the policy applies to no agent until it is applied with `--agent`",
            );
            Some(text(NOBODY, at))
        }
        (None, agents) => {
            let at = map.position();
            Some(self::map(
                vec![("agents", list(agents.iter().map(|agent| text(agent, at)).collect(), at))],
                at,
            ))
        }
    }
}

/// The `applies_to` of a policy for no agent.
pub(super) const NOBODY: &str = "none";

/// The items of whichever of two keys is there.
fn one_or_other(map: &MapReading<'_>, one: &str, many: &str, report: &Report) -> Option<Vec<Node>> {
    if let (Some(_), Some(at)) = (map.optional(one), map.key_position(many)) {
        report.error(at, format!("`{one}` and `{many}` are the same: write one of them"));
    }
    let reading = map.optional(many).or_else(|| map.optional(one))?;
    let items = reading.one_or_many();
    if items.is_empty() {
        reading.error(format!("the list is empty: name at least one, or leave `{many}` out"));
    }
    Some(items.iter().filter_map(|item| item.string().map(|_| item.node().clone())).collect())
}

/// The `record` of the full form, where a time is said.
fn audit(reading: &Reading<'_>) -> Option<Option<Node>> {
    let map = reading.map()?;
    map.finish(AUDIT_KEYS);
    if let Some(all) = map.optional("logAllActions")
        && !all.bool()?
    {
        all.error("every action is recorded; leave `logAllActions` out, or write `true`");
        return None;
    }
    let Some(retain) = map.optional("retainFor") else { return Some(None) };
    let stated = retain.string()?;
    let Some(keep) = words::retention(stated) else {
        retain.error(format!("`{stated}` is no time: write `90days`, `12 weeks`, `1year` or `48hours`"));
        return None;
    };
    let at = retain.position();
    Some(Some(self::map(vec![("keep", text(&keep, at))], at)))
}

/// All constraints, with those of groups. `None` where one was not understood.
fn constraints<'a>(reading: &Reading<'a>, lists: &mut Lists<'a>) -> Option<Vec<Constraint<'a>>> {
    let mut found = Vec::new();
    let mut sound = true;
    for (key, value) in entries(reading)? {
        if constraint::is_known(&key.value) {
            sound &= add(key, value, None, lists, &mut found);
        } else if matches!(value.node().value, Yaml::Map(_) | Yaml::List(_)) {
            let Some(inner) = entries(&value) else {
                sound = false;
                continue;
            };
            if inner.is_empty() {
                value.error("the group is empty");
                sound = false;
            }
            for (name, value) in inner {
                if constraint::is_known(&name.value) {
                    sound &= add(name, value, Some(key), lists, &mut found);
                } else {
                    constraint::unknown(name, &[], reading.report());
                    sound = false;
                }
            }
        } else {
            constraint::unknown(key, &[], reading.report());
            sound = false;
        }
    }
    sound.then_some(found)
}

/// Whether it was understood.
fn add<'a>(
    key: &'a Spanned<String>,
    value: Reading<'a>,
    group: Option<&'a Spanned<String>>,
    lists: &mut Lists<'a>,
    found: &mut Vec<Constraint<'a>>,
) -> bool {
    let report = value.report();
    let same = |other: &&Constraint<'_>| {
        other.key.value == key.value && other.group.map(|it| &it.value) == group.map(|it| &it.value)
    };
    if let Some(first) = found.iter().find(same) {
        report.error(
            key.position,
            format!("`{}` is stated twice, first on line {}", key.value, first.key.position.line),
        );
        return false;
    }
    let read = constraint::read(key, value, group, &mut |value| lists.domains(value));
    let understood = read.is_some();
    found.extend(read);
    understood
}

/// The entries of a mapping, or of a list of mappings.
fn entries<'a>(reading: &Reading<'a>) -> Option<Vec<(&'a Spanned<String>, Reading<'a>)>> {
    match &reading.node().value {
        Yaml::List(_) => {
            let maps: Option<Vec<_>> = reading.list()?.iter().map(Reading::map).collect();
            Some(maps?.iter().flat_map(MapReading::entries).collect())
        }
        _ => Some(reading.map()?.entries().collect()),
    }
}

/// The `lists` of the document, with those of domains.
struct Lists<'a> {
    stated: Option<Reading<'a>>,
    made: Vec<(Spanned<String>, Node)>,
}

impl<'a> Lists<'a> {
    fn new(map: &MapReading<'a>) -> Self {
        Self { stated: map.optional("lists"), made: Vec::new() }
    }

    /// What conditions call the list of domains that is stated here: a list of the document, or a new one.
    fn domains(&mut self, value: &Reading<'a>) -> Option<String> {
        if let Yaml::String(named) = &value.node().value
            && named.starts_with("lists.")
        {
            return Some(named.clone());
        }
        let mut domains = Vec::new();
        for item in value.one_or_many() {
            let domain = item.string()?.trim().to_ascii_lowercase();
            let plain =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-') || !byte.is_ascii();
            if domain.is_empty()
                || !domain.bytes().all(plain)
                || domain.starts_with('.')
                || domain.ends_with('.')
            {
                item.error(format!("`{domain}` is no domain: write the whole of what stands behind the `@`, as in `example.com`"));
                return None;
            }
            domains.push(text(&domain, item.position()));
        }
        if domains.is_empty() {
            value.error("the list is empty: name at least a domain");
            return None;
        }
        let node = list(domains, value.position());
        let taken = |name: &str| {
            self.stated.as_ref().is_some_and(|stated| stated.node().get(name).is_some())
                || self.made.iter().any(|(made, _)| made.value == name)
        };
        let numbered = (2..).map(|number| format!("allowed_domains_{number}"));
        let name = std::iter::once("allowed_domains".to_owned()).chain(numbered).find(|name| !taken(name))?;
        let read = format!("lists.{name}");
        self.made.push((Spanned { value: name, position: value.position() }, node));
        Some(read)
    }

    fn node(self) -> Option<Node> {
        let Some(stated) = self.stated else {
            let at = self.made.first()?.0.position;
            return Some(Node::made(Yaml::Map(self.made), at));
        };
        let mut node = stated.node().clone();
        if let Yaml::Map(entries) = &mut node.value {
            entries.extend(self.made);
        }
        Some(node)
    }
}

fn text(value: &str, at: Position) -> Node {
    Node::made(Yaml::String(value.to_owned()), at)
}

fn list(items: Vec<Node>, at: Position) -> Node {
    Node::made(Yaml::List(items), at)
}

fn map(entries: Vec<(&str, Node)>, at: Position) -> Node {
    let entry =
        |(key, node): (&str, Node)| (Spanned { value: key.to_owned(), position: node.position }, node);
    Node::made(Yaml::Map(entries.into_iter().map(entry).collect()), at)
}

#[cfg(test)]
mod tests;
