//! Macros: calls that bring variables of their own, or that look whether something is there.
//!
//! Invariant: a variable is known only in what its macro runs over each element.

use super::{
    super::{
        ParseError,
        compile::error,
        node::{Kind, Macro, MacroKind, Node},
        scan,
    },
    Parser, RESERVED, is_name,
};

/// How a macro over a list or a map is written.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    kind: Made,
    variables: Variables,
    /// Whether it takes a condition before what it makes.
    filtered: bool,
}

#[derive(Clone, Copy)]
enum Made {
    Loop(MacroKind),
    /// The elements themselves, where a condition holds.
    Filter,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Variables {
    One,
    Two,
    Either,
}

impl Shape {
    pub(super) fn named(name: &str) -> Option<Self> {
        let shape = |kind, variables, filtered| Some(Self { kind: Made::Loop(kind), variables, filtered });
        match name {
            "all" => shape(MacroKind::All, Variables::Either, false),
            "exists" => shape(MacroKind::Exists, Variables::Either, false),
            "exists_one" | "existsOne" => shape(MacroKind::ExistsOne, Variables::Either, false),
            "map" => shape(MacroKind::Collect, Variables::One, true),
            "filter" => Some(Self { kind: Made::Filter, variables: Variables::One, filtered: false }),
            "transformList" => shape(MacroKind::Collect, Variables::Two, true),
            "transformMap" => shape(MacroKind::CollectMap, Variables::Two, true),
            "transformMapEntry" => shape(MacroKind::CollectEntries, Variables::Two, true),
            _ => None,
        }
    }

    /// How it is written, for messages.
    fn form(self, name: &str) -> String {
        let variables = if self.variables == Variables::Two { "i, x" } else { "x" };
        let what = match self.kind {
            Made::Loop(MacroKind::All | MacroKind::Exists | MacroKind::ExistsOne) | Made::Filter => {
                "condition on x"
            }
            Made::Loop(_) => "what it becomes",
        };
        format!("`{name}` is written `list.{name}({variables}, {what})`")
    }
}

impl<'s> Parser<'s, '_> {
    /// The arguments of a macro over `range`, whose bracket stands at `open` and was read.
    pub(super) fn macro_call(
        &mut self,
        range: Node,
        name: &str,
        shape: Shape,
        open: usize,
    ) -> Result<Node, ParseError> {
        let malformed = || error(open, shape.form(name));
        let outside = self.locals.len();
        let first = self.macro_variable(malformed)?;
        let pairs = match shape.variables {
            Variables::One => false,
            Variables::Two => true,
            Variables::Either => {
                let is_comma = |token: scan::Token| token.kind == scan::Kind::Separator;
                self.peek().is_some_and(|token| is_name(self.text(token)))
                    && self.ahead(1).is_some_and(is_comma)
            }
        };
        let second = if pairs { Some(self.macro_variable(malformed)?) } else { None };
        if second == Some(first) {
            return Err(error(open, format!("the variables of `{name}` have one name, `{first}`")));
        }
        self.locals.push(first);
        self.locals.extend(second);
        let mut body = self.expression()?;
        let mut condition = None;
        if shape.filtered && self.take(",").is_some() {
            condition = Some(std::mem::replace(&mut body, self.expression()?));
        }
        self.locals.truncate(outside);
        if self.take(")").is_none() {
            let comma = self.peek().is_some_and(|token| token.kind == scan::Kind::Separator);
            return Err(if comma { malformed() } else { self.unexpected() });
        }
        let kind = match shape.kind {
            Made::Loop(kind) => kind,
            Made::Filter => {
                condition = Some(std::mem::replace(&mut body, Node { at: open, kind: Kind::Local(outside) }));
                MacroKind::Collect
            }
        };
        Ok(Node { at: open, kind: Kind::Macro(Box::new(Macro { kind, range, body, condition, pairs })) })
    }

    /// `x,`
    fn macro_variable(&mut self, malformed: impl Fn() -> ParseError) -> Result<&'s str, ParseError> {
        let Some(token) = self.peek() else { return Err(self.unexpected()) };
        let name = self.text(token);
        if self.ahead(1).is_none_or(|comma| comma.kind != scan::Kind::Separator) {
            return Err(malformed());
        }
        if !is_name(name) || RESERVED.contains(&name) {
            return Err(error(token.start, format!("`{name}` can't name a variable")));
        }
        self.next += 2;
        Ok(name)
    }

    /// `cel.bind(x, value, expression on x)`, its bracket read.
    pub(super) fn bind(&mut self, at: usize) -> Result<Node, ParseError> {
        let malformed = || error(at, "`cel.bind` is written `cel.bind(x, value, expression on x)`");
        let name = self.macro_variable(malformed)?;
        let value = self.expression()?;
        self.take(",").ok_or_else(malformed)?;
        self.locals.push(name);
        let body = self.expression()?;
        self.locals.pop();
        self.expect(")")?;
        Ok(Node { at, kind: Kind::Bind(Box::new([value, body])) })
    }

    /// `has(x.field)`, its bracket read.
    pub(super) fn has(&mut self, open: usize) -> Result<Node, ParseError> {
        let argument = self.expression()?;
        let dot = self.next.checked_sub(2).and_then(|before| self.tokens.get(before));
        // `x["field"]` and `(x.field)` are not written so.
        let selected = dot.is_some_and(|token| token.kind == scan::Kind::Dot);
        self.expect(")")?;
        let at = argument.at;
        let (operand, field) = match argument.kind {
            Kind::Field(operand, field) if selected => (operand, field),
            Kind::Path(path) if selected && !path.fields().is_empty() => {
                let (operand, field) = path.split_last();
                (Box::new(Node { at, kind: Kind::Path(operand) }), field)
            }
            _ => return Err(error(open, "`has` is written `has(x.field)`")),
        };
        Ok(Node { at: open, kind: Kind::Has(operand, field) })
    }
}
