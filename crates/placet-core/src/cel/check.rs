//! The static check: names and types of a condition against what an action's parameters are declared to be.
//!
//! Invariant: only what is certainly wrong is an issue. What isn't declared passes and is judged when evaluated.

use super::{
    functions::Function,
    key,
    node::{Arithmetic, Comparison, Constant, Kind, Macro, MacroKind, Node},
    vars::{PARTS, Path, Root},
};

/// What is declared about the variables.
pub trait Schema {
    /// The declared type of a path such as `["params", "amount"]`, the variable's name first. Asked for each step
    /// of a path, so `["params"]` too; `now` is never asked for.
    fn type_of(&self, path: &[&str]) -> FieldType;
}

/// A declared type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// Nothing is declared: anything may be there.
    Unknown,
    /// It is declared that there is no such field.
    Absent {
        /// The declared name that was probably meant.
        nearest: Option<String>,
    },
    /// True or false.
    Bool,
    /// A number.
    Number,
    /// A whole number.
    Integer,
    /// A string.
    String,
    /// A list and what its elements are.
    List(Box<Self>),
    /// A map whose fields are asked for by their own paths.
    Map,
    /// A point in time (only `now` and what is computed; JSON has none).
    Timestamp,
    /// A length of time (only what is computed; JSON has none).
    Duration,
}

/// A certain error in a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeIssue {
    /// What is wrong and, where it can be guessed, what was meant.
    pub message: String,
    /// Where, in bytes from the start of the expression's source.
    pub offset: usize,
    /// In which of the expression's conjuncts, counted from 0.
    pub conjunct: usize,
}

/// What the expression as a whole must be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Bool,
    Number,
    /// What a counter can be told by: a string, a number or a bool.
    Key,
}

pub(super) fn check(node: &Node, conjunct: usize, wanted: Wanted, schema: &dyn Schema) -> Vec<TypeIssue> {
    let mut checker = Checker { schema, conjunct, issues: Vec::new(), locals: Vec::new() };
    let found = checker.of(node);
    match wanted {
        Wanted::Bool => checker.expect_bool(&found, node),
        Wanted::Number if !matches!(found, FieldType::Number | FieldType::Integer | FieldType::Unknown) => {
            checker.issue(node, format!("this is {}, not a number", name(&found)));
        }
        Wanted::Key if !key::can_be(&found) => {
            checker.issue(
                node,
                format!("this is {}, and a counter is told by a string, a number or a bool", name(&found)),
            );
        }
        Wanted::Number | Wanted::Key => {}
    }
    checker.issues.sort_by_key(|issue| issue.offset);
    checker.issues
}

struct Checker<'s> {
    schema: &'s dyn Schema,
    conjunct: usize,
    issues: Vec<TypeIssue>,
    locals: Vec<FieldType>,
}

impl Checker<'_> {
    fn issue(&mut self, node: &Node, message: String) {
        self.issues.push(TypeIssue { message, offset: node.at, conjunct: self.conjunct });
    }

    fn expect_bool(&mut self, found: &FieldType, node: &Node) {
        if !matches!(found, FieldType::Bool | FieldType::Unknown) {
            self.issue(node, format!("a condition must be true or false, and this is {}", name(found)));
        }
    }

    fn of(&mut self, node: &Node) -> FieldType {
        match &node.kind {
            Kind::Constant(constant) => of_constant(constant),
            Kind::Path(path) => self.path(node, path, None),
            Kind::Local(slot) => self.locals.get(*slot).cloned().unwrap_or(FieldType::Unknown),
            Kind::Has(operand, field) => {
                match &operand.kind {
                    Kind::Path(path) => {
                        self.path(node, path, Some(field));
                    }
                    _ => {
                        let found = self.of(operand);
                        self.expect_map(&found, node, field);
                    }
                }
                FieldType::Bool
            }
            Kind::Field(operand, field) => {
                let found = self.of(operand);
                self.expect_map(&found, node, field);
                FieldType::Unknown
            }
            Kind::Not(operand) => {
                let found = self.of(operand);
                self.expect_bool(&found, operand);
                FieldType::Bool
            }
            Kind::And(sides) | Kind::Or(sides) => {
                for side in &**sides {
                    let found = self.of(side);
                    self.expect_bool(&found, side);
                }
                FieldType::Bool
            }
            Kind::If(parts) => {
                let [condition, yes, no] = &**parts;
                let found = self.of(condition);
                self.expect_bool(&found, condition);
                let (yes, no) = (self.of(yes), self.of(no));
                if yes == no { yes } else { FieldType::Unknown }
            }
            Kind::Compare(sign, sides) => self.comparison(node, *sign, sides),
            Kind::Arithmetic(sign, sides) => self.arithmetic(node, *sign, sides),
            Kind::Negate(operand) => {
                let found = self.of(operand);
                if !(is_number(&found) || matches!(found, FieldType::Duration | FieldType::Unknown)) {
                    self.issue(node, format!("`-` does not apply to {}", name(&found)));
                }
                found
            }
            Kind::Index(parts) => self.index(node, parts),
            Kind::List(elements) => {
                let mut types =
                    elements.iter().map(|element| self.of(element)).collect::<Vec<_>>().into_iter();
                let first = types.next().unwrap_or(FieldType::Unknown);
                let same = types.all(|other| other == first);
                FieldType::List(Box::new(if same { first } else { FieldType::Unknown }))
            }
            Kind::Map(entries) => {
                for (key, value) in entries {
                    if !matches!(self.of(key), FieldType::String | FieldType::Unknown) {
                        self.issue(key, "the keys of a map are strings".to_owned());
                    }
                    self.of(value);
                }
                FieldType::Map
            }
            Kind::In(sides) => {
                let [member, collection] = &**sides;
                let (member, found) = (self.of(member), self.of(collection));
                match &found {
                    FieldType::List(element) if never_equal(&member, element) => {
                        let message =
                            format!("{} is never in a list of {}s", name(&member), bare_name(element));
                        self.issue(node, message);
                    }
                    FieldType::List(_) | FieldType::Map | FieldType::Unknown => {}
                    other => {
                        self.issue(node, format!("`in` needs a list or a map, and this is {}", name(other)))
                    }
                }
                FieldType::Bool
            }
            Kind::InSet(member, set) => {
                let member = self.of(member);
                let hopeless = set.members.iter().all(|one| never_equal(&member, &of_constant(one)));
                if hopeless && !set.members.is_empty() {
                    self.issue(node, format!("{} is never in this list", name(&member)));
                }
                FieldType::Bool
            }
            Kind::Matches(text, _) => {
                self.target(node, Function::Matches, text, |found| *found == FieldType::String);
                FieldType::Bool
            }
            Kind::Zoned(function, target, _) => {
                self.target(node, *function, target, |found| {
                    matches!(found, FieldType::Timestamp | FieldType::Duration)
                });
                FieldType::Integer
            }
            Kind::Call(function, arguments) => self.call(node, *function, arguments),
            Kind::Macro(parts) => self.macro_call(node, parts),
            Kind::Bind(parts) => {
                let [value, body] = &**parts;
                let value = self.of(value);
                self.locals.push(value);
                let found = self.of(body);
                self.locals.pop();
                found
            }
        }
    }

    fn path(&mut self, node: &Node, path: &Path, field: Option<&str>) -> FieldType {
        let mut segments = path.segments();
        segments.extend(field);
        if path.root() == Root::Now {
            if segments.len() > 1 {
                self.issue(node, "`now` is a timestamp and has no fields".to_owned());
                return FieldType::Unknown;
            }
            return FieldType::Timestamp;
        }
        if path.is_resource() && field.is_none() {
            self.issue(node, "`resource` is read by its fields: `resource.uri`".to_owned());
            return FieldType::Unknown;
        }
        if let Some(field) = field
            && path.is_resource()
            && !PARTS.contains(&field)
        {
            self.issue(
                node,
                format!("`resource.{field}` is known or the condition is unknown: it is never absent"),
            );
            return FieldType::Unknown;
        }
        // Each step, so that reading a field of a number is found whatever the schema says of such a path.
        for length in 1..segments.len() {
            let (head, _) = segments.split_at_checked(length).unwrap_or((&segments, &[]));
            match self.schema.type_of(head) {
                FieldType::Map | FieldType::Unknown => {}
                FieldType::Absent { nearest } => return self.absent(node, head, nearest),
                found => {
                    self.issue(
                        node,
                        format!("`{}` is {}, which has no fields", head.join("."), name(&found)),
                    );
                    return FieldType::Unknown;
                }
            }
        }
        match self.schema.type_of(&segments) {
            FieldType::Absent { nearest } => self.absent(node, &segments, nearest),
            found => found,
        }
    }

    fn absent(&mut self, node: &Node, path: &[&str], nearest: Option<String>) -> FieldType {
        let hint = nearest.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        self.issue(node, format!("no such field `{}`{hint}", path.join(".")));
        FieldType::Unknown
    }

    fn expect_map(&mut self, found: &FieldType, node: &Node, field: &str) {
        if !matches!(found, FieldType::Map | FieldType::Unknown) {
            self.issue(node, format!("`{field}` is read of {}, which is not a map", name(found)));
        }
    }

    fn comparison(&mut self, node: &Node, sign: Comparison, sides: &[Node; 2]) -> FieldType {
        let [left, right] = sides;
        let (left, right) = (self.of(left), self.of(right));
        if matches!(sign, Comparison::Equal | Comparison::NotEqual) {
            if never_equal(&left, &right) {
                self.issue(node, format!("{} and {} are never equal", name(&left), name(&right)));
            }
        } else {
            let ordered = |found: &FieldType| {
                is_number(found)
                    || matches!(
                        found,
                        FieldType::Unknown
                            | FieldType::Bool
                            | FieldType::String
                            | FieldType::Timestamp
                            | FieldType::Duration
                    )
            };
            if never_equal(&left, &right) || !ordered(&left) || !ordered(&right) {
                self.issue(
                    node,
                    format!("`{}` does not compare {} with {}", sign.sign(), name(&left), name(&right)),
                );
            }
        }
        FieldType::Bool
    }

    fn arithmetic(&mut self, node: &Node, sign: Arithmetic, sides: &[Node; 2]) -> FieldType {
        let [left, right] = sides;
        let (left, right) = (self.of(left), self.of(right));
        match (sign, &left, &right) {
            (_, FieldType::Integer, FieldType::Integer) => FieldType::Integer,
            (_, one, other) if is_number(one) && is_number(other) => FieldType::Number,
            (_, FieldType::Unknown, _) | (_, _, FieldType::Unknown) => FieldType::Unknown,
            (Arithmetic::Add, FieldType::String, FieldType::String) => FieldType::String,
            (Arithmetic::Add, FieldType::List(one), FieldType::List(other)) => {
                if one == other {
                    left
                } else {
                    FieldType::List(Box::new(FieldType::Unknown))
                }
            }
            (Arithmetic::Add, FieldType::Timestamp, FieldType::Duration)
            | (Arithmetic::Add, FieldType::Duration, FieldType::Timestamp)
            | (Arithmetic::Subtract, FieldType::Timestamp, FieldType::Duration) => FieldType::Timestamp,
            (Arithmetic::Subtract, FieldType::Timestamp, FieldType::Timestamp)
            | (Arithmetic::Add | Arithmetic::Subtract, FieldType::Duration, FieldType::Duration) => {
                FieldType::Duration
            }
            _ => {
                self.issue(
                    node,
                    format!("`{}` does not apply to {} and {}", sign.sign(), name(&left), name(&right)),
                );
                FieldType::Unknown
            }
        }
    }

    fn index(&mut self, node: &Node, parts: &[Node; 2]) -> FieldType {
        let [operand, key] = parts;
        let (operand, key) = (self.of(operand), self.of(key));
        match operand {
            FieldType::List(element) => {
                if !is_number(&key) && key != FieldType::Unknown {
                    self.issue(node, format!("a list is indexed by a whole number, not by {}", name(&key)));
                }
                *element
            }
            FieldType::Map => {
                if !matches!(key, FieldType::String | FieldType::Unknown) {
                    self.issue(node, format!("a map is indexed by a string, not by {}", name(&key)));
                }
                FieldType::Unknown
            }
            FieldType::Unknown => FieldType::Unknown,
            other => {
                self.issue(node, format!("`[…]` does not apply to {}", name(&other)));
                FieldType::Unknown
            }
        }
    }

    /// Checks what a function is applied to.
    fn target(
        &mut self,
        node: &Node,
        function: Function,
        target: &Node,
        fits: impl FnOnce(&FieldType) -> bool,
    ) {
        let found = self.of(target);
        if found != FieldType::Unknown && !fits(&found) {
            self.issue(node, format!("`{}` does not apply to {}", function.name(), name(&found)));
        }
    }

    fn call(&mut self, node: &Node, function: Function, arguments: &[Node]) -> FieldType {
        let Some((target, rest)) = arguments.split_first() else { return FieldType::Unknown };
        let text = |found: &FieldType| *found == FieldType::String;
        let (result, texts): (_, usize) = match function {
            Function::Size => {
                self.target(node, function, target, |found| {
                    matches!(found, FieldType::String | FieldType::List(_) | FieldType::Map)
                });
                (FieldType::Integer, 0)
            }
            Function::Join => {
                self.target(node, function, target, |found| matches!(found, FieldType::List(_)));
                (FieldType::String, 1)
            }
            Function::Timestamp => {
                self.target(node, function, target, |found| {
                    is_number(found) || matches!(found, FieldType::String | FieldType::Timestamp)
                });
                (FieldType::Timestamp, 0)
            }
            Function::Duration => {
                self.target(node, function, target, |found| {
                    matches!(found, FieldType::String | FieldType::Duration)
                });
                (FieldType::Duration, 0)
            }
            Function::Int => {
                self.target(node, function, target, |found| {
                    is_number(found) || matches!(found, FieldType::String | FieldType::Timestamp)
                });
                (FieldType::Integer, 0)
            }
            Function::Double => {
                self.target(node, function, target, |found| is_number(found) || *found == FieldType::String);
                (FieldType::Number, 0)
            }
            Function::String => {
                self.target(node, function, target, |found| {
                    !matches!(found, FieldType::List(_) | FieldType::Map)
                });
                (FieldType::String, 0)
            }
            Function::Dyn => {
                self.of(target);
                (FieldType::Unknown, 0)
            }
            Function::Bool => {
                self.target(node, function, target, |found| {
                    matches!(found, FieldType::Bool | FieldType::String)
                });
                (FieldType::Bool, 0)
            }
            _ if function.is_calendar() => {
                self.target(node, function, target, |found| {
                    matches!(found, FieldType::Timestamp | FieldType::Duration)
                });
                (FieldType::Integer, 1)
            }
            _ => {
                self.target(node, function, target, text);
                match function {
                    Function::Contains | Function::StartsWith | Function::EndsWith => (FieldType::Bool, 1),
                    Function::IndexOf | Function::LastIndexOf => (FieldType::Integer, 1),
                    Function::Split => (FieldType::List(Box::new(FieldType::String)), 1),
                    Function::Replace => (FieldType::String, 2),
                    _ => (FieldType::String, 0),
                }
            }
        };
        for (index, argument) in rest.iter().enumerate() {
            let found = self.of(argument);
            let fits = if index < texts { text(&found) } else { is_number(&found) };
            if !fits && found != FieldType::Unknown {
                let wanted = if index < texts { "a string" } else { "a whole number" };
                self.issue(
                    argument,
                    format!("`{}` needs {wanted} and is given {}", function.name(), name(&found)),
                );
            }
        }
        result
    }

    fn macro_call(&mut self, node: &Node, parts: &Macro) -> FieldType {
        let (position, element) = match self.of(&parts.range) {
            FieldType::List(element) => (FieldType::Integer, *element),
            FieldType::Map if parts.pairs => (FieldType::String, FieldType::Unknown),
            FieldType::Map => (FieldType::Unknown, FieldType::String),
            FieldType::Unknown => (FieldType::Unknown, FieldType::Unknown),
            other => {
                self.issue(node, format!("a macro runs over a list or a map, not over {}", name(&other)));
                (FieldType::Unknown, FieldType::Unknown)
            }
        };
        let outside = self.locals.len();
        self.locals.extend(parts.pairs.then_some(position));
        self.locals.push(element);
        if let Some(condition) = &parts.condition {
            let found = self.of(condition);
            self.expect_bool(&found, condition);
        }
        let body = self.of(&parts.body);
        self.locals.truncate(outside);
        match parts.kind {
            MacroKind::Collect => FieldType::List(Box::new(body)),
            MacroKind::CollectMap => FieldType::Map,
            MacroKind::CollectEntries => {
                if !matches!(body, FieldType::Map | FieldType::Unknown) {
                    self.issue(&parts.body, format!("an entry is a map, and this is {}", self::name(&body)));
                }
                FieldType::Map
            }
            MacroKind::All | MacroKind::Exists | MacroKind::ExistsOne => {
                self.expect_bool(&body, &parts.body);
                FieldType::Bool
            }
        }
    }
}

fn of_constant(constant: &Constant) -> FieldType {
    match constant {
        // `null` may stand where any field is declared.
        Constant::Null => FieldType::Unknown,
        Constant::Bool(_) => FieldType::Bool,
        Constant::Int(_) => FieldType::Integer,
        Constant::Decimal(_) => FieldType::Number,
        Constant::Text(_) => FieldType::String,
    }
}

fn is_number(found: &FieldType) -> bool {
    matches!(found, FieldType::Number | FieldType::Integer)
}

/// Whether values of the two types can't be equal (and therefore not be ordered).
fn never_equal(left: &FieldType, right: &FieldType) -> bool {
    match (left, right) {
        (FieldType::Unknown, _) | (_, FieldType::Unknown) => false,
        // Two empty lists are equal whatever would be in them.
        (FieldType::List(_), FieldType::List(_)) => false,
        _ => left != right && !(is_number(left) && is_number(right)),
    }
}

fn bare_name(found: &FieldType) -> &'static str {
    match found {
        FieldType::Unknown | FieldType::Absent { .. } => "value",
        FieldType::Bool => "bool",
        FieldType::Number | FieldType::Integer => "number",
        FieldType::String => "string",
        FieldType::List(_) => "list",
        FieldType::Map => "map",
        FieldType::Timestamp => "timestamp",
        FieldType::Duration => "duration",
    }
}

fn name(found: &FieldType) -> String {
    format!("a {}", bare_name(found))
}
