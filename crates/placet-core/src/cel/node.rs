//! The compiled form of a condition: one tree, names resolved, everything constant prepared.
//!
//! Invariant: immutable after loading, and no deeper than the scan allowed.

use super::{functions::Function, vars::Path};
use crate::decimal::Decimal;
use jiff::tz::TimeZone;
use std::{cmp::Ordering, collections::HashSet, sync::Arc};

#[derive(Debug)]
pub(super) struct Node {
    /// Where in the source it stands, in bytes.
    pub(super) at: usize,
    pub(super) kind: Kind,
}

impl Node {
    /// Adds the nodes directly below this one.
    pub(super) fn children<'n>(&'n self, to: &mut Vec<&'n Self>) {
        match &self.kind {
            Kind::Constant(_) | Kind::Path(_) | Kind::Local(_) => {}
            Kind::Field(operand, _)
            | Kind::Has(operand, _)
            | Kind::Not(operand)
            | Kind::Negate(operand)
            | Kind::InSet(operand, _)
            | Kind::Matches(operand, _)
            | Kind::Zoned(_, operand, _) => to.push(operand),
            Kind::Index(two)
            | Kind::And(two)
            | Kind::Or(two)
            | Kind::Compare(_, two)
            | Kind::Arithmetic(_, two)
            | Kind::Bind(two)
            | Kind::In(two) => to.extend(&**two),
            Kind::If(three) => to.extend(&**three),
            Kind::List(nodes) | Kind::Call(_, nodes) => to.extend(nodes),
            Kind::Map(entries) => to.extend(entries.iter().flat_map(|(key, value)| [key, value])),
            Kind::Macro(parts) => {
                to.extend([&parts.range, &parts.body]);
                to.extend(&parts.condition);
            }
        }
    }
}

impl Node {
    /// The same as [`Node::children`], to change them.
    pub(super) fn children_mut(&mut self) -> Vec<&mut Self> {
        match &mut self.kind {
            Kind::Constant(_) | Kind::Path(_) | Kind::Local(_) => Vec::new(),
            Kind::Field(operand, _)
            | Kind::Has(operand, _)
            | Kind::Not(operand)
            | Kind::Negate(operand)
            | Kind::InSet(operand, _)
            | Kind::Matches(operand, _)
            | Kind::Zoned(_, operand, _) => vec![operand],
            Kind::Index(two)
            | Kind::And(two)
            | Kind::Or(two)
            | Kind::Compare(_, two)
            | Kind::Arithmetic(_, two)
            | Kind::Bind(two)
            | Kind::In(two) => two.iter_mut().collect(),
            Kind::If(three) => three.iter_mut().collect(),
            Kind::List(nodes) | Kind::Call(_, nodes) => nodes.iter_mut().collect(),
            Kind::Map(entries) => entries.iter_mut().flat_map(|(key, value)| [key, value]).collect(),
            Kind::Macro(parts) => {
                let Macro { range, body, condition, .. } = &mut **parts;
                [range, body].into_iter().chain(condition).collect()
            }
        }
    }
}

#[derive(Debug)]
pub(super) enum Kind {
    Constant(Constant),
    /// A variable and fields of it, resolved in one go.
    Path(Path),
    /// The so-manieth variable of the enclosing macros, outermost first.
    Local(usize),
    Field(Box<Node>, Box<str>),
    /// `has(operand.field)`.
    Has(Box<Node>, Box<str>),
    Index(Box<[Node; 2]>),
    List(Box<[Node]>),
    Map(Box<[(Node, Node)]>),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    If(Box<[Node; 3]>),
    Compare(Comparison, Box<[Node; 2]>),
    Arithmetic(Arithmetic, Box<[Node; 2]>),
    In(Box<[Node; 2]>),
    InSet(Box<Node>, Arc<ConstantSet>),
    Matches(Box<Node>, Box<Pattern>),
    /// The target, where there is one, is the first argument.
    Call(Function, Box<[Node]>),
    /// A calendar function with a zone known when loaded.
    Zoned(Function, Box<Node>, Box<TimeZone>),
    Macro(Box<Macro>),
    /// `cel.bind`: a value, and what is made of it as the innermost local.
    Bind(Box<[Node; 2]>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Int(i64),
    Decimal(Decimal),
    Text(Box<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Arithmetic {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

impl Comparison {
    /// The comparison with its sides exchanged.
    pub(super) fn mirrored(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            Self::Equal | Self::NotEqual => self,
        }
    }

    pub(super) fn is_equality(self) -> bool {
        matches!(self, Self::Equal | Self::NotEqual)
    }

    /// Whether it holds where the left side stands so to the right.
    pub(super) fn says(self, left: Ordering) -> bool {
        match self {
            Self::Less => left.is_lt(),
            Self::LessOrEqual => left.is_le(),
            Self::Greater => left.is_gt(),
            Self::GreaterOrEqual => left.is_ge(),
            Self::Equal => left.is_eq(),
            Self::NotEqual => left.is_ne(),
        }
    }

    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
        }
    }
}

/// The members of a list of literals after `in`.
#[derive(Debug, Default)]
pub(super) struct ConstantSet {
    pub(super) members: Vec<Constant>,
    pub(super) texts: HashSet<Box<str>>,
    pub(super) numbers: HashSet<Decimal>,
    pub(super) null: bool,
    pub(super) yes: bool,
    pub(super) no: bool,
}

impl ConstantSet {
    pub(super) fn new(members: Vec<Constant>) -> Self {
        let mut set = Self::default();
        for member in &members {
            match member {
                Constant::Null => set.null = true,
                Constant::Bool(true) => set.yes = true,
                Constant::Bool(false) => set.no = true,
                Constant::Int(whole) => {
                    set.numbers.insert(Decimal::from_i64(*whole));
                }
                Constant::Decimal(number) => {
                    set.numbers.insert(*number);
                }
                Constant::Text(text) => {
                    set.texts.insert(text.clone());
                }
            }
        }
        set.members = members;
        set
    }
}

/// A regular expression compiled when loaded.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) regex: regex::Regex,
    /// Fuel per eight bytes of text: a larger automaton takes longer per byte in the worst case.
    pub(super) weight: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MacroKind {
    All,
    Exists,
    ExistsOne,
    /// `map`, `filter`, `transformList`: collects `body` where `condition` holds.
    Collect,
    /// `transformMap`: as `Collect`, with the key of each element.
    CollectMap,
    /// `transformMapEntry`: the entries of the maps that `body` is, together.
    CollectEntries,
}

#[derive(Debug)]
pub(super) struct Macro {
    pub(super) kind: MacroKind,
    pub(super) range: Node,
    /// The predicate of `all`, `exists`, `exists_one`; what `map` and `filter` collect.
    pub(super) body: Node,
    /// Which elements `map` and `filter` take.
    pub(super) condition: Option<Node>,
    /// Whether it has two variables: the position or key, and the element.
    pub(super) pairs: bool,
}
