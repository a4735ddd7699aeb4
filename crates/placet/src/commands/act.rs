//! `placet act` and `placet decide`: an action as an agent takes it, and the question alone.

use super::{Members, object};
use crate::{
    certificate::CertificateFile,
    cli::Context,
    client::{Answer, Body},
    exit::{Exit, Failure},
    holder::KeyFile,
    output::note,
};
use clap::Args;
use reqwest::Method;
use serde_json::Value;

const ACT: &str = "\
The agent's token is read from PLACET_TOKEN. Exit code 0 where the action was executed, 1 where it was denied or held.

Examples:
  placet act orders.read --service shop --params '{\"customer_id\": \"42\", \"order_id\": \"1\"}'
  placet act refunds.create --params '{\"order_id\": \"1\", \"amount\": 150}' --wait 55";

const DECIDE: &str = "\
With an agent's token it is advice; an administrator asks dry runs. Exit code 0 where the decision is allow.

Example:
  placet decide refunds.create --resource order://customer:42/1 --params '{\"amount\": 50}' \\
      --dry-run --agent support-bot";

/// Take an action.
#[derive(Debug, Args)]
#[command(after_help = ACT)]
pub(crate) struct Act {
    /// The action's name
    action: String,
    /// The service that has it
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Its parameters, a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    params: String,
    /// The connection, where several could be meant
    #[arg(long, value_name = "NAME")]
    connection: Option<String>,
    /// Makes a repetition of the same request safe
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// The approval that the request was held for
    #[arg(long, value_name = "APR")]
    approval: Option<String>,
    /// Where it is held, wait so many seconds for the answer (at most 60)
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    #[command(flatten)]
    key: KeyFile,
    #[command(flatten)]
    certificate: CertificateFile,
}

/// Ask for a decision.
#[derive(Debug, Args)]
#[command(after_help = DECIDE)]
pub(crate) struct Decide {
    /// The action's name
    action: String,
    /// What it would act on, a URI; from the parameters where the service says how
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
    /// The service that has it
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Its parameters, a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    params: String,
    /// Charge nothing (an administrator's questions are always dry runs)
    #[arg(long)]
    dry_run: bool,
    /// As this agent (handle or id), for administrators
    #[arg(long)]
    agent: Option<String>,
    /// Within this task (id or label), for administrators
    #[arg(long)]
    task: Option<String>,
    /// On behalf of the user with this id, for administrators
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    #[command(flatten)]
    key: KeyFile,
    #[command(flatten)]
    certificate: CertificateFile,
}

impl Act {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let body = Members::default()
            .set("action", self.action)
            .maybe("service", self.service)
            .set("params", object("--params", &self.params)?)
            .maybe("connection", self.connection)
            .done();
        let key = self.idempotency_key.as_deref().map(|key| ("idempotency-key", key));
        let approval = self.approval.as_deref().map(|approval| ("placet-approval", approval));
        let prefer = self.wait.map(|seconds| format!("wait={seconds}"));
        let prefer = prefer.as_deref().map(|prefer| ("prefer", prefer));
        let headers: Vec<(&str, &str)> = key.into_iter().chain(approval).chain(prefer).collect();
        let client = self.certificate.shown_by(context, context.agent()?)?.holding(self.key.open()?);
        let answer = client.send(Method::POST, "/v1/actions", &headers, Body::Json(&body)).await?;
        Ok(shown(context, &answer, "status", "executed"))
    }
}

impl Decide {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let user = self.user.map(|id| Members::default().set("id", id).done());
        let body = Members::default()
            .set("action", self.action)
            .maybe("resource", self.resource)
            .maybe("service", self.service)
            .set("params", object("--params", &self.params)?)
            .maybe("dry_run", self.dry_run.then_some(true))
            .maybe("agent", self.agent)
            .maybe("task", self.task)
            .maybe("user", user)
            .done();
        let client = self.certificate.shown_by(context, context.client()?)?.holding(self.key.open()?);
        let answer = client.send(Method::POST, "/v1/decisions", &[], Body::Json(&body)).await?;
        Ok(shown(context, &answer, "decision", "allow"))
    }
}

/// Prints the answer, whatever it is: a denial is an answer too. Done where `member` is `wanted`.
fn shown(context: &Context, answer: &Answer, member: &str, wanted: &str) -> Exit {
    if answer.body.is_string() {
        note(&answer.refusal());
        return Exit::Negative;
    }
    context.out.document(&answer.body);
    if answer.body.get(member).and_then(Value::as_str) == Some(wanted) {
        return Exit::Done;
    }
    if !answer.is_success() {
        note(&answer.refusal());
    }
    Exit::Negative
}
