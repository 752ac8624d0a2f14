//! The pages of the documentation, and the landing page.

use actix_web::{HttpResponse, Responder, http::header::CACHE_CONTROL, web::Path};
use askama::Template;
use shared::failure::{Classified, Code, Kind};
use time::macros::datetime;

use super::{
    openapi,
    reference::{Group, Reference, Shape, reference},
};
use crate::{
    access::{Doors, Visitor},
    web::{Failure, Frame, Moment, Page, Problems, see_other},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/", landing);
    doors.get("/docs", index);
    doors.get("/docs/api", api);
    doors.get("/docs/api/{tag}", api_group);
    doors.get("/docs/routing", routing);
    doors.get("/docs/feedback", feedback);
    doors.get("/docs/errors", errors);
    doors.get("/docs/errors/{code}", error);
    doors.get("/openapi.json", document);
    doors.get("/styleguide", style_guide);
}

#[derive(Template)]
#[template(path = "landing.html")]
struct LandingPage {
    frame: Frame,
}

#[derive(Template)]
#[template(path = "docs/index.html")]
struct DocsPage {
    frame: Frame,
}

#[derive(Template)]
#[template(path = "docs/routing.html")]
struct RoutingPage {
    frame: Frame,
}

#[derive(Template)]
#[template(path = "docs/feedback.html")]
struct FeedbackPage {
    frame: Frame,
}

#[derive(Template)]
#[template(path = "docs/api.html")]
struct ApiPage {
    frame: Frame,
    reference: &'static Reference,
}

#[derive(Template)]
#[template(path = "docs/api_group.html")]
struct ApiGroupPage {
    frame: Frame,
    group: &'static Group,
    /// The bodies that its operations take and give.
    shapes: Vec<&'static Shape>,
    /// What the addresses in examples begin with.
    origin: String,
}

#[derive(Template)]
#[template(path = "docs/errors.html")]
struct ErrorsPage {
    frame: Frame,
    codes: &'static [Code],
}

#[derive(Template)]
#[template(path = "docs/error.html")]
struct ErrorPage {
    frame: Frame,
    code: Code,
}

#[derive(Template)]
#[template(path = "styleguide.html")]
struct StyleGuidePage {
    frame: Frame,
    problems: Problems,
    amounts: [&'static str; 3],
    moment: Moment,
}

async fn landing(visitor: Visitor) -> HttpResponse {
    let is_in = visitor.session.as_ref().is_some_and(|it| !it.awaits_code);
    if is_in {
        return see_other("/start");
    }
    Page(LandingPage { frame: visitor.frame() }).with(actix_web::http::StatusCode::OK)
}

async fn index(visitor: Visitor) -> impl Responder {
    Page(DocsPage { frame: visitor.frame() })
}

async fn routing(visitor: Visitor) -> impl Responder {
    Page(RoutingPage { frame: visitor.frame() })
}

async fn feedback(visitor: Visitor) -> impl Responder {
    Page(FeedbackPage { frame: visitor.frame() })
}

async fn api(visitor: Visitor) -> impl Responder {
    Page(ApiPage { frame: visitor.frame(), reference: reference() })
}

async fn api_group(visitor: Visitor, tag: Path<String>) -> Result<impl Responder, Failure> {
    let group = reference().groups.iter().find(|it| it.tag == *tag).ok_or(NoSuchPage)?;
    let (frame, origin) = (visitor.frame(), visitor.visit.link(""));
    Ok(Page(ApiGroupPage { frame, group, shapes: reference().shapes_of(group), origin }))
}

async fn errors(visitor: Visitor) -> impl Responder {
    Page(ErrorsPage { frame: visitor.frame(), codes: Code::ALL })
}

async fn error(visitor: Visitor, path: Path<String>) -> Result<impl Responder, Failure> {
    let code = Code::ALL.iter().copied().find(|it| it.name == *path).ok_or(NoSuchPage)?;
    Ok(Page(ErrorPage { frame: visitor.frame(), code }))
}

async fn document(_: Visitor) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((CACHE_CONTROL, "public, max-age=300"))
        .body(openapi::json())
}

async fn style_guide(visitor: Visitor) -> Result<impl Responder, Failure> {
    if !visitor.platform.is_dev {
        return Err(NoSuchPage.into());
    }
    Ok(Page(StyleGuidePage {
        frame: visitor.frame(),
        problems: Problems::one("name", "A name has 1 to 64 printable characters"),
        amounts: ["$1,204.50", "$98.07", "$0.000412"],
        moment: Moment::new(datetime!(2026-11-21 14:32 UTC), "UTC"),
    }))
}

#[derive(Debug, thiserror::Error)]
#[error("there is no such page")]
struct NoSuchPage;

impl Classified for NoSuchPage {
    fn kind(&self) -> Kind {
        Kind::NotFound
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;
    use sqlx::PgPool;

    use super::*;
    use crate::{access::Role, testing::Fixture};

    #[sqlx::test(migrations = "../migrations")]
    async fn the_documentation_is_open_to_all(root: PgPool) {
        let fixture = Fixture::new(root).await;
        let browser = fixture.visitor();
        for path in ["/", "/docs", "/docs/api", "/docs/errors", "/openapi.json", "/styleguide"] {
            assert_eq!(browser.get(path).await.status, StatusCode::OK, "{path}");
        }
        browser.get("/docs/routing").await.says(StatusCode::OK, "budget.used_percent");
        let schema = browser.get("/schemas/policy.json").await;
        schema.says(StatusCode::OK, "zero_retention");
        browser.get("/docs").await.says(StatusCode::OK, "curl http://127.0.0.1:7401/v1/models");
        let reference = browser.get("/docs/api").await;
        reference.says(StatusCode::OK, "/api/v1/orgs/{org}/cost-centers/{center}");
        let projects = browser.get("/docs/api/projects").await;
        projects.says(StatusCode::OK, "http://127.0.0.1:7400/api/v1/orgs/$ORG/projects");
        projects.says(StatusCode::OK, "id=\"shape-Splits\"");
        assert_eq!(browser.get("/docs/api/nothing").await.status, StatusCode::NOT_FOUND);
        let document = browser.get("/openapi.json").await;
        assert_eq!(document.header("content-type"), "application/json");
        assert_eq!(document.body, openapi::json());
    }

    #[sqlx::test(migrations = "../migrations")]
    async fn every_code_has_its_page(root: PgPool) {
        let fixture = Fixture::new(root).await;
        let browser = fixture.visitor();
        for code in Code::ALL {
            browser
                .get(&format!("/docs/errors/{}", code.name))
                .await
                .says(StatusCode::OK, code.name);
        }
        let unknown = browser.get("/docs/errors/no_such_code").await;
        assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    }

    #[sqlx::test(migrations = "../migrations")]
    async fn who_is_signed_in_goes_on_to_where_they_begin(root: PgPool) {
        let fixture = Fixture::new(root).await;
        let browser = fixture.browser(Role::Viewer).await;
        let answer = browser.get("/").await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/start"));
    }
}
