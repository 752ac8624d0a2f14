//! The pages for coming in.

use actix_web::{HttpResponse, HttpResponseBuilder, http::StatusCode, web::Path};
use askama::Template;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use time::OffsetDateTime;

use super::{
    links::{self, Purpose},
    sign_in,
    sign_up::{self, Application},
};
use crate::{
    access::{AccessError, Doors, Visitor},
    web::{
        Cookies, Failure, Form, Frame, Nothing, Page, Problems, Search, or_problems, see_other,
        see_other_saying,
    },
};

pub fn doors(doors: &mut Doors) {
    doors.get("/signup", sign_up_page);
    doors.post("/signup", do_sign_up);
    doors.get("/verify/{token}", verify_page);
    doors.post("/verify/{token}", do_verify);
    doors.get("/login", sign_in_page);
    doors.post("/login", do_sign_in);
    doors.get("/login/mfa", code_page);
    doors.post("/login/mfa", do_show_code);
    doors.post("/logout", do_sign_out);
    doors.get("/password/reset", ask_page);
    doors.post("/password/reset", do_ask);
    doors.get("/password/reset/{token}", reset_page);
    doors.post("/password/reset/{token}", do_reset);
}

#[derive(Template)]
#[template(path = "identity/signup.html")]
struct SignUpPage {
    frame: Frame,
    problems: Problems,
    email: String,
    organization: String,
}

#[derive(Template)]
#[template(path = "identity/login.html")]
struct SignInPage {
    frame: Frame,
    problems: Problems,
    email: String,
    next: String,
}

#[derive(Template)]
#[template(path = "identity/mfa.html")]
struct CodePage {
    frame: Frame,
    problems: Problems,
    next: String,
}

#[derive(Template)]
#[template(path = "identity/verify.html")]
struct VerifyPage {
    frame: Frame,
    token: String,
}

#[derive(Template)]
#[template(path = "identity/reset_ask.html")]
struct AskPage {
    frame: Frame,
    problems: Problems,
    email: String,
}

#[derive(Template)]
#[template(path = "identity/reset_sent.html")]
struct SentPage {
    frame: Frame,
    email: String,
}

#[derive(Template)]
#[template(path = "identity/reset_set.html")]
struct ResetPage {
    frame: Frame,
    problems: Problems,
    token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignUpForm {
    #[serde(default)]
    email: String,
    #[serde(default = "empty")]
    password: SecretString,
    #[serde(default)]
    organization: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignInForm {
    #[serde(default)]
    email: String,
    #[serde(default = "empty")]
    password: SecretString,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeForm {
    #[serde(default = "empty")]
    code: SecretString,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmailForm {
    #[serde(default)]
    email: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordForm {
    #[serde(default = "empty")]
    password: SecretString,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Next {
    #[serde(default)]
    next: String,
}

fn empty() -> SecretString {
    SecretString::default()
}

async fn sign_up_page(visitor: Visitor) -> HttpResponse {
    if visitor.session.as_ref().is_some_and(|it| !it.awaits_code) {
        return see_other("/start");
    }
    let (email, organization) = (String::new(), String::new());
    let problems = Problems::none();
    Page(SignUpPage { frame: visitor.frame(), problems, email, organization }).with(StatusCode::OK)
}

async fn do_sign_up(visitor: Visitor, form: Form<SignUpForm>) -> Result<HttpResponse, Failure> {
    let SignUpForm { email, password, organization } = form.0;
    let application =
        Application { email: email.clone(), password, organization: organization.clone() };
    let now = OffsetDateTime::now_utc();
    let outcome = sign_up::sign_up(&visitor.platform, &visitor.visit, application, now).await;
    match or_problems(outcome)? {
        Ok(welcome) => Ok(with_cookies(&format!("/orgs/{}/setup", welcome.slug), [welcome.cookie])),
        Err(problems) => {
            Ok(Page(SignUpPage { frame: visitor.frame(), problems, email, organization }).again())
        }
    }
}

async fn verify_page(visitor: Visitor, token: Path<SecretString>) -> Result<HttpResponse, Failure> {
    let mut conn = visitor.platform.db.acquire().await?;
    links::look(&mut conn, &token, Purpose::Verify).await?;
    let token = token.expose_secret().to_owned();
    Ok(Page(VerifyPage { frame: visitor.frame(), token }).with(StatusCode::OK))
}

async fn do_verify(
    visitor: Visitor,
    token: Path<SecretString>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    sign_up::verify(&visitor.platform, &visitor.visit, &token).await?;
    let next = if visitor.session.is_some() { "/orgs" } else { "/login" };
    Ok(see_other_saying(next, "Your e-mail address is confirmed"))
}

async fn sign_in_page(visitor: Visitor, next: Search<Next>) -> HttpResponse {
    let next = inside(&next.next);
    if let Some(session) = &visitor.session {
        return if session.awaits_code {
            see_other(&with_next("/login/mfa", next))
        } else {
            see_other(next)
        };
    }
    let (frame, problems) = (visitor.frame(), Problems::none());
    let page = SignInPage { frame, problems, email: String::new(), next: next.to_owned() };
    Page(page).with(StatusCode::OK)
}

async fn do_sign_in(visitor: Visitor, form: Form<SignInForm>) -> Result<HttpResponse, Failure> {
    let SignInForm { email, password, next } = form.0;
    let next = inside(&next).to_owned();
    let now = OffsetDateTime::now_utc();
    let (platform, visit) = (&visitor.platform, &visitor.visit);
    let outcome = sign_in::sign_in(platform, visit, &email, &password, now).await;
    match or_problems(outcome)? {
        Ok(browser) if browser.awaits_code => {
            Ok(with_cookies(&with_next("/login/mfa", &next), browser.cookies))
        }
        Ok(browser) => Ok(with_cookies(&next, browser.cookies)),
        Err(problems) => {
            let frame = visitor.frame();
            Ok(Page(SignInPage { frame, problems, email, next }).again())
        }
    }
}

async fn code_page(visitor: Visitor, next: Search<Next>) -> HttpResponse {
    let next = inside(&next.next);
    match &visitor.session {
        Some(session) if session.awaits_code => {
            let (frame, problems) = (visitor.frame(), Problems::none());
            Page(CodePage { frame, problems, next: next.to_owned() }).with(StatusCode::OK)
        }
        Some(_) => see_other(next),
        None => see_other(&with_next("/login", next)),
    }
}

async fn do_show_code(visitor: Visitor, form: Form<CodeForm>) -> Result<HttpResponse, Failure> {
    let next = inside(&form.next).to_owned();
    let session = visitor.session.as_ref().filter(|it| it.awaits_code);
    let session = session.ok_or(AccessError::SignedOut)?;
    let (platform, visit) = (&visitor.platform, &visitor.visit);
    let now = OffsetDateTime::now_utc();
    let outcome = sign_in::show_code(platform, visit, session, &form.code, now).await;
    match or_problems(outcome)? {
        Ok(cookie) => Ok(with_cookies(&next, [cookie])),
        Err(problems) => Ok(Page(CodePage { frame: visitor.frame(), problems, next }).again()),
    }
}

async fn do_sign_out(visitor: Visitor, _: Form<Nothing>) -> Result<HttpResponse, Failure> {
    sign_in::sign_out(&visitor.platform, &visitor.visit).await?;
    let mut response = with_cookies("/login", [Cookies::gone(Cookies::SESSION)]);
    let clear = actix_web::http::header::HeaderValue::from_static("\"cache\", \"storage\"");
    let name = actix_web::http::header::HeaderName::from_static("clear-site-data");
    response.headers_mut().insert(name, clear);
    Ok(response)
}

async fn ask_page(visitor: Visitor) -> Page<AskPage> {
    Page(AskPage { frame: visitor.frame(), problems: Problems::none(), email: String::new() })
}

async fn do_ask(visitor: Visitor, form: Form<EmailForm>) -> Result<HttpResponse, Failure> {
    let email = form.0.email;
    let now = OffsetDateTime::now_utc();
    let outcome = sign_in::ask_for_reset(&visitor.platform, &visitor.visit, &email, now).await;
    let frame = visitor.frame();
    match or_problems(outcome)? {
        Ok(()) => Ok(Page(SentPage { frame, email }).with(StatusCode::OK)),
        Err(problems) => Ok(Page(AskPage { frame, problems, email }).again()),
    }
}

async fn reset_page(visitor: Visitor, token: Path<SecretString>) -> Result<HttpResponse, Failure> {
    let mut conn = visitor.platform.db.acquire().await?;
    links::look(&mut conn, &token, Purpose::Reset).await?;
    Ok(Page(reset_form(&visitor, &token, Problems::none())).with(StatusCode::OK))
}

async fn do_reset(
    visitor: Visitor,
    token: Path<SecretString>,
    form: Form<PasswordForm>,
) -> Result<HttpResponse, Failure> {
    let (platform, visit) = (&visitor.platform, &visitor.visit);
    match or_problems(sign_in::reset(platform, visit, &token, form.0.password).await)? {
        Ok(()) => Ok(see_other_saying("/login", "The new password is set: sign in with it")),
        Err(problems) => Ok(Page(reset_form(&visitor, &token, problems)).again()),
    }
}

fn reset_form(visitor: &Visitor, token: &SecretString, problems: Problems) -> ResetPage {
    let token = token.expose_secret().to_owned();
    ResetPage { frame: visitor.frame(), problems, token }
}

fn with_cookies(
    path: &str,
    cookies: impl IntoIterator<Item = actix_web::cookie::Cookie<'static>>,
) -> HttpResponse {
    let mut response: HttpResponseBuilder = HttpResponse::SeeOther();
    response.insert_header(("location", path));
    for cookie in cookies {
        response.cookie(cookie);
    }
    response.finish()
}

fn with_next(path: &str, next: &str) -> String {
    let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
    format!("{path}?next={next}")
}

/// A path of ours, or where everybody begins: nobody is sent elsewhere.
fn inside(next: &str) -> &str {
    let is_path = next.starts_with('/')
        && !next.starts_with("//")
        && !next.contains(['\\', '\r', '\n', '\t', '\0'])
        && next.chars().all(|it| !it.is_control());
    if is_path { next } else { "/start" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for outside in [
            "",
            "https://evil.test/",
            "//evil.test",
            "/\\evil.test",
            "javascript:alert(1)",
            "/a\r\nlocation: x",
            "\u{9}//evil.test",
        ] {
            assert_eq!(inside(outside), "/start", "{outside}");
        }
        assert_eq!(inside("/orgs/acme/keys?status=active"), "/orgs/acme/keys?status=active");
    }
}
