//! The pure decision, beside the same comparisons written by hand, with few and with many policies loaded.

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
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, fmt::Write as _, hint::black_box, sync::Arc, time::Instant};

const TIMES: u32 = 200_000;

/// Prints what a decision takes.
pub(crate) fn measure() {
    let chain = chain();
    let action = action();
    let few = PolicySet::new((0..3).map(|number| policy(number, true)).collect());
    let many = PolicySet::new((0..10_000).map(|number| policy(number, number % 3334 == 0)).collect());
    let by_hand = time(|| assert!(compared_by_hand(black_box(&action.params))));
    let among_few = decisions(&few, &chain, &action);
    let among_many = decisions(&many, &chain, &action);
    println!("    four comparisons by hand      {by_hand:>8.3} µs");
    println!("    decision,      3 policies     {among_few:>8.3} µs");
    println!("    decision, 10,000 policies     {among_many:>8.3} µs   goal: under 3 µs");
    println!("    10,000 policies to 3          {:>8.2}", among_many / among_few);
}

fn decisions(policies: &PolicySet, chain: &Chain, action: &Action) -> f64 {
    let bound = policies.bind(chain);
    assert_eq!(bound.labels().len(), 3);
    let request =
        judge::Request { chain, action, now: Timestamp::from_seconds(1_800_000_000), context: None };
    time(|| {
        let judgement = judge::judge(black_box(&bound), black_box(&request));
        assert_eq!(judgement.verdict, Verdict::Allow, "{:?}", judgement.reasons);
    })
}

/// Microseconds per call: the median of five runs.
fn time(mut run: impl FnMut()) -> f64 {
    let mut runs: Vec<f64> = (0..5)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..TIMES / 5 {
                run();
            }
            began.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES / 5)
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    runs[2]
}

fn compared_by_hand(params: &Map<String, Value>) -> bool {
    params["amount"].as_f64().is_some_and(|amount| amount <= 500.0 && amount > 0.0)
        && params["currency"] == "USD"
        && params["order_id"].as_str().is_some_and(|order| order.starts_with('1'))
}

/// Ten rules, of which the last but one allows; one limit, one guard.
fn policy(number: usize, applies: bool) -> Arc<Policy> {
    let agents = if applies { "support-*".to_owned() } else { format!("other-{number}") };
    let mut source = format!("policy: p{number}\napplies_to: {{agents: ['{agents}']}}\nrules:\n");
    for rule in 0..7 {
        _ = writeln!(
            source,
            "  - {{name: r{rule}, allow: [orders.read_{rule}], on: ['order://customer:*/**'], when: [params.amount <= {rule}]}}"
        );
    }
    source.push_str("  - {name: none, deny: [refunds.create_bulk, 'admin.**']}\n");
    source.push_str("  - name: refunds\n    allow: [refunds.create]\n    on: ['order://customer:*/*']\n    when: [params.amount <= 500, params.currency == 'USD']\n    limits: [{count: 5, per: day}]\n");
    source.push_str("  - name: some\n    guard: ['refunds.*']\n    when: [params.amount > 0, params.order_id.startsWith('1')]\n");
    let (policy, _) =
        Policy::load(source.as_bytes(), None, 1, &[]).unwrap_or_else(|errors| panic!("{errors:?}"));
    Arc::new(policy)
}

fn action() -> Action {
    let params = json!({"customer_id": "42", "order_id": "1", "amount": 80, "currency": "USD"});
    let Value::Object(params) = params else { unreachable!() };
    let resource = ResourceUri::parse("order://customer:42/1").unwrap();
    let mut action = Action::stated(ActionName::parse("refunds.create").unwrap(), resource, params);
    action.effect = Some(Effect::Money);
    action
}

fn chain() -> Chain {
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
