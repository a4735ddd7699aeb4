//! What MCP servers say of their tools and prompts: asked for by an administrator and by a job, and kept where it differs from what they
//! said before. Which pinned tools can be called follows from what is kept ([`LiveService::quarantined`]).
//!
//! Invariant: nothing that is said here makes an action or lets one through; it only takes some out of reach. Where a
//! server does not answer, what it said last stands.

use crate::{
    app::App,
    connections,
    problem::Problem,
    reconcile::ITSELF,
    recording,
    rules::{LiveService, said_by},
};
use placet_core::{
    record::{EntryType, Envelope},
    refusal::Code,
    service::{Kind, Observed, Pins, Standing},
};
use placet_gateway::NoTools;
use placet_store::listed_tools::{self, Listed};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::Instant};

/// How long a server may take to list its tools.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most that is kept of one server, in bytes.
const MOST: usize = 4 * 1024 * 1024;
/// How many tools an entry of the record names.
const NAMED: usize = 100;
/// How many servers are asked at once.
const AT_ONCE: usize = 8;
/// How often a server is asked where each time another answer of it was kept meanwhile.
const TRIES: usize = 3;

/// Asks the MCP server of a service for its tools, through the first connection that can be used, and keeps what it says.
/// `by` is who wants to know.
///
/// # Errors
/// `not_found` where the service is no MCP server; `upstream_unreachable` and the like with what stands in the way.
pub async fn look(app: &Arc<App>, service: &str, by: &str) -> Result<Arc<LiveService>, Problem> {
    for _ in 0..TRIES {
        if let Some(live) = try_look(app, service, by).await? {
            return Ok(live);
        }
    }
    of(app, service)
}

/// One look; `None` where it counts for nothing, as something else that the server said was kept since it began.
async fn try_look(app: &Arc<App>, service: &str, by: &str) -> Result<Option<Arc<LiveService>>, Problem> {
    let live = of(app, service)?;
    let (name, auth) = (live.service.name(), live.service.auth());
    let picked = connections::any(app, name, auth).await?;
    let Some(mut picked) = picked else {
        let detail =
            format!("no connection to `{name}` can be used: its server is asked for tools through one");
        return Err(Problem::of(Code::Conflict, detail));
    };
    connections::freshen(app, &mut picked, auth, live.service.allow_private()).await?;
    let Some(credential) = picked.credential() else {
        return Err(Problem::of(Code::Unavailable, "the connection has no credential"));
    };
    let at = live.service.asked_for_tools();
    let told = app.gateway.tools(&at, &live.route, credential, Instant::now() + PATIENCE).await;
    match &told {
        Err(NoTools::Refused { status, invalid_token }) => {
            connections::answered(app, &picked, &live.service, None, (*status, *invalid_token)).await;
        }
        Err(_) => {}
        Ok(_) => connections::heard(app, &picked, None, 200),
    }
    let told = told.map_err(|why| untold(name, &why))?;
    let unreadable = |detail: String| Problem::of(Code::UpstreamUnreadable, detail);
    let now = Pins::of_listing(&told.tools, &told.prompts);
    let now = now.map_err(|why| unreadable(format!("the tools of `{name}`: {why}")))?;
    if live.listed.as_ref().is_some_and(|(before, _)| *before == now) {
        return Ok(Some(live));
    }
    let text = serde_json::to_string(&now.0).map_err(|error| unreadable(error.to_string()))?;
    if text.len() > MOST {
        return Err(unreadable(format!("`{name}` says more than {MOST} bytes of its tools")));
    }
    let kept = keep(app, &live, &now, text, by).await?;
    Ok(if kept { Some(of(app, service)?) } else { None })
}

/// Asks the servers of all services, or of those at these addresses.
pub(crate) async fn look_at(app: &Arc<App>, servers: Option<&std::collections::HashSet<String>>) {
    let rules = app.rules.load_full();
    let wanted = |live: &&Arc<LiveService>| {
        let at = live.service.asked_for_tools();
        let address = format!("{}{}", at.origin, at.target);
        live.service.kind() == Kind::Mcp && servers.is_none_or(|servers| servers.contains(&address))
    };
    let mut asked = JoinSet::new();
    for live in rules.services.values().filter(wanted) {
        let (app, name) = (Arc::clone(app), live.service.name().to_owned());
        asked.spawn(async move {
            if let Err(problem) = look(&app, &name, ITSELF).await {
                tracing::info!(service = name, problem = problem.detail(), "a server has not told its tools");
            }
        });
        if asked.len() >= AT_ONCE {
            _ = asked.join_next().await;
        }
    }
    while asked.join_next().await.is_some() {}
}

/// The service in force, if it is an MCP server.
fn of(app: &App, service: &str) -> Result<Arc<LiveService>, Problem> {
    let rules = app.rules.load();
    let live = rules.services.get(service).filter(|live| live.service.kind() == Kind::Mcp);
    live.cloned().ok_or_else(|| Problem::of(Code::NotFound, format!("there is no MCP server `{service}`")))
}

/// Keeps what a server says instead of what it said before; `false` where that is not so any more, and which of the two is
/// newer nobody can tell.
async fn keep(
    app: &Arc<App>,
    live: &LiveService,
    now: &Pins,
    tools: String,
    by: &str,
) -> Result<bool, Problem> {
    let (name, at) = (live.service.name().to_owned(), app.clock.now());
    let differing: Vec<Value> = live
        .service
        .observe(now)
        .iter()
        .filter(|one| one.standing != Standing::Pinned)
        .take(NAMED)
        .map(|one| json!({"tool": one.tool, "standing": one.standing.as_str(), "digest": one.digest}))
        .collect();
    let envelope = Envelope {
        service: Some(format!("{name}@{}", live.version)),
        ..recording::by(EntryType::ServiceTools, at, by.to_owned())
    };
    let entry = app.prepare(envelope, Some(&json!({"tools": differing})))?;
    let said = Listed { server: live.service.server(), tools, seen: at };
    let (service, before) = (name.clone(), live.listed.clone());
    let kept = app
        .store
        .write(move |tx| {
            let stored = listed_tools::of_service(tx, &service)?;
            if said_by(&said.server, stored) != before {
                return Ok::<_, Problem>(false);
            }
            listed_tools::note(tx, &service, &said)?;
            tx.record(entry.clone())?;
            Ok(true)
        })
        .await?;
    if kept {
        tracing::warn!(
            service = name,
            differing = differing.len(),
            "an MCP server says something else of its tools"
        );
    }
    app.reload_rules().await?;
    Ok(kept)
}

fn untold(service: &str, why: &NoTools) -> Problem {
    let code = match why {
        NoTools::Failed(failure) if failure.timed_out() => Code::UpstreamTimeout,
        NoTools::Failed(_) => Code::UpstreamUnreachable,
        NoTools::Refused { .. } | NoTools::NoList | NoTools::TooMany => Code::UpstreamUnreadable,
    };
    Problem::of(code, format!("the server of `{service}` has not told its tools: {why}"))
}

/// The tools of a service for whoever looks at them: as they are now, and as they were accepted.
pub(crate) fn shown(live: &LiveService) -> Value {
    let nothing = Pins::default();
    let now = live.listed.as_ref().map_or(&nothing, |(now, _)| now);
    let pins = live.service.pins();
    let one = |one: Observed| {
        let Observed { tool, action, standing, digest, problem, definition } = one;
        let mut told = json!({"tool": tool, "action": action, "standing": standing.as_str(), "digest": digest,
            "problem": problem, "definition": definition});
        if let (Standing::Changed, Some(kept), Some(members)) =
            (standing, pins.0.get(&tool), told.as_object_mut())
        {
            members.insert("accepted".into(), kept.clone());
        }
        told
    };
    let tools: Vec<Value> = live.service.observe(now).into_iter().map(one).collect();
    let seen = live.listed.as_ref().map(|(_, seen)| *seen);
    json!({"service": live.service.name(), "version": live.version, "server": live.service.server(), "seen": seen,
        "tools": tools})
}
