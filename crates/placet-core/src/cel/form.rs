//! The boolean skeleton of a conjunct, for those who reason about conditions without a request: which tests of single
//! variables it is made of, and how they are joined.
//!
//! Invariant: a test is decided by the evaluator itself, never by a second reading of it. What is not understood
//! completely has no form.

use super::{
    Activation, Conjunct, Expression, Fuel, Outcome, Why,
    evaluate::Evaluator,
    functions::Function,
    node::{Comparison, Constant, Kind, Node},
    value::Value,
    vars::{Path, Root},
};
use crate::decimal::Decimal;
use std::fmt::Write as _;

/// Tests of single variables, joined as CEL joins them: an operand that can't be told is absorbed by one that decides.
#[derive(Debug)]
pub(crate) enum Form<'e> {
    Constant(bool),
    Not(Box<Self>),
    And(Box<[Self; 2]>),
    Or(Box<[Self; 2]>),
    If(Box<[Self; 3]>),
    Test(Test<'e>),
}

/// One question about the value of one path.
#[derive(Debug)]
pub(crate) struct Test<'e> {
    pub(crate) path: Path,
    pub(crate) asks: Asks<'e>,
    node: &'e Node,
}

/// What a test asks, and so which values it tells apart.
#[derive(Debug)]
pub(crate) enum Asks<'e> {
    /// Whether it is, or is not, one of these.
    Among(Vec<Literal<'e>>),
    /// On which side of this it is.
    Order(Literal<'e>),
    /// Whether it is there.
    Has,
    /// Whether it is `true`.
    Truth,
    /// Whether it is a list or map with this in it.
    Member(Literal<'e>),
    Begins(&'e str),
    Ends(&'e str),
    Contains(&'e str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Literal<'e> {
    Null,
    Bool(bool),
    Number(Decimal),
    Text(&'e str),
}

impl Conjunct {
    /// Its form; `None` where some part of it is anything but a test of one path against constants.
    pub(crate) fn form(&self) -> Option<Form<'_>> {
        form(&self.node)
    }

    /// Its text with every constant that it was prepared with: two that are the same say the same of every request.
    pub(crate) fn identity(&self) -> String {
        let mut identity = self.source.trim().to_owned();
        let mut pending = vec![&self.node];
        while let Some(node) = pending.pop() {
            // Writing to a string does not fail.
            let _ = match &node.kind {
                Kind::Constant(constant) => write!(identity, "\0{constant:?}"),
                Kind::InSet(_, set) => write!(identity, "\0{:?}", set.members),
                _ => Ok(()),
            };
            node.children(&mut pending);
        }
        identity
    }
}

impl Expression {
    /// As [`Conjunct::identity`].
    pub(crate) fn identity(&self) -> String {
        self.conjuncts().iter().map(Conjunct::identity).collect::<Vec<_>>().join("\0&&")
    }

    /// The path that it is, where it is nothing else.
    pub(crate) fn as_path(&self) -> Option<&Path> {
        match self.conjuncts() {
            [Conjunct { node: Node { kind: Kind::Path(path), .. }, .. }] => Some(path),
            _ => None,
        }
    }
}

impl Test<'_> {
    /// Its answer for these values.
    pub(crate) fn evaluate(&self, vars: &Activation<'_>) -> Outcome {
        let mut fuel = Fuel::default();
        match (Evaluator { vars, fuel: &mut fuel, locals: Vec::new() }).value(self.node) {
            Ok(Value::Bool(true)) => Outcome::True,
            Ok(Value::Bool(false)) => Outcome::False,
            Ok(other) => Outcome::Unknown(Why::Type(format!("{} is not a bool", other.type_name()))),
            Err(why) => Outcome::Unknown(why),
        }
    }
}

fn form(node: &Node) -> Option<Form<'_>> {
    let test = |path: &Path, asks| {
        // The moment is no value among others; see the hours of rules.
        (path.root() != Root::Now).then(|| Form::Test(Test { path: path.clone(), asks, node }))
    };
    match &node.kind {
        Kind::Constant(Constant::Bool(yes)) => Some(Form::Constant(*yes)),
        Kind::Path(path) => test(path, Asks::Truth),
        Kind::Not(operand) => Some(Form::Not(Box::new(form(operand)?))),
        Kind::And(sides) => {
            let [left, right] = &**sides;
            Some(Form::And(Box::new([form(left)?, form(right)?])))
        }
        Kind::Or(sides) => {
            let [left, right] = &**sides;
            Some(Form::Or(Box::new([form(left)?, form(right)?])))
        }
        Kind::If(parts) => {
            let [condition, yes, no] = &**parts;
            Some(Form::If(Box::new([form(condition)?, form(yes)?, form(no)?])))
        }
        Kind::Has(operand, field) => {
            let Kind::Path(path) = &operand.kind else { return None };
            let fields = path.fields().iter().chain([field]).cloned().collect();
            test(&Path::new(path.root(), fields), Asks::Has)
        }
        Kind::InSet(member, set) => {
            let Kind::Path(path) = &member.kind else { return None };
            test(path, Asks::Among(set.members.iter().map(literal).collect()))
        }
        Kind::In(sides) => {
            let [member, collection] = &**sides;
            let (Kind::Constant(member), Kind::Path(path)) = (&member.kind, &collection.kind) else {
                return None;
            };
            test(path, Asks::Member(literal(member)))
        }
        Kind::Compare(sign, sides) => {
            let [left, right] = &**sides;
            let (path, constant) = match (&left.kind, &right.kind) {
                (Kind::Path(path), Kind::Constant(constant))
                | (Kind::Constant(constant), Kind::Path(path)) => (path, literal(constant)),
                _ => return None,
            };
            test(
                path,
                match sign {
                    Comparison::Equal | Comparison::NotEqual => Asks::Among(vec![constant]),
                    _ => Asks::Order(constant),
                },
            )
        }
        Kind::Call(function, arguments) => {
            let [target, argument] = &**arguments else { return None };
            let (Kind::Path(path), Kind::Constant(Constant::Text(text))) = (&target.kind, &argument.kind)
            else {
                return None;
            };
            match function {
                Function::StartsWith => test(path, Asks::Begins(text)),
                Function::EndsWith => test(path, Asks::Ends(text)),
                Function::Contains => test(path, Asks::Contains(text)),
                _ => None,
            }
        }
        _ => None,
    }
}

fn literal(constant: &Constant) -> Literal<'_> {
    match constant {
        Constant::Null => Literal::Null,
        Constant::Bool(yes) => Literal::Bool(*yes),
        Constant::Int(whole) => Literal::Number(Decimal::from_i64(*whole)),
        Constant::Decimal(number) => Literal::Number(*number),
        Constant::Text(text) => Literal::Text(text),
    }
}
