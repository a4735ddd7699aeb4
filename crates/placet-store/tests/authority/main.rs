//! Agents, people, tasks, grants, approvals and what administrators apply, on a SQLite file of its own for each test.

#[cfg(test)]
mod applied;
#[cfg(test)]
mod approvals;
#[cfg(test)]
mod forest;
#[cfg(test)]
mod guards;
#[cfg(test)]
mod issuing;
#[cfg(test)]
mod lineage;
#[cfg(test)]
mod people;
#[cfg(test)]
mod permits;
#[cfg(test)]
mod status;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod unused;
#[cfg(test)]
mod waiting;
#[cfg(test)]
mod world;
