//! A person's proof: the password, and where they have an authenticator app a code of it, or a recovery code; or a passkey;
//! or the word of an identity provider, with a code beside it as beside a password, unless an administrator has declared
//! that the provider asks for two factors itself.
//!
//! It is looked at first and used up later, in the transaction of what it is for: there a code is used once, on all
//! nodes, and whatever was changed meanwhile makes the proof worthless.
//!
//! Invariant: an unknown name and a wrong password are refused in the same words after the same work, and a code is looked
//! at only after the password was right: nobody else can use one up, or the attempts that there are for it.

use super::{passkeys::Answered, passwords};
use crate::{
    app::App,
    caller::{SignedIn, Source},
    problem::Problem,
};
use placet_core::{
    id::{PasskeyId, ProviderId, UserId},
    refusal::Code,
    seal::{Aad, Sealed},
    secret::{KeyedHash, Secret},
    time::Timestamp,
    totp::{TotpSecret, Typed},
    user::{BeganWith, User},
};
use placet_store::{
    Tx, passkeys, providers,
    second_factors::{self, Totp},
    users,
};

/// What sealed secrets of authenticator apps are, for the vault.
pub(crate) const TOTP_KIND: &str = "totp";
/// The purpose under which recovery codes are hashed.
const RECOVERY: &str = "recovery_code";

/// A person who has shown who they are. Good for nothing but [`Proven::used`], and for that once.
pub(crate) struct Proven {
    /// Who.
    pub(super) user: User,
    pub(super) shown: Shown,
}

/// What they have shown.
pub(super) enum Shown {
    /// A password, by the hash that it fitted, and what was shown beside it.
    Password(String, Second),
    /// An answer of a passkey.
    Passkey {
        /// Which.
        id: PasskeyId,
        /// Its counter from now on.
        sign_count: u32,
        /// The challenge that it answers.
        challenge: Answered,
    },
    /// The word of an identity provider, and what was shown beside it.
    Provider(Elsewhere, Second),
}

/// Whom an identity provider has just spoken of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    /// The provider.
    pub(crate) provider: ProviderId,
    /// What it calls them.
    pub(crate) subject: String,
    /// Whether its word counts for two factors.
    pub(crate) two_factors: bool,
}

/// What was shown beside a password.
pub(super) enum Second {
    Nothing,
    Step { generation: u64, step: i64 },
    Recovery(KeyedHash),
}

/// A password that fits, and nothing more: of use only where a code follows.
#[derive(Clone)]
pub(crate) struct Known {
    user: User,
    password: String,
}

/// The proof of a person who is not signed in.
///
/// # Errors
/// `token_invalid`, in the same words for an unknown name and a wrong password; `second_factor_required` where a code is
/// missing, wrong or used; `too_many_requests`; `request_invalid` for a code where there is no app.
pub(crate) async fn of_name(
    app: &App,
    name: &str,
    password: String,
    code: Option<&str>,
    source: Source,
) -> Result<Proven, Problem> {
    let known = by_password(app, name, password, source).await?;
    with_code(app, known, code, source).await
}

/// The first half of a proof.
///
/// # Errors
/// As [`of_name`].
pub(crate) async fn by_password(
    app: &App,
    name: &str,
    password: String,
    source: Source,
) -> Result<Known, Problem> {
    app.rates.sign_in(name, source, app.clock.now())?;
    let asked = name.to_owned();
    let (user, stored) = app.store.read(move |q| users::by_name(q, &asked)).await?.unzip();
    let fits = passwords::fits(password, stored.clone()).await?;
    match user.zip(stored).filter(|_| fits) {
        Some((user, password)) => Ok(Known { user, password }),
        None => Err(Problem::of(Code::TokenInvalid, "name or password is wrong")),
    }
}

/// The first half of a proof that was shown a moment ago: `is_it` says whether the hash of the password is still the one
/// that fitted. An attempt counts for the name like one with the password, and for the address not once more.
///
/// # Errors
/// As [`of_name`].
pub(crate) async fn by_ticket(
    app: &App,
    name: &str,
    is_it: impl FnOnce(&str) -> bool,
    source: Source,
) -> Result<Known, Problem> {
    app.rates.ticket(name, source, app.clock.now())?;
    let asked = name.to_owned();
    let found = app.store.read(move |q| users::by_name(q, &asked)).await?;
    let found = found.filter(|(_, stored)| is_it(stored));
    let over = || Problem::of(Code::TokenInvalid, "this took too long: sign in again");
    found.map(|(user, password)| Known { user, password }).ok_or_else(over)
}

/// The proof of a person who is signed in and shows once more who they are.
///
/// # Errors
/// As [`of_name`], but `not_permitted` for a wrong password: the session is as good as before.
pub(crate) async fn again(
    app: &App,
    person: &SignedIn,
    password: String,
    code: Option<&str>,
    source: Source,
) -> Result<Proven, Problem> {
    let wrong = || Problem::of(Code::NotPermitted, "the password is wrong");
    let known =
        by_password(app, &person.user.name, password, source).await.map_err(|problem| {
            match problem.code() {
                Code::TokenInvalid => wrong(),
                _ => problem,
            }
        })?;
    if known.user.id != person.user.id {
        return Err(wrong());
    }
    with_code(app, known, code, source).await
}

/// The second half of a proof.
///
/// # Errors
/// As [`of_name`].
pub(crate) async fn with_code(
    app: &App,
    known: Known,
    code: Option<&str>,
    source: Source,
) -> Result<Proven, Problem> {
    let Known { user, password } = known;
    let second = beside(app, &user, code, source).await?;
    Ok(Proven { user, shown: Shown::Password(password, second) })
}

/// The proof of a person of whom an identity provider has just spoken.
///
/// # Errors
/// `not_permitted` where that is nobody here; `second_factor_required`, `too_many_requests` and `request_invalid` as
/// [`of_name`].
pub(crate) async fn of_elsewhere(
    app: &App,
    elsewhere: Elsewhere,
    code: Option<&str>,
    source: Source,
) -> Result<Proven, Problem> {
    let (provider, subject) = (elsewhere.provider, elsewhere.subject.clone());
    let user = app
        .store
        .read(move |q| match providers::user(q, provider, &subject)? {
            Some(user) => users::find(q, user),
            None => Ok(None),
        })
        .await?;
    let user = user.ok_or_else(|| Problem::of(Code::NotPermitted, "that is nobody here"))?;
    let second = if elsewhere.two_factors {
        Second::Nothing
    } else {
        if code.is_some() {
            app.rates.ticket(&user.name, source, app.clock.now())?;
        }
        beside(app, &user, code, source).await?
    };
    Ok(Proven { user, shown: Shown::Provider(elsewhere, second) })
}

/// What is shown beside a first factor: a code, where the person has an app.
async fn beside(app: &App, user: &User, code: Option<&str>, source: Source) -> Result<Second, Problem> {
    let id = user.id;
    let totp = app.store.read(move |q| second_factors::totp(q, id)).await?;
    let code = code.map(str::trim).filter(|code| !code.is_empty());
    match (totp.filter(|totp| totp.confirmed.is_some()), code) {
        (None, None) => Ok(Second::Nothing),
        (None, Some(_)) => Err(Problem::of(
            Code::RequestInvalid,
            "no authenticator app is set up for this user: leave `totp` out",
        )),
        (Some(_), None) => Err(required("a code of the authenticator app is needed as well")),
        (Some(totp), Some(code)) => second(app, user, &totp, code, source).await,
    }
}

impl Known {
    /// The hash of the password that fitted: what a ticket is bound to.
    pub(crate) fn password(&self) -> &str {
        &self.password
    }
}

impl Proven {
    /// With what a session would begin.
    pub(super) fn began_with(&self) -> BeganWith {
        match &self.shown {
            Shown::Password(_, Second::Nothing) => BeganWith::Password,
            Shown::Password(_, Second::Step { .. }) => BeganWith::PasswordAndTotp,
            Shown::Password(_, Second::Recovery(_)) => BeganWith::PasswordAndRecoveryCode,
            Shown::Passkey { .. } => BeganWith::Passkey,
            Shown::Provider(_, Second::Nothing) => BeganWith::Provider,
            Shown::Provider(_, Second::Step { .. }) => BeganWith::ProviderAndTotp,
            Shown::Provider(_, Second::Recovery(_)) => BeganWith::ProviderAndRecoveryCode,
        }
    }

    /// The identity provider on whose word it rests, if any.
    pub(crate) fn provider(&self) -> Option<ProviderId> {
        match &self.shown {
            Shown::Provider(elsewhere, _) => Some(elsewhere.provider),
            Shown::Password(..) | Shown::Passkey { .. } => None,
        }
    }

    /// Does what the proof is for, `f`, in the transaction that uses it up; after that the attempts that were counted are
    /// forgotten.
    ///
    /// # Errors
    /// `token_invalid` where the password was changed meanwhile, the passkey is gone or its challenge was used, the provider
    /// was removed or means somebody else by now;
    /// `second_factor_required` where the code was used meanwhile, or one is asked for since a moment ago; what `f` answers.
    pub(super) async fn used<T, F>(
        self,
        app: &App,
        source: Source,
        now: Timestamp,
        mut f: F,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T, Problem> + Send + 'static,
    {
        let (name, began_with) = (self.user.name.clone(), self.began_with());
        let done = app
            .store
            .write(move |tx| {
                self.take(tx, now)?;
                f(tx)
            })
            .await?;
        app.rates.signed_in(&name, source, began_with);
        Ok(done)
    }

    /// Uses the proof up, in the transaction of what it is for.
    fn take(&self, tx: &mut Tx<'_>, now: Timestamp) -> Result<(), Problem> {
        match &self.shown {
            Shown::Password(password, second) => self.take_password(tx, password, second, now),
            Shown::Passkey { id, sign_count, challenge } => {
                if challenge.spend(tx)? && passkeys::note_use(tx, *id, *sign_count, now)? {
                    return Ok(());
                }
                Err(super::passkeys::too_late())
            }
            Shown::Provider(elsewhere, second) => self.take_elsewhere(tx, elsewhere, second, now),
        }
    }

    fn take_elsewhere(
        &self,
        tx: &mut Tx<'_>,
        elsewhere: &Elsewhere,
        second: &Second,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let id = elsewhere.provider;
        let means = providers::user(tx, id, &elsewhere.subject)?;
        if !providers::lives(tx, id)? || means != Some(self.user.id) {
            return Err(Problem::of(Code::TokenInvalid, "signing in this way was ended a moment ago"));
        }
        if elsewhere.two_factors { Ok(()) } else { self.take_second(tx, second, now) }
    }

    fn take_password(
        &self,
        tx: &mut Tx<'_>,
        fitted: &str,
        second: &Second,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let id = self.user.id;
        let stored = users::by_name(tx, &self.user.name)?;
        if stored.is_none_or(|(user, password)| user.id != id || password != fitted) {
            return Err(Problem::of(Code::TokenInvalid, "the password was changed a moment ago"));
        }
        self.take_second(tx, second, now)
    }

    fn take_second(&self, tx: &mut Tx<'_>, second: &Second, now: Timestamp) -> Result<(), Problem> {
        let id = self.user.id;
        let taken = match second {
            Second::Nothing => second_factors::totp(tx, id)?.is_none_or(|totp| totp.confirmed.is_none()),
            Second::Step { generation, step } => second_factors::use_step(tx, id, *generation, *step)?,
            Second::Recovery(hash) => second_factors::use_recovery_code(tx, id, *hash, now)?,
        };
        if taken { Ok(()) } else { Err(wrong_code()) }
    }
}

/// Looks at what was typed, and uses nothing up.
async fn second(app: &App, user: &User, totp: &Totp, code: &str, source: Source) -> Result<Second, Problem> {
    match Typed::read(code) {
        Typed::Code(code) => {
            let now = app.clock.now();
            app.rates.one_time(&user.name, source, now)?;
            let step = opened(app, user.id, totp)?.step_of(&code, now, totp.last_step);
            let step = step.ok_or_else(wrong_code)?;
            Ok(Second::Step { generation: totp.generation, step })
        }
        // Of 80 random bits: nobody guesses one.
        Typed::Recovery(text) => {
            let (id, hash) = (user.id, recovery_hash(app, user.id, &text));
            let has = app.store.read(move |q| second_factors::has_recovery_code(q, id, hash)).await?;
            if has { Ok(Second::Recovery(hash)) } else { Err(wrong_code()) }
        }
        Typed::Neither => Err(wrong_code()),
    }
}

/// The secret of a person's authenticator app.
///
/// # Errors
/// `unavailable` where the vault can't open it.
pub(super) fn opened(app: &App, user: UserId, totp: &Totp) -> Result<TotpSecret, Problem> {
    let row = user.to_string();
    let aad = Aad { kind: TOTP_KIND, row: &row, version: totp.generation };
    let opened = Sealed::from_bytes(&totp.sealed).and_then(|sealed| app.secrets.vault.open(&aad, &sealed));
    let opened = opened
        .inspect_err(
            |error| tracing::error!(%user, %error, "the secret of an authenticator app can't be opened"),
        )
        .ok();
    let unreadable = || Problem::of(Code::Unavailable, "the code can't be checked; the log has the cause");
    opened.and_then(TotpSecret::from_opened).ok_or_else(unreadable)
}

/// The hash of a recovery code in its one form.
pub(super) fn recovery_hash(app: &App, user: UserId, code: &Secret) -> KeyedHash {
    let mut bytes = user.as_u128().to_be_bytes().to_vec();
    bytes.extend_from_slice(code.expose());
    let bytes = Secret::new(bytes);
    app.secrets.hashing.hash(RECOVERY, bytes.expose())
}

fn wrong_code() -> Problem {
    required("the code is wrong, or was used: wait for the next one")
}

fn required(detail: &str) -> Problem {
    Problem::of(Code::SecondFactorRequired, detail)
}
