//! The pages of teams.

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::{ids::TeamId, snapshot::BudgetScope};

use super::{
    Team, TeamError, TeamMember, TeamName, add, archive, remove, rename, restore, team_in,
};
use crate::{
    access::{Doors, Grant, may},
    budgets::{self, web::BudgetsOf},
    web::{
        After, Failure, Form, Frame, Nothing, Page, Pager, Problems, Search, Section, Span,
        or_problems, see_other_saying,
    },
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/teams", list);
    doors.get("/orgs/{org}/teams/new", new);
    doors.post("/orgs/{org}/teams", create);
    doors.get("/orgs/{org}/teams/{team}", show);
    doors.post("/orgs/{org}/teams/{team}", change);
    doors.post("/orgs/{org}/teams/{team}/archive", put_away);
    doors.post("/orgs/{org}/teams/{team}/restore", bring_back);
    doors.post("/orgs/{org}/teams/{team}/members", add_member);
    doors.post("/orgs/{org}/teams/{team}/members/{person}/remove", remove_member);
}

#[derive(Template)]
#[template(path = "teams/list.html")]
struct TeamsPage {
    frame: Frame,
    teams: Vec<Team>,
    pager: Pager,
}

#[derive(Template)]
#[template(path = "teams/new.html")]
struct NewTeamPage {
    frame: Frame,
    name: String,
    problems: Problems,
}

#[derive(Template)]
#[template(path = "teams/show.html")]
struct TeamPage {
    frame: Frame,
    team: Team,
    people: Vec<TeamMember>,
    candidates: Vec<(String, String)>,
    form_name: String,
    budgets: Option<BudgetsOf>,
    problems: Problems,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TeamForm {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberForm {
    #[serde(default)]
    person: String,
}

async fn list(
    grant: Grant<may::ViewOrganization>,
    query: Search<After<TeamId>>,
) -> Result<Page<TeamsPage>, Failure> {
    let mut work = grant.begin().await?;
    let part = super::list(&mut work, Span::page(query.after)).await?;
    let pager = Pager::new(&grant.path("/teams"), query.after, part.next);
    let frame = grant.frame(Section::Teams);
    Ok(Page(TeamsPage { frame, teams: part.items, pager }))
}

async fn new(grant: Grant<may::ManageTeams>) -> Page<NewTeamPage> {
    let frame = grant.frame(Section::Teams);
    Page(NewTeamPage { frame, name: String::new(), problems: Problems::none() })
}

async fn create(
    grant: Grant<may::ManageTeams>,
    form: Form<TeamForm>,
) -> Result<HttpResponse, Failure> {
    let mut work = grant.begin().await?;
    let outcome = async { super::create(&mut work, &form.name.parse()?).await }.await;
    match or_problems(outcome)? {
        Ok(team) => {
            work.commit().await?;
            Ok(see_other_saying(&grant.path(&format!("/teams/{team}")), "Team created"))
        }
        Err(problems) => {
            let frame = grant.frame(Section::Teams);
            Ok(Page(NewTeamPage { frame, name: form.0.name, problems }).again())
        }
    }
}

async fn show(
    grant: Grant<may::ViewOrganization>,
    path: Path<(String, String)>,
) -> Result<Page<TeamPage>, Failure> {
    let team = team_in(&path.1)?;
    Ok(Page(page(&grant, team, None, Problems::none()).await?))
}

async fn change(
    grant: Grant<may::ManageTeams>,
    path: Path<(String, String)>,
    form: Form<TeamForm>,
) -> Result<HttpResponse, Failure> {
    let team = team_in(&path.1)?;
    let mut work = grant.begin().await?;
    let outcome = async { rename(&mut work, team, &form.name.parse::<TeamName>()?).await }.await;
    match or_problems(outcome)? {
        Ok(()) => {
            work.commit().await?;
            Ok(back(&grant, team, "Team renamed"))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(page(&grant, team, Some(form.0.name), problems).await?).again())
        }
    }
}

async fn put_away(
    grant: Grant<may::ManageTeams>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let team = team_in(&path.1)?;
    let mut work = grant.begin().await?;
    archive(&mut work, team).await?;
    work.commit().await?;
    Ok(back(&grant, team, "Team archived"))
}

async fn bring_back(
    grant: Grant<may::ManageTeams>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let team = team_in(&path.1)?;
    let mut work = grant.begin().await?;
    restore(&mut work, team).await?;
    work.commit().await?;
    Ok(back(&grant, team, "Team restored"))
}

async fn add_member(
    grant: Grant<may::ManageTeams>,
    path: Path<(String, String)>,
    form: Form<MemberForm>,
) -> Result<HttpResponse, Failure> {
    let team = team_in(&path.1)?;
    let mut work = grant.begin().await?;
    let outcome = async {
        let person = form.person.parse().map_err(|_| TeamError::NotAMember)?;
        add(&mut work, team, person).await
    }
    .await;
    match or_problems(outcome)? {
        Ok(()) => {
            work.commit().await?;
            Ok(back(&grant, team, "Member added"))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(page(&grant, team, None, problems).await?).again())
        }
    }
}

async fn remove_member(
    grant: Grant<may::ManageTeams>,
    path: Path<(String, String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let team = team_in(&path.1)?;
    let person = path.2.parse().map_err(|_| TeamError::NotFound)?;
    let mut work = grant.begin().await?;
    remove(&mut work, team, person).await?;
    work.commit().await?;
    Ok(back(&grant, team, "Member removed from the team"))
}

/// The team's page, with what was typed into its form where that was refused.
async fn page<P>(
    grant: &Grant<P>,
    team: TeamId,
    typed: Option<String>,
    problems: Problems,
) -> Result<TeamPage, Failure> {
    let mut work = grant.begin().await?;
    let team = super::find(&mut work, team).await?;
    let people = super::members(&mut work, team.id).await?;
    let candidates = super::candidates(&mut work, team.id).await?;
    drop(work);
    let budgets = budgets::web::of(grant, BudgetScope::Team(team.id)).await?;
    Ok(TeamPage {
        frame: grant.frame(Section::Teams),
        people,
        candidates: candidates.into_iter().map(|it| (it.id.to_string(), it.email)).collect(),
        form_name: typed.unwrap_or_else(|| team.name.clone()),
        team,
        budgets,
        problems,
    })
}

fn back<P>(grant: &Grant<P>, team: TeamId, notice: &str) -> HttpResponse {
    see_other_saying(&grant.path(&format!("/teams/{team}")), notice)
}
