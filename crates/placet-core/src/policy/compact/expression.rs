//! Conditions of the compact form: CEL in which a bare name is a parameter and `15%` a number.
//!
//! Invariant: only names that nothing else declares become parameters; the rest of the text stays as it was written.

use super::words::hundredth;
use crate::cel::Root;
use std::fmt::Write as _;

/// What a percentage of a parameter is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// `15%` is 15.
    Percent,
    /// `15%` is 0.15.
    Fraction,
    /// Nothing says so: 0.15, with a warning.
    Undeclared,
}

/// A condition as the full form has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rewritten {
    pub(super) text: String,
    /// The parameters that it names bare, as they were written, each once.
    pub(super) names: Vec<String>,
    /// Those of which a percentage was taken as a fraction though nothing says so.
    pub(super) guessed: Vec<String>,
}

/// How a parameter is read: `params.amount`, or `params["refund-amount"]`.
pub(super) fn parameter(name: &str) -> String {
    let plain = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if plain { format!("params.{name}") } else { format!("params[{}]", serde_json::Value::from(name)) }
}

/// Rewrites a condition; `resolve` answers the name that the action has for a parameter, and its unit.
pub(super) fn rewrite(text: &str, resolve: &dyn Fn(&str) -> (String, Unit)) -> Rewritten {
    let tokens = tokens(text);
    let locals = locals(&tokens);
    let bare = |index: usize| is_bare(&tokens, index, &locals);
    let mut out = Rewritten { text: String::new(), names: Vec::new(), guessed: Vec::new() };
    for (index, token) in tokens.iter().enumerate() {
        match token {
            Token::Name("and") if !follows_dot(&tokens, index) => out.text.push_str("&&"),
            Token::Name("or") if !follows_dot(&tokens, index) => out.text.push_str("||"),
            Token::Name(name) if bare(index) => {
                out.text.push_str(&parameter(&resolve(name).0));
                if !out.names.iter().any(|known| known == name) {
                    out.names.push((*name).to_owned());
                }
            }
            Token::Percent(number) => {
                let name_at = |at: &usize| match tokens.get(*at) {
                    Some(Token::Name(name)) if bare(*at) => Some(*name),
                    _ => None,
                };
                let before = (0..index).rev().find_map(|at| name_at(&at));
                let name = before.or_else(|| (index..tokens.len()).find_map(|at| name_at(&at)));
                let unit = name.map_or(Unit::Undeclared, |name| resolve(name).1);
                if unit == Unit::Undeclared {
                    out.guessed.push(name.unwrap_or("?").to_owned());
                }
                match unit {
                    Unit::Percent => out.text.push_str(number),
                    // A number that has no hundredth is refused where the condition is read.
                    Unit::Fraction | Unit::Undeclared => match hundredth(number) {
                        Some(fraction) => out.text.push_str(&fraction),
                        None => _ = write!(out.text, "{number}%"),
                    },
                }
            }
            Token::Name(text) | Token::Other(text) => out.text.push_str(text),
        }
    }
    out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Name(&'a str),
    /// A number that a `%` follows; without it.
    Percent(&'a str),
    /// Text in quotes, numbers, spaces, and one sign each.
    Other(&'a str),
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let run = |fits: &dyn Fn(char) -> bool| rest.find(|c: char| !fits(c)).unwrap_or(rest.len());
        let (length, token): (usize, fn(&str) -> Token<'_>) = match first {
            'a'..='z' | 'A'..='Z' | '_' => {
                (run(&|c| c.is_ascii_alphanumeric() || c == '_'), |text| Token::Name(text))
            }
            '0'..='9' => (run(&|c| c.is_ascii_alphanumeric() || c == '.'), |text| Token::Other(text)),
            '"' | '\'' => (quoted(rest, first), |text| Token::Other(text)),
            _ if first.is_whitespace() => (run(&char::is_whitespace), |text| Token::Other(text)),
            _ => (first.len_utf8(), |text| Token::Other(text)),
        };
        let Some((head, tail)) = rest.split_at_checked(length.max(1)) else { break };
        rest = tail;
        if first.is_ascii_digit()
            && let Some(after) = rest.strip_prefix('%')
            && super::words::is_number(head)
            && !divides(after)
        {
            found.push(Token::Percent(head));
            rest = after;
        } else {
            found.push(token(head));
        }
    }
    found
}

/// Whether what follows a `%` is its second operand: `15 % 4` and `15%4` are remainders.
fn divides(after: &str) -> bool {
    let operand = after.trim_start();
    let word = operand.split(|c: char| !c.is_ascii_alphanumeric()).next();
    let joins = after.starts_with(' ') && matches!(word, Some("and" | "or" | "in"));
    !joins && operand.starts_with(|c: char| c.is_alphanumeric() || c == '(' || c == '_')
}

/// The length of a quoted text, up to the end where it isn't closed.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn is_space(token: &Token<'_>) -> bool {
    matches!(token, Token::Other(text) if text.starts_with(char::is_whitespace))
}

fn follows_dot(tokens: &[Token<'_>], index: usize) -> bool {
    let before = tokens.get(..index).unwrap_or_default();
    before.iter().rev().find(|token| !is_space(token)) == Some(&Token::Other("."))
}

fn next<'t>(tokens: &[Token<'t>], index: usize) -> Option<Token<'t>> {
    tokens.get(index + 1..)?.iter().find(|token| !is_space(token)).copied()
}

/// Names that macros give to items: `to.all(t, …)` has `t`.
fn locals<'t>(tokens: &[Token<'t>]) -> Vec<&'t str> {
    const MACROS: &[&str] = &["all", "exists", "exists_one", "map", "filter"];
    let solid: Vec<Token<'_>> = tokens.iter().filter(|token| !is_space(token)).copied().collect();
    let named = |window: &[Token<'t>]| match window {
        [Token::Other("."), Token::Name(name), Token::Other("("), Token::Name(local), Token::Other(",")]
            if MACROS.contains(name) =>
        {
            Some(*local)
        }
        _ => None,
    };
    solid.windows(5).filter_map(named).collect()
}

/// Whether the name is neither a variable of conditions, a function, a member nor a word of CEL.
fn is_bare(tokens: &[Token<'_>], index: usize, locals: &[&str]) -> bool {
    let Some(Token::Name(name)) = tokens.get(index) else { return false };
    let after = next(tokens, index);
    let opens = |sign: &str| after == Some(Token::Other(sign));
    // `now` is a value itself; of all others something is read.
    let root = Root::ALL.into_iter().any(|root| root.name() == *name);
    let variable = *name == Root::Now.name() || (root && (opens(".") || opens("[")));
    // `r"…"` is a text.
    let prefix = matches!(tokens.get(index + 1), Some(Token::Other(text)) if text.starts_with(['"', '\'']));
    !variable
        && !prefix
        && !opens("(")
        && !follows_dot(tokens, index)
        && !locals.contains(name)
        && !matches!(*name, "true" | "false" | "null" | "in" | "and" | "or")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(text: &str) -> String {
        rewrite(text, &|name| (name.to_owned(), Unit::Undeclared)).text
    }

    #[test]
    fn bare_names_are_parameters() {
        for (text, expected) in [
            ("amount > 100", "params.amount > 100"),
            ("amount>100||discount >15%", "params.amount>100||params.discount >0.15"),
            (
                "amount > 100 and currency != 'and or amount'",
                "params.amount > 100 && params.currency != 'and or amount'",
            ),
            ("params.amount > 100", "params.amount > 100"),
            ("order.total > 1", "params.order.total > 1"),
            ("user.name == owner", "user.name == params.owner"),
            ("user == owner", "params.user == params.owner"),
            ("to.all(t, t.endsWith(suffix))", "params.to.all(t, t.endsWith(params.suffix))"),
            ("size(to) > 3", "size(params.to) > 3"),
            ("now > timestamp(start)", "now > timestamp(params.start)"),
            ("domain in lists.domains", "params.domain in lists.domains"),
            ("note.matches(r\"a\")", "params.note.matches(r\"a\")"),
            ("n % 2 == 0 && n%m == 1", "params.n % 2 == 0 && params.n%params.m == 1"),
            ("x > 15% or y<2% and z == 5%or", "params.x > 0.15 || params.y<0.02 && params.z == 5%||"),
            ("true || x in [1]", "true || params.x in [1]"),
            ("risk.score > 7 || x", "risk.score > 7 || params.x"),
            ("has(params.x) . y", "has(params.x) . y"),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
    }

    #[test]
    fn a_percentage_is_what_its_parameter_is() {
        let unit = |name: &str| match name {
            "p" => Unit::Percent,
            "f" => Unit::Fraction,
            _ => Unit::Undeclared,
        };
        let of = |text: &str| rewrite(text, &|name| (name.to_owned(), unit(name)));
        assert_eq!(of("p > 15% && f > 7.5%").text, "params.p > 15 && params.f > 0.075");
        assert_eq!(of("15% < p").text, "15 < params.p");
        assert_eq!(of("x > 15%").guessed, ["x"]);
        assert_eq!(of("15% > 1").guessed, ["?"]);
        assert_eq!(of("a > 1 && a < b").names, ["a", "b"]);
        assert_eq!(parameter("refund-amount"), "params[\"refund-amount\"]");
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart_and_loses_nothing(text in "(?s)[a-z0-9 '\"%.,()\\\\&|é\n]{0,40}") {
            let found = tokens(&text);
            let whole: String = found
                .iter()
                .map(|token| match token {
                    Token::Name(text) | Token::Other(text) => (*text).to_owned(),
                    Token::Percent(number) => format!("{number}%"),
                })
                .collect();
            prop_assert_eq!(whole, text.clone());
            plain(&text);
        }
    }
}
