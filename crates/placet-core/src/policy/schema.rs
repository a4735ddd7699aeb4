//! The JSON Schema (draft 2020-12) of policies, for editors: which keys there are, what each is for, an example.
//!
//! It says the form of a document; what a document means (names, types, conditions) only the reader can tell.
//!
//! Invariant: it has every key that the reader knows and no other; whatever loads satisfies it.

use super::{Mode, compact, lists, rule::Kind};
use crate::{
    detect::{self, Group, Level},
    ledger::Per,
    shape::{MAX_PATH, MOST_ROWS},
};
use serde_json::{Map, Value, json};

/// The schema of both forms of a policy.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Placet policy",
        "description": "What agents may do: rules, or the compact form of `agent` and `policy: {actions, constraints}`.",
        "type": "object",
        "if": {"anyOf": [
            {"required": ["agent"]},
            {"required": ["policy"], "properties": {"policy": {"type": "object"}}},
        ]},
        "then": {"$ref": "#/$defs/compact"},
        "else": {"$ref": "#/$defs/full"},
        "$defs": {
            "full": full(),
            "rule": rule(),
            "applies_to": applies_to(),
            "hours": hours(),
            "limit": limit(),
            "approve": approve(),
            "intent": super::intent::schema(),
            "shape": shape(),
            "lists": lists(),
            "conditions": some(&json!({"type": "string", "minLength": 1, "maxLength": 2048})),
            "actions": some(&json!({"type": "string", "minLength": 1})),
            "compact": compact(),
            "constraints": one_or_list(constraints(true)),
            "group": one_or_list(constraints(false)),
        },
    })
}

/// A key: what it is for, an example, what it can be.
pub(super) fn key(about: &str, example: Value, kind: Value) -> Value {
    let mut all = Map::new();
    all.insert("description".to_owned(), about.into());
    all.insert("examples".to_owned(), Value::Array(vec![example]));
    if let Value::Object(kind) = kind {
        all.extend(kind);
    }
    Value::Object(all)
}

/// A value, or a list of at least one.
pub(super) fn some(item: &Value) -> Value {
    json!({"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]})
}

pub(super) fn object(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

fn full() -> Value {
    object(
        &["policy", "rules"],
        json!({
            "policy": key("The policy's name, unique in an installation.", json!("support-desk"),
                json!({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"})),
            "applies_to": reference("applies_to"),
            "mode": key("Whether it has a say (`enforce`, also where left out) or is only noted (`observe`).",
                json!("observe"), json!({"enum": [Mode::Enforce.as_str(), Mode::Observe.as_str()]})),
            "lists": reference("lists"),
            "rules": key("The rules, in order: the first `allow` that holds is chosen.",
                json!([{"name": "read orders", "allow": ["orders.read"]}]),
                json!({"type": "array", "minItems": 1, "maxItems": 1000, "items": reference("rule")})),
            "record": key("How long the bodies of the record's entries are kept.", json!({"keep": "90d"}), object(&["keep"], json!({
                "keep": key("Hours or days.", json!("90d"), json!({"type": "string", "pattern": "^[0-9]+[hd]$"})),
            }))),
        }),
    )
}

fn rule() -> Value {
    let actions = |about: &str, example: Value| key(about, example, reference("actions"));
    let mut rule = object(
        &["name"],
        json!({
            "name": key("The rule's name, unique in the policy; denials say it.", json!("small refunds"),
                json!({"type": "string", "minLength": 1, "maxLength": 100})),
            "allow": actions("Grants these actions.", json!(["orders.read", "orders.list"])),
            "guard": actions("Narrows what is allowed, grants nothing: it has to hold wherever it matches.", json!(["refunds.*"])),
            "deny": actions("Forbids these actions.", json!(["admin.**"])),
            "on": key("Which resources; left out, all. `{{user.id}}` and the like are filled from the grant.",
                json!(["order://customer:{{user.id}}/*"]), some(&json!({"type": "string", "minLength": 1}))),
            "when": key("Conditions in CEL over `params`, `action`, `resource`, `agent`, `user`, `task`, `grant`, `risk`, `now`, `lists`. All must hold.",
                json!(["params.amount <= 500"]), reference("conditions")),
            "hours": reference("hours"),
            "limits": key("How often, how much, how many at once.", json!([{"count": 5, "per": "day"}]), some(&reference("limit"))),
            "approve": reference("approve"),
            "shape": reference("shape"),
            "intent": reference("intent"),
        }),
    );
    let one = Kind::ALL.map(|kind| json!({"required": [kind.as_str()]}));
    if let Some(rule) = rule.as_object_mut() {
        rule.insert("oneOf".to_owned(), Value::Array(one.to_vec()));
        rule.insert("if".to_owned(), json!({"required": [Kind::Deny.as_str()]}));
        rule.insert(
            "then".to_owned(),
            json!({"properties": {"limits": false, "approve": false, "intent": false}}),
        );
    }
    rule
}

fn applies_to() -> Value {
    let by = object(
        &[],
        json!({
            "agents": key("Handles; `*` stands for any text.", json!(["support-*"]),
                some(&json!({"type": "string", "pattern": "^[A-Za-z0-9._*-]{1,64}$"}))),
            "labels": key("Labels with the value, or the values, that will do.", json!({"team": "support"}),
                json!({"type": "object", "minProperties": 1, "additionalProperties": some(&text())})),
        }),
    );
    key(
        "Which agents; left out, every agent. All keys must hold, any item of a list.",
        json!({"agents": ["support-*"]}),
        json!({"anyOf": [
            {"const": compact::NOBODY, "description": "No agent: a policy that waits to be applied to somebody."},
            {"allOf": [by, {"minProperties": 1}]},
        ]}),
    )
}

fn hours() -> Value {
    let clock = json!({"type": "string", "pattern": "^[0-9]{2}:[0-9]{2}$"});
    let mut span = object(
        &[],
        json!({
            "days": key("`mon` to `sun`, ranges and lists; left out, every day.", json!("mon-fri"), some(&text())),
            "from": key("Beginning, by the clock on the wall.", json!("09:00"), clock.clone()),
            "to": key("End, exclusive; before `from` it is on the next day.", json!("17:00"), clock),
            "zone": key("An IANA time zone; left out, UTC.", json!("America/New_York"), text()),
        }),
    );
    if let Some(span) = span.as_object_mut() {
        let any = ["days", "from", "to"].map(|name| json!({"required": [name]}));
        span.insert("anyOf".to_owned(), Value::Array(any.to_vec()));
    }
    key(
        "When the rule has its say.",
        json!({"days": "mon-fri", "from": "09:00", "to": "17:00", "zone": "America/New_York"}),
        some(&span),
    )
}

fn limit() -> Value {
    let spans: Vec<&str> = Per::WORDS.iter().map(|(word, _)| *word).collect();
    let whole = json!({"type": "integer", "minimum": 0});
    let mut limit = object(
        &[],
        json!({
            "count": key("So many actions in a window.", json!(5), whole.clone()),
            "sum": key("What is added up, in CEL.", json!("params.amount"), text()),
            "max": key("The most that a sum may reach; exact, up to six fractional digits.", json!(2000),
                json!({"type": "number", "minimum": 0})),
            "per": key("The window of a `count` or `sum`.", json!("day"), json!({"enum": spans})),
            "zone": key("Where days, weeks and months begin; left out, UTC.", json!("America/New_York"), text()),
            "by": key("Whom it counts for; left out, the agent.", json!("user"), text()),
            "rate": key("So many attempts per `second`, `minute`, `hour` or `day`, draining evenly.", json!("100/hour"), text()),
            "burst": key("How many of a `rate` fit at once.", json!(5), json!({"type": "integer", "minimum": 1})),
            "concurrent": key("So many under way at the same time.", json!(3), whole),
        }),
    );
    if let Some(limit) = limit.as_object_mut() {
        limit.insert(
            "oneOf".to_owned(),
            json!([
                {"required": ["count", "per"]}, {"required": ["sum", "max", "per"]},
                {"required": ["rate"]}, {"required": ["concurrent"]},
            ]),
        );
    }
    limit
}

fn approve() -> Value {
    key(
        "People have to say yes first.",
        json!({"when": "params.amount > 100", "by": ["role:support-lead"], "within": "30m"}),
        object(
            &[],
            json!({
                "when": key("Only where this holds, or can't be told; left out, always.", json!("params.amount > 100"), reference("conditions")),
                "by": key("Who can answer; left out, the grant's user, or any user with the role `approver`.",
                    json!(["role:support-lead", "user:ada"]), some(&json!({"type": "string", "pattern": "^(role|user):"}))),
                "not": key("Who can't: `user` (whom the agent acts for), `owner` (of the agent), roles, users.",
                    json!(["owner"]), some(&json!({"type": "string", "pattern": "^(user|owner|role:.+|user:.+)$"}))),
                "count": key("How many different people.", json!(2),
                    json!({"type": "integer", "minimum": 1, "maximum": crate::approval::MOST_PEOPLE})),
                "distinct": key("Whether whoever counts here counts for no other rule that is distinct too.", json!(true),
                    json!({"type": "boolean"})),
                "within": key("The time to answer, and the same again to use the answer; left out, `30m`.", json!("2h"),
                    json!({"type": "string", "pattern": "^[0-9]+[smhd]$"})),
            }),
        ),
    )
}

fn shape() -> Value {
    let path = || json!({"type": "string", "pattern": "^\\$", "maxLength": MAX_PATH});
    let rows = object(
        &["at"],
        json!({
            "at": key("The path of a list, or of several.", json!("$.orders"), path()),
            "max": key("How many rows stay at most, of those that `where` leaves.", json!(50),
                json!({"type": "integer", "minimum": 1, "maximum": MOST_ROWS})),
            "where": key("Conditions in CEL on `item`, the row; all must be true.", json!("item.region == \"US\""), some(&text())),
        }),
    );
    key(
        "What comes back.",
        json!({"rows": {"at": "$.orders", "max": 50}, "redact": ["$.orders[*].card"], "detect": {"secrets": "redact"}}),
        object(
            &[],
            json!({
                "rows": key("Lists of which only some rows are kept.", json!({"at": "$.orders", "max": 50}), some(&rows)),
                "redact": key("Paths of what is taken out.", json!(["$.orders[*].card"]), some(&path())),
                "detect": key("What is looked for in all of it, and what is done with it.",
                    json!({"secrets": "redact", "card": "withhold", "email": "mark"}), detected()),
            }),
        ),
    )
}

fn detected() -> Value {
    let levels = json!({"enum": Level::ALL.map(Level::as_str)});
    let groups = Group::ALL.into_iter().map(|group| {
        (
            group.as_str(),
            format!("All kinds of `{}`; what is said of one of them goes before.", group.as_str()),
        )
    });
    let kinds = detect::Kind::ALL.into_iter().map(|kind| (kind.as_str(), kind.about().to_owned()));
    let properties: Map<String, Value> = groups
        .chain(kinds)
        .map(|(name, about)| (name.to_owned(), key(&about, json!("redact"), levels.clone())))
        .collect();
    let mut detect = object(&[], Value::Object(properties));
    if let Some(detect) = detect.as_object_mut() {
        detect.insert("minProperties".to_owned(), 1.into());
    }
    detect
}

fn lists() -> Value {
    let item = json!({"anyOf": [{"type": "string", "maxLength": lists::LONGEST_ITEM}, {"type": "number"}]});
    key(
        "Values that conditions name as `lists.NAME`.",
        json!({"internal_domains": ["example.com", "example.org"]}),
        json!({
            "type": "object",
            "maxProperties": lists::MOST,
            "propertyNames": {"pattern": lists::NAME},
            "additionalProperties": {"type": "array", "minItems": 1, "maxItems": lists::MOST_ITEMS, "items": item},
        }),
    )
}

fn compact() -> Value {
    let one_or_more =
        |about: &str, example: Value| key(about, example, some(&json!({"type": "string", "minLength": 1})));
    let mut policy = object(
        &[],
        json!({
            "action": one_or_more("What the agent may do.", json!("orders.read")),
            "actions": one_or_more("What the agent may do.", json!(["orders.*", "refunds.create"])),
            "resource": one_or_more("On which resources; left out, all.", json!("order://customer:{{user.id}}/*")),
            "resources": one_or_more("On which resources; left out, all.", json!(["order://customer:{{user.id}}/*"])),
            "constraints": key("Within which bounds; a map, or a list of single entries.",
                json!({"maxAmount": 500}), reference("constraints")),
            "audit": key("How long the record keeps bodies.", json!({"logAllActions": true, "retainFor": "90days"}), object(&[], json!({
                "logAllActions": key("Every action is recorded, whatever stands here.", json!(true), json!({"const": true})),
                "retainFor": key("Hours, days, weeks or years.", json!("90days"), json!({"type": "string", "pattern": "^ *[0-9]+[ _]*[a-z]+ *$"})),
            }))),
        }),
    );
    if let Some(policy) = policy.as_object_mut() {
        policy.insert("oneOf".to_owned(), json!([{"required": ["action"]}, {"required": ["actions"]}]));
        policy.insert("not".to_owned(), json!({"required": ["resource", "resources"]}));
    }
    object(
        &["policy"],
        json!({
            "agent": key("The handle of the agent, and the policy's name. Left out, it is for whom it is applied with `--agent`.",
                json!("support-desk"), json!({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"})),
            "policy": key("What the agent may do, and within which bounds.", json!({"actions": ["orders.read"]}), policy),
            "mode": key("Whether it has a say (`enforce`, also where left out) or is only noted (`observe`).",
                json!("observe"), json!({"enum": [Mode::Enforce.as_str(), Mode::Observe.as_str()]})),
            "lists": reference("lists"),
        }),
    )
}

/// A map of constraints; with groups, or of a group.
fn constraints(groups: bool) -> Value {
    let (mut names, mut families) = (Map::new(), Map::new());
    for known in compact::KNOWN {
        let example = serde_json::from_str(known.example).unwrap_or_default();
        let described = key(known.about, example, constraint(known.name));
        match known.family {
            None => names.insert(known.name.to_owned(), described),
            Some(pattern) => families.insert(pattern.to_owned(), described),
        };
    }
    let others = if groups {
        json!({
            "description": "A group: constraints of the actions that have this name as a word, with or without a final `s`.",
            "$ref": "#/$defs/group",
        })
    } else {
        Value::Bool(false)
    };
    json!({
        "type": "object",
        "minProperties": usize::from(!groups),
        "properties": names,
        "patternProperties": families,
        "additionalProperties": others,
    })
}

fn one_or_list(map: Value) -> Value {
    let list = json!({"type": "array", "minItems": 1, "items": map});
    json!({"anyOf": [map, list]})
}

/// What the value of a constraint can be.
fn constraint(name: &str) -> Value {
    let amount = json!({"anyOf": [{"type": "number"}, {"type": "string", "pattern": "^ *-?[0-9.]+ *% *$"}]});
    match name {
        "maxX" | "minX" => amount,
        "maxXPerDay" => json!({"type": "number", "minimum": 0}),
        "onlyOwnX" | "onlyX" | "noX" => json!({"const": true}),
        "allowedDomains" | "excludeFolders" | "requireKeywords" => {
            some(&json!({"type": "string", "minLength": 1}))
        }
        "requireApproval" | "requireSecondApproval" => json!({"anyOf": [{"const": true}, text()]}),
        "maxPerDay" => json!({"type": "integer", "minimum": 0}),
        "detect" => detected(),
        _ => text(),
    }
}

#[cfg(test)]
mod tests;
