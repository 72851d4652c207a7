//! `GET /v1/models` and `GET /v1beta/models`: which models a key's group can be asked for.
//!
//! An account that names its models serves those; one that names none serves what its upstream
//! lists. Upstreams that cannot list are taken to have what everybody knows of.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::Bytes;
use hyper::http::request::Parts;
use hyper::{Method, Response};
use sluice_engine::roster::Platform;
use sluice_engine::{GroupId, Verdict};
use sluice_storage::Watch;

use super::aside::{self, Wanted};
use super::platform::reached;
use super::{owner, refuse, whole};
use crate::auth::KeyOwner;
use crate::directory::model_id;
use crate::gateway::Worker;
use crate::net::Net;
use crate::protocol::Protocol;
use crate::protocol::error::ApiError;
use crate::protocol::models::{self, Model};
use crate::telemetry::AccessLog;
use crate::upstream::bridge::Bridge;
use crate::upstream::outgoing::Outgoing;
use crate::upstream::target::Operation;
use crate::wire::Answer;

/// The most bytes of an upstream's list that are read.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What every client of the Messages protocol sends,
const ANTHROPIC_VERSION: &str = "anthropic-version";
/// and what those of the Gemini protocol do, some versions of which leave out the `beta` of its path.
const GOOG: [&str; 2] = ["x-goog-api-key", "x-goog-api-client"];
/// No model has it: it stands for those that nobody names.
const UNNAMED: &str = "";

/// What is asked for.
pub(crate) struct Asked {
    /// One model, or all of them.
    pub(crate) one: Option<String>,
    /// The path names whose accounts are meant.
    pub(crate) forced: bool,
    /// The list of the Gemini protocol. The other path is that of two protocols.
    pub(crate) gemini: bool,
}

/// Answers a request.
pub(crate) async fn answer<N: Net, S: Watch>(
    worker: &Rc<Worker<N, S>>,
    head: &Parts,
    asked: &Asked,
    log: &AccessLog,
) -> Response<Answer> {
    let KeyOwner { user, group } = match owner(worker, head, log) {
        Ok(owner) => owner,
        Err(error) => return refuse(protocol_of(worker, head, asked, None), &error, log),
    };
    let protocol = protocol_of(worker, head, asked, Some(group));
    let models = Models { worker, head, protocol, forced: asked.forced, group };
    let told = async {
        let full = || ApiError::of(Verdict::UserLineFull, None).expect("it was not served");
        aside::may_ask(worker, user)?;
        let _place = worker.places.take(user).ok_or_else(full)?;
        models.told(asked.one.as_deref()).await
    };
    match aside::unless_closing(worker, told).await {
        Ok(json) => whole(json, log),
        Err(error) => refuse(protocol, &error, log),
    }
}

/// Whose shape the client reads: the path says it, or a header that clients of one protocol send, or
/// else what the key's group is for.
fn protocol_of<N: Net, S: Watch>(
    worker: &Worker<N, S>,
    head: &Parts,
    asked: &Asked,
    group: Option<GroupId>,
) -> Protocol {
    let openai = |group| worker.driver.directory().serves(group, Protocol::OpenAi.platform());
    let goog = GOOG.iter().any(|name| head.headers.contains_key(*name));
    match group {
        _ if asked.gemini || goog => Protocol::Gemini,
        _ if asked.forced || head.headers.contains_key(ANTHROPIC_VERSION) => Protocol::Anthropic,
        Some(group) if openai(group) => Protocol::OpenAi,
        Some(_) | None => Protocol::Anthropic,
    }
}

/// The models that a group's accounts serve.
struct Listed {
    models: Vec<Model>,
    /// There may be others.
    open: bool,
}

struct Models<'a, N: Net, S: Watch> {
    worker: &'a Rc<Worker<N, S>>,
    head: &'a Parts,
    protocol: Protocol,
    /// Its path names whose accounts are meant.
    forced: bool,
    group: GroupId,
}

impl<N: Net, S: Watch> Models<'_, N, S> {
    /// The whole list, or one of it.
    async fn told(&self, one: Option<&str>) -> Result<String, ApiError> {
        let Listed { models, open } = self.list().await?;
        let Some(wanted) = one else { return Ok(models::list(self.protocol, &models)) };
        let found = models.iter().find(|model| model.id == wanted).map(Cow::Borrowed);
        let found = found.or_else(|| open.then(|| Cow::Owned(Model::named(wanted))));
        let missing = || ApiError {
            message: Cow::Owned(format!("model: {wanted}")),
            ..ApiError::new(404, "not_found_error", "")
        };
        found.map(|model| model.entry(self.protocol)).ok_or_else(missing)
    }

    async fn list(&self) -> Result<Listed, ApiError> {
        let directory = self.worker.driver.directory();
        let platforms = reached(&directory, self.group, self.protocol, self.forced)?;
        let mut listed = Listed { models: Vec::new(), open: false };
        for platform in platforms {
            let unnamed = directory.roster.pool(self.group, platform, model_id(UNNAMED));
            if unnamed.is_some() {
                let live = self.live(platform).await?;
                listed.models.extend(live.models);
                listed.open |= live.open;
            }
            for name in directory.named_models(self.group, platform) {
                if !listed.models.iter().any(|model| model.id == name) {
                    listed.models.push(Model::named(name));
                }
            }
            if unnamed.is_some() {
                // It serves whatever is asked for; nobody else is.
                break;
            }
        }
        Ok(listed)
    }

    /// What an account lists that serves all that its upstream has.
    async fn live(&self, platform: Platform) -> Result<Listed, ApiError> {
        let group = self.group;
        let model = model_id(UNNAMED);
        if !self.lists(platform) {
            return Ok(Self::known(self.protocol));
        }
        let wanted = Wanted { group, platform, model, session: None, excluded: Vec::new() };
        let mut last = None;
        for id in aside::look(self.worker, wanted).await? {
            let account = self.worker.driver.directory().accounts.get(&id).cloned();
            let Some(account) = account else { continue };
            let Some(path) = account.target.path(UNNAMED, Operation::Models) else { continue };
            let request = Outgoing {
                method: Method::GET,
                protocol: account.protocol,
                client: &self.head.headers,
                path,
                body: Bytes::new(),
            };
            let fetched = aside::fetch(self.worker, id, &account, &request, ANSWER_BYTES_MAX).await;
            let (outcome, refusal) = match fetched {
                Err(outcome) => (outcome, None),
                Ok(fetched) if fetched.head.status().is_success() => {
                    let Some(models) = Model::list_of(&fetched.body) else {
                        return Ok(Self::known(account.protocol));
                    };
                    return Ok(self.readable(models, account.protocol));
                }
                // It serves, and does not list.
                Ok(fetched) if matches!(fetched.head.status().as_u16(), 401..=405 | 501) => {
                    return Ok(Self::known(account.protocol));
                }
                Ok(fetched) => fetched.failure(self.worker, Bridge::None),
            };
            last = Some(aside::told(id, outcome, refusal));
        }
        last.map_or_else(|| Ok(Self::known(self.protocol)), Err)
    }

    /// Whether any account that names no models has a list of them.
    fn lists(&self, platform: Platform) -> bool {
        let directory = self.worker.driver.directory();
        let pool = directory.roster.pool(self.group, platform, model_id(UNNAMED));
        let mut members = pool.into_iter().flat_map(|pool| &pool.members);
        members.any(|id| {
            let account = directory.accounts.get(id);
            account.is_some_and(|a| a.target.path(UNNAMED, Operation::Models).is_some())
        })
    }

    /// An upstream's list, of which only names are kept if the client reads other entries.
    fn readable(&self, models: Vec<Model>, protocol: Protocol) -> Listed {
        let named = |model: Model| {
            if protocol == self.protocol { model } else { Model::named(model.id) }
        };
        Listed { models: models.into_iter().map(named).collect(), open: false }
    }

    fn known(protocol: Protocol) -> Listed {
        let models = models::known(protocol).iter().copied().map(Model::named).collect();
        Listed { models, open: true }
    }
}
