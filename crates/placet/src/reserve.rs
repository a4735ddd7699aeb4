//! Space that is kept so that revocations and outcomes can always be written (DESIGN §8).
//!
//! Beside the database lies a file that holds nothing but space. Where the disk fills up, new actions are refused
//! first; where it is full, the file is given up, and what has to be written has that much room. When there is room
//! again, the file is made anew and actions go on.
//!
//! Invariant: only beginning something is refused. Whatever ends something goes on for as long as there is any room.

use crate::data::{DataDir, RESERVE_FILE};
use fs4::FileExt as _;
use placet_server::{app::App, operations::space::Space};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::task::JoinHandle;

/// The size of the file.
const RESERVE: u64 = 8 << 20;
/// With less free space than this, no action begins.
const TIGHT: u64 = 24 << 20;
/// With less free space than this, the file is given up.
const FULL: u64 = 4 << 20;
/// With more free space than this beside the file's, actions begin again.
const ROOMY: u64 = 48 << 20;
/// Keeps the reserve of a directory, from now until the task is ended.
pub(crate) fn keep(directory: &DataDir, app: &Arc<App>) -> JoinHandle<()> {
    let path = directory.path().to_owned();
    let reserve = Reserve { path: path.join(RESERVE_FILE) };
    // Older versions made it for everybody to read.
    _ = fs::set_permissions(&reserve.path, fs::Permissions::from_mode(0o600));
    let app = Arc::clone(app);
    tokio::spawn(async move {
        let mut met_the_end = false;
        let mut told = false;
        loop {
            let looked = match fs4::available_space(&path) {
                Ok(free) => reserve.look(&app.operations.space, free, met_the_end),
                Err(error) => Err(error),
            };
            if let Err(error) = &looked
                && !told
            {
                tracing::warn!(%error, "no space can be reserved beside the database");
            }
            told = looked.is_err();
            met_the_end = app.operations.space.time_to_look().await;
        }
    })
}

/// The file.
#[derive(Debug)]
struct Reserve {
    path: PathBuf,
}

/// What is done about the space there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    tight: bool,
    reserve: bool,
}

/// From what is free (without the reserve), whether there is a reserve, and how it was.
fn step(free: u64, reserve: bool, tight: bool, met_the_end: bool) -> Step {
    let room_for_it = if reserve { 0 } else { RESERVE };
    if met_the_end || free < FULL {
        return Step { tight: true, reserve: false };
    }
    if free < TIGHT {
        return Step { tight: true, reserve };
    }
    if free >= ROOMY + room_for_it {
        return Step { tight: false, reserve: true };
    }
    // Between the two it stays as it is, so that it does not change every second.
    Step { tight, reserve }
}

impl Reserve {
    /// Looks at `free` bytes and does what follows.
    ///
    /// # Errors
    /// Where the file can't be made or removed; then the rest was done all the same.
    fn look(&self, space: &Space, free: u64, met_the_end: bool) -> io::Result<()> {
        let was = (space.is_tight(), self.is_there());
        let now = step(free, was.1, was.0, met_the_end);
        space.set_tight(now.tight);
        if now.tight != was.0 {
            if now.tight {
                tracing::error!(free, "too little space is left: no action begins until there is more");
            } else {
                tracing::info!(free, "there is space again: actions begin");
            }
        }
        match (was.1, now.reserve) {
            (true, false) => {
                tracing::error!("the reserved space is given up, for outcomes and revocations");
                fs::remove_file(&self.path)
            }
            (false, true) => make(&self.path),
            _ => Ok(()),
        }
    }

    fn is_there(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() >= RESERVE)
    }
}

/// Makes the file with all its blocks: space that is only promised may be gone when it is needed.
fn make(path: &Path) -> io::Result<()> {
    let file = File::options().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    let made = file.allocate(RESERVE).and_then(|()| file.sync_all());
    if made.is_err() {
        _ = fs::remove_file(path);
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginning_is_refused_before_the_reserve_is_given_up() {
        let is = |tight, reserve| Step { tight, reserve };
        assert_eq!(step(1 << 30, false, false, false), is(false, true));
        assert_eq!(step(TIGHT - 1, true, false, false), is(true, true));
        assert_eq!(step(FULL - 1, true, true, false), is(true, false));
        assert_eq!(step(1 << 30, true, false, true), is(true, false), "the store knows better");
        // It does not go to and fro: what the file took is not what there is again.
        assert_eq!(step(FULL + RESERVE, false, true, false), is(true, false));
        assert_eq!(step(ROOMY, false, true, false), is(true, false));
        assert_eq!(step(ROOMY + RESERVE, false, true, false), is(false, true));
        assert_eq!(step(TIGHT + 1, true, false, false), is(false, true));
        assert_eq!(step(TIGHT + 1, true, true, false), is(true, true));
    }

    #[test]
    fn the_file_is_made_given_up_and_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let (space, reserve) = (Space::default(), Reserve { path: directory.path().join("reserve") });
        reserve.look(&space, 1 << 30, false).unwrap();
        assert!(reserve.is_there() && !space.is_tight());
        let mode = fs::metadata(directory.path().join("reserve")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        reserve.look(&space, TIGHT - 1, false).unwrap();
        assert!(reserve.is_there() && space.is_tight());
        space.met_the_end();
        reserve.look(&space, 1 << 20, true).unwrap();
        assert!(!reserve.is_there() && space.is_tight());
        reserve.look(&space, 1 << 30, false).unwrap();
        assert!(reserve.is_there() && !space.is_tight());
    }
}
