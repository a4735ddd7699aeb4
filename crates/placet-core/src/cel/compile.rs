//! From the parser's tree to ours: names become slots, macros become loops again, literals are prepared.
//!
//! Invariant: what isn't understood completely is an error when loading, never a surprise when deciding.

use super::{
    ParseError,
    functions::{self, Function},
    node::{Arithmetic, Comparison, Constant, ConstantSet, Kind, Macro, MacroKind, Node, Pattern},
    scan::{MAX_DEPTH, Span},
    vars::{Path, Root},
};
use crate::decimal::Decimal;
use ::cel::{
    common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators},
    parser::Parser,
};
use jiff::tz::TimeZone;
use regex::RegexBuilder;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        mpsc::{Sender, channel},
    },
};

/// Sizes of compiled patterns in bytes and what a pattern up to it costs per eight bytes of text.
const PATTERN_SIZES: [(usize, u64); 4] = [(1 << 14, 1), (1 << 16, 3), (1 << 18, 12), (1 << 20, 64)];

/// Stack for the parser, many times what the deepest text that the scan lets pass takes in a debug build. Most
/// threads of a server have 2 MiB, and the generated parser takes some 30 kB for each bracket.
const PARSER_STACK: usize = 16 << 20;

type Parsed = Result<Vec<Node>, ParseError>;

/// A text on its way to the parser's thread, and where the answer goes.
struct Job {
    source: Box<str>,
    spans: Box<[Span]>,
    answer: Sender<Parsed>,
}

/// The one thread that parses. Making one of this size for each condition costs several times what parsing it does,
/// and what the generated parser has learnt of its grammar stays with its thread.
static PARSER: Mutex<Option<Sender<Job>>> = Mutex::new(None);

/// Parses and compiles the conjuncts of `source`, on a stack of known size.
pub(super) fn conjuncts(source: &str, spans: &[Span]) -> Parsed {
    let failed = || ParseError { message: "the condition could not be parsed".to_owned(), offset: None };
    let (answer, answered) = channel();
    let job = Job { source: source.into(), spans: spans.into(), answer };
    hand_over(job).map_err(|message| ParseError { message, offset: None })?;
    // The thread goes on after a panic, which drops the way back.
    answered.recv().map_err(|_| failed())?
}

/// Gives a job to the parser's thread; starts it where there is none.
fn hand_over(job: Job) -> Result<(), String> {
    let mut parser = PARSER.lock().unwrap_or_else(PoisonError::into_inner);
    let job = match parser.as_ref() {
        None => job,
        Some(jobs) => match jobs.send(job) {
            Ok(()) => return Ok(()),
            Err(returned) => returned.0,
        },
    };
    let (jobs, queue) = channel::<Job>();
    let work = move || {
        for Job { source, spans, answer } in queue {
            let parse = || spans.iter().map(|span| conjunct(&source, *span)).collect();
            if let Ok(parsed) = catch_unwind(AssertUnwindSafe(parse)) {
                // Nobody waits any more where this fails.
                _ = answer.send(parsed);
            }
        }
    };
    std::thread::Builder::new()
        .name("placet-parser".to_owned())
        .stack_size(PARSER_STACK)
        .spawn(work)
        .map_err(|error| format!("no thread to parse on: {error}"))?;
    jobs.send(job).map_err(|_| "no thread to parse on".to_owned())?;
    *parser = Some(jobs);
    Ok(())
}

/// Parses and compiles one conjunct of `source`.
fn conjunct(source: &str, span: Span) -> Result<Node, ParseError> {
    let text = source.get(span.start..span.end).unwrap_or_default();
    let (tree, positions) =
        Parser::new().error_recovery_limit(4).parse_with_source_info(text).map_err(|errors| {
            // What follows the first error is mostly its consequence.
            let first = errors.errors.into_iter().next();
            let offset = first.as_ref().and_then(|error| line_offset(text, error.pos));
            let message = first.map_or_else(|| "not a CEL expression".to_owned(), |error| error.msg);
            let message = in_words(&message);
            ParseError { message, offset: Some(span.start + offset.unwrap_or(0)) }
        })?;
    too_deep(&tree, span.start)?;
    let mut compiler = Compiler { start: span.start, positions: &positions, locals: Vec::new() };
    compiler.node(&tree)
}

/// What the generated parser says, without its grammar's names.
fn in_words(message: &str) -> String {
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    let unexpected = ["mismatched input '", "extraneous input '"].iter().find_map(|start| {
        message.strip_prefix(start).and_then(|rest| rest.split_once("' expecting")).map(|(token, _)| token)
    });
    match unexpected {
        Some("<EOF>") => "the condition ends too early".to_owned(),
        Some(token) => format!("`{token}` can't stand here"),
        None if message.starts_with("Incomplete `ExprContext`") => "`?` needs a `:`".to_owned(),
        None if message.is_empty() || message == "UNKNOWN" => "not a CEL expression".to_owned(),
        None => format!("not a CEL expression: {message}"),
    }
}

/// The scan's bound on height is an estimate; this is the measure, and it takes no stack.
fn too_deep(tree: &IdedExpr, at: usize) -> Result<(), ParseError> {
    // A macro stands for up to four levels.
    let most = MAX_DEPTH * 4;
    let mut pending = vec![(tree, 0_usize)];
    while let Some((expression, depth)) = pending.pop() {
        if depth > most {
            return Err(ParseError {
                message: "the condition is nested too deep: split it at `&&`".to_owned(),
                offset: Some(at),
            });
        }
        let mut add = |child| pending.push((child, depth + 1));
        match &expression.expr {
            Expr::Call(call) => {
                call.target.iter().for_each(|target| add(target));
                call.args.iter().for_each(add);
            }
            Expr::Comprehension(parts) => {
                [&parts.iter_range, &parts.accu_init, &parts.loop_cond, &parts.loop_step, &parts.result]
                    .into_iter()
                    .for_each(add);
            }
            Expr::List(list) => list.elements.iter().for_each(add),
            Expr::Map(map) => map.entries.iter().for_each(|entry| {
                if let EntryExpr::MapEntry(entry) = &entry.expr {
                    add(&entry.key);
                    add(&entry.value);
                }
            }),
            Expr::Select(select) => add(&select.operand),
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
        }
    }
    Ok(())
}

/// The byte offset of a line and column, both counted from one, the column in characters.
fn line_offset(text: &str, (line, column): (isize, isize)) -> Option<usize> {
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    let column = usize::try_from(column).ok()?.checked_sub(1)?;
    let mut start = 0;
    for (number, content) in text.split_inclusive('\n').enumerate() {
        if number == line {
            return Some(start + content.char_indices().nth(column).map_or(content.len(), |(byte, _)| byte));
        }
        start += content.len();
    }
    Some(text.len())
}

struct Compiler<'s> {
    start: usize,
    positions: &'s SourceInfo,
    locals: Vec<String>,
}

impl Compiler<'_> {
    fn node(&mut self, tree: &IdedExpr) -> Result<Node, ParseError> {
        let at = match &tree.expr {
            // The parser places a call at its bracket; who reads a message looks for the name.
            Expr::Call(call) => self.name_before(&call.func_name, self.at(tree)),
            _ => self.at(tree),
        };
        let kind = match &tree.expr {
            Expr::Literal(literal) => Kind::Constant(constant(literal, at)?),
            Expr::Ident(name) => self.name(name, at)?,
            Expr::Select(select) => {
                let operand = self.node(&select.operand)?;
                let field: Box<str> = select.field.as_str().into();
                if select.test { Kind::Has(Box::new(operand), field) } else { select_field(operand, field) }
            }
            Expr::List(list) => {
                let elements = list.elements.iter().map(|element| self.node(element));
                Kind::List(elements.collect::<Result<_, _>>()?)
            }
            Expr::Map(map) => {
                let mut entries = Vec::with_capacity(map.entries.len());
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        return Err(error(at, "messages are not supported: write a map"));
                    };
                    entries.push((self.node(&entry.key)?, self.node(&entry.value)?));
                }
                Kind::Map(entries.into())
            }
            Expr::Comprehension(parts) => self.comprehension(parts, at)?,
            Expr::Call(call) => {
                let mut arguments = Vec::with_capacity(call.args.len() + 1);
                for argument in call.target.as_deref().into_iter().chain(&call.args) {
                    arguments.push(self.node(argument)?);
                }
                self.call(&call.func_name, call.target.is_some(), arguments, at)?
            }
            Expr::Struct(_) => return Err(error(at, "messages are not supported: write a map")),
            Expr::Unspecified => return Err(error(at, "not a CEL expression")),
        };
        Ok(Node { at, kind })
    }

    /// Where the expression's own token stands in the whole source.
    fn at(&self, tree: &IdedExpr) -> usize {
        let offset = self.positions.offset_for(tree.id).map_or(0, |(start, _)| start as usize);
        self.start + offset
    }

    /// Where `name` starts if it ends at the bracket `at`, else the bracket.
    fn name_before(&self, name: &str, at: usize) -> usize {
        let head = at.checked_sub(self.start).and_then(|local| self.positions.source.get(..local));
        match head.and_then(|head| head.trim_end().strip_suffix(name)) {
            Some(before) => self.start + before.len(),
            None => at,
        }
    }

    fn name(&self, name: &str, at: usize) -> Result<Kind, ParseError> {
        if let Some(slot) = self.locals.iter().rposition(|local| local == name) {
            return Ok(Kind::Local(slot));
        }
        if let Some(root) = Root::named(name) {
            return Ok(Kind::Path(Path::new(root, Box::default())));
        }
        let known = self.locals.iter().map(String::as_str).chain(Root::ALL.map(Root::name));
        let hint = match functions::nearest(name, known) {
            Some(near) => format!("; did you mean `{near}`?"),
            None => {
                format!("; the names are {}", Root::ALL.map(|root| format!("`{}`", root.name())).join(", "))
            }
        };
        Err(error(at, format!("unknown name `{name}`{hint}")))
    }

    fn call(
        &mut self,
        name: &str,
        on_target: bool,
        arguments: Vec<Node>,
        at: usize,
    ) -> Result<Kind, ParseError> {
        let arguments = match operator(name, arguments, at)? {
            Ok(kind) => return Ok(kind),
            Err(arguments) => arguments,
        };
        let function =
            Function::find(name, on_target, arguments.len()).map_err(|message| error(at, message))?;
        match function {
            Function::Matches => matches(arguments, at),
            _ if function.is_calendar() => calendar(function, arguments, at),
            _ => Ok(Kind::Call(function, arguments.into())),
        }
    }

    /// Recognises the loop that the parser made of a macro.
    fn comprehension(&mut self, parts: &ComprehensionExpr, at: usize) -> Result<Kind, ParseError> {
        let foreign = || error(at, "this macro is not supported");
        if parts.iter_var2.is_some() || parts.accu_var == parts.iter_var {
            return Err(foreign());
        }
        if Root::named(&parts.iter_var).is_none() && !plain_name(&parts.iter_var) {
            return Err(error(at, format!("`{}` can't name a variable", parts.iter_var)));
        }
        let range = self.node(&parts.iter_range)?;
        let Expr::Call(step) = &parts.loop_step.expr else { return Err(foreign()) };
        let is_result = |tree: &IdedExpr| matches!(&tree.expr, Expr::Ident(name) if *name == parts.accu_var);
        let (kind, body, condition) =
            match (&parts.accu_init.expr, step.func_name.as_str(), step.args.as_slice()) {
                (Expr::Literal(LiteralValue::Boolean(yes)), operators::LOGICAL_AND, [result, body])
                    if **yes && is_result(result) =>
                {
                    (MacroKind::All, body, None)
                }
                (Expr::Literal(LiteralValue::Boolean(yes)), operators::LOGICAL_OR, [result, body])
                    if !**yes && is_result(result) =>
                {
                    (MacroKind::Exists, body, None)
                }
                (Expr::Literal(LiteralValue::Int(_)), operators::CONDITIONAL, [body, _, result])
                    if is_result(result) =>
                {
                    (MacroKind::ExistsOne, body, None)
                }
                (Expr::List(_), operators::ADD, [result, added]) if is_result(result) => {
                    (MacroKind::Collect, collected(added).ok_or_else(foreign)?, None)
                }
                (Expr::List(_), operators::CONDITIONAL, [condition, then, result]) if is_result(result) => {
                    let Expr::Call(add) = &then.expr else { return Err(foreign()) };
                    let [_, added] = add.args.as_slice() else { return Err(foreign()) };
                    (MacroKind::Collect, collected(added).ok_or_else(foreign)?, Some(condition))
                }
                _ => return Err(foreign()),
            };
        self.locals.push(parts.iter_var.clone());
        let body = self.node(body);
        let condition = condition.map(|condition| self.node(condition)).transpose();
        self.locals.pop();
        Ok(Kind::Macro(Box::new(Macro { kind, range, body: body?, condition: condition? })))
    }
}

/// `x` of the `[x]` that `map` and `filter` append.
fn collected(added: &IdedExpr) -> Option<&IdedExpr> {
    match &added.expr {
        Expr::List(list) => list.elements.first(),
        _ => None,
    }
}

fn plain_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

fn select_field(operand: Node, field: Box<str>) -> Kind {
    match operand.kind {
        Kind::Path(path) => {
            let mut fields = path.fields().to_vec();
            fields.push(field);
            Kind::Path(Path::new(path.root(), fields.into()))
        }
        _ => Kind::Field(Box::new(operand), field),
    }
}

fn constant(literal: &LiteralValue, at: usize) -> Result<Constant, ParseError> {
    match literal {
        LiteralValue::Null => Ok(Constant::Null),
        LiteralValue::Boolean(yes) => Ok(Constant::Bool(**yes)),
        LiteralValue::Int(whole) => Ok(Constant::Int(**whole)),
        LiteralValue::String(text) => Ok(Constant::Text(text.inner().into())),
        // At most 15 digits (the scan saw to it): the shortest text that names the binary number is the literal.
        LiteralValue::Double(number) => Decimal::parse(&number.inner().to_string())
            .map(Constant::Decimal)
            .map_err(|_| error(at, "this number can't be held exactly")),
        LiteralValue::UInt(_) => Err(error(at, "unsigned literals are not supported: leave the `u` away")),
        LiteralValue::Bytes(_) => Err(error(at, "byte strings are not supported")),
    }
}

/// The operators; hands the arguments back where `name` is none.
fn operator(name: &str, arguments: Vec<Node>, at: usize) -> Result<Result<Kind, Vec<Node>>, ParseError> {
    let comparison = match name {
        operators::LESS => Some(Comparison::Less),
        operators::LESS_EQUALS => Some(Comparison::LessOrEqual),
        operators::GREATER => Some(Comparison::Greater),
        operators::GREATER_EQUALS => Some(Comparison::GreaterOrEqual),
        operators::EQUALS => Some(Comparison::Equal),
        operators::NOT_EQUALS => Some(Comparison::NotEqual),
        _ => None,
    };
    let arithmetic = match name {
        operators::ADD => Some(Arithmetic::Add),
        operators::SUBSTRACT => Some(Arithmetic::Subtract),
        operators::MULTIPLY => Some(Arithmetic::Multiply),
        operators::DIVIDE => Some(Arithmetic::Divide),
        operators::MODULO => Some(Arithmetic::Remainder),
        _ => None,
    };
    let symbolic = name.starts_with(['_', '!', '-', '@']) && !plain_call(name);
    if !symbolic {
        return Ok(Err(arguments));
    }
    let unsupported = || error(at, format!("the operator `{name}` is not supported"));
    if name == operators::CONDITIONAL {
        let three: [Node; 3] = arguments.try_into().map_err(|_| unsupported())?;
        return Ok(Ok(Kind::If(Box::new(three))));
    }
    if matches!(name, operators::LOGICAL_NOT | operators::NEGATE) {
        let [operand]: [Node; 1] = arguments.try_into().map_err(|_| unsupported())?;
        return Ok(Ok(if name == operators::LOGICAL_NOT {
            Kind::Not(Box::new(operand))
        } else {
            negate(operand)
        }));
    }
    let two: [Node; 2] = arguments.try_into().map_err(|_| unsupported())?;
    if let Some(comparison) = comparison {
        return Ok(Ok(Kind::Compare(comparison, Box::new(two))));
    }
    if let Some(arithmetic) = arithmetic {
        return Ok(Ok(Kind::Arithmetic(arithmetic, Box::new(two))));
    }
    match name {
        operators::LOGICAL_AND => Ok(Ok(Kind::And(Box::new(two)))),
        operators::LOGICAL_OR => Ok(Ok(Kind::Or(Box::new(two)))),
        operators::INDEX => Ok(Ok(index(two))),
        operators::IN => Ok(Ok(membership(two))),
        _ => Err(unsupported()),
    }
}

/// Whether the name is one that a text can call (`_f(x)`), not an operator's.
fn plain_call(name: &str) -> bool {
    plain_name(name) && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

fn negate(operand: Node) -> Kind {
    match operand.kind {
        Kind::Constant(Constant::Int(whole)) if whole != i64::MIN => Kind::Constant(Constant::Int(-whole)),
        Kind::Constant(Constant::Decimal(number)) => Kind::Constant(Constant::Decimal(number.negate())),
        _ => Kind::Negate(Box::new(operand)),
    }
}

/// `params["amount"]` is `params.amount`.
fn index([operand, key]: [Node; 2]) -> Kind {
    match key.kind {
        Kind::Constant(Constant::Text(field)) => select_field(operand, field),
        _ => Kind::Index(Box::new([operand, key])),
    }
}

fn membership([member, list]: [Node; 2]) -> Kind {
    let Kind::List(elements) = &list.kind else { return Kind::In(Box::new([member, list])) };
    let constants: Option<Vec<Constant>> = elements
        .iter()
        .map(|element| match &element.kind {
            Kind::Constant(constant) => Some(constant.clone()),
            _ => None,
        })
        .collect();
    match constants {
        Some(constants) => Kind::InSet(Box::new(member), Box::new(ConstantSet::new(constants))),
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

fn error(offset: usize, message: impl Into<String>) -> ParseError {
    ParseError { message: message.into(), offset: Some(offset) }
}
