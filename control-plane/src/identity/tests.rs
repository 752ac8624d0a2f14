//! What identity promises, against a real database.

use actix_web::{http::StatusCode, test::TestRequest};
use secrecy::SecretString;
use shared::{ids::PersonId, keys::KeyHash};
use sqlx::PgPool;
use time::{Duration, OffsetDateTime, macros::datetime};
use totp_rs::{Builder, Secret};

use super::{
    EmailAddress, IdentityError, attempts,
    attempts::Bucket,
    links::{self, Purpose},
    second_factor, sessions,
    sign_in::{self, sign_in},
    sign_up::{self, Application},
    store,
};
use crate::{access::Role, testing::Fixture, web::Visit};

const NOW: OffsetDateTime = datetime!(2026-11-21 12:00 UTC);
const PASSWORD: &str = "violet anvil teaspoon orbit";

fn visit(fixture: &Fixture) -> Visit {
    let request = TestRequest::get().peer_addr(([203, 0, 113, 9], 1).into());
    Visit::of(&request.to_srv_request(), &fixture.platform)
}

fn application(email: &str) -> Application {
    Application {
        email: email.to_owned(),
        password: PASSWORD.to_owned().into(),
        organization: "Acme".to_owned(),
    }
}

async fn newcomer(fixture: &Fixture, email: &str) -> SecretString {
    let welcome =
        sign_up::sign_up(&fixture.platform, &visit(fixture), application(email), NOW).await;
    welcome.unwrap().cookie.value().to_owned().into()
}

async fn letters(fixture: &Fixture, to: &str) -> Vec<String> {
    sqlx::query_scalar("SELECT subject FROM mail_outbox WHERE recipient = $1 ORDER BY id")
        .bind(to)
        .fetch_all(&fixture.root)
        .await
        .unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn a_newcomer_is_signed_in_at_once(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let token = newcomer(&fixture, "ada@example.test").await;
    let session = sessions::find(&fixture.db, &token).await.unwrap().unwrap();
    assert!(!session.is_verified && !session.awaits_code);
    assert_eq!(letters(&fixture, "ada@example.test").await, ["Confirm your e-mail address"]);
}

#[sqlx::test(migrations = "../migrations")]
async fn an_address_with_an_account_looks_like_any_other(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let taken = fixture.ours.email(Role::Owner).to_owned();
    let token = newcomer(&fixture, &taken).await;
    let session = sessions::find(&fixture.db, &token).await.unwrap().unwrap();
    assert_ne!(session.person, fixture.ours.person(Role::Owner), "nobody gets into that account");
    assert_eq!(letters(&fixture, &taken).await, ["You have an account already"]);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_kept_of_a_session_does_not_open_it(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let token = newcomer(&fixture, "ada@example.test").await;
    let kept: Vec<Vec<u8>> = sqlx::query_scalar("SELECT token_hash FROM sessions")
        .fetch_all(&fixture.root)
        .await
        .unwrap();
    let hash = KeyHash::of(secrecy::ExposeSecret::expose_secret(&token));
    assert_eq!(kept, [hash.0.to_vec()]);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_session_ends_when_it_is_idle_or_old(root: PgPool) {
    let fixture = Fixture::new(root).await;
    for aged in [
        "UPDATE sessions SET last_seen_at = now() - interval '61 minutes'",
        "UPDATE sessions SET expires_at = now()",
    ] {
        let token = newcomer(&fixture, "ada@example.test").await;
        assert!(sessions::find(&fixture.db, &token).await.unwrap().is_some());
        sqlx::query(aged).execute(&fixture.root).await.unwrap();
        assert!(sessions::find(&fixture.db, &token).await.unwrap().is_none(), "{aged}");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn signing_in_takes_the_right_password(root: PgPool) {
    let fixture = Fixture::new(root).await;
    newcomer(&fixture, "ada@example.test").await;
    let visit = visit(&fixture);
    let right = SecretString::from(PASSWORD.to_owned());
    let wrong = SecretString::from("violet anvil teaspoon".to_owned());
    let platform = &fixture.platform;
    assert!(sign_in(platform, &visit, "Ada@Example.test", &right, NOW).await.is_ok());
    for (email, password) in
        [("ada@example.test", &wrong), ("nobody@example.test", &right), ("not an address", &right)]
    {
        let outcome = sign_in(platform, &visit, email, password, NOW).await;
        assert!(matches!(outcome, Err(IdentityError::WrongCredentials)), "{email}");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn guessing_slows_down_and_the_owner_still_gets_in(root: PgPool) {
    let fixture = Fixture::new(root).await;
    newcomer(&fixture, "ada@example.test").await;
    let (platform, email) = (&fixture.platform, "ada@example.test");
    let right = SecretString::from(PASSWORD.to_owned());
    let known = sign_in(platform, &visit(&fixture), email, &right, NOW).await.unwrap();
    let device = known.cookies.iter().find(|it| it.name() == "__Host-device").unwrap();

    let wrong = SecretString::from("wrong wrong wrong wrong".to_owned());
    let mut slowed = false;
    for _ in 0..7 {
        let guess = sign_in(platform, &visit(&fixture), email, &wrong, NOW).await;
        slowed |= matches!(guess, Err(IdentityError::TooManyTries { .. }));
    }
    assert!(slowed, "a stranger is slowed down");
    let stranger = sign_in(platform, &visit(&fixture), email, &right, NOW).await;
    assert!(matches!(stranger, Err(IdentityError::TooManyTries { .. })));
    let request = TestRequest::get()
        .peer_addr(([203, 0, 113, 10], 1).into())
        .cookie(device.clone().into_owned());
    let at_home = Visit::of(&request.to_srv_request(), platform);
    assert!(sign_in(platform, &at_home, email, &right, NOW).await.is_ok(), "the owner is not");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_link_works_once_and_looking_does_not_use_it_up(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let person = fixture.ours.person(Role::Viewer);
    let mut conn = fixture.db.acquire().await.unwrap();
    let token = links::make(&mut conn, person, Purpose::Reset).await.unwrap();
    for _ in 0..3 {
        assert_eq!(links::look(&mut conn, &token, Purpose::Reset).await.unwrap(), person);
    }
    assert!(links::redeem(&mut conn, &token, Purpose::Verify).await.is_err(), "for one purpose");

    let tries = (0..20).map(|_| async {
        let mut conn = fixture.db.acquire().await.unwrap();
        links::redeem(&mut conn, &token, Purpose::Reset).await.is_ok()
    });
    let done = futures::future::join_all(tries).await;
    assert_eq!(done.into_iter().filter(|it| *it).count(), 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_new_password_ends_every_session(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let session = newcomer(&fixture, "ada@example.test").await;
    let person = sessions::find(&fixture.db, &session).await.unwrap().unwrap().person;
    let mut conn = fixture.db.acquire().await.unwrap();
    let token = links::make(&mut conn, person, Purpose::Reset).await.unwrap();
    let new = SecretString::from("copper lantern mosaic drift".to_owned());
    let visit = visit(&fixture);
    sign_in::reset(&fixture.platform, &visit, &token, new.clone()).await.unwrap();

    assert!(sessions::find(&fixture.db, &session).await.unwrap().is_none());
    let again = sign_in::reset(&fixture.platform, &visit, &token, new.clone()).await;
    assert!(matches!(again, Err(IdentityError::DeadLink)));
    assert!(sign_in(&fixture.platform, &visit, "ada@example.test", &new, NOW).await.is_ok());
}

#[sqlx::test(migrations = "../migrations")]
async fn the_first_to_confirm_an_address_has_it(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let email = "ada@example.test";
    let mut people = Vec::new();
    for _ in 0..2 {
        let token = newcomer(&fixture, email).await;
        people.push(sessions::find(&fixture.db, &token).await.unwrap().unwrap().person);
    }
    let mut conn = fixture.db.acquire().await.unwrap();
    let first = links::make(&mut conn, people[0], Purpose::Verify).await.unwrap();
    let second = links::make(&mut conn, people[1], Purpose::Verify).await.unwrap();
    let visit = visit(&fixture);
    sign_up::verify(&fixture.platform, &visit, &second).await.unwrap();
    let late = sign_up::verify(&fixture.platform, &visit, &first).await;
    assert!(matches!(late, Err(IdentityError::DeadLink)));
    let address: EmailAddress = email.parse().unwrap();
    assert_eq!(super::people::verified(&mut conn, &address).await.unwrap(), Some(people[1]));
}

async fn enrolled(fixture: &Fixture) -> (PersonId, String) {
    let person = fixture.ours.person(Role::Owner);
    let mut conn = fixture.db.acquire().await.unwrap();
    let seeds = &fixture.platform.secrets.seeds;
    let proposal =
        second_factor::propose(&mut conn, seeds, person, "owner@ours.test").await.unwrap();
    let seed = secrecy::ExposeSecret::expose_secret(&proposal.seed).to_owned();
    (person, seed)
}

fn code_at(seed: &str, at: OffsetDateTime) -> String {
    let totp = Builder::new()
        .with_secret(Secret::try_from_base32(seed).unwrap())
        .with_account_name("any")
        .build_noncompliant();
    totp.generate(at.unix_timestamp().try_into().unwrap()).to_string()
}

#[sqlx::test(migrations = "../migrations")]
async fn a_code_works_once_and_for_its_minute(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let (person, seed) = enrolled(&fixture).await;
    let seeds = &fixture.platform.secrets.seeds;
    let mut conn = fixture.db.acquire().await.unwrap();
    let mut show = async |code: &str, at: OffsetDateTime| {
        second_factor::check(&mut conn, seeds, person, code, at).await.is_ok()
    };
    let code = code_at(&seed, NOW);
    assert!(!show("000000", NOW).await || code == "000000");
    assert!(!show(&code, NOW + Duration::minutes(5)).await, "an old code");
    assert!(show(&code, NOW).await);
    assert!(!show(&code, NOW).await, "the same code again");
    let next = NOW + Duration::seconds(30);
    assert!(show(&code_at(&seed, next), next).await);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_recovery_code_works_once(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let (person, _) = enrolled(&fixture).await;
    let marks = &fixture.platform.secrets.marks;
    let mut conn = fixture.db.acquire().await.unwrap();
    let codes = second_factor::new_recovery_codes(&mut conn, marks, person).await.unwrap();
    assert_eq!(codes.len(), 10);
    assert!(second_factor::recover(&mut conn, marks, person, &codes[3]).await.is_ok());
    assert!(second_factor::recover(&mut conn, marks, person, &codes[3]).await.is_err());
    assert_eq!(store::recovery_codes_left(&mut conn, person).await.unwrap(), 9);
    let other = fixture.ours.person(Role::Admin);
    assert!(second_factor::recover(&mut conn, marks, other, &codes[4]).await.is_err());
}

#[sqlx::test(migrations = "../migrations")]
async fn five_wrong_codes_make_a_pause(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let bucket = Bucket::code(&fixture.platform.secrets.marks, fixture.ours.person(Role::Owner));
    let mut conn = fixture.db.acquire().await.unwrap();
    for _ in 0..6 {
        assert!(attempts::check(&mut conn, &[&bucket], NOW).await.is_ok());
        attempts::count(&mut conn, &[&bucket], NOW).await.unwrap();
    }
    assert!(attempts::check(&mut conn, &[&bucket], NOW).await.is_err());
    let later = NOW + Duration::seconds(3);
    assert!(attempts::check(&mut conn, &[&bucket], later).await.is_ok(), "and it ends");
    attempts::forget(&mut conn, &bucket).await.unwrap();
    assert!(attempts::check(&mut conn, &[&bucket], NOW).await.is_ok());
}

#[sqlx::test(migrations = "../migrations")]
async fn a_persons_zone_is_one_that_there_is(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let browser = fixture.browser(Role::Viewer).await;
    for (typed, status) in [
        ("Mars/Olympus", StatusCode::UNPROCESSABLE_ENTITY),
        (" europe/berlin", StatusCode::SEE_OTHER),
    ] {
        let answer = browser.post("/account", &[("time_zone", typed), ("theme", "dark")]).await;
        assert_eq!(answer.status, status, "{typed}");
    }
    let mut conn = fixture.db.acquire().await.unwrap();
    let person = fixture.ours.person(Role::Viewer);
    assert_eq!(store::preferences(&mut conn, person).await.unwrap().time_zone, "Europe/Berlin");
}
