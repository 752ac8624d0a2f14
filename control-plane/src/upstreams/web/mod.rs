//! The pages of providers.

mod credentials;
mod models;
mod prices;

use std::collections::HashMap;

use actix_web::{HttpResponse, web::Path};
use askama::Template;
pub(super) use credentials::credential_in;
use serde::Deserialize;
use shared::{
    event::Pulse,
    ids::UpstreamId,
    snapshot::Assurances,
    vendors::{self, Vendor},
};

use super::{
    Connection, Credential, DisabledBy, Draft, NewCredential, OfferedModel, TypedTimeouts,
    Upstream, UpstreamError, archive, commit, known_models, pulses, restore, set_enabled, words,
};
use crate::{
    access::{Doors, Grant, Permission, may},
    fleet::{self, LeftAlone},
    web::{
        After, Failure, Form, Frame, Moment, Nothing, Page, Pager, Problems, Search, Section, Span,
        or_problems, see_other_saying,
    },
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/providers", list);
    doors.get("/orgs/{org}/providers/new", new);
    doors.post("/orgs/{org}/providers", create);
    doors.get("/orgs/{org}/providers/{provider}", show);
    doors.get("/orgs/{org}/providers/{provider}/edit", edit);
    doors.post("/orgs/{org}/providers/{provider}", change);
    doors.post("/orgs/{org}/providers/{provider}/enable", enable);
    doors.post("/orgs/{org}/providers/{provider}/disable", disable);
    doors.post("/orgs/{org}/providers/{provider}/archive", put_away);
    doors.post("/orgs/{org}/providers/{provider}/restore", bring_back);
    credentials::doors(doors);
    models::doors(doors);
    prices::doors(doors);
}

#[derive(Template)]
#[template(path = "upstreams/list.html")]
struct UpstreamsPage {
    frame: Frame,
    ours: Vec<Line>,
    platforms: Vec<Line>,
}

#[derive(Template)]
#[template(path = "upstreams/vendors.html")]
struct VendorsPage {
    frame: Frame,
    vendors: &'static [Vendor],
}

#[derive(Template)]
#[template(path = "upstreams/new.html")]
struct NewUpstreamPage {
    frame: Frame,
    vendor: &'static Vendor,
    form: UpstreamForm,
    models: Vec<ModelChoice>,
    problems: Problems,
}

#[derive(Template)]
#[template(path = "upstreams/show.html")]
struct UpstreamPage {
    frame: Frame,
    line: Line,
    dialect: &'static str,
    credentials: Vec<CredentialLine>,
    models: Vec<ModelLine>,
    pager: Pager,
    /// What the catalogue knows of the vendor's models beside those.
    missing: Vec<String>,
    /// Whether it is the reader's to change,
    may_change: bool,
    /// and to enable and disable: for their organization, where it is the platform's.
    may_switch: bool,
    form: credentials::CredentialForm,
    problems: Problems,
}

#[derive(Template)]
#[template(path = "upstreams/edit.html")]
struct EditUpstreamPage {
    frame: Frame,
    upstream: Upstream,
    form: UpstreamForm,
    problems: Problems,
}

/// An upstream as the pages show it.
struct Line {
    upstream: Upstream,
    badge: &'static str,
    state: &'static str,
    tested: Option<Moment>,
}

impl Line {
    fn of(upstream: Upstream, zone: &str) -> Self {
        let (badge, state) = state(&upstream);
        let tested = upstream.last_tested_at.map(|it| Moment::new(it, zone));
        Self { upstream, badge, state, tested }
    }
}

/// What there is to know about an upstream first: why it serves nothing, where that is so.
fn state(upstream: &Upstream) -> (&'static str, &'static str) {
    match upstream.last_result {
        _ if upstream.is_archived() => ("", "Archived"),
        _ if upstream.disabled_by == Some(DisabledBy::Platform) => ("", "Not served"),
        _ if !upstream.enabled => ("", "Disabled"),
        _ if upstream.is_platforms => ("ok", "Active"),
        _ if upstream.credentials == 0 => ("warn", "No credential"),
        _ if upstream.models == 0 => ("warn", "No models"),
        Some(result) => (badge_of(result), result.title()),
        None => ("", "Not tested"),
    }
}

const fn badge_of(result: Connection) -> &'static str {
    match result {
        Connection::Ok => "ok",
        Connection::KeyRefused | Connection::Unreachable => "bad",
    }
}

struct CredentialLine {
    credential: Credential,
    badge: &'static str,
    state: &'static str,
    tested: Option<Moment>,
    created: Moment,
    /// Where proxies leave it alone at present.
    left_alone: Option<LeftAlone>,
}

impl CredentialLine {
    fn of(credential: Credential, left_alone: Option<LeftAlone>, zone: &str) -> Self {
        let (badge, state) = match credential.last_result {
            _ if !credential.enabled => ("", "Disabled"),
            Some(result) => (badge_of(result), result.title()),
            None => ("", "Not tested"),
        };
        Self {
            badge,
            state,
            tested: credential.last_tested_at.map(|it| Moment::new(it, zone)),
            created: Moment::new(credential.created_at, zone),
            left_alone,
            credential,
        }
    }

    fn hint(&self) -> String {
        match self.credential.hint.as_str() {
            "" => "hidden".to_owned(),
            hint => format!("…{hint}"),
        }
    }
}

/// A model as the pages show it.
struct ModelLine {
    offered: OfferedModel,
    capabilities: String,
    /// How it does, in words, as far as it was asked of late.
    lately: String,
}

impl ModelLine {
    fn of(offered: OfferedModel, pulse: Option<Pulse>) -> Self {
        let titles: Vec<_> = offered
            .model
            .capabilities
            .iter()
            .map(|it| words::title_of(&words::CAPABILITIES, it))
            .collect();
        let lately = pulse.map(|it| pulses::in_words(&it)).unwrap_or_default();
        Self { capabilities: titles.join(", "), lately, offered }
    }

    /// As the page that changes it is asked for.
    fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("name", &self.offered.model.name).finish()
    }
}

struct ModelChoice {
    name: String,
    is_chosen: bool,
}

/// What is typed about an upstream, when adding one and when changing one.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UpstreamForm {
    vendor: String,
    name: String,
    base_url: String,
    region: String,
    first_byte_seconds: String,
    idle_seconds: String,
    total_seconds: String,
    zero_retention: bool,
    no_training: bool,
    secret: String,
    models: Vec<String>,
}

impl UpstreamForm {
    fn of(upstream: &Upstream) -> Self {
        let Draft { vendor, name, base_url, region, timeouts, assurances, .. } =
            Draft::of(upstream);
        Self {
            vendor,
            name,
            base_url,
            region,
            first_byte_seconds: timeouts.first_byte,
            idle_seconds: timeouts.idle,
            total_seconds: timeouts.total,
            zero_retention: assurances.zero_retention,
            no_training: assurances.no_training,
            ..Self::default()
        }
    }

    /// With what is known of a vendor filled in.
    fn preset(vendor: &Vendor) -> Self {
        Self {
            vendor: vendor.slug.to_owned(),
            name: vendor.name.to_owned(),
            base_url: vendor.base_url.unwrap_or_default().to_owned(),
            models: known_models(vendor.slug).into_iter().map(|it| it.name).collect(),
            ..Self::default()
        }
    }

    fn draft(&self) -> Draft {
        Draft {
            vendor: self.vendor.clone(),
            name: self.name.clone(),
            dialect: None,
            base_url: self.base_url.clone(),
            region: self.region.clone(),
            timeouts: TypedTimeouts {
                first_byte: self.first_byte_seconds.clone(),
                idle: self.idle_seconds.clone(),
                total: self.total_seconds.clone(),
            },
            assurances: Assurances {
                zero_retention: self.zero_retention,
                no_training: self.no_training,
            },
        }
    }

    fn choices(&self) -> Vec<ModelChoice> {
        let choice = |name: String| ModelChoice { is_chosen: self.models.contains(&name), name };
        known_models(&self.vendor).into_iter().map(|it| choice(it.name)).collect()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VendorQuery {
    #[serde(default)]
    vendor: String,
}

async fn list(grant: Grant<may::ViewCatalogue>) -> Result<Page<UpstreamsPage>, Failure> {
    let mut work = grant.begin().await?;
    let all = super::list(&mut work).await?;
    let lines = all.into_iter().map(|it| Line::of(it, grant.zone()));
    let (platforms, ours) = lines.partition(|it| it.upstream.is_platforms);
    Ok(Page(UpstreamsPage { frame: grant.frame(Section::Providers), ours, platforms }))
}

async fn new(
    grant: Grant<may::ManageProviders>,
    query: Search<VendorQuery>,
) -> Result<HttpResponse, Failure> {
    let frame = grant.frame(Section::Providers);
    Ok(match vendors::find(&query.vendor) {
        Some(vendor) => {
            let form = UpstreamForm::preset(vendor);
            let models = form.choices();
            Page(NewUpstreamPage { frame, vendor, form, models, problems: Problems::none() })
                .with(actix_web::http::StatusCode::OK)
        }
        None => {
            Page(VendorsPage { frame, vendors: vendors::ALL }).with(actix_web::http::StatusCode::OK)
        }
    })
}

async fn create(
    grant: Grant<may::ManageProviders>,
    form: Form<UpstreamForm>,
) -> Result<HttpResponse, Failure> {
    let Some(vendor) = vendors::find(&form.vendor) else {
        let frame = grant.frame(Section::Providers);
        return Ok(Page(VendorsPage { frame, vendors: vendors::ALL }).again());
    };
    let mut work = grant.begin().await?;
    let outcome = async {
        let place = form.draft().place(&grant.platform.egress);
        let secret = super::credentials::first_secret(vendor, &form.secret);
        let (place, secret) = Problems::both(place, secret)?;
        let mut models = known_models(vendor.slug);
        models.retain(|it| form.models.contains(&it.name));
        let upstream = super::add(&mut work, &place, &models).await?;
        let sealer = &grant.platform.secrets.credentials;
        let first = NewCredential::first();
        super::credentials::add(&mut work, sealer, upstream, &first, &secret).await?;
        Ok::<_, UpstreamError>(upstream)
    }
    .await;
    match or_problems(outcome)? {
        Ok(upstream) => {
            commit(&grant, work).await?;
            Ok(back(&grant, upstream, "Provider added: test its connection"))
        }
        Err(problems) => {
            let frame = grant.frame(Section::Providers);
            let form = UpstreamForm { secret: String::new(), ..form.0 };
            let models = form.choices();
            Ok(Page(NewUpstreamPage { frame, vendor, form, models, problems }).again())
        }
    }
}

async fn show(
    grant: Grant<may::ViewCatalogue>,
    path: Path<(String, String)>,
    query: Search<After<String>>,
) -> Result<Page<UpstreamPage>, Failure> {
    let upstream = upstream_in(&path.1)?;
    let form = credentials::CredentialForm::usual();
    Ok(Page(page(&grant, upstream, query.0.after, form, Problems::none()).await?))
}

async fn edit(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String)>,
) -> Result<Page<EditUpstreamPage>, Failure> {
    let upstream = upstream_in(&path.1)?;
    Ok(Page(edit_page(&grant, upstream, None, Problems::none()).await?))
}

async fn change(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String)>,
    form: Form<UpstreamForm>,
) -> Result<HttpResponse, Failure> {
    let upstream = upstream_in(&path.1)?;
    let mut work = grant.begin().await?;
    let outcome = async {
        let before = super::find(&mut work, upstream).await?;
        let kept = Draft::of(&before);
        let draft = Draft { vendor: kept.vendor, dialect: kept.dialect, ..form.draft() };
        let place = draft.place(&grant.platform.egress)?;
        super::change(&mut work, upstream, &place).await
    }
    .await;
    match or_problems(outcome)? {
        Ok(dropped) => {
            commit(&grant, work).await?;
            Ok(back(
                &grant,
                upstream,
                match dropped {
                    0 => "Provider saved",
                    _ => "Provider saved: its address changed, so add its credentials again",
                },
            ))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(edit_page(&grant, upstream, Some(form.0), problems).await?).again())
        }
    }
}

async fn enable(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let upstream = upstream_in(&path.1)?;
    let mut work = grant.begin().await?;
    set_enabled(&mut work, upstream, true).await?;
    commit(&grant, work).await?;
    Ok(back(&grant, upstream, "Provider enabled"))
}

async fn disable(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let upstream = upstream_in(&path.1)?;
    let mut work = grant.begin().await?;
    set_enabled(&mut work, upstream, false).await?;
    commit(&grant, work).await?;
    Ok(back(&grant, upstream, "Provider disabled: no new call goes there"))
}

async fn put_away(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let upstream = upstream_in(&path.1)?;
    let mut work = grant.begin().await?;
    archive(&mut work, upstream).await?;
    commit(&grant, work).await?;
    Ok(back(&grant, upstream, "Provider archived"))
}

async fn bring_back(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let upstream = upstream_in(&path.1)?;
    let mut work = grant.begin().await?;
    restore(&mut work, upstream).await?;
    commit(&grant, work).await?;
    Ok(back(&grant, upstream, "Provider restored"))
}

/// The upstream's page, with what was typed into its form where that was refused.
async fn page<P>(
    grant: &Grant<P>,
    id: UpstreamId,
    after: Option<String>,
    form: credentials::CredentialForm,
    problems: Problems,
) -> Result<UpstreamPage, Failure> {
    let mut work = grant.begin().await?;
    let upstream = super::find(&mut work, id).await?;
    let credentials = super::credentials::list(&mut work, id).await?;
    let models = super::models::list(&mut work, id).await?;
    drop(work);
    // Asked for by the ids that the organization has, so it sees nobody else's.
    let mut left_alone = match credentials.is_empty() {
        true => HashMap::new(),
        false => fleet::known_left_alone(&grant.platform).await,
    };
    let zone = grant.zone();
    let known = super::models::missing(&upstream.vendor, &models);
    let span = Span::short(after);
    let part = span.of(models, |it| it.model.name.clone());
    let seen = pulses::lately(&grant.platform.redis).await;
    let line = |it: OfferedModel| {
        let pulse = seen.get(&(id, it.model.name.clone()));
        let pulse = pulse.map(|it| pulses::shown(*it, upstream.is_platforms));
        ModelLine::of(it, pulse)
    };
    Ok(UpstreamPage {
        frame: grant.frame(Section::Providers),
        dialect: words::title_of(&words::DIALECTS, &upstream.dialect),
        credentials: credentials
            .into_iter()
            .map(|it| {
                let left = left_alone.remove(&it.id);
                CredentialLine::of(it, left, zone)
            })
            .collect(),
        missing: known.into_iter().map(|it| it.name).collect(),
        models: part.items.into_iter().map(line).collect(),
        pager: Pager::new(&grant.path(&format!("/providers/{id}")), span.after, part.next),
        may_change: upstream.is_ours() && grant.may(Permission::ManageProviders),
        may_switch: grant.may(Permission::ManageProviders)
            && !upstream.is_archived()
            && upstream.disabled_by != Some(DisabledBy::Platform),
        line: Line::of(upstream, zone),
        form,
        problems,
    })
}

async fn edit_page<P>(
    grant: &Grant<P>,
    id: UpstreamId,
    typed: Option<UpstreamForm>,
    problems: Problems,
) -> Result<EditUpstreamPage, Failure> {
    let mut work = grant.begin().await?;
    let upstream = super::find(&mut work, id).await?;
    if upstream.is_platforms {
        return Err(UpstreamError::Platforms.into());
    }
    let form = typed.unwrap_or_else(|| UpstreamForm::of(&upstream));
    Ok(EditUpstreamPage { frame: grant.frame(Section::Providers), upstream, form, problems })
}

/// An id that is none of ours is an upstream that nobody has.
pub(super) fn upstream_in(text: &str) -> Result<UpstreamId, UpstreamError> {
    text.parse().map_err(|_| UpstreamError::NotFound)
}

fn back<P>(grant: &Grant<P>, upstream: UpstreamId, notice: &str) -> HttpResponse {
    see_other_saying(&grant.path(&format!("/providers/{upstream}")), notice)
}
