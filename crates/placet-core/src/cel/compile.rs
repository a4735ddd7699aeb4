//! What the parser makes of operators and calls: constants are folded, sets and patterns prepared.
//!
//! Invariant: what can be refused or prepared when loading is not left for a decision.

use super::{
    ParseError,
    functions::{self, Function},
    node::{Constant, ConstantSet, Kind, Node, Pattern},
};
use jiff::tz::TimeZone;
use regex::RegexBuilder;
use std::sync::Arc;

/// Sizes of compiled patterns in bytes and what a pattern up to it costs per eight bytes of text.
const PATTERN_SIZES: [(usize, u64); 4] = [(1 << 14, 1), (1 << 16, 3), (1 << 18, 12), (1 << 20, 64)];

/// A call of a function; the target, where there is one, is the first argument.
pub(super) fn call(name: &str, on_target: bool, arguments: Vec<Node>, at: usize) -> Result<Kind, ParseError> {
    let function = Function::find(name, on_target, arguments.len()).map_err(|message| error(at, message))?;
    match function {
        Function::Matches => matches(arguments, at),
        _ if function.is_calendar() => calendar(function, arguments, at),
        _ => Ok(Kind::Call(function, arguments.into())),
    }
}

pub(super) fn select_field(operand: Node, field: Box<str>) -> Kind {
    match operand.kind {
        Kind::Path(path) => Kind::Path(path.select(field)),
        _ => Kind::Field(Box::new(operand), field),
    }
}

pub(super) fn negate(operand: Node) -> Kind {
    match operand.kind {
        Kind::Constant(Constant::Int(whole)) if whole != i64::MIN => Kind::Constant(Constant::Int(-whole)),
        Kind::Constant(Constant::Decimal(number)) => Kind::Constant(Constant::Decimal(number.negate())),
        _ => Kind::Negate(Box::new(operand)),
    }
}

/// `params["amount"]` is `params.amount`.
pub(super) fn index([operand, key]: [Node; 2]) -> Kind {
    match key.kind {
        Kind::Constant(Constant::Text(field)) => select_field(operand, field),
        _ => Kind::Index(Box::new([operand, key])),
    }
}

pub(super) fn membership([member, list]: [Node; 2]) -> Kind {
    let Kind::List(elements) = &list.kind else { return Kind::In(Box::new([member, list])) };
    let constants: Option<Vec<Constant>> = elements
        .iter()
        .map(|element| match &element.kind {
            Kind::Constant(constant) => Some(constant.clone()),
            _ => None,
        })
        .collect();
    match constants {
        Some(constants) => Kind::InSet(Box::new(member), Arc::new(ConstantSet::new(constants))),
        None => Kind::In(Box::new([member, list])),
    }
}

fn matches(arguments: Vec<Node>, at: usize) -> Result<Kind, ParseError> {
    let dynamic =
        || error(at, "the pattern of `matches` must be a literal, so that it is checked when loaded");
    let [text, pattern]: [Node; 2] = arguments.try_into().map_err(|_| dynamic())?;
    let Kind::Constant(Constant::Text(source)) = &pattern.kind else { return Err(dynamic()) };
    let mut failure = String::new();
    for (size, weight) in PATTERN_SIZES {
        match RegexBuilder::new(source).size_limit(size).nest_limit(32).build() {
            Ok(regex) => return Ok(Kind::Matches(Box::new(text), Box::new(Pattern { regex, weight }))),
            Err(regex::Error::CompiledTooBig(_)) => failure = "it is too large when compiled".to_owned(),
            Err(regex::Error::Syntax(message)) => {
                // The last line says what is wrong; those before it draw where.
                failure = message.lines().last().unwrap_or_default().to_owned();
                break;
            }
            Err(other) => failure = other.to_string(),
        }
    }
    Err(error(pattern.at, format!("the pattern of `matches` can't be used: {failure}")))
}

fn calendar(function: Function, arguments: Vec<Node>, at: usize) -> Result<Kind, ParseError> {
    let mut rest = arguments.into_iter();
    match (rest.next(), rest.next()) {
        (Some(target), Some(zone)) => match &zone.kind {
            Kind::Constant(Constant::Text(name)) => {
                let found = functions::zone(name).ok_or_else(|| {
                    error(zone.at, format!("unknown time zone `{name}`: use a name like `America/New_York`"))
                })?;
                Ok(Kind::Zoned(function, Box::new(target), Box::new(found)))
            }
            _ => Ok(Kind::Call(function, [target, zone].into())),
        },
        (Some(target), None) => Ok(Kind::Zoned(function, Box::new(target), Box::new(TimeZone::UTC))),
        _ => Err(error(at, "nothing to take the date of")),
    }
}

pub(super) fn error(offset: usize, message: impl Into<String>) -> ParseError {
    ParseError { message: message.into(), offset: Some(offset) }
}
