//! The grammar of CEL, from tokens to our own tree: names become slots, macros become loops, literals are prepared.
//!
//! Precedence is climbed in one loop, so that a level of nesting takes a few small frames of the stack, and the scan
//! has bounded the nesting before. What of CEL needs protocol buffers or bytes is no part of it.
//!
//! Invariant: what isn't understood completely is an error when loading, never a surprise when deciding.

mod literal;
mod macros;

use super::{
    ParseError,
    compile::{self, error},
    functions,
    node::{Arithmetic, Comparison, Constant, Kind, Node},
    scan::{self, MAX_DEPTH, Token},
    vars::{Path, Root},
};

/// Words that name nothing, so that they stay free for the language (CEL's grammar).
pub(crate) const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Parses one conjunct, given as its tokens in `source`.
///
/// # Errors
/// What is wrong first, and where.
pub(super) fn conjunct(source: &str, tokens: &[Token]) -> Result<Node, ParseError> {
    let mut parser = Parser { source, tokens, next: 0, locals: Vec::new() };
    let node = parser.expression()?;
    match parser.peek() {
        Some(_) => Err(parser.unexpected()),
        None => within_depth(node, tokens.first().map_or(0, |token| token.start)),
    }
}

/// The scan's bound on height is an estimate; this is the measure, and it takes no stack.
fn within_depth(node: Node, at: usize) -> Result<Node, ParseError> {
    let mut level = vec![&node];
    let mut below = Vec::new();
    for _ in 0..MAX_DEPTH * 2 {
        level.iter().for_each(|node| node.children(&mut below));
        if below.is_empty() {
            return Ok(node);
        }
        std::mem::swap(&mut level, &mut below);
        below.clear();
    }
    Err(error(at, "the condition is nested too deep: split it at `&&`"))
}

/// An operator between two operands, and how strongly it binds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Infix {
    Or,
    And,
    Compare(Comparison),
    In,
    Arithmetic(Arithmetic),
}

impl Infix {
    fn named(text: &str) -> Option<Self> {
        Some(match text {
            "||" => Self::Or,
            "&&" => Self::And,
            "<" => Self::Compare(Comparison::Less),
            "<=" => Self::Compare(Comparison::LessOrEqual),
            ">" => Self::Compare(Comparison::Greater),
            ">=" => Self::Compare(Comparison::GreaterOrEqual),
            "==" => Self::Compare(Comparison::Equal),
            "!=" => Self::Compare(Comparison::NotEqual),
            "in" => Self::In,
            "+" => Self::Arithmetic(Arithmetic::Add),
            "-" => Self::Arithmetic(Arithmetic::Subtract),
            "*" => Self::Arithmetic(Arithmetic::Multiply),
            "/" => Self::Arithmetic(Arithmetic::Divide),
            "%" => Self::Arithmetic(Arithmetic::Remainder),
            _ => return None,
        })
    }

    fn strength(self) -> u8 {
        match self {
            Self::Or => 0,
            Self::And => 1,
            Self::Compare(_) | Self::In => 2,
            Self::Arithmetic(Arithmetic::Add | Arithmetic::Subtract) => 3,
            Self::Arithmetic(_) => 4,
        }
    }
}

struct Parser<'s, 't> {
    source: &'s str,
    tokens: &'t [Token],
    next: usize,
    /// The variables of the macros around what is read, outermost first.
    locals: Vec<&'s str>,
}

impl<'s> Parser<'s, '_> {
    /// `condition ? this : that`, or what binds stronger.
    fn expression(&mut self) -> Result<Node, ParseError> {
        let condition = self.binary(0)?;
        let Some(question) = self.take("?") else { return Ok(condition) };
        let yes = self.binary(0)?;
        if self.take(":").is_none() {
            return Err(match self.peek() {
                Some(_) => self.unexpected(),
                None => error(question.start, "`?` needs a `:`"),
            });
        }
        let no = self.expression()?;
        Ok(Node { at: question.start, kind: Kind::If(Box::new([condition, yes, no])) })
    }

    /// Operators that bind at least as strongly as `least`.
    fn binary(&mut self, least: u8) -> Result<Node, ParseError> {
        let mut left = self.unary()?;
        while let Some((at, infix)) = self.infix().filter(|(_, infix)| infix.strength() >= least) {
            let strength = infix.strength();
            self.next += 1;
            let right = self.binary(strength + 1)?;
            let kind = match infix {
                Infix::Or | Infix::And => {
                    let mut others = vec![(at, right)];
                    while let Some((at, _)) = self.infix().filter(|(_, other)| *other == infix) {
                        self.next += 1;
                        others.push((at, self.binary(strength + 1)?));
                    }
                    left = balanced(left, others, infix);
                    continue;
                }
                Infix::Compare(sign) => Kind::Compare(sign, Box::new([left, right])),
                Infix::Arithmetic(sign) => Kind::Arithmetic(sign, Box::new([left, right])),
                Infix::In => compile::membership([left, right]),
            };
            left = Node { at, kind };
        }
        Ok(left)
    }

    fn infix(&self) -> Option<(usize, Infix)> {
        let token = self.peek()?;
        matches!(token.kind, scan::Kind::Or | scan::Kind::And | scan::Kind::Sign | scan::Kind::Binary)
            .then(|| Infix::named(self.text(token)))?
            .map(|infix| (token.start, infix))
    }

    fn unary(&mut self) -> Result<Node, ParseError> {
        let Some(sign) = self.peek() else { return Err(self.unexpected()) };
        let of_literal = || self.ahead(1).is_some_and(|token| self.is_number(token));
        if sign.kind != scan::Kind::Not && (sign.kind != scan::Kind::Sign || of_literal()) {
            return self.member();
        }
        self.next += 1;
        let again = self.peek().is_some_and(|token| token.kind == sign.kind);
        let operand = if again { self.unary()? } else { self.member()? };
        let kind = match sign.kind {
            scan::Kind::Not => Kind::Not(Box::new(operand)),
            _ => compile::negate(operand),
        };
        Ok(Node { at: sign.start, kind })
    }

    /// Something with what is selected, called and indexed of it.
    fn member(&mut self) -> Result<Node, ParseError> {
        let mut node = self.primary()?;
        loop {
            let Some(token) = self.peek() else { return Ok(node) };
            node = match (token.kind, self.text(token)) {
                (scan::Kind::Dot, _) => {
                    self.next += 1;
                    self.selection(node, token.start)?
                }
                (_, "[") => {
                    self.next += 1;
                    let key = self.expression()?;
                    self.expect("]")?;
                    Node { at: token.start, kind: compile::index([node, key]) }
                }
                (_, "{") => return Err(messages(token.start)),
                _ => return Ok(node),
            };
        }
    }

    /// What stands behind a dot.
    fn selection(&mut self, operand: Node, dot: usize) -> Result<Node, ParseError> {
        let Some(token) = self.peek() else { return Err(self.unexpected()) };
        let text = self.text(token);
        if let Some(quoted) = text.strip_prefix('`').and_then(|text| text.strip_suffix('`')) {
            self.next += 1;
            return Ok(Node { at: dot, kind: compile::select_field(operand, quoted.into()) });
        }
        let name = self.field_name()?;
        match self.peek() {
            Some(open) if self.text(open) == "(" => self.method(operand, name, token.start, open.start),
            _ => Ok(Node { at: dot, kind: compile::select_field(operand, name.into()) }),
        }
    }

    fn method(&mut self, target: Node, name: &'s str, at: usize, open: usize) -> Result<Node, ParseError> {
        self.next += 1;
        if let Some(shape) = macros::Shape::named(name) {
            return self.macro_call(target, name, shape, open);
        }
        let mut arguments = vec![target];
        self.items(")", &mut arguments)?;
        Ok(Node { at, kind: compile::call(name, true, arguments, at)? })
    }

    fn primary(&mut self) -> Result<Node, ParseError> {
        let Some(token) = self.peek() else { return Err(self.unexpected()) };
        let at = token.start;
        let text = self.text(token);
        let kind = match (token.kind, text.as_bytes().first()) {
            (scan::Kind::Open, Some(b'(')) => {
                self.next += 1;
                let inner = self.expression()?;
                self.expect(")")?;
                return Ok(inner);
            }
            (scan::Kind::Open, Some(b'[')) => {
                self.next += 1;
                let mut elements = Vec::new();
                self.items("]", &mut elements)?;
                Kind::List(elements.into())
            }
            (scan::Kind::Open, _) => {
                self.next += 1;
                self.map()?
            }
            (scan::Kind::Sign, _) if self.ahead(1).is_some_and(|token| self.is_number(token)) => {
                self.next += 2;
                let digits = self.tokens.get(self.next - 1).map_or("", |token| self.text(*token));
                Kind::Constant(literal::number(digits, true, at)?)
            }
            (scan::Kind::Dot, _) => {
                self.next += 1;
                let name = self.field_name()?;
                self.variable(name, at, &[])?
            }
            (scan::Kind::Operand, Some(b'0'..=b'9' | b'.')) => {
                self.next += 1;
                Kind::Constant(literal::number(text, false, at)?)
            }
            (scan::Kind::Operand, Some(b'"' | b'\'')) => {
                self.next += 1;
                Kind::Constant(Constant::Text(literal::text(text, at)?))
            }
            (scan::Kind::Operand, Some(b'r' | b'R')) if text.ends_with(['"', '\'']) => {
                self.next += 1;
                Kind::Constant(Constant::Text(literal::text(text, at)?))
            }
            (scan::Kind::Operand, Some(b'`')) => return Err(self.unexpected()),
            (scan::Kind::Operand, _) => {
                self.next += 1;
                return self.word(text, at);
            }
            _ => return Err(self.unexpected()),
        };
        Ok(Node { at, kind })
    }

    /// A name that begins something, or a literal that is a word.
    fn word(&mut self, word: &'s str, at: usize) -> Result<Node, ParseError> {
        let constant = |constant| Ok(Node { at, kind: Kind::Constant(constant) });
        match word {
            "true" => return constant(Constant::Bool(true)),
            "false" => return constant(Constant::Bool(false)),
            "null" => return constant(Constant::Null),
            "cel" if !self.locals.contains(&word) && self.follows([".", "bind", "("]) => {
                self.next += 3;
                return self.bind(at);
            }
            _ => {}
        }
        let following = self.peek().map(|token| (token.start, self.text(token)));
        let kind = match following {
            Some((open, "(")) => {
                self.next += 1;
                if word == "has" {
                    return self.has(open);
                }
                let mut arguments = Vec::new();
                self.items(")", &mut arguments)?;
                compile::call(word, false, arguments, at)?
            }
            Some((brace, "{")) => return Err(messages(brace)),
            _ => self.variable(word, at, &self.locals)?,
        };
        Ok(Node { at, kind })
    }

    fn variable(&self, name: &str, at: usize, locals: &[&str]) -> Result<Kind, ParseError> {
        if let Some(slot) = locals.iter().rposition(|local| *local == name) {
            return Ok(Kind::Local(slot));
        }
        if let Some(root) = Root::named(name) {
            return Ok(Kind::Path(Path::new(root, Box::default())));
        }
        let known = locals.iter().copied().chain(Root::ALL.map(Root::name));
        let hint = match functions::nearest(name, known) {
            Some(near) => format!("; did you mean `{near}`?"),
            None => {
                format!("; the names are {}", Root::ALL.map(|root| format!("`{}`", root.name())).join(", "))
            }
        };
        Err(error(at, format!("unknown name `{name}`{hint}")))
    }

    fn map(&mut self) -> Result<Kind, ParseError> {
        let mut entries = Vec::new();
        while self.take("}").is_none() {
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((key, self.expression()?));
            if self.take(",").is_none() {
                self.expect("}")?;
                break;
            }
        }
        Ok(Kind::Map(entries.into()))
    }

    /// Expressions up to a closing bracket; behind the last of a list may stand a comma.
    fn items(&mut self, close: &str, to: &mut Vec<Node>) -> Result<(), ParseError> {
        if self.take(close).is_some() {
            return Ok(());
        }
        loop {
            to.push(self.expression()?);
            if self.take(",").is_none() {
                return self.expect(close);
            }
            if close == "]" && self.take(close).is_some() {
                return Ok(());
            }
        }
    }

    /// A name behind a dot: any but the literals that are words.
    fn field_name(&mut self) -> Result<&'s str, ParseError> {
        let Some(token) = self.peek() else { return Err(self.unexpected()) };
        let name = self.text(token);
        if !is_name(name) || matches!(name, "true" | "false" | "null" | "in") {
            return Err(self.unexpected());
        }
        self.next += 1;
        Ok(name)
    }

    fn peek(&self) -> Option<Token> {
        self.tokens.get(self.next).copied()
    }

    fn ahead(&self, by: usize) -> Option<Token> {
        self.tokens.get(self.next + by).copied()
    }

    fn text(&self, token: Token) -> &'s str {
        self.source.get(token.start..token.end).unwrap_or_default()
    }

    fn is_number(&self, token: Token) -> bool {
        let begins = |first: char| first.is_ascii_digit() || first == '.';
        token.kind == scan::Kind::Operand && self.text(token).starts_with(begins)
    }

    /// Whether the next tokens are these.
    fn follows<const N: usize>(&self, texts: [&str; N]) -> bool {
        let mut ahead = (0..).map(|by| self.ahead(by));
        texts.iter().all(|text| ahead.next().flatten().is_some_and(|token| self.text(token) == *text))
    }

    /// Takes the next token if it is this one. For operators and brackets: texts and names are not meant.
    fn take(&mut self, text: &str) -> Option<Token> {
        let token = self.peek().filter(|token| self.text(*token) == text)?;
        self.next += 1;
        Some(token)
    }

    fn expect(&mut self, text: &str) -> Result<(), ParseError> {
        self.take(text).map(|_| ()).ok_or_else(|| self.unexpected())
    }

    fn unexpected(&self) -> ParseError {
        match self.peek() {
            Some(token) => {
                let shown: String = self.text(token).chars().take(40).collect();
                error(token.start, format!("`{shown}` can't stand here"))
            }
            None => {
                let end = self.tokens.last().map_or(0, |token| token.end);
                error(end, "the condition ends too early")
            }
        }
    }
}

/// A chain of one operator as a tree of the least height.
fn balanced(first: Node, others: Vec<(usize, Node)>, infix: Infix) -> Node {
    let join = |at, left, right| {
        let sides = Box::new([left, right]);
        Node { at, kind: if infix == Infix::Or { Kind::Or(sides) } else { Kind::And(sides) } }
    };
    let (mut first, mut others) = (first, others);
    while !others.is_empty() {
        let mut rest = std::mem::take(&mut others).into_iter();
        if let Some((at, right)) = rest.next() {
            first = join(at, first, right);
        }
        while let Some((before, left)) = rest.next() {
            others.push(match rest.next() {
                Some((at, right)) => (before, join(at, left, right)),
                None => (before, left),
            });
        }
    }
    first
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn messages(at: usize) -> ParseError {
    error(at, "messages are not supported: write a map")
}
