//! What the server needs is killed, silent, slow, full, torn or wrong, under load: everything that is answered is so,
//! nothing happens twice, no limit is passed, the record verifies, and service resumes by itself.

pub(crate) mod clock;
mod database;
mod disk;
mod torn;

use crate::crash::{Answered, work};
use placet_testkit::{Agent, Story};
use std::{
    sync::{
        RwLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Does something while agents act and ask for tokens, and answers what they were answered.
fn under_load(story: &Story, agents: &[(Agent, String)], mut what: impl FnMut(&Answered)) -> Answered {
    let (base, stop) = (RwLock::new(story.server.base().to_owned()), AtomicBool::new(false));
    let answered = Answered::default();
    thread::scope(|scope| {
        for (agent, customer) in agents.iter().chain(agents) {
            let (base, stop, answered) = (&base, &stop, &answered);
            scope.spawn(move || work(agent, customer, base, stop, answered));
        }
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| what(&answered)));
        stop.store(true, Ordering::SeqCst);
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
    });
    answered
}
