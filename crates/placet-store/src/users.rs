//! People as they are stored: name, roles, and the hash of the password (PHC text).
//!
//! Policies read a user's roles, so a change of roles makes every decision on that user's grants stale.
//!
//! Invariant: a name is taken once; the password's hash leaves only through [`by_name`], to sign in with.

use crate::{
    document,
    fault::Fault,
    params, statements,
    tx::{Query, Row, Tx},
    versions::Version,
};
use placet_core::{id::UserId, time::Timestamp, user::User};

statements! {
    /// A new user.
    INSERT = "INSERT INTO users (id, name, password, made_by, created, version)
              VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (name) DO NOTHING";
    /// One by id, a row for each role.
    BY_ID = "SELECT u.id, u.name, u.created, u.version, r.role
             FROM users u LEFT JOIN user_roles r ON r.user_id = u.id WHERE u.id = ?1 ORDER BY r.position";
    /// One by name, a row for each role, with the password.
    BY_NAME = "SELECT u.id, u.name, u.created, u.version, r.role, u.password
               FROM users u LEFT JOIN user_roles r ON r.user_id = u.id WHERE u.name = ?1 ORDER BY r.position";
    /// A page, a row for each role of each.
    PAGE = "SELECT u.id, u.name, u.created, u.version, r.role
            FROM (SELECT id, name, created, version FROM users WHERE id > ?1 ORDER BY id LIMIT ?2) u
            LEFT JOIN user_roles r ON r.user_id = u.id ORDER BY u.id, r.position";
    /// Who made one.
    MADE_BY = "SELECT made_by FROM users WHERE id = ?1";
    /// How many have a role.
    COUNT_WITH_ROLE = "SELECT COUNT(*) FROM user_roles WHERE role = ?1";
    /// A change of roles begins here, so that two of them don't mix.
    TOUCH = "UPDATE users SET version = version + 1 WHERE id = ?1 AND version = ?2";
    /// A change of password.
    SET_PASSWORD = "UPDATE users SET password = ?3, version = version + 1 WHERE id = ?1 AND version = ?2";
    /// All roles of one.
    DROP_ROLES = "DELETE FROM user_roles WHERE user_id = ?1";
    /// One role; naming it twice is naming it once.
    ADD_ROLE = "INSERT INTO user_roles (user_id, role, position) VALUES (?1, ?2, ?3)
                ON CONFLICT (user_id, role) DO NOTHING";
    /// The lineages in which a grant of this user may still be used.
    LINEAGES = "SELECT DISTINCT root FROM grants WHERE user_id = ?1 AND expires > ?2 AND revoked_at IS NULL";
}

/// Stores a new user with the hash of their password (PHC text). `made_by` is a user's id, or `admin-token`.
///
/// # Errors
/// [`Fault::Conflict`] with `name` where the name is taken.
pub fn insert(tx: &mut Tx<'_>, user: &User, password: &str, made_by: &str) -> Result<(), Fault> {
    let row = params![user.id, &user.name, password, made_by, user.created, user.version];
    if tx.execute(&INSERT, &row)? == 0 {
        return Err(Fault::Conflict("name"));
    }
    add_roles(tx, user.id, &user.roles)
}

/// The user of this id.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn find(q: &mut impl Query, id: UserId) -> Result<Option<User>, Fault> {
    Ok(fold(q.query(&BY_ID, &params![id], read)?).pop())
}

/// The user that `text` means, which is an id or a name.
///
/// # Errors
/// [`Fault`].
pub fn named(q: &mut impl Query, text: &str) -> Result<Option<User>, Fault> {
    match text.parse() {
        Ok(id) => find(q, id),
        Err(_) => Ok(by_name(q, text)?.map(|(user, _)| user)),
    }
}

/// The user of this name, with the hash of their password.
///
/// # Errors
/// [`Fault`].
pub fn by_name(q: &mut impl Query, name: &str) -> Result<Option<(User, String)>, Fault> {
    let mut password = String::new();
    let rows = q.query(&BY_NAME, &params![name], |row| {
        password = row.text(5)?;
        read(row)
    })?;
    Ok(fold(rows).pop().map(|user| (user, password)))
}

/// Up to `limit` users behind `after`, oldest first.
///
/// # Errors
/// [`Fault`].
pub fn list(q: &mut impl Query, after: Option<UserId>, limit: usize) -> Result<Vec<User>, Fault> {
    Ok(fold(q.query(&PAGE, &params![document::behind(after), limit], read)?))
}

/// Who made the user: a user's id, or `admin-token`.
///
/// # Errors
/// [`Fault`].
pub fn made_by(q: &mut impl Query, id: UserId) -> Result<Option<String>, Fault> {
    q.one(&MADE_BY, &params![id], |row| row.text(0))
}

/// How many users have the role.
///
/// # Errors
/// [`Fault`].
pub fn count_with_role(q: &mut impl Query, role: &str) -> Result<u64, Fault> {
    Ok(q.one(&COUNT_WITH_ROLE, &params![role], |row| row.count(0))?.unwrap_or(0))
}

/// Replaces the roles. What was decided on this user's grants is stale from then on. `false` where `version` is not
/// the user's version any more.
///
/// # Errors
/// [`Fault`].
pub fn set_roles(
    tx: &mut Tx<'_>,
    id: UserId,
    version: u64,
    roles: &[String],
    now: Timestamp,
) -> Result<bool, Fault> {
    if tx.execute(&TOUCH, &params![id, version])? == 0 {
        return Ok(false);
    }
    tx.execute(&DROP_ROLES, &params![id])?;
    add_roles(tx, id, roles)?;
    for root in tx.query(&LINEAGES, &params![id, now], |row| row.id(0))? {
        tx.bump(Version::Lineage(root))?;
    }
    Ok(true)
}

/// Replaces the hash of the password. `false` where `version` is not the user's version any more.
///
/// # Errors
/// [`Fault`].
pub fn set_password(tx: &mut Tx<'_>, id: UserId, version: u64, password: &str) -> Result<bool, Fault> {
    Ok(tx.execute(&SET_PASSWORD, &params![id, version, password])? > 0)
}

fn add_roles(tx: &mut Tx<'_>, id: UserId, roles: &[String]) -> Result<(), Fault> {
    for (position, role) in roles.iter().enumerate() {
        tx.execute(&ADD_ROLE, &params![id, role, position])?;
    }
    Ok(())
}

/// A user with the one role of this row, if it has any.
fn read(row: &Row<'_>) -> Result<User, Fault> {
    Ok(User {
        id: row.id(0)?,
        name: row.text(1)?,
        roles: row.optional_text(4)?.into_iter().collect(),
        created: row.time(2)?,
        version: row.count(3)?,
    })
}

/// Adjacent rows of one user as that user.
fn fold(rows: Vec<User>) -> Vec<User> {
    let mut users: Vec<User> = Vec::new();
    for row in rows {
        match users.last_mut() {
            Some(last) if last.id == row.id => last.roles.extend(row.roles),
            _ => users.push(row),
        }
    }
    users
}
