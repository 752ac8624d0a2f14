//! The demo: one organization with people, projects, keys and a provider, so that the
//! first look finds something to look at. Made through the same verbs that people use.

mod books;
mod budgets;
mod led;
#[cfg(test)]
mod month;
mod providers;
mod requests;

#[cfg(test)]
pub use self::month::{cap_all, month};

use clap::Args;
use secrecy::SecretString;
use shared::{
    config::secret,
    failure::Classified,
    ids::{CostCenterId, OrganizationId, PersonId, PolicyId, ProjectId},
    keys::NewKey,
    seal::{MasterKey, Sealer},
};
use sqlx::{Connection, PgPool};
use time::{Duration, OffsetDateTime, macros::date};
use url::Url;

use crate::{
    access::{Actor, Origin, Role, Work},
    audit,
    config::Stores,
    cost_centers::{self, BasisPoints, Day, Draft, splits},
    identity::{EmailAddress, Password, Passwords, people},
    keys::{self, Mode, NewApiKey, Terms},
    members, organizations, policies, projects, teams, upstreams,
};

/// What seeding needs: less than serving does.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    #[command(flatten)]
    pub stores: Stores,

    /// 32 random bytes in base64 that seal provider credentials.
    #[arg(long, env = "TURNPIKE_CREDENTIAL_KEY", hide_env_values = true)]
    pub credential_key: MasterKey,

    /// The provider simulator.
    #[arg(long, env = "TURNPIKE_SIMULATOR_URL")]
    pub simulator_url: Url,

    #[command(flatten)]
    pub logins: Logins,
}

/// Who can sign in to the demo, and the key that its curl line uses.
#[derive(Args, Clone, Debug)]
pub struct Logins {
    #[arg(long, env = "TURNPIKE_OWNER_EMAIL")]
    pub owner_email: EmailAddress,
    #[arg(long, env = "TURNPIKE_OWNER_PASSWORD", value_parser = secret, hide_env_values = true)]
    pub owner_password: SecretString,
    #[arg(long, env = "TURNPIKE_BILLING_EMAIL")]
    pub billing_email: EmailAddress,
    #[arg(long, env = "TURNPIKE_BILLING_PASSWORD", value_parser = secret, hide_env_values = true)]
    pub billing_password: SecretString,
    #[arg(long, env = "TURNPIKE_DEVELOPER_EMAIL")]
    pub developer_email: EmailAddress,
    #[arg(long, env = "TURNPIKE_DEVELOPER_PASSWORD", value_parser = secret, hide_env_values = true)]
    pub developer_password: SecretString,
    #[arg(long, env = "TURNPIKE_OPERATOR_EMAIL")]
    pub operator_email: EmailAddress,
    #[arg(long, env = "TURNPIKE_OPERATOR_PASSWORD", value_parser = secret, hide_env_values = true)]
    pub operator_password: SecretString,
    #[arg(long, env = "TURNPIKE_API_KEY", value_parser = secret, hide_env_values = true)]
    pub api_key: SecretString,
}

const NAME: &str = "Northwind Labs";

/// Makes the demo where it is not there yet; brings its providers up to date where it is.
pub async fn seed(settings: &Settings) -> Result<(), DemoError> {
    let db = settings.stores.database(2).await?;
    let logins = &settings.logins;
    let owner = match account(&db, &logins.owner_email).await? {
        Some(owner) => owner,
        None => found(&db, logins).await?,
    };
    let sealer = settings.credential_key.sealer("credentials");
    serve_everybody(&db, &sealer, &settings.simulator_url).await?;
    let Some(slug) = place_of(&db, owner).await? else { return Ok(()) };
    let Some(membership) = organizations::membership(&db, &slug, owner).await? else {
        return Ok(());
    };
    let mut work = begin(&db, membership.organization, owner, &logins.owner_email).await?;
    for declared in providers::in_environment()? {
        upstreams::put(&mut work, &sealer, &declared).await?;
    }
    ensure_support_chat(&mut work).await?;
    let actor = work.actor.clone();
    work.commit().await?;
    books::keep(&db, membership.organization, &actor, books::AUTO_A_DAY).await
}

/// A policy, and a draft of what it might say next.
async fn ensure_support_chat(work: &mut Work) -> Result<PolicyId, DemoError> {
    if let Some(policy) = policies::named(work, providers::SUPPORT_CHAT).await? {
        return Ok(policy);
    }
    let policy = policies::create(work, &providers::support_chat()?).await?;
    policies::save(work, policy, &providers::support_chat_next()?, None).await?;
    Ok(policy)
}

/// What is the platform's, so that whoever signs up can make a call at once.
async fn serve_everybody(db: &PgPool, sealer: &Sealer, simulator: &Url) -> Result<(), DemoError> {
    let mut work = Work::begin(db, audit::PLATFORM, Actor::System, Origin::internal()).await?;
    upstreams::put(&mut work, sealer, &providers::simulated(simulator)?).await?;
    policies::ensure(&mut work, &providers::auto()?).await?;
    work.commit().await?;
    Ok(())
}

async fn account(db: &PgPool, email: &EmailAddress) -> Result<Option<PersonId>, DemoError> {
    let mut conn = db.acquire().await?;
    Ok(people::verified(&mut conn, email).await?)
}

async fn place_of(db: &PgPool, person: PersonId) -> Result<Option<String>, DemoError> {
    let places = organizations::places(db, person).await?;
    Ok(places.into_iter().next().map(|it| it.slug))
}

async fn begin(
    db: &PgPool,
    organization: OrganizationId,
    owner: PersonId,
    email: &EmailAddress,
) -> Result<Work, sqlx::Error> {
    let actor = Actor::Person { id: owner, email: email.to_string() };
    Work::begin(db, organization, actor, Origin::internal()).await
}

/// Everything in one transaction: a demo is there whole, or not at all.
async fn found(db: &PgPool, logins: &Logins) -> Result<PersonId, DemoError> {
    let desk = Passwords::default();
    let mut hashes = Vec::new();
    for password in [
        &logins.owner_password,
        &logins.billing_password,
        &logins.developer_password,
        &logins.operator_password,
    ] {
        hashes.push(desk.hash(Password::new(password.clone(), &[])?).await?);
    }
    let [owner_hash, billing_hash, developer_hash, operator_hash] = hashes.as_slice() else {
        return Err(DemoError::Incomplete);
    };

    let mut conn = db.acquire().await?;
    let mut tx = conn.begin().await?;
    let operator = people::insert(&mut tx, &logins.operator_email, operator_hash, true).await?;
    crate::identity::appoint(&mut tx, operator, &logins.operator_email).await?;
    let owner = people::insert(&mut tx, &logins.owner_email, owner_hash, true).await?;
    let billing = people::insert(&mut tx, &logins.billing_email, billing_hash, true).await?;
    let developer = people::insert(&mut tx, &logins.developer_email, developer_hash, true).await?;
    tx.commit().await?;
    drop(conn);

    let organization = OrganizationId::generate();
    let mut work = begin(db, organization, owner, &logins.owner_email).await?;
    organizations::found(&mut work, &NAME.parse()?).await?;
    members::join(&mut work, billing, Role::Billing).await?;
    members::join(&mut work, developer, Role::Developer).await?;
    furnish(&mut work, logins, developer).await?;
    work.commit().await?;
    Ok(owner)
}

/// Teams, projects, cost centers and keys.
async fn furnish(work: &mut Work, logins: &Logins, developer: PersonId) -> Result<(), DemoError> {
    let product = teams::create(work, &"Product".parse()?).await?;
    teams::add(work, product, developer).await?;
    let support = teams::create(work, &"Customer support".parse()?).await?;

    let bot = projects::create(work, &"support-bot".parse()?, Some(support)).await?;
    let review = projects::create(work, &"code-review".parse()?, Some(product)).await?;
    let search = projects::create(work, &"search-rerank".parse()?, Some(product)).await?;

    let engineering = cost_center(work, "ENG-100", "Engineering").await?;
    let service = cost_center(work, "SUP-200", "Customer support").await?;
    let sales = cost_center(work, "SAL-300", "Sales").await?;
    split(work, bot, &[(service, 7_000), (sales, 3_000)]).await?;
    split(work, review, &[(engineering, 10_000)]).await?;
    split(work, search, &[(engineering, 6_000), (sales, 2_500)]).await?;

    let now = OffsetDateTime::now_utc();
    let mut terms = Terms::named("production".parse()?);
    terms.tags.insert("environment".to_owned(), "production".to_owned());
    let production = NewApiKey { project: Some(bot), mode: Mode::Live, owner: None, terms };
    let secret = NewKey::try_from(logins.api_key.clone()).map_err(|_| DemoError::Key)?;
    let production = keys::issue(work, &production, Some(secret)).await?.key;

    let mut terms = Terms::named("laptop".parse()?);
    terms.expires_at = Some(now + Duration::days(90));
    let laptop =
        NewApiKey { project: Some(review), mode: Mode::Test, owner: Some(developer), terms };
    let laptop = keys::issue(work, &laptop, None).await?.key;

    let mut terms = Terms::named("nightly batch".parse()?);
    terms.expires_at = Some(now + Duration::days(6));
    terms.requests_per_minute = Some(600);
    let batch = NewApiKey { project: Some(search), mode: Mode::Live, owner: None, terms };
    let batch = keys::issue(work, &batch, None).await?.key;

    budgets::make(work, bot, laptop, engineering).await?;
    let keys = [(bot, production), (review, laptop), (search, batch)];
    let calls = requests::of(work.organization, &keys, now);
    Ok(crate::requests::add(work, calls).await?)
}

async fn cost_center(work: &mut Work, code: &str, name: &str) -> Result<CostCenterId, DemoError> {
    let draft = Draft {
        code: code.parse()?,
        name: name.parse()?,
        owner: work.actor.person(),
        valid_from: date!(2026 - 01 - 01).into(),
        valid_until: None,
    };
    Ok(cost_centers::create(work, &draft).await?)
}

async fn split(
    work: &mut Work,
    project: ProjectId,
    shares: &[(CostCenterId, i32)],
) -> Result<(), DemoError> {
    let from: Day = date!(2026 - 01 - 01).into();
    let mut list = Vec::new();
    for (center, points) in shares {
        list.push((*center, BasisPoints::try_from(*points).map_err(|_| DemoError::Incomplete)?));
    }
    Ok(splits::replace(work, project, &splits::Plan::new(from, &list)?).await?)
}

/// Whatever a verb said: the demo has nobody to tell but who runs it.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("{0}")]
    Refused(Box<dyn Classified>),
    #[error("the demo's own figures are not complete")]
    Incomplete,
    #[error("a demo budget is not one: {0}")]
    Budget(shared::snapshot::BadThresholds),
    #[error("a demo password is too weak")]
    Weak(#[from] crate::identity::WeakPassword),
    #[error("the demo's API key is not a key of ours")]
    Key,
    #[error("a key's terms are not valid")]
    Terms(#[from] keys::BadTerm),
}

impl<E: Classified> From<E> for DemoError {
    fn from(error: E) -> Self {
        Self::Refused(Box::new(error))
    }
}
