//! Books against a real Postgres, seen as the application sees it.

use actix_web::http::{Method, StatusCode};
use serde_json::json;
use shared::{
    money::{PinnedPrice, Rates, UnitPrice},
    snapshot::{self, in_force},
};
use sqlx::PgPool;
use time::Duration;

use super::{super::models, *};
use crate::{
    access::{Actor, Origin, Role},
    limits,
    testing::{Fixture, Tenant, http::Browser},
    upstreams::{self, Draft as Place, OfferedModel, put as put_upstream, tests::declared},
};

/// The platform serves `small` and `large`, and two people are operators.
struct Scene {
    fixture: Fixture,
    upstream: UpstreamId,
}

const ONE: Role = Role::Owner;
const OTHER: Role = Role::Admin;

impl Scene {
    async fn new(root: PgPool) -> Self {
        let fixture = Fixture::new(root).await;
        for role in [ONE, OTHER] {
            sqlx::query("UPDATE people SET is_operator = true WHERE id = $1")
                .bind(fixture.ours.person(role))
                .execute(&fixture.root)
                .await
                .unwrap();
        }
        let mut scene = Self { fixture, upstream: UpstreamId::generate() };
        let mut work = scene.work(ONE).await;
        let declared = declared("Acme", "http://127.0.0.1:9/v1", "sk-0123456789");
        let sealer = &scene.fixture.platform.secrets.credentials;
        let upstream = put_upstream(&mut work, sealer, &declared).await.unwrap();
        work.commit().await.unwrap();
        scene.upstream = upstream;
        scene
    }

    /// As an operator.
    async fn work(&self, role: Role) -> Work {
        let actor = self.fixture.ours.actor(role);
        Work::begin(&self.fixture.db, audit::PLATFORM, actor, Origin::internal()).await.unwrap()
    }

    async fn open(&self, kind: BookKind, name: &str, whose: Option<&Tenant>) -> PriceBookId {
        let mut work = self.work(ONE).await;
        let book = open(&mut work, kind, name, whose.map(|it| it.id)).await.unwrap();
        work.commit().await.unwrap();
        book
    }

    async fn draft(
        &self,
        book: Option<PriceBookId>,
        file: &str,
    ) -> Result<PriceDraftId, BookError> {
        let mut work = self.work(ONE).await;
        let lines = read(file, "UTC").unwrap();
        let new = NewDraft { book, from: None, note: String::new(), lines, is_whole: false };
        let draft = draft(&mut work, new).await?;
        work.commit().await.unwrap();
        Ok(draft)
    }

    async fn try_publish(&self, draft: PriceDraftId) -> Result<usize, BookError> {
        let mut work = self.work(ONE).await;
        let written = publish(&mut work, draft).await?;
        work.commit().await.unwrap();
        Ok(written)
    }

    /// Imports and publishes prices, with a second operator where it takes one.
    async fn says(&self, book: Option<PriceBookId>, file: &str) -> usize {
        let draft = self.draft(book, file).await.unwrap();
        let mut work = self.work(OTHER).await;
        approve(&mut work, draft).await.unwrap();
        work.commit().await.unwrap();
        self.try_publish(draft).await.unwrap()
    }

    /// What an organization is offered `small` for, in its own eyes.
    async fn offered(&self, tenant: &Tenant) -> Option<Price> {
        let mut work = self.fixture.work_of(tenant, Role::Viewer).await;
        let one = models::one(&mut work, self.upstream, "small").await.unwrap();
        one.model.price.map(|it| it.price)
    }

    /// The same for both organizations, as what they pay for a million tokens of input.
    async fn offers(&self) -> [Option<String>; 2] {
        let (ours, theirs) = (&self.fixture.ours, &self.fixture.theirs);
        let offers = [self.offered(ours).await, self.offered(theirs).await];
        offers.map(|it| it.map(|it| it.standard().rates.input.to_string()))
    }

    /// Lets an hour pass, as far as prices know.
    async fn an_hour_passes(&self) {
        for table in ["model_prices", "price_plans"] {
            let statement = format!(
                "UPDATE {table} SET created_at = created_at - interval '1 hour',
                                    valid_from = valid_from - interval '1 hour'"
            );
            let statement = sqlx::AssertSqlSafe(statement);
            sqlx::query(statement).execute(&self.fixture.root).await.unwrap();
        }
    }

    async fn count(&self, statement: &'static str) -> i64 {
        sqlx::query_scalar(statement).fetch_one(&self.fixture.root).await.unwrap()
    }
}

fn flat(dollars: &str) -> Price {
    let each = UnitPrice::per_million(dollars).unwrap();
    Price::flat(Rates::of_text(each, each)).unwrap()
}

fn costs(dollars: &str) -> String {
    format!("provider,model,input,output\nAcme,small,{dollars},{dollars}\n")
}

fn some(dollars: [&str; 2]) -> [Option<String>; 2] {
    dollars.map(|it| Some(it.to_owned()))
}

#[sqlx::test(migrations = "../migrations")]
async fn the_contract_goes_before_the_own_book_the_plan_and_the_platform(root: PgPool) {
    let scene = Scene::new(root).await;
    assert_eq!(scene.offers().await, [None, None], "nobody said yet");
    let ours = &scene.fixture.ours;
    scene.says(None, &costs("10")).await;
    assert_eq!(scene.offers().await, some(["10.00", "10.00"]));
    let plan = scene.open(BookKind::Plan, "Scale", None).await;
    scene.says(Some(plan), &costs("9")).await;
    assert_eq!(scene.offers().await, some(["10.00", "10.00"]), "nobody is on it");
    let mut work = scene.work(ONE).await;
    put_on_plan(&mut work, ours.id, Some(plan), None).await.unwrap();
    work.commit().await.unwrap();
    assert_eq!(scene.offers().await, some(["9.00", "10.00"]));
    let own = scene.open(BookKind::Organization, "Ours", Some(ours)).await;
    assert_eq!(scene.offers().await, some(["9.00", "10.00"]), "it says nothing yet");
    scene.says(Some(own), &costs("8")).await;
    let contract = scene.open(BookKind::Contract, "Ours, by contract", Some(ours)).await;
    assert_eq!(scene.offers().await, some(["8.00", "10.00"]));
    scene.says(Some(contract), &costs("7")).await;
    assert_eq!(scene.offers().await, some(["7.00", "10.00"]));
    // What says nothing any more lets the next one say.
    let nothing = "provider,model\nAcme,small\n";
    for (book, then) in [(contract, "8.00"), (own, "9.00"), (plan, "10.00")] {
        scene.says(Some(book), nothing).await;
        assert_eq!(scene.offers().await, some([then, "10.00"]));
    }
    let mut work = scene.work(ONE).await;
    let again = open(&mut work, BookKind::Contract, "Another", Some(ours.id)).await;
    assert!(matches!(again.unwrap_err(), BookError::Taken), "one contract each");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_price_begins_when_it_was_said_to(root: PgPool) {
    let scene = Scene::new(root).await;
    scene.says(None, &costs("10")).await;
    let soon = OffsetDateTime::now_utc() + Duration::minutes(30);
    let soon = soon.format(&time::format_description::well_known::Rfc3339).unwrap();
    let file = format!("provider,model,from,input,output\nAcme,small,{soon},12,12\n");
    scene.says(None, &file).await;
    let plan = scene.open(BookKind::Plan, "Scale", None).await;
    scene.says(Some(plan), &costs("9")).await;
    let mut work = scene.work(ONE).await;
    let (ours, minutes) =
        (scene.fixture.ours.id, |it| OffsetDateTime::now_utc() + Duration::minutes(it));
    put_on_plan(&mut work, ours, Some(plan), Some(minutes(30))).await.unwrap();
    put_on_plan(&mut work, ours, None, Some(minutes(90))).await.unwrap();
    work.commit().await.unwrap();
    assert_eq!(scene.offers().await, some(["10.00", "10.00"]));
    scene.an_hour_passes().await;
    assert_eq!(scene.offers().await, some(["9.00", "12.00"]));
    scene.an_hour_passes().await;
    assert_eq!(scene.offers().await, some(["12.00", "12.00"]), "off the plan again");
}

#[sqlx::test(migrations = "../migrations")]
async fn no_price_begins_in_the_past(root: PgPool) {
    let scene = Scene::new(root).await;
    let file = "provider,model,from,input,output\nAcme,small,2026-01-01,1,1\n";
    let refused = scene.draft(None, file).await.unwrap_err();
    assert!(matches!(refused, BookError::Past), "{refused}");
    // Nor by anybody who writes past us.
    for created in ["now()", "'2020-01-01'"] {
        let statement = format!(
            "INSERT INTO model_prices (upstream_id, model, revision, price, valid_from, created_at)
             VALUES ($1, 'small', 1, '{{}}', '2026-01-01', {created})"
        );
        let mut work = scene.work(ONE).await;
        let query = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(scene.upstream);
        let refused = query.execute(&mut *work).await.unwrap_err();
        let refused = refused.as_database_error().and_then(|it| it.constraint()).map(str::to_owned);
        assert_eq!(refused.as_deref(), Some("model_prices_ahead"));
    }
    scene.says(None, &costs("1")).await;
    for statement in ["UPDATE model_prices SET price = '{}'", "DELETE FROM model_prices"] {
        let mut work = scene.work(ONE).await;
        assert!(sqlx::query(statement).execute(&mut *work).await.is_err(), "{statement}");
    }
    // A draft that waited until it was too late is refused as well.
    let soon = OffsetDateTime::now_utc() + Duration::milliseconds(300);
    let mut work = scene.work(ONE).await;
    let lines = read(&costs("1.1"), "UTC").unwrap();
    let new =
        NewDraft { book: None, from: Some(soon), note: String::new(), lines, is_whole: false };
    let late = draft(&mut work, new).await.unwrap();
    work.commit().await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    assert!(matches!(scene.try_publish(late).await.unwrap_err(), BookError::Past));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_price_that_moves_much_takes_two_operators(root: PgPool) {
    let scene = Scene::new(root).await;
    scene.says(None, &costs("10")).await;
    // By half at most: one is enough.
    let small = scene.draft(None, &costs("15")).await.unwrap();
    assert_eq!(scene.try_publish(small).await.unwrap(), 1);
    let large = scene.draft(None, &costs("22.51")).await.unwrap();
    assert!(matches!(scene.try_publish(large).await.unwrap_err(), BookError::NotApproved));
    let mut work = scene.work(ONE).await;
    assert!(matches!(approve(&mut work, large).await.unwrap_err(), BookError::Own));
    drop(work);
    // Nor by writing past us.
    let mut work = scene.work(ONE).await;
    let own = "UPDATE price_drafts SET approved_by = created_by, approved_at = now() WHERE id = $1";
    assert!(sqlx::query(own).bind(large).execute(&mut *work).await.is_err());
    drop(work);
    let mut work = scene.work(ONE).await;
    let bare =
        "UPDATE price_drafts SET published_by = created_by, published_at = now() WHERE id = $1";
    assert!(sqlx::query(bare).bind(large).execute(&mut *work).await.is_err());
    drop(work);
    let mut work = scene.work(OTHER).await;
    approve(&mut work, large).await.unwrap();
    work.commit().await.unwrap();
    assert_eq!(scene.try_publish(large).await.unwrap(), 1);
    assert!(matches!(scene.try_publish(large).await.unwrap_err(), BookError::Ended));
    // One that vanishes does, too.
    let gone = scene.draft(None, "provider,model\nAcme,small\n").await.unwrap();
    assert!(matches!(scene.try_publish(gone).await.unwrap_err(), BookError::NotApproved));
    let audited = "SELECT count(*) FROM audit_entries
                    WHERE body LIKE '%prices.published%' OR body LIKE '%prices.approved%'";
    assert_eq!(scene.count(audited).await, 5);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_was_overtaken_is_not_published(root: PgPool) {
    let scene = Scene::new(root).await;
    scene.says(None, &costs("10")).await;
    let [first, second] =
        [scene.draft(None, &costs("11")).await, scene.draft(None, &costs("14")).await];
    scene.try_publish(second.unwrap()).await.unwrap();
    let first = first.unwrap();
    let refused = scene.try_publish(first).await.unwrap_err();
    assert!(matches!(&refused, BookError::Overtaken(model) if model == "small"), "{refused}");
    let mut work = scene.work(OTHER).await;
    withdraw(&mut work, first).await.unwrap();
    work.commit().await.unwrap();
    assert!(matches!(scene.try_publish(first).await.unwrap_err(), BookError::Ended));
    let refused = scene.draft(None, &costs("14")).await.unwrap_err();
    assert!(refused.to_string().contains("already"), "{refused}");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_wrong_file_changes_nothing_and_names_its_lines(root: PgPool) {
    let scene = Scene::new(root).await;
    let file = "provider,model,input,output\nAcme,small,1,2\nAcme,huge,1,2\nNobody,small,1,2\n";
    let refused = scene.draft(None, file).await.unwrap_err();
    let told: Vec<_> = refused.problems().into_iter().map(|it| it.message).collect();
    assert_eq!(
        told,
        [
            "line 3: Acme serves no model called \"huge\"",
            "line 4: the platform has no provider called \"Nobody\"",
        ]
    );
    assert_eq!(scene.count("SELECT count(*) FROM price_drafts").await, 0);
    // A whole list takes away what it leaves out.
    scene.says(None, "provider,model,input,output\nAcme,small,1,2\nAcme,large,3,4\n").await;
    let mut work = scene.work(ONE).await;
    let lines = read("provider,model,input,output\nAcme,small,1,2.5\n", "UTC").unwrap();
    let new = NewDraft { book: None, from: None, note: String::new(), lines, is_whole: true };
    let made = draft(&mut work, new).await.unwrap();
    let made = find_draft(&mut work, made).await.unwrap();
    let changes = differences(&mut work, &made).await.unwrap();
    let kinds: Vec<_> = changes.iter().map(|it| (it.row.model.as_str(), it.kind)).collect();
    assert_eq!(kinds, [("small", Change::Moved), ("large", Change::Vanished)]);
    assert!(made.needs_approval);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_marked_up_follows_the_list_and_the_list_is_kept(root: PgPool) {
    let scene = Scene::new(root).await;
    scene.says(None, &costs("10")).await;
    let own = scene.open(BookKind::Contract, "Ours", Some(&scene.fixture.ours)).await;
    scene.says(Some(own), "provider,model,markup_bp\nAcme,small,2000\n").await;
    assert_eq!(scene.offers().await, some(["12.00", "10.00"]));
    let written = scene.says(None, &costs("11")).await;
    assert_eq!(written, 2, "the platform's, and what follows");
    assert_eq!(scene.offers().await, some(["13.20", "11.00"]));
    let mut work = scene.work(ONE).await;
    let said = prices(&mut work, Some(own)).await.unwrap();
    let kept = &said.last().unwrap().kept;
    assert_eq!(kept.list.as_ref(), Some(&flat("11")), "the margin is known");
    assert_eq!(kept.markup_bp, Some(2_000));
    // A price said outright stays as it was said.
    scene.says(Some(own), "provider,model,of,input,output\nAcme,small,sell,12,12\n").await;
    assert_eq!(scene.says(None, &costs("12.5")).await, 1);
    assert_eq!(scene.offers().await, some(["12.00", "12.50"]));
}

#[sqlx::test(migrations = "../migrations")]
async fn nobody_sees_what_others_pay(root: PgPool) {
    let scene = Scene::new(root).await;
    let (ours, theirs) = (&scene.fixture.ours, &scene.fixture.theirs);
    scene.says(None, &costs("10")).await;
    let plan = scene.open(BookKind::Plan, "Scale", None).await;
    scene.says(Some(plan), &costs("9")).await;
    let contract = scene.open(BookKind::Contract, "Ours", Some(ours)).await;
    scene.says(Some(contract), &costs("7")).await;
    let mut work = scene.work(ONE).await;
    put_on_plan(&mut work, ours.id, Some(plan), None).await.unwrap();
    work.commit().await.unwrap();
    for (tenant, books, rows) in [(ours, 2, 3), (theirs, 0, 1)] {
        let mut work = scene.fixture.work_of(tenant, Role::Owner).await;
        let mut count = async |table: &str| -> i64 {
            let statement = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
            sqlx::query_scalar(statement).fetch_one(&mut *work).await.unwrap()
        };
        assert_eq!(count("price_books").await, books);
        assert_eq!(count("model_prices").await, rows);
        assert_eq!(count("price_drafts").await, 0);
        let history = upstreams::prices::history(&mut work, scene.upstream, "small").await.unwrap();
        assert_eq!(i64::try_from(history.len()).unwrap(), rows);
    }
    // Nor does anybody give themselves a price.
    for statement in [
        "INSERT INTO price_books (id, kind, name, organization_id)
         VALUES (gen_random_uuid(), 'organization', 'Cheap', app.organization_id())",
        "INSERT INTO price_plans (organization_id, book_id)
         SELECT app.organization_id(), id FROM price_books LIMIT 1",
        "INSERT INTO model_prices (upstream_id, model, revision, book_id, price)
         SELECT upstream_id, model, 100, id, price FROM model_prices, price_books LIMIT 1",
    ] {
        let mut work = scene.fixture.work(Role::Owner).await;
        assert!(sqlx::query(statement).execute(&mut *work).await.is_err(), "{statement}");
    }
}

/// What of a snapshot prices come from.
struct Published {
    upstream: snapshot::Upstream,
    tenants: Vec<snapshot::Tenant>,
    books: Vec<snapshot::PriceBook>,
}

/// What a proxy would take for what an organization pays at a moment.
fn resolved(published: &Published, tenant: &Tenant, now_ms: i64) -> Option<PinnedPrice> {
    let held = published.tenants.iter().find(|it| it.organization == tenant.id);
    let held = held.into_iter().flat_map(|it| &it.books).filter(|it| it.is_held(now_ms));
    let said = held.filter_map(|it| {
        let book = published.books.iter().find(|book| book.id == it.book)?;
        let upstream = published.upstream.id;
        let is_it = |it: &&snapshot::BookPrices| it.upstream == upstream && it.model == "small";
        in_force(&book.prices.iter().find(is_it)?.prices, now_ms)?.price.clone()
    });
    let model = published.upstream.models.iter().find(|it| it.name == "small")?;
    let planned = in_force(&model.planned, now_ms);
    let platform = || planned.map_or_else(|| model.price.clone(), |it| it.price.clone());
    said.into_iter().next().or_else(platform)
}

/// However it is planned: proxies, which are given all of it at once, and the store, which is
/// asked at each moment, say the same.
#[sqlx::test(migrations = "../migrations")]
async fn proxies_resolve_as_the_store_does(root: PgPool) {
    let scene = Scene::new(root).await;
    let (ours, theirs) = (&scene.fixture.ours, &scene.fixture.theirs);
    let plan = scene.open(BookKind::Plan, "Scale", None).await;
    let other = scene.open(BookKind::Plan, "Start", None).await;
    let own = scene.open(BookKind::Organization, "Own", Some(ours)).await;
    let contract = scene.open(BookKind::Contract, "Contract", Some(ours)).await;
    let start = OffsetDateTime::now_utc();
    let mut conn = scene.fixture.root.acquire().await.unwrap();
    let mut revision = 0;
    for (book, minute, dollars) in [
        (None, 0, Some("10")),
        (None, 20, Some("11")),
        (None, 40, None),
        (None, 45, Some("13")),
        (None, 20, Some("14")),
        (Some(plan), 0, Some("9")),
        (Some(plan), 30, None),
        (Some(other), 10, Some("8.5")),
        (Some(own), 15, Some("8")),
        (Some(own), 25, None),
        (Some(contract), 50, Some("7")),
        (Some(contract), 55, None),
    ] {
        revision += 1;
        sqlx::query(
            "INSERT INTO model_prices (upstream_id, model, revision, book_id, price, valid_from)
             VALUES ($1, 'small', $2, $3, $4, now() + make_interval(mins => $5))",
        )
        .bind(scene.upstream)
        .bind(revision)
        .bind(book)
        .bind(dollars.map(|it| sqlx::types::Json(flat(it))))
        .bind(minute)
        .execute(&mut *conn)
        .await
        .unwrap();
    }
    for (tenant, plan, minute) in [
        (ours, Some(plan), 0),
        (ours, Some(other), 35),
        (ours, None, 48),
        (theirs, Some(other), 5),
        (theirs, Some(plan), 5),
    ] {
        sqlx::query(
            "INSERT INTO price_plans (organization_id, book_id, valid_from)
             VALUES ($1, $2, now() + make_interval(mins => $3))",
        )
        .bind(tenant.id)
        .bind(plan)
        .bind(minute)
        .execute(&mut *conn)
        .await
        .unwrap();
    }
    let mut conn = scene.fixture.db.acquire().await.unwrap();
    let published = Published {
        upstream: upstreams::published(&mut conn, Some(&[scene.upstream])).await.unwrap().remove(0),
        tenants: limits::published_organizations(&mut conn, None).await.unwrap(),
        books: published(&mut conn, None).await.unwrap(),
    };
    let mut root = scene.fixture.root.acquire().await.unwrap();
    for minute in 1..60 {
        let at = start + Duration::minutes(minute) + Duration::seconds(30);
        let at_ms = i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap();
        for tenant in [ours, theirs] {
            let stored: Option<serde_json::Value> = sqlx::query_scalar(
                "SELECT app.price_of($1, m, $2) FROM upstream_models m
                  WHERE m.upstream_id = $3 AND m.name = 'small'",
            )
            .bind(tenant.id)
            .bind(at)
            .bind(scene.upstream)
            .fetch_one(&mut *root)
            .await
            .unwrap();
            let stored: Option<PinnedPrice> = stored.map(|it| serde_json::from_value(it).unwrap());
            let given = resolved(&published, tenant, at_ms);
            assert_eq!(given, stored, "{} after {minute} minutes", tenant.slug);
        }
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn what_proxies_hold_is_noted_where_it_changes(root: PgPool) {
    let scene = Scene::new(root).await;
    let noted = async |entity: &str| -> i64 {
        let statement = "SELECT count(*) FROM config_outbox WHERE entity = $1";
        sqlx::query_scalar(statement).bind(entity).fetch_one(&scene.fixture.root).await.unwrap()
    };
    let (upstreams, organizations) = (noted("upstream").await, noted("organization").await);
    let own = scene.open(BookKind::Contract, "Ours", Some(&scene.fixture.ours)).await;
    assert_eq!((noted("price_book").await, noted("organization").await), (1, organizations + 1));
    scene.says(Some(own), &costs("1")).await;
    assert_eq!((noted("price_book").await, noted("upstream").await), (2, upstreams));
    scene.says(None, &costs("1")).await;
    assert_eq!((noted("price_book").await, noted("upstream").await), (2, upstreams + 1));
}

#[sqlx::test(migrations = "../migrations")]
async fn the_catalogue_fills_a_provider_at_once(root: PgPool) {
    let scene = Scene::new(root).await;
    let mut work = scene.work(ONE).await;
    let place =
        Place { vendor: "openai".to_owned(), name: "OpenAI".to_owned(), ..Place::default() };
    let place = place.place(&scene.fixture.platform.egress).unwrap();
    let declared =
        upstreams::Declared { place, secret: "sk-1".to_owned().into(), models: Vec::new() };
    let sealer = &scene.fixture.platform.secrets.credentials;
    let upstream = put_upstream(&mut work, sealer, &declared).await.unwrap();
    let known = known_models("openai");
    assert_eq!(models::add_known(&mut work, upstream).await.unwrap(), known.len());
    assert_eq!(models::add_known(&mut work, upstream).await.unwrap(), 0, "once is enough");
    let there = models::list(&mut work, upstream).await.unwrap();
    let priced = |it: &&OfferedModel| it.model.price.is_some();
    let listed = known.iter().filter(|it| it.price.is_some()).count();
    assert_eq!(there.iter().filter(priced).count(), listed);
    // The catalogue lists nothing otherwise, until somebody says otherwise.
    assert_eq!(draft_of_catalogue(&mut work).await.unwrap(), None);
    work.commit().await.unwrap();
    let model = known.iter().find(|it| it.price.is_some()).unwrap();
    let file = format!("provider,model,input,output\nOpenAI,{},999,999\n", model.name);
    scene.says(None, &file).await;
    let mut work = scene.work(ONE).await;
    let made = draft_of_catalogue(&mut work).await.unwrap().unwrap();
    let rows = find_draft(&mut work, made).await.unwrap().rows;
    let rows: Vec<_> = rows.iter().map(|it| (it.model.as_str(), it.list.as_ref())).collect();
    assert_eq!(rows, [(model.name.as_str(), model.price.as_ref().map(|it| &it.price))]);
}

#[sqlx::test(migrations = "../migrations")]
async fn operators_import_approve_and_publish_on_their_pages(root: PgPool) {
    let scene = Scene::new(root).await;
    let (one, other) = (scene.fixture.browser(ONE).await, scene.fixture.browser(OTHER).await);
    one.get("/operator/prices").await.says(StatusCode::OK, "Platform");
    let organization = scene.fixture.theirs.id.to_string();
    let form = [("kind", "contract"), ("name", "Theirs"), ("organization", organization.as_str())];
    let book = sent(&one, "/operator/prices/books", &form).await;
    one.get(&book).await.says(StatusCode::OK, "The contract of theirs");
    let book = book.rsplit('/').next().unwrap().split('?').next().unwrap();
    let page =
        one.post("/operator/prices/import", &[("file", "provider,model\nAcme,huge\n")]).await;
    page.says(StatusCode::UNPROCESSABLE_ENTITY, "line 2: Acme serves no model");
    page.says(StatusCode::UNPROCESSABLE_ENTITY, "Acme,huge");
    let file = costs("10");
    let draft =
        sent(&one, "/operator/prices/import", &[("book", "platform"), ("file", &file)]).await;
    one.get(&draft).await.says(StatusCode::OK, "What would change");
    sent(&one, &format!("{draft}/publish"), &[]).await;
    one.get("/operator/prices/books/platform").await.says(StatusCode::OK, "$10.00");
    // Much more for some: another has to say so.
    let file = "provider,model,markup_bp\nAcme,small,8000\n";
    let draft = sent(&one, "/operator/prices/import", &[("book", book), ("file", file)]).await;
    one.get(&draft).await.says(StatusCode::OK, "Awaits approval");
    for step in ["approve", "publish"] {
        let page = one.post(&format!("{draft}/{step}"), &[]).await;
        page.says(StatusCode::UNPROCESSABLE_ENTITY, "another operator");
    }
    sent(&other, &format!("{draft}/approve"), &[]).await;
    sent(&one, &format!("{draft}/publish"), &[]).await;
    let page = other.get(&draft).await;
    page.says(StatusCode::OK, "admin@ours.test");
    other.get(&format!("/operator/prices/books/{book}")).await.says(StatusCode::OK, "$18.00");
    assert_eq!(scene.offers().await, some(["10.00", "18.00"]));
    let plan = sent(&one, "/operator/prices/books", &[("kind", "plan"), ("name", "Scale")]).await;
    let plan = plan.rsplit('/').next().unwrap().split('?').next().unwrap();
    let form = [("organization", organization.as_str()), ("plan", plan)];
    sent(&one, "/operator/prices/plans", &form).await;
    let form = [("organization", "org_nobody"), ("plan", plan)];
    let page = one.post("/operator/prices/plans", &form).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
}

/// Where a form leads that is taken.
async fn sent(browser: &Browser<'_>, path: &str, form: &[(&str, &str)]) -> String {
    let answer = browser.post(path, form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}: {}", answer.body);
    answer.location.unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn customers_read_what_they_pay_and_will(root: PgPool) {
    let scene = Scene::new(root).await;
    scene.says(None, &costs("10")).await;
    let own = scene.open(BookKind::Contract, "Ours", Some(&scene.fixture.ours)).await;
    scene.says(Some(own), &costs("8")).await;
    let token = scene.fixture.token(Role::Developer, false).await;
    let path = format!("/orgs/ours/providers/{}", scene.upstream);
    let answer = scene.fixture.api(Some(&token), Method::GET, &path, None).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let whole = answer.json();
    let models = whole["model_list"].as_array().unwrap();
    let small = models.iter().find(|it| it["name"] == "small").unwrap();
    assert_eq!(small["price"]["price"], json!(flat("8")), "{small}");
    let path = format!("{path}/models/price?name=small");
    let answer = scene.fixture.api(Some(&token), Method::GET, &path, None).await;
    let told = answer.json();
    assert_eq!(told["data"][0]["book"], "Ours", "{told}");
    assert_eq!(told["data"][1]["book"], serde_json::Value::Null, "{told}");
    // The command line and pages begin as the system or as a person: never as nobody.
    let (db, origin) = (&scene.fixture.db, Origin::internal());
    let mut work = Work::begin(db, audit::PLATFORM, Actor::System, origin).await.unwrap();
    let lines = read(&costs("3"), "UTC").unwrap();
    let new = NewDraft { book: None, from: None, note: String::new(), lines, is_whole: false };
    assert!(matches!(draft(&mut work, new).await.unwrap_err(), BookError::Nobody));
}
