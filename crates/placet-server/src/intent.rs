//! The judge of intent: a model behind an OpenAI-compatible endpoint, asked whether an action fits the purpose of its
//! task.
//!
//! What is asked and how an answer is read is in `placet_core::intent`; here is the asking: bounded in time, in bytes and
//! in how many at once, and given up for a while when it keeps failing.
//!
//! Invariant: only a readable yes is a yes. That a judge could not be asked is an opinion like any other that is none.

use crate::{
    clock::{self, Clock},
    gcra,
};
use placet_core::{
    id::AgentId,
    intent::{
        answer::{self, Answer, Says},
        breaker::Breaker,
        config::JudgeConfig,
        prompt::{About, Prompt},
    },
    secret::Secret,
    time::Timestamp,
};
use placet_gateway::{Asker, CertificateDer, FetchError, GatewayError};
use quick_cache::sync::Cache;
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, time::timeout};

/// A judge that can be asked.
pub struct Judge {
    asker: Asker,
    config: JudgeConfig,
    key: Option<Secret>,
    places: Semaphore,
    agents: Cache<AgentId, Arc<Share>>,
    breaker: Mutex<Breaker>,
    clock: Clock,
}

/// What one agent's actions have of the judge: so many of its places, and so many questions in a minute.
struct Share {
    places: Semaphore,
    paid: Mutex<Timestamp>,
}

/// Of so many agents it is known on this node what they have asked.
const AGENTS: usize = 16_384;

/// What came of asking.
#[derive(Debug, Clone, PartialEq)]
pub struct Opinion {
    /// The answer, or why there is none.
    pub said: Result<Answer, Failure>,
    /// The hash of the question ([`Prompt::hash`]); none where it was too long to be one.
    pub prompt: Option<[u8; 32]>,
    /// The model that was to answer.
    pub model: String,
    /// How long it took.
    pub took: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// This server has no judge.
    NotConfigured,
    /// The question is longer than the judge takes.
    TooLong,
    /// Too many questions are under way.
    Busy,
    /// The agent's actions have come to too many questions lately.
    TooMany,
    /// It has said no to actions of this task as often as it is asked about one.
    Exhausted,
    /// It kept failing, and is left alone for a while.
    Resting,
    /// It did not answer in time.
    TimedOut,
    /// It can't be reached, or the answer broke off.
    Unreachable,
    /// It answered with another status than 200.
    Status(u16),
    /// What it answered is no answer.
    Unreadable,
}

impl Failure {
    /// As it is recorded.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotConfigured => "not_configured",
            Self::TooLong => "too_long",
            Self::Busy => "busy",
            Self::TooMany => "too_many",
            Self::Exhausted => "exhausted",
            Self::Resting => "resting",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Status(_) => "status",
            Self::Unreadable => "unreadable",
        }
    }

    /// Whether it says something about the judge, and not about the question or about us: who writes a question can have a
    /// model ramble, refuse or trip a filter, and must not have everybody's judge left alone by that.
    const fn is_its_own(self) -> bool {
        matches!(
            self,
            Self::TimedOut | Self::Unreachable | Self::Status(401 | 403 | 404 | 408 | 429 | 500..=599)
        )
    }
}

impl Opinion {
    /// Whether the judge said yes.
    pub fn fits(&self) -> bool {
        matches!(&self.said, Ok(answer) if answer.says == Says::Fits)
    }

    /// Whether it was asked, and what came is its own doing or that of the question, and no yes: asked often enough in other
    /// words, a model says yes to anything.
    pub fn refuses(&self) -> bool {
        match &self.said {
            Ok(answer) => answer.says != Says::Fits,
            Err(Failure::Unreadable) => self.prompt.is_some(),
            Err(failure @ Failure::Status(_)) => !failure.is_its_own(),
            Err(_) => false,
        }
    }

    /// The same question, to which a yes doesn't count any more.
    #[must_use]
    pub fn exhausted(self) -> Self {
        Self { said: Err(Failure::Exhausted), ..self }
    }

    /// `fits`, `off_purpose`, `unsure`, or what failed.
    pub fn word(&self) -> &'static str {
        match &self.said {
            Ok(answer) => answer.says.as_str(),
            Err(failure) => failure.as_str(),
        }
    }

    /// As it is recorded. It is not for agents.
    pub fn recorded(&self) -> Value {
        let hash = self.prompt.map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        let (reason, status) = match &self.said {
            Ok(answer) => (Some(answer.reason.as_str()), None),
            Err(Failure::Status(status)) => (None, Some(*status)),
            Err(_) => (None, None),
        };
        let mut seen =
            json!({"check": "judge", "verdict": self.word(), "model": self.model, "prompt_sha256": hash});
        if let Value::Object(seen) = &mut seen {
            seen.extend(reason.map(|reason| ("reason".to_owned(), reason.into())));
            seen.extend(status.map(|status| ("status".to_owned(), status.into())));
        }
        seen
    }
}

impl Judge {
    /// The judge that a file describes; `key` is what stands where the file says.
    ///
    /// # Errors
    /// Where the system's certificate store can't be used.
    pub fn new(
        config: JudgeConfig,
        key: Option<Secret>,
        clock: Clock,
        extra_roots: &[CertificateDer<'static>],
    ) -> Result<Self, GatewayError> {
        Ok(Self {
            asker: Asker::new(extra_roots)?,
            places: Semaphore::new(config.concurrent),
            agents: Cache::new(AGENTS),
            breaker: Mutex::new(Breaker::new(config.failures, config.rest)),
            config,
            key,
            clock,
        })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.config.url
    }

    /// After how many times that it said no to actions of a task it is not asked about others of that task.
    pub fn task_refusals(&self) -> u64 {
        self.config.task_refusals
    }

    /// Asks about an action of this agent; without one it is the operator who asks, as often as they like. Takes no longer than
    /// the configuration says.
    pub async fn ask(&self, agent: Option<AgentId>, about: &About<'_>) -> Opinion {
        let began = Instant::now();
        let prompt = Prompt::new(about, clock::entropy(), self.config.question_bytes);
        let said = match &prompt {
            Ok(prompt) => self.answer(agent, prompt, began).await,
            Err(_) => Err(Failure::TooLong),
        };
        let hash = prompt.ok().map(|prompt| prompt.hash());
        Opinion { said, prompt: hash, model: self.config.model.clone(), took: began.elapsed() }
    }

    async fn answer(
        &self,
        agent: Option<AgentId>,
        prompt: &Prompt,
        began: Instant,
    ) -> Result<Answer, Failure> {
        let left = || self.config.timeout.saturating_sub(began.elapsed());
        if self.breaker().rests(self.now()) {
            return Err(Failure::Resting);
        }
        let share = agent.map(|agent| self.share(agent));
        // First one of its own places: an agent that has none left waits behind its own questions, and nobody else does.
        let _own = match &share {
            None => None,
            Some(share) if !self.may_ask(share) => return Err(Failure::TooMany),
            Some(share) => match timeout(left(), share.places.acquire()).await {
                Ok(Ok(own)) => Some(own),
                _ => return Err(Failure::Busy),
            },
        };
        let Ok(Ok(_place)) = timeout(left(), self.places.acquire()).await else { return Err(Failure::Busy) };
        if !self.breaker().lets_through(self.now()) {
            return Err(Failure::Resting);
        }
        let document = prompt.request(&self.config.model).to_string().into_bytes();
        let limit = self.config.answer_bytes;
        let sent = self.asker.post(&self.config.url, document, self.key.as_ref(), limit, left()).await;
        let said = match sent {
            Ok(body) => answer::parse(&body).map_err(|_| Failure::Unreadable),
            Err(FetchError::TimedOut) => Err(Failure::TimedOut),
            Err(FetchError::Status(status)) => Err(Failure::Status(status)),
            Err(FetchError::TooLarge(_) | FetchError::Compressed) => Err(Failure::Unreadable),
            Err(FetchError::Url | FetchError::NotSent(_) | FetchError::Broken) => Err(Failure::Unreachable),
        };
        let failed = said.as_ref().err().is_some_and(|failure| failure.is_its_own());
        self.breaker().heard(!failed, self.now());
        if let Err(failure) = &said {
            tracing::warn!(failure = failure.as_str(), "the judge of intent did not answer");
        }
        said
    }

    fn share(&self, agent: AgentId) -> Arc<Share> {
        let fresh = || Share {
            places: Semaphore::new(self.config.agent_concurrent),
            paid: Mutex::new(Timestamp::default()),
        };
        let share = self.agents.get_or_insert_with(&agent, || Ok::<_, Infallible>(Arc::new(fresh())));
        share.unwrap_or_else(|never| match never {})
    }

    fn may_ask(&self, share: &Share) -> bool {
        let each = Duration::from_secs(60) / self.config.agent_per_minute;
        let mut paid = share.paid.lock().unwrap_or_else(PoisonError::into_inner);
        gcra::take(&mut paid, self.now(), each, self.config.agent_per_minute).is_ok()
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Judge({})", self.config.url)
    }
}
