//! The pages of keys.

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use secrecy::ExposeSecret;
use serde::Deserialize;
use shared::{ids::ApiKeyId, snapshot::Scope};
use time::OffsetDateTime;

use super::{
    ApiKey, Filter, Issued, KeyError, Mode, NewApiKey, Overlap, Reach, SecretHint, Status, Terms,
    Which, commit, edit, end_overlap, revoke, rotate, snippet, terms,
};
use crate::{
    access::{Doors, Grant, Permission, may},
    snapshots,
    web::{
        Failure, Form, Frame, Moment, Nothing, Page, Problems, Search, Section, or_problems,
        see_other_saying,
    },
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/keys", list);
    doors.get("/orgs/{org}/keys/new", new);
    doors.post("/orgs/{org}/keys", create);
    doors.get("/orgs/{org}/keys/{key}", show);
    doors.post("/orgs/{org}/keys/{key}", change);
    doors.post("/orgs/{org}/keys/{key}/rotate", renew);
    doors.post("/orgs/{org}/keys/{key}/end-overlap", end_old);
    doors.post("/orgs/{org}/keys/{key}/revoke", close);
}

const PAGE: u8 = 50;

#[derive(Template)]
#[template(path = "keys/list.html")]
struct KeysPage {
    frame: Frame,
    keys: Vec<KeyLine>,
    status: String,
    project: String,
    statuses: Vec<(String, String)>,
    projects: Vec<(String, String)>,
    /// Back to the first page, where this is another.
    newer: Option<String>,
    /// Where the next page begins, as its address.
    older: Option<String>,
    is_filtered: bool,
    problems: Problems,
}

#[derive(Template)]
#[template(path = "keys/new.html")]
struct NewKeyPage {
    frame: Frame,
    form: KeyForm,
    projects: Vec<(String, String)>,
    scopes: Vec<ScopeChoice>,
    may_serve: bool,
    problems: Problems,
}

#[derive(Template)]
#[template(path = "keys/show.html")]
struct KeyPage {
    frame: Frame,
    key: KeyLine,
    secrets: Vec<SecretLine>,
    has_overlap: bool,
    created_by: String,
    revoked: Option<(Moment, String)>,
    form: KeyForm,
    scopes: Vec<ScopeChoice>,
    overlap_hours: String,
    may_change: bool,
    problems: Problems,
}

#[derive(Template)]
#[template(path = "keys/issued.html")]
struct IssuedPage {
    frame: Frame,
    id: ApiKeyId,
    name: String,
    /// The only time that anybody sees it.
    secret: String,
    snippet: String,
    /// For how long the secrets before this one go on working, where there were any.
    overlap_hours: Option<i32>,
}

/// A key as the pages show it.
struct KeyLine {
    id: ApiKeyId,
    name: String,
    hint: String,
    mode: Mode,
    project_name: String,
    owner: String,
    status: Status,
    why: &'static str,
    last_used: Option<Moment>,
    expires: Option<Moment>,
    created: Moment,
    is_idle: bool,
}

impl KeyLine {
    fn of(key: &ApiKey, zone: &str, now: OffsetDateTime) -> Self {
        let moment = |at: OffsetDateTime| Moment::new(at, zone);
        let is_open = matches!(key.status, Status::Active | Status::Expiring);
        let seen = key.last_used_at.unwrap_or(key.created_at);
        Self {
            id: key.id,
            name: key.terms.name.to_string(),
            hint: key.hint.clone(),
            mode: key.mode,
            project_name: key.project_name.clone(),
            owner: key.owner_email.clone().unwrap_or_else(|| "Service".to_owned()),
            status: key.status,
            why: match key.status {
                Status::Suspended => key.suspended_because.map_or("", |it| it.about()),
                Status::Active | Status::Expiring | Status::Expired | Status::Revoked => "",
            },
            last_used: key.last_used_at.map(moment),
            expires: key.terms.expires_at.map(moment),
            created: moment(key.created_at),
            is_idle: is_open && seen < now - time::Duration::days(90),
        }
    }

    fn badge(&self) -> &'static str {
        match self.status {
            Status::Active => "ok",
            Status::Expiring | Status::Suspended => "warn",
            Status::Expired | Status::Revoked => "",
        }
    }
}

struct SecretLine {
    hint: String,
    created: Moment,
    valid_until: Option<Moment>,
}

impl SecretLine {
    fn of(secret: SecretHint, zone: &str) -> Self {
        Self {
            hint: secret.hint,
            created: Moment::new(secret.created_at, zone),
            valid_until: secret.valid_until.map(|it| Moment::new(it, zone)),
        }
    }
}

struct ScopeChoice {
    name: &'static str,
    about: &'static str,
    is_chosen: bool,
}

fn scope_choices(chosen: &[String]) -> Vec<ScopeChoice> {
    let choice = |scope: Scope| ScopeChoice {
        name: scope.name(),
        about: path_of(scope),
        is_chosen: chosen.iter().any(|it| it == scope.name()),
    };
    Scope::ALL.into_iter().map(choice).collect()
}

const fn path_of(scope: Scope) -> &'static str {
    match scope {
        Scope::Chat => "/v1/chat/completions",
        Scope::Completions => "/v1/completions",
        Scope::Responses => "/v1/responses",
        Scope::Messages => "/v1/messages",
        Scope::Embeddings => "/v1/embeddings",
        Scope::Moderations => "/v1/moderations",
        Scope::Models => "/v1/models",
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    #[serde(default)]
    status: String,
    #[serde(default)]
    project: String,
    #[serde(default)]
    after: String,
}

impl Query {
    fn filter(&self) -> Result<Filter, Problems> {
        let mut problems = Problems::none();
        let which = problems.take("status", which(&self.status));
        let project = problems.take("project", optional(&self.project));
        let after = problems.take("after", optional(&self.after));
        let (Some(which), Some(project), Some(after)) = (which, project, after) else {
            return Err(problems);
        };
        Ok(Filter { which, project, after, most: PAGE })
    }

    /// The address of the page that begins after a key, or of the first one.
    fn page(&self, base: &str, after: Option<ApiKeyId>) -> String {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("status", &self.status)
            .append_pair("project", &self.project)
            .append_pair("after", &after.map(|it| it.to_string()).unwrap_or_default())
            .finish();
        format!("{base}?{query}")
    }
}

pub(super) fn which(text: &str) -> Result<Which, &'static str> {
    match text {
        "" => Ok(Which::Current),
        "all" => Ok(Which::All),
        name => Status::ALL
            .into_iter()
            .find(|it| it.name() == name)
            .map(Which::Only)
            .ok_or("choose one of the listed states"),
    }
}

pub(super) fn optional<T: std::str::FromStr>(text: &str) -> Result<Option<T>, T::Err> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

/// What is typed about a key, when making one and when changing one.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KeyForm {
    name: String,
    project: String,
    mode: String,
    owner: String,
    scopes: Vec<String>,
    /// There where the form showed the scopes, so that none chosen is not every one.
    scopes_shown: String,
    models: String,
    addresses: String,
    tags: String,
    requests_per_minute: String,
    tokens_per_minute: String,
    concurrent_requests: String,
    expiry: String,
    expires_on: String,
}

impl KeyForm {
    /// An empty form, with what is usual chosen.
    fn usual() -> Self {
        Self {
            mode: Mode::Live.name().to_owned(),
            owner: "me".to_owned(),
            scopes: Scope::ALL.map(|it| it.name().to_owned()).to_vec(),
            expiry: "90".to_owned(),
            ..Self::default()
        }
    }

    /// The form of a key that is there.
    fn of(terms: &Terms) -> Self {
        let lines = |items: Vec<String>| items.join("\n");
        let number = |it: Option<String>| it.unwrap_or_default();
        Self {
            name: terms.name.to_string(),
            scopes: terms.scopes.iter().map(|it| it.name().to_owned()).collect(),
            models: lines(terms.allowed_models.clone().unwrap_or_default()),
            addresses: lines(terms.allowed_addresses.iter().map(ToString::to_string).collect()),
            tags: lines(terms.tags.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            requests_per_minute: number(terms.requests_per_minute.map(|it| it.to_string())),
            tokens_per_minute: number(terms.tokens_per_minute.map(|it| it.to_string())),
            concurrent_requests: number(terms.concurrent_requests.map(|it| it.to_string())),
            expiry: "keep".to_owned(),
            ..Self::default()
        }
    }

    /// What was typed, checked. `kept` are the terms that the key has, where it is there.
    fn terms(&self, kept: Option<&Terms>, now: OffsetDateTime) -> Result<Terms, Problems> {
        let mut problems = Problems::none();
        let name = problems.take("name", self.name.parse());
        let scopes = match (kept, self.scopes_shown.as_str()) {
            (None, "") if self.scopes.is_empty() => Some(Scope::ALL.to_vec()),
            _ => problems.take("scopes", terms::scopes(self.scopes.iter().map(String::as_str))),
        };
        let allowed_models = match self.models.trim() {
            "" => Some(None),
            models => problems.take("models", terms::models(terms::words(models)).map(Some)),
        };
        let allowed_addresses =
            problems.take("addresses", terms::addresses(terms::words(&self.addresses)));
        let tags = problems.take("tags", terms::tag_lines(&self.tags));
        let requests =
            problems.take("requests_per_minute", terms::limit(&self.requests_per_minute));
        let tokens = problems.take("tokens_per_minute", terms::limit(&self.tokens_per_minute));
        let concurrent =
            problems.take("concurrent_requests", terms::limit(&self.concurrent_requests));
        let kept = kept.map(|it| it.expires_at);
        let expiry = terms::expiry(&self.expiry, &self.expires_on, kept, now);
        let field = if self.expiry == "date" { "expires_on" } else { "expiry" };
        let expires_at = problems.take(field, expiry);
        problems.check()?;
        let all = (|| {
            Some(Terms {
                name: name?,
                scopes: scopes?,
                allowed_models: allowed_models?,
                allowed_addresses: allowed_addresses?,
                tags: tags?,
                requests_per_minute: requests?,
                tokens_per_minute: tokens?,
                concurrent_requests: concurrent?,
                expires_at: expires_at?,
            })
        })();
        all.ok_or(problems)
    }

    fn new_key<P>(&self, grant: &Grant<P>, now: OffsetDateTime) -> Result<NewApiKey, KeyError> {
        let terms = self.terms(None, now);
        let mut problems = terms.as_ref().err().cloned().unwrap_or_default();
        let mode = match self.mode.as_str() {
            "" => Some(Mode::Live),
            mode => problems.take("mode", mode.parse()),
        };
        let owner = match self.owner.as_str() {
            "" | "me" => Some(Some(grant.actor.person().ok_or(KeyError::NobodysOwn)?)),
            "service" => Some(None),
            _ => problems.take("owner", Err("choose yourself or a service")),
        };
        let project = optional(&self.project).map_err(|_| KeyError::NoSuchProject);
        let project = problems.take("project", project);
        match (terms, mode, owner, project) {
            (Ok(terms), Some(mode), Some(owner), Some(project)) => {
                Ok(NewApiKey { project, mode, owner, terms })
            }
            _ => Err(problems.into()),
        }
    }

    /// What a key was made with cannot be changed afterwards.
    fn change(&self, kept: &Terms, now: OffsetDateTime) -> Result<Terms, Problems> {
        let mut problems = Problems::none();
        for (field, typed) in
            [("project", &self.project), ("mode", &self.mode), ("owner", &self.owner)]
        {
            if !typed.is_empty() {
                problems.add(field, "this cannot be changed: create another key");
            }
        }
        problems.check()?;
        self.terms(Some(kept), now)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateForm {
    #[serde(default)]
    overlap_hours: String,
}

async fn list(
    grant: Grant<may::ViewKeys>,
    query: Search<Query>,
) -> Result<Page<KeysPage>, Failure> {
    let filter = query.filter().map_err(KeyError::from)?;
    let mut work = grant.begin().await?;
    let listing = super::list(&mut work, &filter).await?;
    let projects = project_choices(&mut work).await?;
    let now = OffsetDateTime::now_utc();
    let states = [("", "All but revoked"), ("all", "All")];
    let states = states.map(|(value, label)| (value.to_owned(), label.to_owned()));
    let statuses = Status::ALL.map(|it| (it.name().to_owned(), it.title().to_owned()));
    let base = grant.path("/keys");
    Ok(Page(KeysPage {
        frame: grant.frame(Section::Keys),
        keys: listing.keys.iter().map(|it| KeyLine::of(it, grant.zone(), now)).collect(),
        newer: filter.after.map(|_| query.page(&base, None)),
        older: listing.next.map(|after| query.page(&base, Some(after))),
        problems: Problems::none(),
        is_filtered: filter.which != Which::Current || filter.project.is_some(),
        status: query.0.status,
        project: query.0.project,
        statuses: states.into_iter().chain(statuses).collect(),
        projects,
    }))
}

async fn new(grant: Grant<may::CreateKeys>) -> Result<Page<NewKeyPage>, Failure> {
    Ok(Page(new_page(&grant, KeyForm::usual(), Problems::none()).await?))
}

async fn create(
    grant: Grant<may::CreateKeys>,
    form: Form<KeyForm>,
) -> Result<HttpResponse, Failure> {
    let mut work = grant.begin().await?;
    let outcome = async {
        let new = form.new_key(&grant, OffsetDateTime::now_utc())?;
        let issued = super::create(&mut work, Reach::of(&grant), &new).await?;
        Ok::<_, KeyError>((issued, new.terms))
    }
    .await;
    match or_problems(outcome)? {
        Ok((issued, terms)) => {
            let page = issued_page(&grant, &mut work, issued, &terms, None).await?;
            commit(&grant, work).await?;
            Ok(Page(page).with(actix_web::http::StatusCode::OK))
        }
        Err(problems) => {
            drop(work);
            let mut form = form.0;
            if form.scopes_shown.is_empty() && form.scopes.is_empty() {
                form.scopes = KeyForm::usual().scopes;
            }
            Ok(Page(new_page(&grant, form, problems).await?).again())
        }
    }
}

async fn show(
    grant: Grant<may::ViewKeys>,
    path: Path<(String, String)>,
) -> Result<Page<KeyPage>, Failure> {
    let key = key_in(&path.1)?;
    Ok(Page(page(&grant, key, Typed::default(), Problems::none()).await?))
}

async fn change(
    grant: Grant<may::CreateKeys>,
    path: Path<(String, String)>,
    form: Form<KeyForm>,
) -> Result<HttpResponse, Failure> {
    let key = key_in(&path.1)?;
    let mut work = grant.begin().await?;
    let now = OffsetDateTime::now_utc();
    let outcome = edit(&mut work, Reach::of(&grant), key, |kept| form.change(kept, now)).await;
    match or_problems(outcome)? {
        Ok(()) => {
            commit(&grant, work).await?;
            Ok(back(&grant, key, "Key changed"))
        }
        Err(problems) => {
            drop(work);
            let typed = Typed { form: Some(form.0), overlap_hours: None };
            Ok(Page(page(&grant, key, typed, problems).await?).again())
        }
    }
}

async fn renew(
    grant: Grant<may::CreateKeys>,
    path: Path<(String, String)>,
    form: Form<RotateForm>,
) -> Result<HttpResponse, Failure> {
    let key = key_in(&path.1)?;
    let mut work = grant.begin().await?;
    let outcome = async {
        let overlap = form.overlap_hours.parse::<Overlap>();
        let overlap = overlap.map_err(|error| Problems::one("overlap_hours", error))?;
        let issued = rotate(&mut work, Reach::of(&grant), key, overlap).await?;
        Ok::<_, KeyError>((issued, overlap))
    }
    .await;
    match or_problems(outcome)? {
        Ok((issued, overlap)) => {
            let terms = super::find(&mut work, key).await?.terms;
            let hours = Some(overlap.hours());
            let page = issued_page(&grant, &mut work, issued, &terms, hours).await?;
            commit(&grant, work).await?;
            Ok(Page(page).with(actix_web::http::StatusCode::OK))
        }
        Err(problems) => {
            drop(work);
            let typed = Typed { form: None, overlap_hours: Some(form.0.overlap_hours) };
            Ok(Page(page(&grant, key, typed, problems).await?).again())
        }
    }
}

async fn end_old(
    grant: Grant<may::CreateKeys>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let key = key_in(&path.1)?;
    let mut work = grant.begin().await?;
    end_overlap(&mut work, Reach::of(&grant), key).await?;
    commit(&grant, work).await?;
    Ok(back(&grant, key, "Earlier secrets stopped"))
}

async fn close(
    grant: Grant<may::CreateKeys>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let key = key_in(&path.1)?;
    let mut work = grant.begin().await?;
    revoke(&mut work, Reach::of(&grant), key).await?;
    commit(&grant, work).await?;
    Ok(back(&grant, key, "Key revoked"))
}

/// What was typed into a form of the key's page that was refused.
#[derive(Default)]
struct Typed {
    form: Option<KeyForm>,
    overlap_hours: Option<String>,
}

async fn page<P>(
    grant: &Grant<P>,
    id: ApiKeyId,
    typed: Typed,
    problems: Problems,
) -> Result<KeyPage, Failure> {
    let mut work = grant.begin().await?;
    let key = super::find(&mut work, id).await?;
    let secrets = super::secrets(&mut work, id).await?;
    let zone = grant.zone();
    let form = typed.form.unwrap_or_else(|| KeyForm::of(&key.terms));
    let is_revoked = key.revoked_at.is_some();
    let by = key.revoked_by.clone().unwrap_or_else(|| "a service".to_owned());
    Ok(KeyPage {
        frame: grant.frame(Section::Keys),
        has_overlap: !is_revoked && secrets.iter().any(|it| it.valid_until.is_some()),
        secrets: secrets.into_iter().map(|it| SecretLine::of(it, zone)).collect(),
        created_by: key.created_by.clone().unwrap_or_else(|| "a service".to_owned()),
        revoked: key.revoked_at.map(|at| (Moment::new(at, zone), by)),
        scopes: scope_choices(&form.scopes),
        form,
        overlap_hours: typed.overlap_hours.unwrap_or_else(|| Overlap::USUAL.hours().to_string()),
        may_change: !is_revoked && Reach::of(grant).covers(key.owner),
        key: KeyLine::of(&key, zone, OffsetDateTime::now_utc()),
        problems,
    })
}

async fn new_page<P>(
    grant: &Grant<P>,
    form: KeyForm,
    problems: Problems,
) -> Result<NewKeyPage, Failure> {
    let mut work = grant.begin().await?;
    Ok(NewKeyPage {
        frame: grant.frame(Section::Keys),
        projects: project_choices(&mut work).await?,
        scopes: scope_choices(&form.scopes),
        may_serve: grant.may(Permission::ManageKeys),
        form,
        problems,
    })
}

async fn issued_page<P>(
    grant: &Grant<P>,
    work: &mut crate::access::Work,
    issued: Issued,
    terms: &Terms,
    overlap_hours: Option<i32>,
) -> Result<IssuedPage, Failure> {
    let allowed = terms.allowed_models.as_ref().and_then(|it| it.first().cloned());
    let model = match allowed {
        Some(model) => model,
        None => snapshots::first_model(work).await?.unwrap_or_else(|| "auto".to_owned()),
    };
    let frame = grant.frame(Section::Keys);
    let secret = issued.secret.expose_secret().to_owned();
    Ok(IssuedPage {
        id: issued.key,
        name: terms.name.to_string(),
        snippet: snippet(frame.data_url(), &secret, terms, &model),
        frame,
        secret,
        overlap_hours,
    })
}

async fn project_choices(
    work: &mut crate::access::Work,
) -> Result<Vec<(String, String)>, KeyError> {
    let projects = super::projects(work).await?;
    Ok(projects.into_iter().map(|it| (it.id.to_string(), it.name)).collect())
}

/// An id that is none of ours is a key that nobody has.
pub(super) fn key_in(text: &str) -> Result<ApiKeyId, KeyError> {
    text.parse().map_err(|_| KeyError::NotFound)
}

fn back<P>(grant: &Grant<P>, key: ApiKeyId, notice: &str) -> HttpResponse {
    see_other_saying(&grant.path(&format!("/keys/{key}")), notice)
}
