//! The condition language of policies: CEL, parsed and evaluated here, typed and bounded, over JSON in place
//! (DESIGN §4).
//!
//! Invariant: no text and no value can exhaust the stack, the time or the memory of a decision; numbers are exact
//! or unknown, never rounded; and an error is [`Outcome::Unknown`], which whoever asks must treat as the safe side.

mod calls;
mod check;
mod compile;
mod evaluate;
mod fields;
mod form;
mod fuel;
mod functions;
mod key;
mod lists;
mod loops;
mod native;
mod node;
mod parse;
mod reads;
mod scan;
#[cfg(test)]
mod tests;
mod value;
mod vars;

pub use check::{FieldType, Schema, TypeIssue};
pub use fields::Fields;
pub(crate) use form::{Asks, Form, Literal, Test};
pub use fuel::{FUEL_PER_DECISION, Fuel};
pub use lists::Lists;
pub(crate) use parse::RESERVED;
pub use reads::{Bound, BoundOp};
pub(crate) use vars::PARTS;
pub use vars::{Activation, Facts, Path, Root};

use crate::decimal::Decimal;
use evaluate::Evaluator;
use native::Native;
use node::Node;
use std::{fmt, sync::Arc};
use value::Value;

/// A condition, or an amount, ready to be evaluated. Cheap to clone.
#[derive(Clone)]
pub struct Expression {
    inner: Arc<Inner>,
}

struct Inner {
    source: Box<str>,
    conjuncts: Box<[Conjunct]>,
}

/// One operand of the top-level `&&` of an [`Expression`], judged on its own.
pub struct Conjunct {
    source: Box<str>,
    offset: usize,
    node: Node,
    reads: Box<[Path]>,
    bound: Option<Bound>,
    native: Option<Native>,
}

/// What a conjunct says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It can't be told, and why.
    Unknown(Why),
}

/// Why something can't be told. The text names fields and types and quotes at most 40 characters of a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// A variable or field is absent.
    #[error("{0}")]
    Missing(String),
    /// A value has a type that the operation isn't defined for.
    #[error("{0}")]
    Type(String),
    /// A number can't be held exactly, is out of range, or is divided by zero.
    #[error("{0}")]
    Number(String),
    /// A value has the right type but can't be used.
    #[error("{0}")]
    Value(String),
    /// The conditions of this decision cost more than [`FUEL_PER_DECISION`].
    #[error("the conditions of this decision cost too much to evaluate")]
    Fuel,
}

/// Why a text is not a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// What is wrong and, where it can be guessed, what was meant.
    pub message: String,
    /// Where, in bytes from the start of the source, if it is known.
    pub offset: Option<usize>,
}

impl Expression {
    /// Parses a condition of at most 2048 bytes.
    ///
    /// # Errors
    /// Text that is too long, too deep, not CEL, or names an unknown variable or function.
    pub fn parse(source: &str) -> Result<Self, ParseError> {
        Self::parse_with(source, &Lists::none())
    }

    /// As [`Expression::parse`], with the lists that it may name as `lists.NAME`.
    ///
    /// # Errors
    /// As there, and a list that there is none of.
    pub fn parse_with(source: &str, lists: &Lists) -> Result<Self, ParseError> {
        let expression = Self::parse_row(source, lists)?;
        let reads_item = |conjunct: &&Conjunct| conjunct.reads.iter().any(|path| path.root() == Root::Item);
        match expression.conjuncts().iter().find(reads_item) {
            None => Ok(expression),
            Some(conjunct) => Err(ParseError {
                message: "unknown name `item`: only `shape.rows.where` has rows".to_owned(),
                offset: Some(conjunct.offset),
            }),
        }
    }

    /// As [`Expression::parse_with`], for a condition on a row of what came back: it also knows `item`.
    ///
    /// # Errors
    /// As there.
    pub fn parse_row(source: &str, lists: &Lists) -> Result<Self, ParseError> {
        lists.shared(source, || Self::compiled(source, lists))
    }

    fn compiled(source: &str, lists: &Lists) -> Result<Self, ParseError> {
        let tokens = scan::scan(source)?;
        let names_lists = source.contains(Root::Lists.name());
        let conjuncts = scan::conjuncts(source, &tokens)?
            .into_iter()
            .map(|piece| {
                let mut node = parse::conjunct(source, piece)?;
                if names_lists {
                    lists.fill(&mut node)?;
                }
                let start = piece.first().map_or(0, |token| token.start);
                let end = piece.last().map_or(start, |token| token.end);
                Ok(Conjunct {
                    source: source.get(start..end).unwrap_or_default().into(),
                    offset: start,
                    reads: reads::reads(&node).into(),
                    bound: reads::bound(&node),
                    native: Native::of(&node),
                    node,
                })
            })
            .collect::<Result<_, ParseError>>()?;
        Ok(Self { inner: Arc::new(Inner { source: source.into(), conjuncts }) })
    }

    /// The text it was parsed from.
    pub fn source(&self) -> &str {
        &self.inner.source
    }

    /// The operands of the top-level `&&`, in order; at least one. All must hold.
    pub fn conjuncts(&self) -> &[Conjunct] {
        &self.inner.conjuncts
    }

    /// The certain errors in a condition, given what is declared: misspelt fields, operations on the wrong types,
    /// conjuncts that aren't bools. Empty where nothing is certainly wrong.
    pub fn check(&self, schema: &dyn Schema) -> Vec<TypeIssue> {
        self.check_for(check::Wanted::Bool, schema)
    }

    /// As [`Expression::check`], for an expression that must be a number.
    pub(crate) fn check_number(&self, schema: &dyn Schema) -> Vec<TypeIssue> {
        match self.conjuncts() {
            [_] => self.check_for(check::Wanted::Number, schema),
            _ => {
                vec![TypeIssue { message: "this is a bool, not a number".to_owned(), offset: 0, conjunct: 0 }]
            }
        }
    }

    fn check_for(&self, wanted: check::Wanted, schema: &dyn Schema) -> Vec<TypeIssue> {
        let each = self.conjuncts().iter().enumerate();
        each.flat_map(|(index, conjunct)| check::check(&conjunct.node, index, wanted, schema)).collect()
    }

    /// Evaluates an expression that is a number, such as the amount of a `sum` limit.
    ///
    /// # Errors
    /// Why there is no number.
    pub fn evaluate_number(&self, vars: &Activation<'_>, fuel: &mut Fuel) -> Result<Decimal, Why> {
        let [only] = self.conjuncts() else {
            return Err(Why::Type("the expression is a bool, not a number".to_owned()));
        };
        let value = Evaluator { vars, fuel, locals: Vec::new() }.value(&only.node)?;
        value
            .number()
            .ok_or_else(|| Why::Type(format!("the expression is {}, not a number", value.type_name())))
    }
}

impl Conjunct {
    /// Its exact text in the source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Where its text starts, in bytes from the start of the expression.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The variables and fields that it reads, sorted, each once.
    pub fn reads(&self) -> &[Path] {
        &self.reads
    }

    /// The bound it sets, where it compares one path with one literal.
    pub fn bound(&self) -> Option<&Bound> {
        self.bound.as_ref()
    }

    /// Judges it. Whatever can't be told is [`Outcome::Unknown`]: an absent field, a wrong type, a number that
    /// can't be held exactly, a result that isn't a bool, fuel run out.
    #[inline]
    pub fn evaluate(&self, vars: &Activation<'_>, fuel: &mut Fuel) -> Outcome {
        match self.native.as_ref().and_then(|native| native.holds(vars, fuel)) {
            Some(true) => Outcome::True,
            Some(false) => Outcome::False,
            None => self.evaluate_in_general(vars, fuel),
        }
    }

    /// As [`Conjunct::evaluate`], by the evaluator.
    #[inline(never)]
    pub(crate) fn evaluate_in_general(&self, vars: &Activation<'_>, fuel: &mut Fuel) -> Outcome {
        match (Evaluator { vars, fuel, locals: Vec::new() }).value(&self.node) {
            Ok(Value::Bool(true)) => Outcome::True,
            Ok(Value::Bool(false)) => Outcome::False,
            Ok(other) => {
                Outcome::Unknown(Why::Type(format!("the condition is {}, not a bool", other.type_name())))
            }
            Err(why) => Outcome::Unknown(why),
        }
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.inner.source).finish()
    }
}

impl fmt::Debug for Conjunct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Conjunct").field(&self.source).finish()
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.source)
    }
}
