//! Who may invite whom, and what a link opens, for whom and how often.

use actix_web::{
    cookie::Cookie,
    http::StatusCode,
    test::{TestRequest, call_service, init_service, read_body},
};
use shared::ids::SessionId;
use sqlx::PgPool;

use super::{
    accept::{Guest, Joined, guest, join, look},
    *,
};
use crate::{
    identity::{Session, sessions},
    testing::Fixture,
    web::{Cookies, Visit},
};

const PASSWORD: &str = "violet anvil teaspoon orbit";
const EMAIL: &str = "new@elsewhere.test";

struct Scene {
    fixture: Fixture,
    visit: Visit,
}

impl Scene {
    async fn new(root: PgPool) -> Self {
        let fixture = Fixture::new(root).await;
        let request = TestRequest::get().cookie(Cookie::new(Cookies::VISIT, "0123456789abcdef"));
        let visit = Visit::of(&request.to_srv_request(), &fixture.platform);
        Self { fixture, visit }
    }

    async fn invite(
        &self,
        giver: Role,
        round: Round,
    ) -> Result<Vec<InvitationId>, InvitationError> {
        let mut work = self.fixture.work(giver).await;
        let giver = Authority::of(giver);
        let sent = invite(&mut work, &self.fixture.platform, giver, &round).await?;
        work.commit().await?;
        Ok(sent)
    }

    /// The link of the letter sent last.
    async fn link(&self) -> SecretString {
        let (id, sealed): (uuid::Uuid, Vec<u8>) = sqlx::query_as(
            "SELECT id, sealed_text FROM mail_outbox ORDER BY created_at DESC, id DESC LIMIT 1",
        )
        .fetch_one(&self.fixture.root)
        .await
        .unwrap();
        let mail = &self.fixture.platform.secrets.mail;
        let text = mail.open_text(&sealed, &id.to_string()).unwrap();
        let (_, rest) = text.expose_secret().split_once("http://127.0.0.1:7400/invites/").unwrap();
        rest.split_whitespace().next().unwrap().to_owned().into()
    }

    async fn invited(&self, role: Role) -> SecretString {
        self.invite(Role::Owner, round(EMAIL, role)).await.unwrap();
        self.link().await
    }

    async fn join(
        &self,
        session: Option<&Session>,
        link: &SecretString,
    ) -> Result<Joined, InvitationError> {
        let password = PASSWORD.to_owned().into();
        join(&self.fixture.platform, &self.visit, session, link, password).await
    }

    async fn person(&self, email: &str, verified: bool) -> Session {
        let mut conn = self.fixture.db.acquire().await.unwrap();
        let address = email.parse().unwrap();
        let person =
            crate::identity::people::insert(&mut conn, &address, "none", verified).await.unwrap();
        Session {
            id: SessionId::generate(),
            person,
            email: email.to_owned(),
            is_verified: verified,
            time_zone: "UTC".to_owned(),
            is_operator: false,
            has_second_factor: false,
            awaits_code: false,
        }
    }

    async fn places(&self, email: &str) -> Vec<(String, bool)> {
        sqlx::query_as(
            "SELECT m.role, p.email_verified_at IS NOT NULL FROM memberships m
               JOIN people p ON p.id = m.person_id
              WHERE m.organization_id = $1 AND p.email = $2",
        )
        .bind(self.fixture.ours.id)
        .bind(email)
        .fetch_all(&self.fixture.root)
        .await
        .unwrap()
    }

    async fn execute(&self, statement: &'static str) {
        sqlx::query(statement).execute(&self.fixture.root).await.unwrap();
    }

    async fn is_gone(&self, link: &SecretString) -> bool {
        let looked = look(&self.fixture.db, link).await;
        let joined = self.join(None, link).await;
        let gone = |it: Option<InvitationError>| matches!(it, Some(InvitationError::Gone));
        gone(looked.err()) && gone(joined.err())
    }
}

fn round(email: &str, role: Role) -> Round {
    Round { emails: vec![email.parse().unwrap()], role, replace: false }
}

#[sqlx::test(migrations = "../migrations")]
async fn nobody_invites_to_more_than_they_hold(root: PgPool) {
    let scene = Scene::new(root).await;
    for giver in Role::ALL {
        for role in Role::ALL {
            let email = format!("{}-{}@elsewhere.test", giver.name(), role.name());
            let sent = scene.invite(giver, round(&email, role)).await;
            let may = giver.may(Permission::ManageMembers) && giver.covers(role);
            assert_eq!(sent.is_ok(), may, "{giver} invites {role}: {sent:?}");
        }
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_newcomer_joins_signed_in_and_verified(root: PgPool) {
    let scene = Scene::new(root).await;
    let link = scene.invited(Role::Developer).await;
    let offer = look(&scene.fixture.db, &link).await.unwrap();
    assert_eq!((offer.name.as_str(), offer.role), ("ours", Role::Developer));
    assert_eq!(offer.inviter, scene.fixture.ours.email(Role::Owner));

    let weak = "password".to_owned().into();
    let refused = join(&scene.fixture.platform, &scene.visit, None, &link, weak).await;
    assert_eq!(refused.err().unwrap().problems()[0].field, "password");

    let joined = scene.join(None, &link).await.unwrap();
    assert_eq!(joined.slug, "ours");
    let token = joined.cookie.unwrap().value().to_owned().into();
    let found = sessions::find(&scene.fixture.db, &token).await.unwrap();
    let session = found.unwrap();
    assert!(session.is_verified && session.email == EMAIL);
    assert_eq!(scene.places(EMAIL).await, [("developer".to_owned(), true)]);
    assert!(scene.is_gone(&link).await);
}

#[sqlx::test(migrations = "../migrations")]
async fn an_address_is_shown_to_be_theirs_by_joining(root: PgPool) {
    let scene = Scene::new(root).await;
    let link = scene.invited(Role::Viewer).await;
    let session = scene.person(EMAIL, false).await;
    let joined = scene.join(Some(&session), &link).await.unwrap();
    assert!(joined.cookie.is_none());
    assert_eq!(scene.places(EMAIL).await, [("viewer".to_owned(), true)]);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_link_is_for_its_address_only(root: PgPool) {
    let scene = Scene::new(root).await;
    let link = scene.invited(Role::Viewer).await;
    let offer = look(&scene.fixture.db, &link).await.unwrap();
    let mut conn = scene.fixture.db.acquire().await.unwrap();

    let claims = scene.person(EMAIL, false).await;
    assert_eq!(guest(&mut conn, &offer, None).await.unwrap(), Guest::Newcomer);
    let expected = guest(&mut conn, &offer, Some(&claims)).await.unwrap();
    assert_eq!(expected, Guest::Expected(claims.person));
    let other = scene.person("other@elsewhere.test", true).await;
    assert_eq!(guest(&mut conn, &offer, Some(&other)).await.unwrap(), Guest::Other);

    // From now on the address is somebody's, and who only claims it is somebody else.
    let holder = scene.person(EMAIL, true).await;
    assert_eq!(guest(&mut conn, &offer, None).await.unwrap(), Guest::SignedOut);
    assert_eq!(guest(&mut conn, &offer, Some(&claims)).await.unwrap(), Guest::Other);
    let awaits = Session { awaits_code: true, ..holder.clone() };
    assert_eq!(guest(&mut conn, &offer, Some(&awaits)).await.unwrap(), Guest::SignedOut);

    for session in [None, Some(&claims), Some(&other), Some(&awaits)] {
        assert!(scene.join(session, &link).await.is_err());
    }
    assert!(scene.places(EMAIL).await.is_empty());
    scene.join(Some(&holder), &link).await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_over_opens_nothing(root: PgPool) {
    let scene = Scene::new(root).await;
    let link = scene.invited(Role::Admin).await;
    let unknown = random::base62(32).into();
    assert!(scene.is_gone(&unknown).await);
    for (breaking, mending) in [
        (
            "UPDATE invitations SET expires_at = now() - interval '1 second'",
            "UPDATE invitations SET expires_at = now() + interval '1 day'",
        ),
        ("UPDATE invitations SET revoked_at = now()", "UPDATE invitations SET revoked_at = NULL"),
        (
            "UPDATE organizations SET archived_at = now()",
            "UPDATE organizations SET archived_at = NULL",
        ),
        // Who sent it may not give the role any more.
        (
            "UPDATE invitations SET invited_by = p.id FROM people p
              WHERE p.email = 'developer@ours.test'",
            "UPDATE invitations SET invited_by = p.id FROM people p
              WHERE p.email = 'admin@ours.test'",
        ),
        ("UPDATE invitations SET role = 'owner'", "UPDATE invitations SET role = 'admin'"),
        (
            "UPDATE invitations SET invited_by = p.id FROM people p
              WHERE p.email = 'owner@theirs.test'",
            "UPDATE invitations SET invited_by = p.id FROM people p
              WHERE p.email = 'admin@ours.test'",
        ),
    ] {
        scene.execute(breaking).await;
        assert!(scene.is_gone(&link).await, "{breaking}");
        scene.execute(mending).await;
        assert!(look(&scene.fixture.db, &link).await.is_ok(), "{mending}");
    }
    assert!(scene.places(EMAIL).await.is_empty());
}

#[sqlx::test(migrations = "../migrations")]
async fn an_invitation_is_used_once(root: PgPool) {
    let scene = Scene::new(root).await;
    let session = scene.person(EMAIL, true).await;
    for round in 0..20 {
        let link = scene.invited(Role::Viewer).await;
        let tries = (0..4).map(|_| scene.join(Some(&session), &link));
        let tries = futures::future::join_all(tries).await;
        assert_eq!(tries.iter().filter(|it| it.is_ok()).count(), 1, "round {round}");
        let mut work = scene.fixture.work(Role::Owner).await;
        let giver = Authority::of(Role::Owner);
        crate::members::remove(&mut work, giver, session.person).await.unwrap();
        work.commit().await.unwrap();
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn newcomers_who_race_become_one_person(root: PgPool) {
    let scene = Scene::new(root).await;
    let link = scene.invited(Role::Viewer).await;
    let tries = (0..3).map(|_| scene.join(None, &link));
    let tries = futures::future::join_all(tries).await;
    assert_eq!(tries.iter().filter(|it| it.is_ok()).count(), 1);
    let people: i64 = sqlx::query_scalar("SELECT count(*) FROM people WHERE email = $1")
        .bind(EMAIL)
        .fetch_one(&scene.fixture.root)
        .await
        .unwrap();
    assert_eq!(people, 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn joining_changes_nothing_for_a_member(root: PgPool) {
    let scene = Scene::new(root).await;
    let link = scene.invited(Role::Viewer).await;
    let session = scene.person(EMAIL, true).await;
    sqlx::query("INSERT INTO memberships VALUES ($1, $2, 'admin')")
        .bind(scene.fixture.ours.id)
        .bind(session.person)
        .execute(&scene.fixture.root)
        .await
        .unwrap();
    scene.join(Some(&session), &link).await.unwrap();
    assert_eq!(scene.places(EMAIL).await, [("admin".to_owned(), true)]);
}

#[sqlx::test(migrations = "../migrations")]
async fn another_role_replaces_an_offer_only_when_said(root: PgPool) {
    let scene = Scene::new(root).await;
    let first = scene.invited(Role::Admin).await;
    let refused = scene.invite(Role::Owner, round(EMAIL, Role::Viewer)).await.unwrap_err();
    assert_eq!(refused.problems()[0].field, "replace");
    assert!(refused.to_string().contains("new@elsewhere.test as Admin"), "{refused}");
    assert!(look(&scene.fixture.db, &first).await.is_ok());

    let said = Round { replace: true, ..round(EMAIL, Role::Viewer) };
    scene.invite(Role::Owner, said).await.unwrap();
    assert!(scene.is_gone(&first).await);
    let second = scene.link().await;
    assert_eq!(look(&scene.fixture.db, &second).await.unwrap().role, Role::Viewer);

    // The same role once more is the same offer, with a new link.
    let third = scene.invited(Role::Viewer).await;
    assert!(scene.is_gone(&second).await);
    assert!(look(&scene.fixture.db, &third).await.is_ok());
}

#[sqlx::test(migrations = "../migrations")]
async fn an_admin_leaves_an_owners_offer_alone(root: PgPool) {
    let scene = Scene::new(root).await;
    let sent = scene.invite(Role::Owner, round(EMAIL, Role::Owner)).await.unwrap();
    let said = Round { replace: true, ..round(EMAIL, Role::Viewer) };
    let refused = scene.invite(Role::Admin, said).await.unwrap_err();
    assert_eq!(refused.code(), code::GRANT_EXCEEDS_GRANTOR);
    let (platform, giver) = (&scene.fixture.platform, Authority::of(Role::Admin));
    let mut work = scene.fixture.work(Role::Admin).await;
    assert!(resend(&mut work, platform, giver, sent[0]).await.is_err());
    assert!(revoke(&mut work, giver, sent[0]).await.is_err());
}

#[sqlx::test(migrations = "../migrations")]
async fn the_old_link_dies_when_another_is_sent(root: PgPool) {
    let scene = Scene::new(root).await;
    let sent = scene.invite(Role::Owner, round(EMAIL, Role::Viewer)).await.unwrap();
    let first = scene.link().await;
    let mut work = scene.fixture.work(Role::Admin).await;
    let (platform, giver) = (&scene.fixture.platform, Authority::of(Role::Admin));
    let again = resend(&mut work, platform, giver, sent[0]).await.unwrap();
    work.commit().await.unwrap();
    assert_eq!(again.invited_by, scene.fixture.ours.email(Role::Admin));
    assert!(scene.is_gone(&first).await);
    let second = scene.link().await;
    assert!(look(&scene.fixture.db, &second).await.is_ok());

    let mut work = scene.fixture.work(Role::Admin).await;
    revoke(&mut work, giver, sent[0]).await.unwrap();
    work.commit().await.unwrap();
    assert!(scene.is_gone(&second).await);
    let mut work = scene.fixture.work(Role::Admin).await;
    assert!(list(&mut work).await.unwrap().is_empty());
    assert_eq!(find(&mut work, sent[0]).await.unwrap_err().kind(), Kind::NotFound);
}

#[sqlx::test(migrations = "../migrations")]
async fn members_are_not_invited_again(root: PgPool) {
    let scene = Scene::new(root).await;
    let member = scene.fixture.ours.email(Role::Billing).to_owned();
    let refused = scene.invite(Role::Owner, round(&member, Role::Viewer)).await.unwrap_err();
    assert_eq!(refused.problems()[0].field, "emails");
    let stranger = scene.fixture.theirs.email(Role::Billing).to_owned();
    scene.invite(Role::Owner, round(&stranger, Role::Viewer)).await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn invitations_of_others_are_out_of_reach(root: PgPool) {
    let scene = Scene::new(root).await;
    let id = scene.invite(Role::Owner, round(EMAIL, Role::Viewer)).await.unwrap()[0];
    let (fixture, giver) = (&scene.fixture, Authority::of(Role::Owner));
    let mut work = fixture.work_of(&fixture.theirs, Role::Owner).await;
    assert!(list(&mut work).await.unwrap().is_empty());
    for error in [
        find(&mut work, id).await.err(),
        resend(&mut work, &fixture.platform, giver, id).await.err(),
        revoke(&mut work, giver, id).await.err(),
    ] {
        assert_eq!(error.unwrap().kind(), Kind::NotFound);
    }
    // Even where a statement names the wrong organization.
    store::revoke(&mut work, fixture.ours.id, id).await.unwrap();
    assert!(!store::consume(&mut work, fixture.ours.id, id).await.unwrap());
    work.commit().await.unwrap();
    assert_eq!(list(&mut fixture.work(Role::Owner).await).await.unwrap().len(), 1);
}

/// A browser that has seen one of our pages, signed in perhaps.
fn browser(request: TestRequest, session: Option<&Cookie<'static>>) -> TestRequest {
    let request = request.cookie(Cookie::new(Cookies::VISIT, "0123456789abcdef"));
    match session {
        Some(session) => request.cookie(session.clone()),
        None => request,
    }
}

impl Scene {
    /// Status and body of a page, or of a form sent with `fields`.
    async fn visit(
        &self,
        path: &str,
        session: Option<&Cookie<'static>>,
        fields: Option<&[(&str, &str)]>,
    ) -> (StatusCode, String) {
        let app = init_service(self.fixture.app()).await;
        let request = match fields {
            None => browser(TestRequest::get().uri(path), session),
            Some(fields) => {
                let page = browser(TestRequest::get(), session).to_srv_request();
                let csrf = Visit::of(&page, &self.fixture.platform).form_token();
                let fields: Vec<_> = [("csrf", csrf.as_str())]
                    .into_iter()
                    .chain(fields.iter().copied())
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect();
                browser(TestRequest::post().uri(path), session).set_form(fields)
            }
        };
        let response = call_service(&app, request.to_request()).await;
        let status = response.status();
        let body = read_body(response).await;
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn sign_in(&self, person: PersonId) -> Cookie<'static> {
        let mut conn = self.fixture.db.acquire().await.unwrap();
        sessions::start(&mut conn, &self.visit, person, false).await.unwrap()
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_link_shows_what_it_offers_to_whom(root: PgPool) {
    let scene = Scene::new(root).await;
    let link = scene.invited(Role::Billing).await;
    let path = format!("/invites/{}", link.expose_secret());
    let other = scene.sign_in(scene.fixture.theirs.person(Role::Owner)).await;
    let (status, body) = scene.visit(&path, None, None).await;
    assert!(status == StatusCode::OK && body.contains("Join ours") && body.contains("Billing"));
    assert!(body.contains("name=\"password\""), "{body}");
    let (status, body) = scene.visit(&path, Some(&other), None).await;
    assert!(status == StatusCode::FORBIDDEN && body.contains("Sign out"), "{body}");
    let (status, _) = scene.visit(&path, Some(&other), Some(&[])).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, body) = scene.visit(&path, None, Some(&[("password", "short")])).await;
    assert!(status == StatusCode::UNPROCESSABLE_ENTITY && body.contains("15 characters"));

    let holder = scene.person(EMAIL, true).await;
    let (status, body) = scene.visit(&path, None, None).await;
    assert!(status == StatusCode::OK && body.contains("/login?next=%2Finvites%2F"), "{body}");
    let session = scene.sign_in(holder.person).await;
    let (status, body) = scene.visit(&path, Some(&session), None).await;
    assert!(status == StatusCode::OK && body.contains("Accept and join"), "{body}");
    let (status, _) = scene.visit(&path, Some(&session), Some(&[])).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let (status, body) = scene.visit(&path, Some(&session), None).await;
    assert!(status == StatusCode::NOT_FOUND && body.contains("Ask who sent it"), "{body}");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_refused_form_keeps_what_was_typed(root: PgPool) {
    let scene = Scene::new(root).await;
    let session = scene.sign_in(scene.fixture.ours.person(Role::Admin)).await;
    let path = "/orgs/ours/members/invite";
    let check = async |emails: &str, role: &str, told: &str| {
        let fields = [("emails", emails), ("role", role)];
        let (status, body) = scene.visit(path, Some(&session), Some(&fields)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(body.contains(emails) && body.contains(told), "{body}");
    };
    check("new@elsewhere.test, nobody", "viewer", "not an e-mail address: nobody").await;
    check("new@elsewhere.test", "king", "choose one of the roles").await;
    check("billing@ours.test", "viewer", "already a member: billing@ours.test").await;
    scene.invite(Role::Owner, round(EMAIL, Role::Viewer)).await.unwrap();
    check(EMAIL, "billing", "name=\"replace\"").await;
    let fields = [("emails", EMAIL), ("role", "billing"), ("replace", "true")];
    let (status, _) = scene.visit(path, Some(&session), Some(&fields)).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let (_, body) = scene.visit("/orgs/ours/members", Some(&session), None).await;
    assert!(body.contains(EMAIL) && body.contains("Open invitations"), "{body}");
    let owner = [("emails", "boss@elsewhere.test"), ("role", "owner")];
    let (status, _) = scene.visit(path, Some(&session), Some(&owner)).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}
