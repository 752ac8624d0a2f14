//! The pages of organizations: choosing one, its first page, first steps and settings.

use actix_web::{HttpResponse, http::StatusCode};
use askama::Template;
use serde::Deserialize;
use shared::{ids::OrganizationId, money::Zone};

use super::{
    Organization, OrganizationError, OrganizationName, Place,
    setup::{self, Figures, Progress, Snippet},
    store,
};
use crate::{
    access::{Doors, Grant, Permission, Role, SignedIn, Work, may},
    budgets, snapshots,
    web::{
        Failure, Form, Frame, Moment, Nothing, Page, Problems, Section, or_problems, see_other,
        see_other_saying,
    },
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs", list);
    doors.post("/orgs", create);
    doors.get("/start", start);
    doors.get("/orgs/new", new);
    doors.get("/orgs/{org}", overview);
    doors.get("/orgs/{org}/setup", first_steps);
    doors.post("/orgs/{org}/setup/dismiss", dismiss);
    doors.get("/orgs/{org}/settings", settings);
    doors.post("/orgs/{org}/settings", change);
    doors.post("/orgs/{org}/settings/security", change_security);
    doors.post("/orgs/{org}/archive", put_away);
    doors.post("/orgs/{org}/restore", bring_back);
    doors.get("/orgs/{org}/roles", roles);
}

#[derive(Template)]
#[template(path = "organizations/list.html")]
struct PlacesPage {
    frame: Frame,
    places: Vec<Place>,
}

#[derive(Template)]
#[template(path = "organizations/new.html")]
struct NewOrganizationPage {
    frame: Frame,
    name: String,
    problems: Problems,
}

#[derive(Template)]
#[template(path = "organizations/overview.html")]
struct OverviewPage {
    frame: Frame,
    progress: Progress,
    snippets: Vec<Snippet>,
    cards: Vec<Card>,
    latest: Vec<Change>,
    /// Those that are used most; none for readers who may not see budgets.
    budgets: Vec<budgets::web::Line>,
}

/// One figure of the first page, and where it comes from.
struct Card {
    title: &'static str,
    figure: i64,
    about: &'static str,
    path: &'static str,
}

/// One of the latest changes.
struct Change {
    at: Moment,
    actor: String,
    action: String,
    target: String,
}

#[derive(Template)]
#[template(path = "organizations/setup.html")]
struct SetupPage {
    frame: Frame,
    progress: Progress,
    snippets: Vec<Snippet>,
}

#[derive(Template)]
#[template(path = "organizations/settings.html")]
struct SettingsPage {
    frame: Frame,
    organization: Organization,
    form_name: String,
    form_zone: String,
    zones: &'static [&'static str],
    /// Whether this session may ask others for what it has shown itself.
    has_second_factor: bool,
    created: Moment,
    problems: Problems,
}

#[derive(Template)]
#[template(path = "organizations/roles.html")]
struct RolesPage {
    frame: Frame,
    roles: [Role; 5],
    permissions: &'static [Permission],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NameForm {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GeneralForm {
    #[serde(default)]
    name: String,
    #[serde(default)]
    time_zone: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecurityForm {
    #[serde(default)]
    requires_second_factor: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfirmForm {
    #[serde(default)]
    confirm: String,
}

/// Whoever signs in begins in their organization, and chooses only where there are several.
async fn start(signed_in: SignedIn) -> Result<HttpResponse, Failure> {
    let places = super::places(&signed_in.platform.db, signed_in.session.person).await?;
    Ok(match places.as_slice() {
        [only] if !only.is_archived => see_other(&only.home()),
        _ => see_other("/orgs"),
    })
}

async fn list(signed_in: SignedIn) -> Result<HttpResponse, Failure> {
    let places = super::places(&signed_in.platform.db, signed_in.session.person).await?;
    if places.is_empty() {
        return Ok(see_other("/orgs/new"));
    }
    Ok(Page(PlacesPage { frame: signed_in.frame(), places }).with(StatusCode::OK))
}

async fn new(signed_in: SignedIn) -> Page<NewOrganizationPage> {
    let (name, problems) = (String::new(), Problems::none());
    Page(NewOrganizationPage { frame: signed_in.frame(), name, problems })
}

async fn create(signed_in: SignedIn, form: Form<NameForm>) -> Result<HttpResponse, Failure> {
    let outcome = async {
        let name: OrganizationName = form.name.parse()?;
        let (actor, origin) = (signed_in.actor(), signed_in.visit.origin());
        let organization = OrganizationId::generate();
        let mut work = Work::begin(&signed_in.platform.db, organization, actor, origin).await?;
        let slug = super::found(&mut work, &name).await?;
        work.commit().await?;
        Ok::<_, OrganizationError>(slug)
    };
    match or_problems(outcome.await)? {
        Ok(slug) => Ok(see_other_saying(&format!("/orgs/{slug}"), "Organization created")),
        Err(problems) => {
            let frame = signed_in.frame();
            Ok(Page(NewOrganizationPage { frame, name: form.0.name, problems }).again())
        }
    }
}

async fn overview(grant: Grant<may::ViewOrganization>) -> Result<Page<OverviewPage>, Failure> {
    let organization = grant.organization();
    let mut work = grant.begin().await?;
    let progress = store::progress(&mut work, organization).await?;
    let figures = store::figures(&mut work, organization).await?;
    let latest = if grant.may(Permission::ViewAudit) {
        store::latest(&mut work, organization).await?
    } else {
        Vec::new()
    };
    let change = |it: store::Latest| Change {
        at: Moment::new(it.at, grant.zone()),
        actor: it.actor,
        action: words(&it.action),
        target: it.target,
    };
    drop(work);
    let budgets = match grant.may(Permission::ViewBudgets) {
        true => budgets::web::tightest(&grant, 5).await?.0,
        false => Vec::new(),
    };
    let frame = grant.frame(Section::Overview);
    Ok(Page(OverviewPage {
        progress,
        snippets: setup::snippets(frame.data_url()),
        frame,
        cards: cards(figures, &grant),
        latest: latest.into_iter().map(change).collect(),
        budgets,
    }))
}

/// `team member added` for `team.member_added`.
fn words(action: &str) -> String {
    action.replace(['.', '_'], " ")
}

/// What there is, as far as the reader may look at it; what they work with first.
fn cards<P>(figures: Figures, grant: &Grant<P>) -> Vec<Card> {
    let card = |title, figure, about, path| Card { title, figure, about, path };
    let keys = card("API keys", figures.live_keys, "that open the data plane now", "/keys");
    let centers = card("Cost centers", figures.cost_centers, "that costs go to", "/cost-centers");
    let rest = [
        card("Projects", figures.projects, "that calls are made for", "/projects"),
        card("Members", figures.members, "in this organization", "/members"),
        card("Teams", figures.teams, "of members and projects", "/teams"),
    ];
    let keys = grant.may(Permission::ViewKeys).then_some(keys);
    let (first, last) = match grant.authority.role {
        Role::Billing => (Some(centers), keys),
        Role::Owner | Role::Admin | Role::Developer | Role::Viewer => (keys, Some(centers)),
    };
    first.into_iter().chain(rest).chain(last).collect()
}

async fn first_steps(grant: Grant<may::ViewOrganization>) -> Result<Page<SetupPage>, Failure> {
    let mut work = grant.begin().await?;
    let progress = store::progress(&mut work, grant.organization()).await?;
    let frame = grant.frame(Section::Setup);
    let snippets = setup::snippets(frame.data_url());
    Ok(Page(SetupPage { frame, progress, snippets }))
}

async fn dismiss(
    grant: Grant<may::EditOrganization>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let mut work = grant.begin().await?;
    super::dismiss_setup(&mut work).await?;
    work.commit().await?;
    Ok(see_other_saying(&grant.path(""), "The checklist is put away; it stays under Setup"))
}

async fn settings(grant: Grant<may::ViewOrganization>) -> Result<Page<SettingsPage>, Failure> {
    Ok(Page(settings_page(&grant, None, Problems::none()).await?))
}

async fn change(
    grant: Grant<may::EditOrganization>,
    form: Form<GeneralForm>,
) -> Result<HttpResponse, Failure> {
    let mut problems = Problems::none();
    let name = problems.take("name", form.name.parse::<OrganizationName>());
    let zone = problems.take("time_zone", form.time_zone.parse::<Zone>());
    let Some((name, zone)) = name.zip(zone) else {
        return Ok(Page(settings_page(&grant, Some(form.0), problems).await?).again());
    };
    let mut work = grant.begin().await?;
    super::rename(&mut work, &name).await?;
    super::set_zone(&mut work, &zone).await?;
    work.commit().await?;
    Ok(see_other_saying(&grant.path("/settings"), "Saved"))
}

async fn change_security(
    grant: Grant<may::EditOrganization>,
    form: Form<SecurityForm>,
) -> Result<HttpResponse, Failure> {
    let is_shown = has_second_factor(&grant);
    let mut work = grant.begin().await?;
    let outcome =
        super::require_second_factor(&mut work, form.requires_second_factor, is_shown).await;
    match or_problems(outcome)? {
        Ok(()) => {
            work.commit().await?;
            Ok(see_other_saying(&grant.path("/settings"), "Saved"))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(settings_page(&grant, None, problems).await?).again())
        }
    }
}

async fn put_away(
    grant: Grant<may::ArchiveOrganization>,
    form: Form<ConfirmForm>,
) -> Result<HttpResponse, Failure> {
    if form.confirm.trim() != grant.membership.name {
        let problems = Problems::one("confirm", OrganizationError::NotConfirmed);
        return Ok(Page(settings_page(&grant, None, problems).await?).again());
    }
    let mut work = grant.begin().await?;
    super::archive(&mut work).await?;
    work.commit().await?;
    let told = snapshots::tell(&grant.platform).await;
    Ok(see_other_saying(&grant.path("/settings"), &told.beside("Organization archived")))
}

async fn bring_back(
    grant: Grant<may::ArchiveOrganization>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let mut work = grant.begin().await?;
    super::restore(&mut work).await?;
    work.commit().await?;
    snapshots::tell(&grant.platform).await;
    Ok(see_other_saying(&grant.path("/settings"), "Organization restored"))
}

/// The settings, with what was typed where that was refused.
async fn settings_page<P>(
    grant: &Grant<P>,
    typed: Option<GeneralForm>,
    problems: Problems,
) -> Result<SettingsPage, Failure> {
    let mut work = grant.begin().await?;
    let organization = super::find(&mut work).await?;
    let typed = typed.unwrap_or_else(|| GeneralForm {
        name: organization.name.clone(),
        time_zone: organization.time_zone.clone(),
    });
    Ok(SettingsPage {
        frame: grant.frame(Section::Settings),
        form_name: typed.name,
        form_zone: typed.time_zone,
        zones: Zone::COMMON,
        has_second_factor: has_second_factor(grant),
        created: Moment::new(organization.created_at, grant.zone()),
        organization,
        problems,
    })
}

fn has_second_factor<P>(grant: &Grant<P>) -> bool {
    grant.session.as_ref().is_some_and(|it| it.has_second_factor)
}

async fn roles(grant: Grant<may::ViewOrganization>) -> Page<RolesPage> {
    let frame = grant.frame(Section::Roles);
    Page(RolesPage { frame, roles: Role::ALL, permissions: Permission::ALL })
}

#[cfg(test)]
mod tests {
    use sqlx::PgPool;

    use crate::{access::Role, testing::Fixture};

    #[sqlx::test(migrations = "../migrations")]
    async fn who_signs_in_begins_with_what_they_came_for(root: PgPool) {
        let fixture = Fixture::new(root).await;
        for (role, home) in [(Role::Billing, "/orgs/ours/invoices"), (Role::Viewer, "/orgs/ours")] {
            let answer = fixture.browser(role).await.get("/start").await;
            assert_eq!(answer.header("location"), home);
        }
        let browser = fixture.browser(Role::Developer).await;
        browser.post("/orgs", &[("name", "Second")]).await;
        assert_eq!(browser.get("/start").await.header("location"), "/orgs", "there are two");
    }
}
