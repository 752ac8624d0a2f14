//! A walk through every door as everybody, to see that each opens for whom the
//! published table says and for nobody else. New doors are walked through by being
//! registered.

use std::collections::HashMap;

use actix_web::{
    cookie::Cookie,
    dev::{Service, ServiceResponse},
    http::{Method, StatusCode},
    test::{TestRequest, init_service},
};
use secrecy::ExposeSecret;
use shared::{
    ids::{
        ApiKeyId, ApiTokenId, BudgetId, CostCenterId, CredentialId, InvitationId, InvoiceId,
        PersonId, PolicyId, PriceBookId, PriceDraftId, ProjectId, RequestId, SessionId, TeamId,
        UpstreamId, WebhookId,
    },
    keys::{Brand, KeyHash, NewKey},
};
use sqlx::PgPool;

use super::{Door, Needs, Role, parameters};
use crate::{
    app, invoices, requests,
    testing::{self, Fixture, Tenant},
    web::Visit,
};

/// Who walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Walker {
    Anonymous,
    /// In the organization walked through.
    Member(Role),
    /// The owner of another organization.
    Stranger,
    /// Staff, and member of nothing.
    Operator,
}

impl Walker {
    const ALL: [Self; 8] = [
        Self::Anonymous,
        Self::Member(Role::Owner),
        Self::Member(Role::Admin),
        Self::Member(Role::Billing),
        Self::Member(Role::Developer),
        Self::Member(Role::Viewer),
        Self::Stranger,
        Self::Operator,
    ];
}

/// What the table promises.
#[derive(Debug, PartialEq, Eq)]
enum Promise {
    Opens,
    SignIn,
    Forbidden,
    NotFound,
}

fn promise(door: &Door, walker: Walker) -> Promise {
    let is_api = door.path.starts_with("/api/");
    match (door.needs, walker) {
        (Needs::Nothing, _) => Promise::Opens,
        (_, Walker::Anonymous) => Promise::SignIn,
        (Needs::SignedIn, _) => Promise::Opens,
        (Needs::Operator, Walker::Operator) => Promise::Opens,
        (Needs::Operator, _) => Promise::Forbidden,
        // An operator has no token: tokens belong to members.
        (Needs::Permission(_), Walker::Operator) if is_api => Promise::SignIn,
        (Needs::Permission(_), Walker::Stranger | Walker::Operator) => Promise::NotFound,
        (Needs::Permission(permission), Walker::Member(role)) if role.may(permission) => {
            Promise::Opens
        }
        (Needs::Permission(_), Walker::Member(_)) => Promise::Forbidden,
    }
}

/// One thing of each kind that paths name, in one organization.
struct Things {
    ids: HashMap<&'static str, String>,
}

struct Walk {
    fixture: Fixture,
    ours: Things,
    sessions: HashMap<Walker, String>,
    tokens: HashMap<Walker, NewKey>,
    operator: PersonId,
    spare: PersonId,
}

impl Walk {
    async fn new(root: PgPool) -> Self {
        let fixture = Fixture::new(root).await;
        let operator = person(&fixture.root, "staff@turnpike.test", true).await;
        let spare = person(&fixture.root, "spare@ours.test", false).await;
        let ours = things(&fixture.root, &fixture.ours, spare).await;
        let named = |it: &Walker| (*it, format!("session-of-{it:?}"));
        let sessions = Walker::ALL.iter().filter(|it| **it != Walker::Anonymous).map(named);
        let tokens = Walker::ALL.iter().map(|it| (*it, NewKey::generate(Brand::Management)));
        Self {
            sessions: sessions.collect(),
            tokens: tokens.collect(),
            fixture,
            ours,
            operator,
            spare,
        }
    }

    fn who(&self, walker: Walker) -> Option<(&Tenant, Role)> {
        match walker {
            Walker::Member(role) => Some((&self.fixture.ours, role)),
            Walker::Stranger => Some((&self.fixture.theirs, Role::Owner)),
            Walker::Anonymous | Walker::Operator => None,
        }
    }

    fn person(&self, walker: Walker) -> Option<PersonId> {
        match walker {
            Walker::Anonymous => None,
            Walker::Operator => Some(self.operator),
            Walker::Member(_) | Walker::Stranger => {
                self.who(walker).map(|(tenant, role)| tenant.person(role))
            }
        }
    }

    /// Puts everything back as it was before somebody walked through a door that
    /// changes things.
    /// The one key and the one token are the walker's own: who may only reach their own
    /// is promised those.
    async fn restore(&self, walker: Walker) {
        let root = &self.fixture.root;
        let id = self.fixture.ours.id;
        for role in Role::ALL {
            put_member(root, &self.fixture.ours, self.fixture.ours.person(role), role).await;
        }
        put_member(root, &self.fixture.ours, self.spare, Role::Viewer).await;
        for statement in [
            "UPDATE organizations SET archived_at = NULL, requires_second_factor = false WHERE id = $1",
            "UPDATE teams SET archived_at = NULL WHERE organization_id = $1",
            "UPDATE projects SET archived_at = NULL WHERE organization_id = $1",
            "UPDATE cost_centers SET archived_at = NULL WHERE organization_id = $1",
            "UPDATE api_keys SET revoked_at = NULL WHERE organization_id = $1",
            "UPDATE api_tokens SET revoked_at = NULL WHERE organization_id = $1",
            "UPDATE invitations SET revoked_at = NULL WHERE organization_id = $1",
            "UPDATE upstreams SET archived_at = NULL, enabled = true WHERE organization_id = $1",
            "UPDATE policies SET archived_at = NULL WHERE organization_id = $1",
            "DELETE FROM webhook_deliveries WHERE organization_id = $1",
            "UPDATE budgets SET tested_at = NULL, archived_at = NULL, name = id::text WHERE organization_id = $1",
            "DELETE FROM connection_trials WHERE organization_id = $1",
            "INSERT INTO team_members SELECT $1, t.id, m.person_id FROM teams t, memberships m
              WHERE t.organization_id = $1 AND m.organization_id = $1 ON CONFLICT DO NOTHING",
        ] {
            sqlx::query(statement).bind(id).execute(root).await.unwrap();
        }
        if let Some((tenant, role)) = self.who(walker).filter(|it| it.0.id == id) {
            let (person, token) = (tenant.person(role), &self.ours.ids["token"]);
            sqlx::query("UPDATE api_keys SET owner_id = $2 WHERE organization_id = $1")
                .bind(id)
                .bind(person)
                .execute(root)
                .await
                .unwrap();
            // It went with the walker who left before, if one did.
            sqlx::query(
                "INSERT INTO api_tokens (organization_id, id, name, person_id, role, hash, hint,
                                         created_by, expires_at)
                 VALUES ($1, $2, 'ci', $3, 'viewer', sha256('token'), '', $3,
                         now() + interval '1 day')
                 ON CONFLICT (organization_id, id) DO UPDATE SET person_id = $3",
            )
            .bind(id)
            .bind(token.parse::<ApiTokenId>().unwrap())
            .bind(person)
            .execute(root)
            .await
            .unwrap();
        }
        sqlx::query("DELETE FROM attempts").execute(root).await.unwrap();
        put_upstream(root, &self.fixture.ours, &self.ours).await;
        for walker in Walker::ALL {
            let Some(person) = self.person(walker) else { continue };
            let session = &self.sessions[&walker];
            sqlx::query(
                "INSERT INTO sessions (id, token_hash, person_id, address, user_agent, expires_at)
                 VALUES ($1, $2, $3, '127.0.0.1', 'walk', now() + interval '1 day')
                 ON CONFLICT DO NOTHING",
            )
            .bind(SessionId::generate())
            .bind(KeyHash::of(session).0.as_slice())
            .bind(person)
            .execute(root)
            .await
            .unwrap();
            let Some((tenant, role)) = self.who(walker) else { continue };
            sqlx::query(
                "INSERT INTO api_tokens
                        (organization_id, id, name, person_id, role, hash, hint, created_by, expires_at)
                 VALUES ($1, $2, 'walk', $3, $4, $5, '', $3, now() + interval '1 day')
                 ON CONFLICT (hash) DO UPDATE SET revoked_at = NULL",
            )
            .bind(tenant.id)
            .bind(ApiTokenId::generate())
            .bind(person)
            .bind(role.name())
            .bind(self.tokens[&walker].hash.0.as_slice())
            .execute(root)
            .await
            .unwrap();
        }
    }

    fn path(&self, door: &Door, slug: &str) -> String {
        parameters(door.path).fold(door.path.to_owned(), |path, name| {
            let id = match name {
                "org" => slug,
                "code" => "not_found",
                "tag" => "projects",
                _ => self.ours.ids.get(name).map_or("none", String::as_str),
            };
            path.replace(&format!("{{{name}}}"), id)
        })
    }

    fn request(&self, door: &Door, walker: Walker, path: &str) -> TestRequest {
        let request = TestRequest::with_uri(path).method(door.method.clone());
        if door.path.starts_with("/api/") {
            let request = if door.method == Method::GET { request } else { request.set_json(()) };
            return match walker {
                Walker::Anonymous | Walker::Operator => request,
                Walker::Member(_) | Walker::Stranger => {
                    let secret = self.tokens[&walker].secret.expose_secret();
                    request.insert_header(("authorization", format!("Bearer {secret}")))
                }
            };
        }
        let mut request = request.cookie(Cookie::new("__Host-visit", "0123456789abcdef"));
        if let Some(session) = self.sessions.get(&walker) {
            request = request.cookie(Cookie::new("__Host-session", session.clone()));
        }
        if door.method == Method::GET {
            return request;
        }
        request.set_form([("csrf", self.form_token(walker))])
    }

    /// The token that a page would have held.
    fn form_token(&self, walker: Walker) -> String {
        let mut page = TestRequest::get().cookie(Cookie::new("__Host-visit", "0123456789abcdef"));
        if let Some(session) = self.sessions.get(&walker) {
            page = page.cookie(Cookie::new("__Host-session", session.clone()));
        }
        Visit::of(&page.to_srv_request(), &self.fixture.platform).form_token()
    }
}

fn kept<B>(response: &ServiceResponse<B>) -> Promise {
    let to_sign_in = response.status() == StatusCode::SEE_OTHER
        && response
            .headers()
            .get("location")
            .is_some_and(|it| it.to_str().unwrap().starts_with("/login?next="));
    match response.status() {
        _ if to_sign_in => Promise::SignIn,
        StatusCode::UNAUTHORIZED => Promise::SignIn,
        StatusCode::FORBIDDEN => Promise::Forbidden,
        StatusCode::NOT_FOUND => Promise::NotFound,
        _ => Promise::Opens,
    }
}

/// Doors that are open to all and whose answer depends on a secret in the path, or that
/// answer by redirecting to the sign-in page.
fn is_beside_the_point(door: &Door) -> bool {
    door.needs == Needs::Nothing
}

#[sqlx::test(migrations = "../migrations")]
async fn every_door_opens_for_whom_the_table_says(root: PgPool) {
    let walk = Walk::new(root).await;
    let app = init_service(walk.fixture.app()).await;
    let mut broken = Vec::new();
    for door in app::doors().list.iter().filter(|it| !is_beside_the_point(it)) {
        for walker in Walker::ALL {
            walk.restore(walker).await;
            let path = walk.path(door, walk.fixture.ours.slug);
            let request = walk.request(door, walker, &path).to_request();
            let response = app.call(request).await.unwrap();
            let (kept, promised) = (kept(&response), promise(door, walker));
            let status = response.status();
            // What is one's own account's may be gone; it is nobody else's either way.
            let is_own = door.needs == Needs::SignedIn && status == StatusCode::NOT_FOUND;
            let is_kept = kept == promised || (is_own && promised == Promise::Opens);
            if !is_kept || status.is_server_error() {
                broken.push(format!(
                    "{} {path} as {walker:?}: {promised:?} promised, {status} kept",
                    door.method
                ));
            }
        }
    }
    assert!(broken.is_empty(), "{} broken promises:\n{}", broken.len(), broken.join("\n"));
}

/// In one's own organization another's things are not there, exactly as things that
/// never were.
#[sqlx::test(migrations = "../migrations")]
async fn things_of_others_are_like_things_that_never_were(root: PgPool) {
    let walk = Walk::new(root).await;
    let app = init_service(walk.fixture.app()).await;
    let mut broken = Vec::new();
    let names_a_thing =
        |it: &&Door| matches!(it.needs, Needs::Permission(_)) && parameters(it.path).count() > 1;
    for door in app::doors().list.iter().filter(names_a_thing) {
        walk.restore(Walker::Stranger).await;
        let theirs = walk.fixture.theirs.slug;
        let stolen = walk.path(door, theirs);
        let random = parameters(door.path).fold(door.path.to_owned(), |path, name| {
            let id = if name == "org" { theirs.to_owned() } else { random_id(name) };
            path.replace(&format!("{{{name}}}"), &id)
        });
        let mut seen = Vec::new();
        for path in [&stolen, &random] {
            let request = walk.request(door, Walker::Stranger, path).to_request();
            seen.push(app.call(request).await.unwrap().status());
        }
        // A body may be refused before its object is looked for; then for both alike.
        let is_hidden = seen[0] == StatusCode::NOT_FOUND || seen[0].is_client_error();
        if seen[0] != seen[1] || !is_hidden {
            broken.push(format!(
                "{} {stolen}: {} but {} for a random id",
                door.method, seen[0], seen[1]
            ));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

fn random_id(parameter: &str) -> String {
    match parameter {
        "team" => TeamId::generate().to_string(),
        "project" => ProjectId::generate().to_string(),
        "center" => CostCenterId::generate().to_string(),
        "key" => ApiKeyId::generate().to_string(),
        "token" => ApiTokenId::generate().to_string(),
        "provider" => UpstreamId::generate().to_string(),
        "credential" => CredentialId::generate().to_string(),
        "policy" => PolicyId::generate().to_string(),
        "budget" => BudgetId::generate().to_string(),
        "webhook" => WebhookId::generate().to_string(),
        "invitation" => InvitationId::generate().to_string(),
        "request" => RequestId::generate().to_string(),
        "invoice" => InvoiceId::generate().to_string(),
        _ => PersonId::generate().to_string(),
    }
}

async fn person(root: &PgPool, email: &str, is_operator: bool) -> PersonId {
    let id = PersonId::generate();
    sqlx::query(
        "INSERT INTO people (id, email, email_verified_at, password_hash, is_operator)
         VALUES ($1, $2, now(), $4, $3)",
    )
    .bind(id)
    .bind(email)
    .bind(is_operator)
    .bind(testing::password_hash())
    .execute(root)
    .await
    .unwrap();
    id
}

async fn put_member(root: &PgPool, tenant: &Tenant, person: PersonId, role: Role) {
    sqlx::query(
        "INSERT INTO memberships VALUES ($1, $2, $3)
         ON CONFLICT (organization_id, person_id) DO UPDATE SET role = $3",
    )
    .bind(tenant.id)
    .bind(person)
    .bind(role.name())
    .execute(root)
    .await
    .unwrap();
}

async fn things(root: &PgPool, tenant: &Tenant, spare: PersonId) -> Things {
    put_member(root, tenant, spare, Role::Viewer).await;
    let (team, project, center) =
        (TeamId::generate(), ProjectId::generate(), CostCenterId::generate());
    let (key, token, invitation) =
        (ApiKeyId::generate(), ApiTokenId::generate(), InvitationId::generate());
    let (upstream, credential, policy) =
        (UpstreamId::generate(), CredentialId::generate(), PolicyId::generate());
    let (budget, webhook) = (BudgetId::generate(), WebhookId::generate());
    let owner = tenant.person(Role::Owner);
    // Two projects, teams and cost centers, so that archiving one leaves one.
    for statement in [
        "INSERT INTO teams (organization_id, id, name) VALUES ($1, $2, 'core')",
        "INSERT INTO projects (organization_id, id, name) VALUES ($1, $3, 'bot')",
        "INSERT INTO cost_centers (organization_id, id, code, name, valid_from)
         VALUES ($1, $4, 'ENG', 'Engineering', '2020-01-01')",
        "INSERT INTO api_keys (organization_id, id, project_id, name, brand, owner_id, created_by, scopes)
         VALUES ($1, $5, $3, 'ci', 'live', $8, $8, '{chat}')",
        "INSERT INTO api_key_secrets (organization_id, key_id, hash, hint)
         VALUES ($1, $5, sha256('walk'), 'tpk_live_…')",
        "INSERT INTO api_tokens
                (organization_id, id, name, person_id, role, hash, hint, created_by, expires_at)
         VALUES ($1, $6, 'ci', $8, 'viewer', sha256('token'), '', $8, now() + interval '1 day')",
        "INSERT INTO invitations
                (organization_id, id, email, role, token_hash, invited_by, expires_at)
         VALUES ($1, $7, 'new@ours.test', 'viewer', sha256('invitation'), $8,
                 now() + interval '1 day')",
    ] {
        // Every statement is given all ids and uses some; a CTE types those it does not.
        let statement = format!(
            "WITH ids AS (SELECT $1::uuid, $2::uuid, $3::uuid, $4::uuid, $5::uuid, $6::uuid, $7::uuid, $8::uuid) {statement}"
        );
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(tenant.id)
            .bind(team)
            .bind(project)
            .bind(center)
            .bind(key)
            .bind(token)
            .bind(invitation)
            .bind(owner)
            .execute(root)
            .await
            .unwrap();
    }
    let (book, draft) = prices(root, spare).await;
    let event = requests::tests::event(tenant.id, project, key);
    let request = event.request;
    requests::add(&mut root.acquire().await.unwrap(), vec![event]).await.unwrap();
    let things = Things {
        ids: HashMap::from([
            ("provider", upstream.to_string()),
            ("credential", credential.to_string()),
            ("policy", policy.to_string()),
            ("budget", budget.to_string()),
            ("webhook", webhook.to_string()),
            ("team", team.to_string()),
            ("project", project.to_string()),
            ("center", center.to_string()),
            ("key", key.to_string()),
            ("token", token.to_string()),
            ("invitation", invitation.to_string()),
            ("person", spare.to_string()),
            ("request", request.to_string()),
            ("invoice", invoices::tests::plant(root, tenant.id).await.to_string()),
            ("organization", tenant.id.to_string()),
            ("price_book", book.to_string()),
            ("price_draft", draft.to_string()),
        ]),
    };
    put_upstream(root, tenant, &things).await;
    things
}

/// A book of the platform's, and prices that are to come into its own.
async fn prices(root: &PgPool, by: PersonId) -> (PriceBookId, PriceDraftId) {
    let (book, draft) = (PriceBookId::generate(), PriceDraftId::generate());
    sqlx::query("INSERT INTO price_books (id, kind, name) VALUES ($1, 'plan', 'walk')")
        .bind(book)
        .execute(root)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO price_drafts (id, note, rows, needs_approval, created_by)
         VALUES ($1, '', '[]', false, $2)",
    )
    .bind(draft)
    .bind(by)
    .execute(root)
    .await
    .unwrap();
    (book, draft)
}

/// A provider with a credential, and a policy, where they are not there yet.
async fn put_upstream(root: &PgPool, tenant: &Tenant, things: &Things) {
    for statement in [
        "INSERT INTO upstreams (organization_id, id, vendor, name, dialect, base_url)
         VALUES ($1, $2, 'acme', 'Acme', 'open_ai', 'https://127.0.0.1:9/v1')
         ON CONFLICT DO NOTHING",
        "INSERT INTO provider_credentials
                (organization_id, upstream_id, id, label, sealed_secret)
         VALUES ($1, $2, $3, 'walk', 'unopenable') ON CONFLICT DO NOTHING",
        "INSERT INTO policies (organization_id, id, name, version)
         VALUES ($1, $4, 'auto', 1) ON CONFLICT DO NOTHING",
        "INSERT INTO policy_versions (organization_id, policy_id, version, name, document, note)
         VALUES ($1, $4, 1, 'auto', '{\"otherwise\": {}}', '') ON CONFLICT DO NOTHING",
        "INSERT INTO budgets (organization_id, id, name, scope, period, time_zone, cap_requests,
                              is_hard, thresholds, on_tight, alert_roles)
         VALUES ($1, $5, 'walk', 'organization', 'month', 'UTC', 5, true, '{}', 'deny', '{}')
         ON CONFLICT DO NOTHING",
        "INSERT INTO webhooks (organization_id, id, url, sealed_secret)
         VALUES ($1, $6, 'https://127.0.0.1:9/hook', 'unopenable') ON CONFLICT DO NOTHING",
    ] {
        let statement = format!(
            "WITH ids AS (SELECT $1::uuid, $2::uuid, $3::uuid, $4::uuid, $5::uuid, $6::uuid) {statement}"
        );
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(tenant.id)
            .bind(things.ids["provider"].parse::<UpstreamId>().unwrap())
            .bind(things.ids["credential"].parse::<CredentialId>().unwrap())
            .bind(things.ids["policy"].parse::<PolicyId>().unwrap())
            .bind(things.ids["budget"].parse::<BudgetId>().unwrap())
            .bind(things.ids["webhook"].parse::<WebhookId>().unwrap())
            .execute(root)
            .await
            .unwrap();
    }
}
