//! How things are shown to a person, and what address they have.

use actix_web::{
    HttpResponse,
    cookie::{self, Cookie},
    http::StatusCode,
};
use askama::Template;
use serde::Deserialize;
use shared::money::Zone;
use time::OffsetDateTime;

use crate::{
    access::{SignedIn, Visitor},
    identity::{
        sign_up,
        store::{self, Preferences},
    },
    web::{Cookies, Failure, Form, Frame, Nothing, Page, Problems, see_other, see_other_saying},
};

#[derive(Template)]
#[template(path = "identity/profile.html")]
struct ProfilePage {
    frame: Frame,
    problems: Problems,
    email: String,
    is_verified: bool,
    time_zone: String,
    theme: String,
    time_zones: &'static [&'static str],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfileForm {
    #[serde(default)]
    time_zone: String,
    #[serde(default)]
    theme: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ThemeForm {
    #[serde(default)]
    theme: String,
}

pub(super) async fn show(signed_in: SignedIn) -> Result<HttpResponse, Failure> {
    let preferences = preferences(&signed_in).await?;
    Ok(Page(page(&signed_in, preferences, Problems::none())).with(StatusCode::OK))
}

pub(super) async fn do_change(
    signed_in: SignedIn,
    form: Form<ProfileForm>,
) -> Result<HttpResponse, Failure> {
    let ProfileForm { time_zone, theme } = form.0;
    let mut problems = Problems::none();
    let zone = problems.take("time_zone", time_zone.parse::<Zone>());
    if !is_theme(&theme) {
        problems.add("theme", "choose one of the themes");
    }
    let Some(zone) = zone.filter(|_| problems.is_empty()) else {
        let typed = Preferences { time_zone, theme, ..preferences(&signed_in).await? };
        return Ok(Page(page(&signed_in, typed, problems)).again());
    };
    let mut conn = signed_in.platform.db.acquire().await?;
    store::set_preferences(&mut conn, signed_in.session.person, zone.as_str(), &theme).await?;
    let mut response = see_other_saying("/account", "Saved");
    let _ = response.add_cookie(&theme_cookie(&theme));
    Ok(response)
}

pub(super) async fn do_send_again(
    signed_in: SignedIn,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let now = OffsetDateTime::now_utc();
    sign_up::send_again(&signed_in.platform, &signed_in.session, now).await?;
    Ok(see_other_saying("/account", "A new link is on its way"))
}

/// For everybody, signed in or not: a choice of this browser.
pub(super) async fn do_choose_theme(
    visitor: Visitor,
    form: Form<ThemeForm>,
) -> Result<HttpResponse, Failure> {
    let theme = if is_theme(&form.theme) { form.0.theme } else { "system".to_owned() };
    let session = visitor.session.as_ref().filter(|it| !it.awaits_code);
    if let Some(session) = session {
        let mut conn = visitor.platform.db.acquire().await?;
        let zone = &session.time_zone;
        store::set_preferences(&mut conn, session.person, zone, &theme).await?;
    }
    let mut response = see_other(if session.is_some() { "/account" } else { "/" });
    let _ = response.add_cookie(&theme_cookie(&theme));
    Ok(response)
}

fn is_theme(text: &str) -> bool {
    ["system", "light", "dark"].contains(&text)
}

fn theme_cookie(theme: &str) -> Cookie<'static> {
    let age = cookie::time::Duration::days(365);
    Cookies::make(Cookies::THEME, theme.to_owned(), Some(age))
}

async fn preferences(signed_in: &SignedIn) -> Result<Preferences, sqlx::Error> {
    let mut conn = signed_in.platform.db.acquire().await?;
    store::preferences(&mut conn, signed_in.session.person).await
}

fn page(signed_in: &SignedIn, it: Preferences, problems: Problems) -> ProfilePage {
    ProfilePage {
        frame: signed_in.frame(),
        problems,
        email: it.email,
        is_verified: it.is_verified,
        time_zone: it.time_zone,
        theme: it.theme,
        time_zones: Zone::COMMON,
    }
}
