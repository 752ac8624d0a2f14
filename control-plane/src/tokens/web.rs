//! The pages of tokens, under the organization's settings.

use actix_web::{HttpResponse, http::StatusCode, web::Path};
use askama::Template;
use secrecy::ExposeSecret;
use serde::Deserialize;
use shared::ids::ApiTokenId;
use time::OffsetDateTime;

use super::{ApiToken, NewToken, Reach, TokenError, TokenStatus, in_days, revoke};
use crate::{
    access::{Doors, Grant, Permission, Role, may},
    web::{
        Failure, Form, Frame, Moment, Nothing, Page, Problems, Section, or_problems,
        see_other_saying,
    },
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/settings/tokens", list);
    doors.post("/orgs/{org}/settings/tokens", create);
    doors.post("/orgs/{org}/settings/tokens/{token}/revoke", close);
}

#[derive(Template)]
#[template(path = "tokens/list.html")]
struct TokensPage {
    frame: Frame,
    tokens: Vec<TokenLine>,
    form: TokenForm,
    roles: Vec<(String, String)>,
    may_serve: bool,
    problems: Problems,
}

#[derive(Template)]
#[template(path = "tokens/issued.html")]
struct IssuedPage {
    frame: Frame,
    name: String,
    /// The only time that anybody sees it.
    secret: String,
    snippet: String,
}

/// A token as the page shows it.
struct TokenLine {
    id: ApiTokenId,
    name: String,
    hint: String,
    owner: String,
    role: Role,
    status: TokenStatus,
    last_used: Option<Moment>,
    expires: Moment,
}

impl TokenLine {
    fn of(token: ApiToken, zone: &str) -> Self {
        Self {
            id: token.id,
            name: token.name,
            hint: token.hint,
            owner: token.owner_email.unwrap_or_else(|| "Service".to_owned()),
            role: token.role,
            status: token.status,
            last_used: token.last_used_at.map(|it| Moment::new(it, zone)),
            expires: Moment::new(token.expires_at, zone),
        }
    }

    fn is_open(&self) -> bool {
        self.status == TokenStatus::Active
    }

    fn badge(&self) -> &'static str {
        if self.is_open() { "ok" } else { "" }
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TokenForm {
    name: String,
    owner: String,
    role: String,
    expires_in: String,
}

impl TokenForm {
    /// An empty form, with the least role chosen.
    fn usual(roles: &[Role]) -> Self {
        Self {
            owner: "me".to_owned(),
            role: roles.last().map(|it| it.name().to_owned()).unwrap_or_default(),
            expires_in: super::USUAL_DAYS.to_string(),
            ..Self::default()
        }
    }

    fn new_token(&self, now: OffsetDateTime) -> Result<NewToken, Problems> {
        let mut problems = Problems::none();
        let name = problems.take("name", self.name.parse());
        let role = problems.take("role", self.role.parse());
        let is_service = match self.owner.as_str() {
            "" | "me" => Some(false),
            "service" => Some(true),
            _ => problems.take("owner", Err("choose yourself or a service")),
        };
        let days = self.expires_in.parse().unwrap_or(0);
        let expires_at = problems.take("expires_in", in_days(days, now));
        match (name, role, is_service, expires_at) {
            (Some(name), Some(role), Some(is_service), Some(expires_at)) => {
                Ok(NewToken { name, is_service, role, expires_at })
            }
            _ => Err(problems),
        }
    }
}

async fn list(grant: Grant<may::CreateTokens>) -> Result<Page<TokensPage>, Failure> {
    let form = TokenForm::usual(&grant.authority.grantable());
    Ok(Page(page(&grant, form, Problems::none()).await?))
}

async fn create(
    grant: Grant<may::CreateTokens>,
    form: Form<TokenForm>,
) -> Result<HttpResponse, Failure> {
    let mut work = grant.begin().await?;
    let outcome = async {
        let new = form.new_token(OffsetDateTime::now_utc())?;
        super::create(&mut work, &Reach::of(&grant), &new).await
    }
    .await;
    match or_problems(outcome)? {
        Ok((_, secret)) => {
            work.commit().await?;
            let secret = secret.expose_secret().to_owned();
            let url = grant.visit.link(&format!("/api/v1/orgs/{}/keys", grant.membership.slug));
            let page = IssuedPage {
                frame: grant.frame(Section::Settings),
                name: form.name.trim().to_owned(),
                snippet: format!("curl {url} \\\n  -H \"Authorization: Bearer {secret}\""),
                secret,
            };
            Ok(Page(page).with(StatusCode::OK))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(page(&grant, form.0, problems).await?).again())
        }
    }
}

async fn close(
    grant: Grant<may::CreateTokens>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let token = path.1.parse().map_err(|_| TokenError::NotFound)?;
    let mut work = grant.begin().await?;
    revoke(&mut work, &Reach::of(&grant), token).await?;
    work.commit().await?;
    Ok(see_other_saying(&grant.path("/settings/tokens"), "Token revoked"))
}

async fn page<P>(
    grant: &Grant<P>,
    form: TokenForm,
    problems: Problems,
) -> Result<TokensPage, Failure> {
    let mut work = grant.begin().await?;
    let tokens = super::list(&mut work, &Reach::of(grant)).await?;
    let roles = grant.authority.grantable();
    Ok(TokensPage {
        frame: grant.frame(Section::Settings),
        tokens: tokens.into_iter().map(|it| TokenLine::of(it, grant.zone())).collect(),
        form,
        roles: roles.iter().map(|it| (it.name().to_owned(), it.title().to_owned())).collect(),
        may_serve: grant.may(Permission::ManageTokens),
        problems,
    })
}
