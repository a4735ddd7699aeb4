//! `shape` of a rule: read, checked, and written in full.
//!
//! Invariant: every key is either understood or reported, with its place.

use super::{
    Condition,
    document::some_of,
    full::{list, quoted},
};
use crate::{
    cel::{Conjunct, Expression, Lists, Root},
    detect::{Detect, Group, Kind, Level},
    diagnostic::Diagnostic,
    shape::{MOST_ENTRIES, MOST_ROWS, Path, Rows, Shape},
    yaml::Reading,
};
use std::{fmt::Write as _, sync::Arc};

/// The keys of `shape`.
pub(super) const KEYS: &[&str] = &["rows", "redact", "detect"];
/// The keys of an entry of `rows`.
pub(super) const ROWS_KEYS: &[&str] = &["at", "max", "where"];

/// What conditions on rows may read. Parameters and facts about the request are for `when`.
const ROOTS: [Root; 6] = [Root::Item, Root::User, Root::Agent, Root::Task, Root::Grant, Root::Now];

/// The shape of a rule.
#[derive(Debug)]
pub(crate) struct ShapeOf {
    pub(crate) shape: Arc<Shape>,
    /// Whether conditions on rows read anything but the row and the time.
    pub(crate) reads_facts: bool,
    /// The conditions on rows and where they stand, for diagnostics.
    pub(super) wheres: Box<[Condition]>,
}

impl ShapeOf {
    /// As a policy writes it.
    pub(super) fn in_full(&self) -> String {
        in_full(&self.shape)
    }
}

/// As a policy writes it, without what is looked for; `None` where it says nothing else.
pub(super) fn layout_in_full(shape: &Shape) -> Option<String> {
    shape.is_of_layout().then(|| in_full(&Shape { detect: Detect::default(), ..shape.clone() }))
}

/// As a policy writes it.
pub(super) fn in_full(shape: &Shape) -> String {
    let rows = shape.rows.iter().map(|rows| {
        let mut out = format!("{{at: {}", quoted(&rows.at.to_string()));
        if let Some(max) = rows.max {
            // Writing to a string does not fail.
            let _ = write!(out, ", max: {max}");
        }
        if !rows.filter.is_empty() {
            let sources = rows.filter.iter().map(|expression| quoted(expression.source()));
            let _ = write!(out, ", where: {}", list(sources));
        }
        out + "}"
    });
    let mut members = Vec::new();
    if !shape.rows.is_empty() {
        members.push(format!("rows: {}", list(rows)));
    }
    if !shape.redact.is_empty() {
        let paths = shape.redact.iter().map(|path| quoted(&path.to_string()));
        members.push(format!("redact: {}", list(paths)));
    }
    if !shape.detect.is_empty() {
        members.push(format!("detect: {}", detect_in_full(&shape.detect)));
    }
    format!("{{{}}}", members.join(", "))
}

/// As a policy writes it.
fn detect_in_full(detect: &Detect) -> String {
    let words = detect.in_words().into_iter().map(|(name, level)| format!("{name}: {}", level.as_str()));
    format!("{{{}}}", words.collect::<Vec<_>>().join(", "))
}

/// Reads `shape`; `None` where an error was reported that leaves nothing to keep to.
pub(super) fn read(reading: &Reading<'_>, lists: &Lists) -> Option<ShapeOf> {
    let map = reading.map()?;
    map.finish(KEYS);
    let (mut rows, mut wheres) = (Vec::new(), Vec::new());
    if let Some(reading) = map.optional("rows") {
        let items = some_of(&reading, "a list, or leave `rows` out");
        bounded(&reading, items.len());
        rows.extend(items.iter().filter_map(|item| self::rows(item, lists, &mut wheres)));
    }
    let mut redact = Vec::new();
    if let Some(reading) = map.optional("redact") {
        let items = some_of(&reading, "a path, or leave `redact` out");
        bounded(&reading, items.len());
        for item in &items {
            let Some(path) = path(item) else { continue };
            if path.is_whole() {
                item.error("`$` is the whole answer: whoever may see nothing of it is not to be allowed it");
            }
            redact.push(path);
        }
    }
    let detect = map.optional("detect").map(|reading| self::detect(&reading));
    if KEYS.iter().all(|key| map.optional(key).is_none()) {
        reading.error("`shape` is empty: say `rows`, `redact` or `detect`, or leave it out");
        return None;
    }
    let foreign = |conjunct: &Conjunct| {
        conjunct.reads().iter().any(|path| !matches!(path.root(), Root::Item | Root::Now))
    };
    let conjuncts =
        || wheres.iter().flat_map(|condition: &Condition| condition.expression.conjuncts().iter());
    Some(ShapeOf {
        reads_facts: conjuncts().any(foreign),
        shape: Arc::new(Shape {
            rows: rows.into(),
            redact: redact.into(),
            detect: match detect {
                Some(detect) => detect?,
                None => Detect::default(),
            },
        }),
        wheres: wheres.into(),
    })
}

/// What is said of a group holds for those of its kinds of which nothing is said.
fn detect(reading: &Reading<'_>) -> Option<Detect> {
    let map = reading.map()?;
    map.finish(&detect_keys());
    let (mut detect, mut good) = (Detect::default(), true);
    let groups = Group::ALL.into_iter().map(|group| (group.as_str(), group.kinds().collect()));
    let kinds = Kind::ALL.into_iter().map(|kind| (kind.as_str(), vec![kind]));
    for (name, kinds) in groups.chain(kinds) {
        let kinds: Vec<Kind> = kinds;
        let Some(value) = map.optional(name) else { continue };
        let word = value.one_of(&Level::ALL.map(Level::as_str));
        let level = Level::ALL.into_iter().find(|level| Some(level.as_str()) == word);
        good &= level.is_some();
        level.into_iter().for_each(|level| kinds.iter().for_each(|kind| detect.set(*kind, level)));
    }
    if good && detect.is_empty() {
        reading.error("what is looked for? say `secrets`, `personal` or a kind, or leave `detect` out");
        return None;
    }
    good.then_some(detect)
}

/// The keys of `detect`: groups and kinds.
pub(super) fn detect_keys() -> Vec<&'static str> {
    Group::ALL.map(Group::as_str).into_iter().chain(Kind::ALL.map(Kind::as_str)).collect()
}

fn bounded(reading: &Reading<'_>, count: usize) {
    if count > MOST_ENTRIES {
        reading.error(format!("there are at most {MOST_ENTRIES} entries here"));
    }
}

fn rows(item: &Reading<'_>, lists: &Lists, wheres: &mut Vec<Condition>) -> Option<Rows> {
    let map = item.map()?;
    map.finish(ROWS_KEYS);
    let at = map.required("at").and_then(|reading| path(&reading));
    let max = map.optional("max").map(|reading| max(&reading));
    let filter: Vec<Option<Expression>> = map.optional("where").map_or_else(Vec::new, |reading| {
        let items = some_of(&reading, "a condition, or leave `where` out");
        items.iter().map(|item| condition(item, lists, wheres)).collect()
    });
    if map.optional("max").is_none() && map.optional("where").is_none() {
        item.error("which rows come back? say `max`, `where` or both");
        return None;
    }
    Some(Rows {
        at: at?,
        max: match max {
            Some(max) => Some(max?),
            None => None,
        },
        filter: filter.into_iter().collect::<Option<_>>()?,
    })
}

fn max(reading: &Reading<'_>) -> Option<usize> {
    let found = reading.number()?.parse().ok().filter(|max| (1..=MOST_ROWS).contains(max));
    if found.is_none() {
        reading.error(format!("`max` is a whole number from 1 to {MOST_ROWS}"));
    }
    found
}

fn path(reading: &Reading<'_>) -> Option<Path> {
    match Path::parse(reading.string()?) {
        Ok(path) => Some(path),
        Err(error) => {
            let at = reading.node().position_within(error.offset);
            reading.report().add(Diagnostic::error(error.message).at(at));
            None
        }
    }
}

fn condition(item: &Reading<'_>, lists: &Lists, wheres: &mut Vec<Condition>) -> Option<Expression> {
    let text = item.string()?;
    let at = |offset| item.node().position_within(offset);
    if let Some(offset) = text.find("{{") {
        let message = "a template stands only in `on`; a condition reads the variable: `user.id`";
        item.report().error(at(offset), message);
        return None;
    }
    let expression = match Expression::parse_row(text, lists) {
        Ok(expression) => expression,
        Err(error) => {
            item.report().error(at(error.offset.unwrap_or(0)), &error.message);
            return None;
        }
    };
    let allowed = |root| ROOTS.contains(&root);
    for conjunct in expression.conjuncts() {
        if let Some(path) = conjunct.reads().iter().find(|path| !allowed(path.root())) {
            let names = ROOTS.map(|root| format!("`{}`", root.name())).join(", ");
            let message = format!("`{path}` can't be read here: a condition on rows reads {names}");
            item.report().add(
                Diagnostic::error(message)
                    .at(at(conjunct.offset()))
                    .help("what depends on the request stands in `when`"),
            );
            return None;
        }
    }
    wheres.push(Condition { expression: expression.clone(), node: item.node().clone() });
    Some(expression)
}
