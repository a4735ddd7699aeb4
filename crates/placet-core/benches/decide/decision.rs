//! The pure decision, beside the same comparisons written by hand, with few and with many policies loaded; and
//! loading, beside reading the same YAML.

use placet_core::{
    action::Action,
    agent::{Agent, AgentState, Level},
    chain::{Chain, Link},
    grant::{Authority, Grant, MAX_DEPTH, Origin},
    id::{AgentId, GrantId},
    judge::{self, Verdict},
    pattern::{ActionName, ActionPattern, ResourcePattern, ResourceUri},
    policy::{Policy, PolicySet},
    scope::Scope,
    service::Effect,
    time::Timestamp,
    yaml,
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, fmt::Write as _, hint::black_box, sync::Arc, time::Instant};

/// Decisions in one sample, and samples, of which the median counts.
const AT_ONCE: u32 = 500;
const SAMPLES: usize = 401;

/// What the rules ask.
#[derive(Clone, Copy)]
pub(crate) struct Mix {
    name: &'static str,
    /// The conditions of the rule that allows.
    allow: &'static str,
    /// Those of the guard.
    guard: &'static str,
    /// Behind the conditions of the rule that allows.
    limits: &'static str,
    by_hand: fn(&Map<String, Value>) -> bool,
    goal: &'static str,
}

pub(crate) const SIMPLE: Mix = Mix {
    name: "simple comparisons",
    allow: "params.amount <= 500, params.currency == 'USD', \"params.customer_id in ['41', '42', '43']\", params.order_id != '0'",
    guard: "params.amount > 0, \"params.currency in ['USD', 'EUR']\", agent.handle != 'nobody', params.amount < 99999.5",
    limits: "",
    by_hand: |params| {
        let amount = number(params, "amount");
        let currency = text(params, "currency");
        amount <= 500.0
            && currency == "USD"
            && ["41", "42", "43"].contains(&text(params, "customer_id"))
            && text(params, "order_id") != "0"
            && amount > 0.0
            && ["USD", "EUR"].contains(&currency)
            && amount < 99999.5
    },
    goal: "under 1 µs",
};

pub(crate) const LIMITED: Mix =
    Mix { name: "the same, and a limit each", limits: ", limits: [{count: 5, per: day}]", ..SIMPLE };

pub(crate) const GENERAL: Mix = Mix {
    name: "general conditions",
    allow: "\"params.to.all(r, r.endsWith('@company.com') || r.endsWith('@partner.com'))\", params.amount * 2 <= 1000, params.order_id.startsWith('1'), \"params.currency.matches('^[A-Z]{3}$')\"",
    guard: "params.amount > 0 || params.free, size(params.to) < 10, \"has(params.order_id) && params.order_id != ''\", resource.authority.endsWith(params.customer_id)",
    limits: "",
    by_hand: |params| {
        let amount = number(params, "amount");
        let to = params["to"].as_array().unwrap();
        let currency = text(params, "currency");
        to.iter().all(|to| {
            let to = to.as_str().unwrap();
            to.ends_with("@company.com") || to.ends_with("@partner.com")
        }) && amount * 2.0 <= 1000.0
            && text(params, "order_id").starts_with('1')
            && currency.len() == 3
            && currency.bytes().all(|byte| byte.is_ascii_uppercase())
            && amount > 0.0
            && to.len() < 10
            && "customer:42".ends_with(text(params, "customer_id"))
    },
    goal: "under 3 µs",
};

fn number(params: &Map<String, Value>, name: &str) -> f64 {
    params[name].as_f64().unwrap()
}

fn text<'a>(params: &'a Map<String, Value>, name: &str) -> &'a str {
    params[name].as_str().unwrap()
}

/// Prints what a decision takes, and what loading takes.
pub(crate) fn measure() {
    let (chain, action) = (chain(), action());
    for mix in [SIMPLE, LIMITED, GENERAL] {
        println!("  {}: 3 policies of 10 rules of 4 conditions, of which 2 rules name the action", mix.name);
        let by_hand = time(|| {
            for _ in 0..3 {
                assert!((mix.by_hand)(black_box(&action.params)));
            }
        });
        let few = decisions(&among(mix, 3), &chain, &action);
        println!("    the comparisons by hand       {by_hand:>8.3} µs");
        println!("    decision                      {few:>8.3} µs   goal: {}", mix.goal);
        println!("    ratio                         {:>8.2}", few / by_hand);
    }
    // In turns, so that what else the machine does tells on both alike.
    let (few, many) = (among(SIMPLE, 3), among(SIMPLE, 100_000));
    let pairs: Vec<_> =
        (0..5).map(|_| (decisions(&few, &chain, &action), decisions(&many, &chain, &action))).collect();
    let median = |pick: fn(&(f64, f64)) -> f64| {
        let mut all: Vec<f64> = pairs.iter().map(pick).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let (few, many) = (median(|pair| pair.0), median(|pair| pair.1));
    println!("  policies loaded");
    println!("    decision,       3             {few:>8.3} µs");
    println!("    decision, 100,000             {many:>8.3} µs");
    println!("    ratio                         {:>8.2}      goal: at most 1.1", many / few);
    loading();
}

fn loading() {
    let sources: Vec<String> = (0..10_000)
        .map(|number| source(if number % 2 == 0 { SIMPLE } else { GENERAL }, number, false))
        .collect();
    let seconds = |run: &mut dyn FnMut(&str)| {
        let began = Instant::now();
        sources.iter().for_each(|source| run(source));
        began.elapsed().as_secs_f64()
    };
    let read = seconds(&mut |source| {
        black_box(yaml::parse(source.as_bytes(), None).unwrap_or_else(|errors| panic!("{errors:?}")));
    });
    let mut loaded = Vec::new();
    let took = seconds(&mut |source| {
        loaded.push(
            Policy::load(source.as_bytes(), None, 1, &[]).unwrap_or_else(|errors| panic!("{errors:?}")).0,
        );
    });
    let again = seconds(&mut |source| {
        black_box(
            Policy::load_again(source.as_bytes(), "p", 1, &[]).unwrap_or_else(|errors| panic!("{errors:?}")),
        );
    });
    let began = Instant::now();
    let set = PolicySet::new(loaded.into_iter().map(Arc::new).collect());
    let indexed = began.elapsed().as_secs_f64();
    assert_eq!(set.policies().len(), 10_000);
    println!("  loading 10,000 policies of 10 rules of 4 conditions, one after the other");
    println!("    their YAML alone              {read:>8.3} s");
    println!("    checked, compiled, indexed    {:>8.3} s    goal: under 2 s", took + indexed);
    println!("    ratio                         {:>8.2}", (took + indexed) / read);
    println!("    as at the next start          {:>8.3} s    goal: under 2 s", again + indexed);
}

/// A set of so many policies, of which three apply.
pub(crate) fn among(mix: Mix, count: usize) -> PolicySet {
    let step = count / 3;
    let policies = (0..count).map(|number| {
        let applies = number % step == 0 && number / step < 3;
        let source = source(mix, number, applies);
        let (policy, _) =
            Policy::load(source.as_bytes(), None, 1, &[]).unwrap_or_else(|errors| panic!("{errors:?}"));
        Arc::new(policy)
    });
    PolicySet::new(policies.collect())
}

fn decisions(policies: &PolicySet, chain: &Chain, action: &Action) -> f64 {
    let bound = policies.bind(chain);
    assert_eq!(bound.labels().len(), 3);
    let request = request(chain, action);
    time(|| {
        let judgement = judge::judge(black_box(&bound), black_box(&request));
        assert_eq!(judgement.verdict, Verdict::Allow, "{:?}", judgement.reasons);
    })
}

pub(crate) fn request<'a>(chain: &'a Chain, action: &'a Action) -> judge::Request<'a> {
    judge::Request { chain, action, now: Timestamp::from_seconds(1_800_000_000), context: None }
}

/// Microseconds per call: the median of the samples.
fn time(mut run: impl FnMut()) -> f64 {
    let mut samples: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..AT_ONCE {
                run();
            }
            began.elapsed().as_secs_f64() * 1e6 / f64::from(AT_ONCE)
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    samples[SAMPLES / 2]
}

/// Ten rules of four conditions: one allows the action, one guards it, the others are about other actions.
pub(crate) fn source(mix: Mix, number: usize, applies: bool) -> String {
    let agents = if applies { "support-*".to_owned() } else { format!("other-{number}") };
    let mut source = format!("policy: p{number}\napplies_to: {{agents: ['{agents}']}}\nrules:\n");
    for rule in 0..7 {
        _ = writeln!(
            source,
            "  - {{name: r{rule}, allow: [orders.read_{rule}], on: ['order://customer:*/**'], when: [{}]}}",
            mix.allow
        );
    }
    _ = writeln!(
        source,
        "  - {{name: none, deny: [refunds.create_bulk, 'admin.**'], when: [{}]}}",
        mix.guard
    );
    _ = writeln!(
        source,
        "  - {{name: refunds, allow: [refunds.create], on: ['order://customer:*/*'], when: [{}]{}}}",
        mix.allow, mix.limits
    );
    _ = writeln!(source, "  - {{name: some, guard: ['refunds.*'], when: [{}]}}", mix.guard);
    source
}

pub(crate) fn action() -> Action {
    let params = json!({"customer_id": "42", "order_id": "1", "amount": 80, "currency": "USD",
        "to": ["ann@company.com", "bob@partner.com", "eve@company.com"]});
    let Value::Object(params) = params else { unreachable!() };
    let resource = ResourceUri::parse("order://customer:42/1").unwrap();
    let mut action = Action::stated(ActionName::parse("refunds.create").unwrap(), resource, params);
    action.effect = Some(Effect::Money);
    action
}

pub(crate) fn chain() -> Chain {
    let now = Timestamp::from_seconds(1_800_000_000);
    let (agent, registration) = (AgentId::from_parts(now, [1; 10]), GrantId::from_parts(now, [2; 10]));
    let authority = Authority {
        scope: vec![Scope::parse("refunds.create").unwrap()],
        tools: vec![ActionPattern::parse("refunds.create").unwrap()],
        resources: vec![ResourcePattern::everything()],
        connections: None,
        authorization_details: Vec::new(),
        detail_types: Vec::new(),
        audience: vec!["http://127.0.0.1".into()],
        not_before: Timestamp::default(),
        expires: Timestamp::MAX,
        max_depth: MAX_DEPTH,
        key: None,
        certificate: None,
    };
    let root = Arc::new(Grant {
        id: registration,
        root: registration,
        parent: None,
        depth: 0,
        agent,
        user: None,
        task: None,
        authority,
        limits: Vec::new(),
        origin: Origin::Registration,
        created: now,
        revoked: None,
    });
    let own = Grant {
        id: GrantId::from_parts(now, [3; 10]),
        parent: Some(registration),
        depth: 1,
        origin: Origin::Agent,
        ..(*root).clone()
    };
    let agent = Arc::new(Agent {
        id: agent,
        handle: "support-bench".into(),
        description: String::new(),
        owner: None,
        labels: BTreeMap::new(),
        level: Level::Elevated,
        default_scopes: Vec::new(),
        registration,
        state: AgentState::Active,
        created: now,
        version: 1,
    });
    let link = |grant: Arc<Grant>| Link {
        grant,
        agent: Arc::clone(&agent),
        registration: Arc::clone(&root),
        task: None,
        user: None,
    };
    let links = vec![link(Arc::new(own)), link(Arc::clone(&root))];
    Chain::assemble(links, Vec::new(), now).unwrap()
}
