//! Lists of values that a document states once and its conditions name: `lists.internal_domains`.
//!
//! They are filled in when the document is loaded: `x in lists.NAME` looks into a set that is made once, however
//! many conditions name it; anywhere else the list stands as if it were written there.
//!
//! Invariant: after [`Lists::fill`] nothing of an expression reads `lists`; a name that isn't there is an error.

use super::{
    Expression, ParseError,
    node::{Constant, ConstantSet, Kind, Node},
    vars::Root,
};
use crate::{decimal::Decimal, diagnostic::nearest};
use serde_json::Value as Json;
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// The lists of one document, by name.
#[derive(Debug, Default)]
pub struct Lists {
    stated: BTreeMap<Box<str>, Stated>,
    /// The expressions of the document so far, by their text: rules of one policy often ask the same, and an expression is
    /// shared.
    parsed: RefCell<HashMap<Box<str>, Expression>>,
    /// There is nowhere to state any.
    nowhere: bool,
}

#[derive(Debug)]
struct Stated {
    set: Arc<ConstantSet>,
    used: Cell<bool>,
}

impl Lists {
    /// None, for an expression that stands in no document: its lists have to be written out.
    pub fn none() -> Self {
        Self { nowhere: true, ..Self::default() }
    }

    /// Adds a list of strings and numbers. Another one of that name is replaced.
    ///
    /// # Errors
    /// The index of an item that is neither, or a number that can't be held exactly.
    pub fn add(&mut self, name: &str, items: &[Json]) -> Result<(), usize> {
        let constants = items.iter().enumerate().map(|(index, item)| constant(item).ok_or(index));
        let set = Arc::new(ConstantSet::new(constants.collect::<Result<_, _>>()?));
        self.stated.insert(name.into(), Stated { set, used: Cell::new(false) });
        self.parsed.get_mut().clear();
        Ok(())
    }

    /// The expression of this text, made with `parse` where it was not before. Where there is no document nothing is kept.
    pub(super) fn shared(
        &self,
        source: &str,
        parse: impl FnOnce() -> Result<Expression, ParseError>,
    ) -> Result<Expression, ParseError> {
        if let Some(known) = self.parsed.borrow().get(source) {
            return Ok(known.clone());
        }
        let expression = parse()?;
        if !self.nowhere {
            self.parsed.borrow_mut().insert(source.into(), expression.clone());
        }
        Ok(expression)
    }

    /// The names of lists that no expression was filled from, sorted.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        self.stated.iter().filter(|(_, stated)| !stated.used.get()).map(|(name, _)| &**name)
    }

    /// Puts the lists in the place of their names.
    pub(super) fn fill(&self, node: &mut Node) -> Result<(), ParseError> {
        let at = node.at;
        match &mut node.kind {
            Kind::In(sides) => {
                let [member, list] = &mut **sides;
                if let Some(set) = self.named(list)? {
                    self.fill(member)?;
                    // The place of the member is taken at once by its owner.
                    let member = std::mem::replace(member, Node { at, kind: Kind::Constant(Constant::Null) });
                    node.kind = Kind::InSet(Box::new(member), Arc::clone(set));
                    return Ok(());
                }
            }
            Kind::Path(path) if path.root() == Root::Lists => {
                if let Some(set) = self.named(node)? {
                    let item = |constant: &Constant| Node { at, kind: Kind::Constant(constant.clone()) };
                    node.kind = Kind::List(set.members.iter().map(item).collect());
                }
                return Ok(());
            }
            _ => {}
        }
        node.children_mut().into_iter().try_for_each(|child| self.fill(child))
    }

    /// The list that a node names, if it reads `lists` at all.
    fn named(&self, node: &Node) -> Result<Option<&Arc<ConstantSet>>, ParseError> {
        let Kind::Path(path) = &node.kind else { return Ok(None) };
        if path.root() != Root::Lists {
            return Ok(None);
        }
        let error = |message: String| Err(ParseError { message, offset: Some(node.at) });
        let (name, more) = match path.fields() {
            [] => return error("`lists` is no value: name one of them, as in `lists.NAME`".to_owned()),
            [name, more @ ..] => (name, more),
        };
        let Some(stated) = self.stated.get(name) else {
            return error(match nearest(name, self.stated.keys().map(AsRef::as_ref)) {
                Some(near) => format!("there is no list `{name}`; did you mean `lists.{near}`?"),
                None if self.nowhere => {
                    "only policies have `lists`: write the values here, as in `[\"a\", \"b\"]`".to_owned()
                }
                None => format!("there is no list `{name}`: state it under `lists`"),
            });
        };
        stated.used.set(true);
        if let [field, ..] = more {
            return error(format!("`lists.{name}` is a list, which has no field `{field}`"));
        }
        Ok(Some(&stated.set))
    }
}

fn constant(item: &Json) -> Option<Constant> {
    match item {
        Json::String(text) => Some(Constant::Text(text.as_str().into())),
        Json::Number(number) => {
            let number = Decimal::parse(number.as_str()).ok()?;
            Some(number.to_i64().map_or(Constant::Decimal(number), Constant::Int))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cel::{Activation, BoundOp, Expression, Fuel, Outcome};
    use serde_json::json;

    fn lists() -> Lists {
        let mut lists = Lists::default();
        lists.add("domains", &[json!("a.com"), json!("b.org")]).unwrap();
        lists.add("sizes", &[json!(1), json!(2.5)]).unwrap();
        lists
    }

    fn judged(source: &str, params: &Json) -> Outcome {
        let expression = Expression::parse_with(source, &lists()).unwrap();
        assert!(
            expression
                .conjuncts()
                .iter()
                .all(|conjunct| { conjunct.reads().iter().all(|path| path.root() != Root::Lists) })
        );
        let vars = Activation::new().with(Root::Params, params);
        expression.conjuncts()[0].evaluate(&vars, &mut Fuel::new(10_000))
    }

    #[test]
    fn a_list_is_as_if_it_stood_there() {
        let params = json!({"d": "b.org", "n": 2.50, "to": ["x@a.com", "y@c.net"], "m": {"a.com": 1}});
        for yes in [
            "params.d in lists.domains",
            "params.n in lists.sizes",
            "!('c.net' in lists.domains)",
            "lists['domains'].exists(d, params.to.exists(t, t.endsWith('@' + d)))",
            "size(lists.domains) == 2 && true",
            "lists.sizes[1] == 2.5",
            "lists.domains == ['a.com', 'b.org']",
            "lists.domains.all(lists, lists in ['a.com', 'b.org'])",
            "params.to.exists(t, t.split('@')[1] in lists.domains)",
            "(params.d in lists.domains) in [true]",
            "params.d == 'lists.nothing' || true",
        ] {
            assert_eq!(judged(yes, &params), Outcome::True, "{yes}");
        }
        assert_eq!(judged("params.d in lists.sizes", &params), Outcome::False);
        assert!(matches!(judged("params.gone in lists.domains", &params), Outcome::Unknown(_)));
    }

    #[test]
    fn what_is_not_there_is_an_error_with_its_place() {
        let said = |source: &str| {
            let error = Expression::parse_with(source, &lists()).unwrap_err();
            format!("{} {}", error.offset.unwrap(), error.message)
        };
        assert_eq!(
            said("params.d in lists.domain"),
            "17 there is no list `domain`; did you mean `lists.domains`?"
        );
        assert_eq!(said("params.d in lists.xyz"), "17 there is no list `xyz`: state it under `lists`");
        assert!(said("size(lists) > 1").contains("is no value"));
        assert!(said("has(lists.domains)").contains("is no value"));
        assert!(said("lists.domains.first == 1").contains("has no field `first`"));
        assert!(Expression::parse("params.d in lists.domains").is_err());
        let mut lists = Lists::default();
        assert_eq!(lists.add("x", &[json!(1), json!(true)]), Err(1));
        assert_eq!(lists.add("x", &[json!({})]), Err(0));
    }

    #[test]
    fn an_expression_is_made_once_for_the_same_text_and_lists() {
        let mut lists = lists();
        let parse = |lists: &Lists, source| Expression::parse_with(source, lists).unwrap();
        let one = parse(&lists, "params.d in lists.domains");
        assert!(Arc::ptr_eq(&one.inner, &parse(&lists, "params.d in lists.domains").inner));
        assert!(!Arc::ptr_eq(&one.inner, &parse(&lists, "params.d in lists.domains ").inner));
        lists.add("domains", &[json!("other.com")]).unwrap();
        let other = parse(&lists, "params.d in lists.domains");
        let params = json!({"d": "other.com"});
        let vars = Activation::new().with(Root::Params, &params);
        assert_eq!(one.conjuncts()[0].evaluate(&vars, &mut Fuel::new(100)), Outcome::False);
        assert_eq!(other.conjuncts()[0].evaluate(&vars, &mut Fuel::new(100)), Outcome::True);
        // What only rows may read is refused elsewhere, however often it was read for a row before.
        Expression::parse_row("item.x == 1", &lists).unwrap();
        Expression::parse_with("item.x == 1", &lists).unwrap_err();
    }

    #[test]
    fn a_set_is_shared_and_a_short_one_is_a_remedy() {
        let lists = lists();
        let one = Expression::parse_with("params.d in lists.domains", &lists).unwrap();
        let bound = one.conjuncts()[0].bound().unwrap();
        assert_eq!((bound.op, &bound.literal), (BoundOp::In, &json!(["a.com", "b.org"])));
        assert_eq!(lists.unused().collect::<Vec<_>>(), ["sizes"]);
        assert_eq!(Arc::strong_count(&lists.stated["domains"].set), 2);
        let many: Vec<Json> = (0..1000).map(Json::from).collect();
        let mut lists = Lists::default();
        lists.add("many", &many).unwrap();
        let long = Expression::parse_with("params.n in lists.many", &lists).unwrap();
        assert!(long.conjuncts()[0].bound().is_none());
    }
}
