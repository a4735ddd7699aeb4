//! Whether what an action names was named in the purpose of its task.
//!
//! A parameter whose name is a member of the task's details has to have that value. Any other has to stand in the task's
//! description, as a word of its own: `bob@example.com` does not stand in `bob@example.com.evil.example`, nor 500 in
//! `1,500`. What agents say is never looked at, and of what upstreams answered only what their service vouches for.
//!
//! Invariant: compared by code point and by exact number; what is neither text nor number is named by details alone.

use super::{
    Misfit, Purpose, Returned,
    plan::{equal, same_number},
};
use crate::decimal::Decimal;
use serde_json::{Map, Value};
use std::fmt;

/// The deepest path of an entity.
const DEEPEST: usize = 8;
/// The most bytes of an entity as it is written.
const LONGEST: usize = 128;
/// The fewest characters of a text that is looked for in a description: shorter ones are words of any sentence.
const SHORTEST: usize = 3;
/// The most values of one entity.
const MOST_VALUES: usize = 1000;

/// A parameter whose value has to be named: `recipient`, `customer.email`, `cc?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    path: Box<[Box<str>]>,
    optional: bool,
}

/// Why a text is no entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an entity is the name of a parameter, as in `recipient`, `customer.email`, or `cc?` for one that may be left out"
)]
pub struct EntityError;

impl Entity {
    /// Reads `recipient`, `customer.email` or `cc?`.
    ///
    /// # Errors
    /// [`EntityError`].
    pub fn parse(text: &str) -> Result<Self, EntityError> {
        let (path, optional) = match text.strip_suffix('?') {
            Some(path) => (path, true),
            None => (text, false),
        };
        let plain = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
        };
        let names: Vec<&str> = path.split('.').collect();
        if text.len() > LONGEST || names.len() > DEEPEST || !names.iter().all(|name| plain(name)) {
            return Err(EntityError);
        }
        Ok(Self { path: names.into_iter().map(Box::from).collect(), optional })
    }

    /// The parameter that it is, or is in.
    pub fn parameter(&self) -> &str {
        self.path.first().map_or("", |name| name)
    }

    /// What it is called by services: its whole path.
    pub(super) fn name(&self) -> String {
        self.path.join(".")
    }

    /// Its values that the purpose doesn't name, and might: of what details say something else, nothing does.
    pub(super) fn unnamed<'v>(
        &self,
        purpose: &Purpose<'_>,
        params: &'v Map<String, Value>,
    ) -> impl Iterator<Item = &'v Value> {
        let mut values = Vec::new();
        if let Some(value) = params.get(self.parameter()) {
            let rest = self.path.get(1..).unwrap_or_default();
            if values_at(value, rest, self.optional, &mut values).is_none() {
                values.clear();
            }
        }
        values.retain(|value| by_details(value, &self.path, purpose).is_none() && !by_words(value, purpose));
        values.into_iter()
    }

    /// Whether its values are named in the purpose, or were returned for it.
    pub(super) fn check(
        &self,
        purpose: &Purpose<'_>,
        params: &Map<String, Value>,
        returned: &Returned,
    ) -> Result<(), Misfit> {
        let mut values = Vec::new();
        let whole = params.get(self.parameter()).is_none_or(|value| {
            values_at(value, self.path.get(1..).unwrap_or_default(), self.optional, &mut values).is_some()
        });
        if !whole {
            return Err(Misfit::NotNamed(self.to_string()));
        }
        if values.is_empty() && !self.optional {
            return Err(Misfit::Missing(self.to_string()));
        }
        let is_named = |value: &Value| match by_details(value, &self.path, purpose) {
            Some(named) => named,
            None => by_words(value, purpose) || returned.has(self, value),
        };
        let all = values.into_iter().all(is_named);
        if all { Ok(()) } else { Err(Misfit::NotNamed(self.to_string())) }
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.path.join("."), if self.optional { "?" } else { "" })
    }
}

/// Collects what stands at the path: of lists every item. `None` where it is something that can't be named: a map, a value
/// on the way to it that is none, or one item of a list that lacks it while others have it. What is absent as a whole
/// (also as `null`) gives nothing.
fn values_at<'v>(
    value: &'v Value,
    path: &[Box<str>],
    optional: bool,
    found: &mut Vec<&'v Value>,
) -> Option<()> {
    match (value, path.split_first()) {
        (Value::Null, _) => Some(()),
        (Value::Array(items), _) => items.iter().try_for_each(|item| {
            let before = found.len();
            values_at(item, path, optional, found)?;
            (optional || found.len() > before).then_some(())
        }),
        (Value::Object(members), Some((name, rest))) => match members.get(&**name) {
            Some(member) => values_at(member, rest, optional, found),
            None => Some(()),
        },
        (Value::Object(_), None) | (_, Some(_)) => None,
        (scalar, None) => {
            found.push(scalar);
            (found.len() <= MOST_VALUES).then_some(())
        }
    }
}

/// Details answer for a value by its whole path, or by its own name alone; where they have anything to say of it, nothing
/// else does: `None` where they haven't.
fn by_details(value: &Value, path: &[Box<str>], purpose: &Purpose<'_>) -> Option<bool> {
    let (details, (first, rest), name) = (purpose.details?, path.split_first()?, path.last()?);
    let stated = match details.get(&**first) {
        Some(stated) if rest.is_empty() => stated,
        Some(within) => {
            let found = rest.iter().try_fold(within, |within, name| within.get(&**name));
            // Something else is said of it.
            let Some(found) = found else { return Some(false) };
            found
        }
        None => details.get(&**name)?,
    };
    Some(match stated {
        Value::Array(any) => any.iter().any(|one| is(one, value)),
        one => is(one, value),
    })
}

/// Whether the description names it.
fn by_words(value: &Value, purpose: &Purpose<'_>) -> bool {
    let text = purpose.description.unwrap_or_default();
    match value {
        Value::String(sought) => has_word(text, sought),
        Value::Number(sought) => numbers(text).any(|number| match Decimal::parse(&sought.to_string()) {
            Ok(sought) => number == sought,
            Err(_) => false,
        }),
        _ => false,
    }
}

/// Whether a stated value is the one that is sent; an id may be stated as a number and sent as text.
fn is(stated: &Value, sent: &Value) -> bool {
    match (stated, sent) {
        (Value::Number(number), Value::String(text)) | (Value::String(text), Value::Number(number)) => {
            number.to_string() == *text
        }
        (Value::Number(one), Value::Number(other)) => same_number(one, other),
        _ => equal(stated, sent),
    }
}

/// Whether the text has `sought` as a word of its own.
fn has_word(text: &str, sought: &str) -> bool {
    if sought.chars().count() < SHORTEST || sought.trim() != sought {
        return false;
    }
    text.match_indices(sought).any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default();
        let after = text.get(at + sought.len()..).unwrap_or_default();
        stands_apart(before.chars().rev()) && stands_apart(after.chars())
    })
}

/// Whether what follows (or, read backwards, goes before) is no part of the same word.
fn stands_apart(mut beyond: impl Iterator<Item = char>) -> bool {
    match beyond.next() {
        None => true,
        Some(next) if is_word(next) => false,
        // `.`, `@` and the like join what is on both sides of them, and end a sentence where nothing follows.
        Some(next) if is_joint(next) => beyond.find(|c| !is_joint(*c)).is_none_or(|c| !is_word(c)),
        Some(_) => true,
    }
}

const fn is_joint(c: char) -> bool {
    matches!(
        c,
        '.' | '-'
            | '@'
            | '+'
            | '/'
            | '\\'
            | ':'
            | '%'
            | '#'
            | '&'
            | '='
            | '~'
            | ','
            | '\''
            | '$'
            | '*'
            | '!'
            | '?'
            | ';'
            | '|'
            | '^'
    )
}

/// Whether a character belongs to a word. What is not known to be a sign of punctuation does.
fn is_word(c: char) -> bool {
    const SIGNS: &str = "“”„‘’«»‹›…–—•·¿¡£€¥、。，；：！？（）「」";
    c.is_alphanumeric() || c == '_' || !(c.is_ascii() || c.is_whitespace() || SIGNS.contains(c))
}

/// The numbers that stand in a text on their own: `40`, `1,500.25`, `-3`; not the one of `v1.5`, `1.5.2` or `a-40`.
fn numbers(text: &str) -> impl Iterator<Item = Decimal> + '_ {
    let starts = text.char_indices().filter(|(at, c)| {
        c.is_ascii_digit() && !text.get(..*at).unwrap_or_default().ends_with(|c: char| c.is_ascii_digit())
    });
    starts.filter_map(|(at, _)| {
        let (before, from) = (text.get(..at)?, text.get(at..)?);
        let written = number_length(from);
        let (number, after) = (from.get(..written)?, from.get(written..)?);
        let (negative, before) = match before.strip_suffix('-') {
            Some(rest) => (true, rest),
            None => (false, before),
        };
        // An amount may follow its sign or be followed by a percent sign.
        let apart_before = before.ends_with(['$', '#', '=']) || stands_apart(before.chars().rev());
        let apart_after = after.starts_with('%') || stands_apart(after.chars());
        if !apart_before || !apart_after {
            return None;
        }
        let plain: String = number.chars().filter(|c| *c != ',').collect();
        let plain = plain.trim_start_matches('0');
        let plain =
            if plain.is_empty() || plain.starts_with('.') { format!("0{plain}") } else { plain.to_owned() };
        Decimal::parse(&if negative { format!("-{plain}") } else { plain }).ok()
    })
}

/// How many bytes of a text that begins with a digit are one number: digits, groups of three behind commas, a fraction.
fn number_length(text: &str) -> usize {
    let digits =
        |from: usize| text.get(from..).unwrap_or_default().bytes().take_while(u8::is_ascii_digit).count();
    let mut end = digits(0);
    // `0,500` is a half in much of the world, and no five hundred anywhere.
    if end <= 3 && !text.starts_with('0') {
        while text.get(end..).is_some_and(|rest| rest.starts_with(',')) && digits(end + 1) == 3 {
            end += 4;
        }
    }
    if text.get(end..).is_some_and(|rest| rest.starts_with('.')) && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn named(description: &str, details: Value, param: &str, params: Value) -> bool {
        let details = details.as_object().cloned();
        let purpose = Purpose { description: Some(description), details: details.as_ref(), plan: None };
        let params = params.as_object().cloned().unwrap_or_default();
        Entity::parse(param).unwrap().check(&purpose, &params, &Returned::default()).is_ok()
    }

    #[test]
    fn no_item_goes_without_and_details_answer_by_their_whole_path() {
        let to = |params: Value| named("to bob@x.org", Value::Null, "to.email", params);
        assert!(to(json!({"to": [{"email": "bob@x.org"}]})));
        for no in [
            json!({"to": [{"email": "bob@x.org"}, {"address": "eve@x.org"}]}),
            json!({"to": [{"email": "bob@x.org"}, {"email": null}]}),
            json!({"to": [{"email": "bob@x.org"}, null]}),
        ] {
            assert!(!to(no.clone()), "{no}");
        }
        let details = json!({"customer": {"email": "ann@x.org"}});
        let customer = |email: &str| {
            let params = json!({"customer": {"email": email}});
            named("bob@x.org forwarded this", details.clone(), "customer.email", params)
        };
        assert!(customer("ann@x.org") && !customer("bob@x.org"));
        let link = |text: &str| named(text, Value::Null, "url", json!({"url": "https://h.org/pay"}));
        assert!(link("call https://h.org/pay") && link("is it https://h.org/pay?"));
        assert!(!link("call https://h.org/pay?dry_run=1") && !link("call https://h.org/pay;x"));
        assert!(!named("pay 0,500", Value::Null, "amount", json!({"amount": 500})));
    }

    #[test]
    fn a_text_is_a_word_of_its_own() {
        let to = |text: &str| named(text, Value::Null, "to", json!({"to": "bob@example.com"}));
        for yes in [
            "bob@example.com",
            "write to bob@example.com.",
            "to <bob@example.com>, please",
            "“bob@example.com”!",
            "mailto: bob@example.com, ann@example.com",
        ] {
            assert!(to(yes), "{yes}");
        }
        for no in [
            "",
            "bob",
            "bob@example.com.evil.example",
            "notbob@example.com",
            "not.bob@example.com",
            "bob@example.community",
            "bob@example.com@evil.example",
            "Bob@example.com",
            "bob@example.com\u{301}",
            "bob@example.com\u{200b}x",
        ] {
            assert!(!to(no), "{no}");
        }
        assert!(!named("send it to a friend", Value::Null, "to", json!({"to": "to"})), "too short");
        assert!(!named("send it", Value::Null, "to", json!({"to": ""})));
    }

    #[test]
    fn a_number_is_the_same_number() {
        let amount = |text: &str, amount: Value| named(text, Value::Null, "n", json!({"n": amount}));
        for (text, number) in [
            ("refund 40 dollars", json!(40)),
            ("refund $40.00", json!(40)),
            ("pay 1,500.25 EUR.", json!(1500.25)),
            ("pay €007", json!(7)),
            ("order #1042", json!(1042)),
            ("15% off", json!(15)),
            ("down to -3", json!(-3)),
        ] {
            assert!(amount(text, number.clone()), "{text} {number}");
        }
        for (text, number) in [
            ("refund 1,500", json!(500)),
            ("refund 1,500", json!(1)),
            ("v1.5", json!(1.5)),
            ("1.5.2", json!(1.5)),
            ("order A-40", json!(40)),
            ("400", json!(40)),
            ("40", json!(40.000001)),
            ("40k", json!(40)),
            ("-3", json!(3)),
        ] {
            assert!(!amount(text, number.clone()), "{text} {number}");
        }
    }

    #[test]
    fn details_outrank_the_description() {
        let details = json!({"amount": 40, "to": ["bob@example.com", "ann@example.com"], "order": 7});
        let of =
            |name: &str, params: Value| named("pay 500 to eve@example.com", details.clone(), name, params);
        assert!(of("amount", json!({"amount": 40.0})));
        assert!(!of("amount", json!({"amount": 500})), "the description says it, the details don't");
        assert!(of("to", json!({"to": ["ann@example.com", "bob@example.com"]})));
        assert!(!of("to", json!({"to": ["ann@example.com", "eve@example.com"]})));
        assert!(of("order", json!({"order": "7"})));
        assert!(!of("order", json!({"order": true})));
    }

    #[test]
    fn what_is_missing_or_no_value_does_not_pass() {
        let of = |name: &str, params: Value| named("for ann@example.com", Value::Null, name, params);
        assert!(!of("to", json!({})));
        assert!(of("to?", json!({})) && of("to?", json!({"to": null})) && of("to?", json!({"to": []})));
        assert!(!of("to?", json!({"to": "eve@example.com"})));
        assert!(!of("to?", json!({"to": {"address": "ann@example.com"}})), "a map is named by its member");
        assert!(of("to.address", json!({"to": [{"address": "ann@example.com"}]})));
        assert!(!of("to.address?", json!({"to": ["ann@example.com"]})), "of another shape");
        assert!(!of("to", json!({"to": false})));
        for wrong in ["", "a b", "a..b", "?", "a[0]", "{{x}}"] {
            assert!(Entity::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}", sought in "\\PC{0,10}", number in any::<i32>()) {
            named(&text, Value::Null, "x", json!({"x": sought}));
            named(&text, Value::Null, "x", json!({"x": number}));
        }

        /// Whatever stands right beside it, letters and digits make it another word.
        #[test]
        fn a_part_of_a_word_is_not_the_word(
            word in "[a-z]{3,8}", left in "[a-z0-9]{0,2}", right in "[a-z0-9]{0,2}", joint in "[.@/-]?"
        ) {
            let text = format!("x {left}{joint}{word} y {word}{joint}{right} z");
            let apart = left.is_empty() || right.is_empty();
            prop_assert_eq!(has_word(&text, &word), apart || has_word(&left, &word) || has_word(&right, &word));
        }
    }
}
