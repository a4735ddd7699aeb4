//! A grant with everything that its life hangs on, read in one snapshot: what a chain is assembled from.
//!
//! This runs once for each token, and again after each revocation in its tree. One statement reads the links with
//! agents, registrations, tasks and versions; one more each distinct user.
//!
//! Invariant: links and stamps come from the same snapshot, so a stamp that still holds at the commit point says that
//! nothing here has changed. A link that can't be read is a fault, never left out.

use crate::{
    agents::{self, agent_columns},
    document,
    fault::Fault,
    grants::{self, grant_columns},
    params, statements,
    tasks::task_columns,
    tx::{Query, Tx},
    users,
    versions::{self, Version},
};
use placet_core::{
    agent::Agent,
    chain::{Link, Stamp},
    grant::Grant,
    id::{AgentId, GrantId, TaskId, UserId},
    task::Task,
    user::User,
};
use std::{collections::HashMap, sync::Arc};

statements! {
    /// The chain of a grant, leaf first, with what each link hangs on. `CROSS JOIN` keeps SQLite to this order: left to
    /// itself it reads every grant there is.
    LINKS = concat!("WITH RECURSIVE up (id, parent, level) AS (
                         SELECT id, parent, 0 FROM grants WHERE id = ?1
                         UNION ALL
                         SELECT g.id, g.parent, up.level + 1 FROM grants g JOIN up ON g.id = up.parent
                     )
                     SELECT ", grant_columns!("g"), ", ", agent_columns!("a"), ", ", grant_columns!("r"), ",
                            r.id, ", task_columns!("t"), ", root.version, registration.version, agent.version
                     FROM up CROSS JOIN grants g CROSS JOIN agents a
                     LEFT JOIN grants r ON r.id = a.registration
                     LEFT JOIN tasks t ON t.id = g.task
                     LEFT JOIN versions root ON root.key = 'lineage/' || g.root
                     LEFT JOIN versions registration ON registration.key = 'lineage/' || r.root
                     LEFT JOIN versions agent ON agent.key = 'agent/' || a.id
                     WHERE g.id = up.id AND a.id = g.agent
                     ORDER BY up.level");
}

/// What [`placet_core::chain::Chain::assemble`] takes.
#[derive(Debug, Clone, PartialEq)]
pub struct LineageRows {
    /// The links, leaf first, the root last.
    pub links: Vec<Link>,
    /// The epoch of the lineage, and of each agent in it the version and the epoch of its registration; each once.
    pub stamps: Vec<(Stamp, u64)>,
}

/// The grant's chain as it is stored, dead or alive; `None` where there is no such grant.
///
/// # Errors
/// [`Fault`]; [`Fault::Unreadable`] where a link lacks what it refers to.
pub fn load(q: &mut impl Query, id: GrantId) -> Result<Option<LineageRows>, Fault> {
    let mut read = Reading::default();
    let rows = q.query(&LINKS, &params![id], |row| {
        let agent_at = grants::COLUMNS;
        let registration_at = agent_at + agents::COLUMNS;
        let task_at = registration_at + grants::COLUMNS + 1;
        let versions_at = task_at + 2;

        let grant = grants::read(row, 0)?;
        let agent = match read.agents.get(&grant.agent) {
            Some(known) => known.clone(),
            None => {
                let registration = match row.optional_id::<placet_core::id::kind::Grant>(task_at - 1)? {
                    Some(_) => grants::read(row, registration_at)?,
                    None => return Err(Fault::Unreadable("an agent's registration grant")),
                };
                let epoch = row.optional_integer(versions_at + 1)?;
                read.stamp(Stamp::Lineage(registration.root), epoch)?;
                read.stamp(Stamp::Agent(grant.agent), row.optional_integer(versions_at + 2)?)?;
                let both = (Arc::new(agents::read(row, agent_at)?), Arc::new(registration));
                read.agents.insert(grant.agent, both.clone());
                both
            }
        };
        read.stamp(Stamp::Lineage(grant.root), row.optional_integer(versions_at)?)?;
        let task = match (grant.task, row.optional_text(task_at)?) {
            (None, None) => None,
            (Some(id), Some(text)) => Some(match read.tasks.get(&id) {
                Some(known) => Arc::clone(known),
                None => {
                    let state = document::state(&row.text(task_at + 1)?)?;
                    let task = Arc::new(Task { state, ..document::read(&text)? });
                    read.tasks.insert(id, Arc::clone(&task));
                    task
                }
            }),
            _ => return Err(Fault::Unreadable("a grant's task")),
        };
        Ok((grant, agent, task))
    })?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut links = Vec::with_capacity(rows.len());
    for (grant, (agent, registration), task) in rows {
        let user = grant.user.map(|user| read.user(q, user)).transpose()?;
        links.push(Link { grant: Arc::new(grant), agent, registration, task, user });
    }
    Ok(Some(LineageRows { links, stamps: read.stamps }))
}

/// Whether every version is still what was read: for the control plane, to derive a grant only from a chain that
/// nothing has happened to since it was assembled. The commit point of actions compares for itself.
///
/// # Errors
/// [`Fault`].
pub fn holds(tx: &mut Tx<'_>, stamps: &[(Stamp, u64)]) -> Result<bool, Fault> {
    let seen: Vec<_> = stamps.iter().map(|(stamp, version)| (Version::from(*stamp), *version)).collect();
    versions::unchanged(tx, &seen)
}

/// What was read so far: links share what they have in common.
#[derive(Default)]
struct Reading {
    agents: HashMap<AgentId, (Arc<Agent>, Arc<Grant>)>,
    tasks: HashMap<TaskId, Arc<Task>>,
    users: HashMap<UserId, Arc<User>>,
    stamps: Vec<(Stamp, u64)>,
}

impl Reading {
    fn stamp(&mut self, stamp: Stamp, version: Option<i64>) -> Result<(), Fault> {
        if !self.stamps.iter().any(|(known, _)| *known == stamp) {
            let version = u64::try_from(version.unwrap_or(0)).map_err(|_| Fault::Unreadable("a version"))?;
            self.stamps.push((stamp, version));
        }
        Ok(())
    }

    fn user(&mut self, q: &mut impl Query, id: UserId) -> Result<Arc<User>, Fault> {
        if let Some(known) = self.users.get(&id) {
            return Ok(Arc::clone(known));
        }
        let user = Arc::new(users::find(q, id)?.ok_or(Fault::Unreadable("a grant's user"))?);
        self.users.insert(id, Arc::clone(&user));
        Ok(user)
    }
}
