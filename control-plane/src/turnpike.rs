//! `turnpike`: what operators do from a command line.

#[path = "turnpike/policy.rs"]
mod policy;

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use control_plane::{
    access::{Actor, Origin, Permission, Role, Work},
    audit, budgets,
    config::Stores,
    counters::{release, warm},
    demo, docs,
    egress::Egress,
    identity,
    reconciliation::{self, Extent},
    requests::{self, Retried},
    snapshots::{Listed, Publisher, Verdict},
    tokens,
    upstreams::{self, Declared, Draft, SaidTimeouts, Upstream, books, known_models},
};
use secrecy::{ExposeSecret, SecretString};
use shared::{
    config::{secret, store_url},
    counters,
    ids::{PriceBookId, PriceDraftId},
    keys::{Brand, NewKey},
    random,
    reach::Reach,
    seal::MasterKey,
    snapshot::{Places, Signer, SnapshotKey},
};
use sqlx::{Connection, PgConnection};

/// What `ledger verify` exits with where nothing differs but not all could be compared.
const NOT_COMPARED: u8 = 3;

/// Why a command was not done.
type Fault = Box<dyn std::error::Error>;

/// Runs and checks a Turnpike.
#[derive(Parser)]
#[command(version)]
enum Command {
    /// Brings the database's tables up to date, as their owner.
    Migrate(Owner),
    /// Writes the secrets of one installation to a file: those that it does not hold yet.
    Secrets { file: PathBuf },
    /// Fills an empty installation with a demo organization. Does nothing the second time.
    Demo(Box<demo::Settings>),
    /// The audit log.
    #[command(subcommand)]
    Audit(Audit),
    /// What calls cost, and what is summed up of it.
    #[command(subcommand)]
    Ledger(Ledger),
    /// What is counted in Redis.
    #[command(subcommand)]
    Counters(Counters),
    /// What proxies run.
    #[command(subcommand)]
    Snapshots(Snapshots),
    /// Makes somebody with an account an operator of the platform.
    Operator {
        #[command(flatten)]
        stores: Stores,
        email: String,
    },
    /// The platform's own providers, which every organization may call.
    #[command(subcommand)]
    Provider(Provider),
    /// What customers pay for the platform's models.
    #[command(subcommand)]
    Price(Price),
    /// The platform's own routing policies.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Prints the description of the management API.
    Openapi,
    /// Prints which role may do what.
    Roles,
}

#[derive(Args)]
struct Owner {
    /// PostgreSQL, as the owner of the tables. The services' own URL does where one role is all.
    #[arg(long, env = "TURNPIKE_OWNER_DATABASE_URL", value_parser = store_url, hide_env_values = true)]
    owner_database_url: Option<SecretString>,

    #[arg(long, env = "TURNPIKE_DATABASE_URL", value_parser = store_url, hide_env_values = true)]
    database_url: Option<SecretString>,
}

#[derive(Subcommand)]
enum Provider {
    /// Lists them.
    List {
        #[command(flatten)]
        stores: Stores,
    },
    /// Adds one, or brings the one of its name up to date.
    Put(Box<NewProvider>),
}

#[derive(Args)]
struct NewProvider {
    #[command(flatten)]
    stores: Stores,

    /// 32 random bytes in base64 that seal provider credentials.
    #[arg(long, env = "TURNPIKE_CREDENTIAL_KEY", hide_env_values = true)]
    credential_key: MasterKey,

    /// The provider's key.
    #[arg(long, env = "TURNPIKE_PROVIDER_SECRET", value_parser = secret, hide_env_values = true)]
    secret: SecretString,

    /// A vendor that we know, like openai or deepseek, or another's word for itself.
    vendor: String,

    /// The vendor's own where left out; so is the address.
    #[arg(long, default_value = "")]
    name: String,

    #[arg(long, default_value = "")]
    base_url: String,

    #[arg(long, default_value = "")]
    region: String,

    /// Seconds until an answer begins. Left out it stays as it was, which at first is what the
    /// proxies were configured with, as it is again when this is empty; so for the two that follow.
    #[arg(long)]
    first_byte_seconds: Option<String>,

    /// Seconds between two pieces of an answer.
    #[arg(long)]
    idle_seconds: Option<String>,

    /// Seconds for an answer as a whole.
    #[arg(long)]
    total_seconds: Option<String>,

    #[command(flatten)]
    reach: Reach,
}

#[derive(Subcommand)]
enum Price {
    /// Lists the price books.
    Books {
        #[command(flatten)]
        stores: Stores,
    },
    /// Lists what a book says now, and what it will.
    List {
        #[command(flatten)]
        stores: Stores,
        /// Its id; the platform's own when left out.
        book: Option<PriceBookId>,
    },
    /// Reads a file of prices, CSV or JSON, and shows what it would change.
    Import {
        #[command(flatten)]
        acting: Acting,
        file: PathBuf,
        /// The book's id; the platform's own when left out.
        #[arg(long)]
        book: Option<PriceBookId>,
        /// When the prices begin, like 2027-01-01T00:00 in UTC; when published, if left out.
        #[arg(long, default_value = "")]
        from: String,
        #[arg(long, default_value = "")]
        note: String,
        /// The file is the whole price list of the providers that it names: what it leaves out
        /// loses its price.
        #[arg(long)]
        whole: bool,
    },
    /// Compares the platform's own book with the catalogue that comes with this program.
    Catalogue {
        #[command(flatten)]
        acting: Acting,
    },
    /// Shows what imported prices would change.
    Show {
        #[command(flatten)]
        stores: Stores,
        draft: PriceDraftId,
    },
    /// Approves imported prices, as somebody else than who imported them.
    Approve {
        #[command(flatten)]
        acting: Acting,
        draft: PriceDraftId,
    },
    /// Publishes imported prices.
    Publish {
        #[command(flatten)]
        acting: Acting,
        draft: PriceDraftId,
    },
    /// Withdraws imported prices.
    Withdraw {
        #[command(flatten)]
        acting: Acting,
        draft: PriceDraftId,
    },
}

/// Who does it.
#[derive(Args)]
struct Acting {
    #[command(flatten)]
    stores: Stores,
    /// The address of an operator, who answers for it.
    #[arg(long, env = "TURNPIKE_OPERATOR_EMAIL")]
    by: String,
}

impl Acting {
    /// A transaction that sees and changes what is the platform's, in which that operator acts.
    async fn begin(&self) -> Result<Work, Box<dyn std::error::Error>> {
        let db = self.stores.database(1).await?;
        let actor = identity::operator(&db, &self.by).await?;
        Ok(Work::begin(&db, audit::PLATFORM, actor, Origin::internal()).await?)
    }
}

#[derive(Subcommand)]
enum Audit {
    /// Recomputes every chain, and says where one was edited or cut.
    Verify {
        #[command(flatten)]
        stores: Stores,
        /// The file of signed ends, which finds what was cut and covered up.
        #[arg(long, env = "TURNPIKE_AUDIT_CHECKPOINTS")]
        checkpoints: Option<PathBuf>,
        /// The key that signed them.
        #[arg(long, env = "TURNPIKE_SIGNING_KEY", value_parser = secret, hide_env_values = true)]
        signing_key: Option<SecretString>,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum Ledger {
    /// Compares counters, events and everything that is summed up of them, of all days, and
    /// names each amount that differs. Exits with 1 where one does, and with 3 where none does
    /// but not all could be compared.
    Verify {
        #[command(flatten)]
        stores: Stores,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Tries again to bill what could not be read, or was refused by the database.
    Retry {
        #[command(flatten)]
        stores: Stores,
        /// For how many days the request log is kept.
        #[arg(long, env = "TURNPIKE_REQUEST_DAYS", default_value_t = 31)]
        request_days: u16,
    },
}

#[derive(Subcommand)]
enum Counters {
    /// After Redis lost something: waits no more for proxies that held something and never said
    /// so since. What they held may then be spent a second time: say this where none will.
    Warm {
        #[command(flatten)]
        stores: Stores,
    },
    /// Lets go of what calls of dead proxies have held for so many hours: nobody pays for them.
    /// Say this of proxies that will not come back with their journals. It is in the audit log.
    Release {
        #[command(flatten)]
        stores: Stores,
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(i64).range(24..=8_760))]
        hours: i64,
    },
}

#[derive(Subcommand)]
enum Snapshots {
    /// Lists the newest revisions.
    List {
        #[command(flatten)]
        signed: Signed,
        #[arg(long, default_value_t = 20)]
        most: i64,
    },
    /// Recomputes the chain of revisions, and says where it was altered.
    Verify {
        #[command(flatten)]
        signed: Signed,
    },
    /// Publishes everything as it is now, as a new revision.
    Republish {
        #[command(flatten)]
        signed: Signed,
        /// Number it above this one: what proxies hold, where the database was restored
        /// to a time before.
        #[arg(long)]
        after: Option<i64>,
    },
}

#[derive(Args)]
struct Signed {
    #[command(flatten)]
    stores: Stores,
    /// The key that signs what proxies run.
    #[arg(long, env = "TURNPIKE_SNAPSHOT_KEY", hide_env_values = true)]
    snapshot_key: SnapshotKey,
}

impl Signed {
    async fn publisher(&self) -> Result<Publisher, Box<dyn std::error::Error>> {
        let (db, redis) = (self.stores.database(2).await?, self.stores.redis()?);
        Ok(Publisher::new(db, redis, self.snapshot_key.signer(), Places::default()))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Command::parse()).await {
        Ok(code) => code,
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            let _ = writeln!(io::stderr(), "turnpike: {text}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<ExitCode, Box<dyn std::error::Error>> {
    match command {
        Command::Migrate(owner) => migrate(owner).await?,
        Command::Secrets { file } => write_secrets(&file)?,
        Command::Demo(settings) => demo::seed(&settings).await?,
        Command::Audit(Audit::Verify { stores, checkpoints, signing_key, json }) => {
            let db = stores.database(2).await?;
            let signed = match (checkpoints.as_deref(), signing_key.as_ref()) {
                (Some(_), None) => return Err("set TURNPIKE_SIGNING_KEY to check the file".into()),
                (file, key) => file.zip(key),
            };
            let report = audit::verify(&db, signed).await?;
            let text = if json { serde_json::to_string(&report)? } else { report.to_string() };
            say(&text)?;
            return Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Ledger(Ledger::Verify { stores, json }) => {
            let (db, redis) = (stores.database(2).await?, stores.redis()?);
            let places = counters::Places::default();
            let report = reconciliation::compare(&db, &redis, &places, Extent::All).await?;
            let text = if json { serde_json::to_string(&report)? } else { report.to_string() };
            say(&text)?;
            return Ok(match report.verdict() {
                reconciliation::Verdict::Equal => ExitCode::SUCCESS,
                reconciliation::Verdict::Differs => ExitCode::FAILURE,
                reconciliation::Verdict::NotCompared => NOT_COMPARED.into(),
            });
        }
        Command::Ledger(Ledger::Retry { stores, request_days }) => {
            let db = stores.database(2).await?;
            let Retried { added, left } = requests::retry(&db, request_days).await?;
            say(&format!("{added} events were added, and {left} still cannot be"))?;
            return Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Counters(Counters::Warm { stores }) => {
            let awaited = warm(&stores.redis()?, &counters::Places::default()).await?;
            for (shard, epoch) in &awaited {
                say(&format!("process {epoch} held something in shard {shard}"))?;
            }
            say(&format!("{} are not waited for any more", awaited.len()))?;
        }
        Command::Counters(Counters::Release { stores, hours }) => {
            let (db, redis) = (stores.database(2).await?, stores.redis()?);
            let now_ms = budgets::terms::now_ms(&mut redis.get().await?).await?;
            let places = counters::Places::default();
            let released = release(&db, &redis, &places, now_ms - hours * 60 * 60 * 1_000).await?;
            for request in &released {
                say(&format!("let go of what {request} held"))?;
            }
            say(&format!("{} calls hold nothing any more", released.len()))?;
        }
        Command::Snapshots(Snapshots::List { signed, most }) => {
            for it in signed.publisher().await?.list(most).await? {
                let Listed { revision, cause, records, bytes, published_at } = it;
                say(&format!(
                    "{revision:>8}  {published_at}  {cause:<11}  {records:>7} records  {bytes:>9} bytes"
                ))?;
            }
        }
        Command::Snapshots(Snapshots::Verify { signed }) => {
            let Verdict { revisions, records, faults } = signed.publisher().await?.verify().await?;
            for fault in &faults {
                say(fault)?;
            }
            say(&format!("{revisions} revisions and {records} records, {} faults", faults.len()))?;
            return Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Snapshots(Snapshots::Republish { signed, after }) => {
            let revision = signed.publisher().await?.republish(after).await?;
            say(&format!("published everything as revision {revision}"))?;
        }
        Command::Operator { stores, email } => {
            let db = stores.database(1).await?;
            identity::make_operator(&db, &email).await?;
            say(&format!("{email} is an operator"))?;
        }
        Command::Provider(Provider::List { stores }) => {
            let mut work = for_the_platform(&stores).await?;
            for upstream in upstreams::list(&mut work).await? {
                let state = if upstream.enabled { "enabled" } else { "disabled" };
                let Upstream { id, name, base_url, models, .. } = upstream;
                say(&format!("{id}  {name:<24} {base_url:<48} {models:>4} models  {state}"))?;
            }
        }
        Command::Provider(Provider::Put(new)) => put_provider(&new).await?,
        Command::Price(price) => price_command(price).await?,
        Command::Policy(command) => policy::run(command).await?,
        Command::Openapi => say(&docs::openapi().to_pretty_json()?)?,
        Command::Roles => say(&roles())?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn price_command(command: Price) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Price::Books { stores } => {
            let mut work = for_the_platform(&stores).await?;
            for it in books::list(&mut work).await? {
                let books::Book { id, kind, name, organization, holders, .. } = it;
                let whose = organization.unwrap_or_else(|| format!("{holders} organizations"));
                say(&format!("{id}  {:<12} {name:<32} {whose}", kind.name()))?;
            }
        }
        Price::List { stores, book } => {
            let mut work = for_the_platform(&stores).await?;
            for it in books::prices(&mut work, book).await? {
                let (provider, model, kept) = (it.provider, it.model, it.kept);
                let paid = kept.price.as_ref().map_or_else(|| "nothing".to_owned(), in_short);
                let from = kept.from;
                say(&format!("{provider:<20} {model:<40} {paid:<28} from {from}"))?;
            }
        }
        Price::Import { acting, file, book, from, note, whole } => {
            let text = std::fs::read_to_string(&file)?;
            let lines = match books::read(&text, "UTC") {
                Ok(lines) => lines,
                Err(wrongs) => {
                    for wrong in &wrongs {
                        say(&format!("{}: {wrong}", file.display()))?;
                    }
                    return Err(
                        format!("{} lines are wrong: nothing was imported", wrongs.len()).into()
                    );
                }
            };
            let from = match from.as_str() {
                "" => None,
                text => Some(control_plane::web::instant(text, "UTC").ok_or("from is no time")?),
            };
            let mut work = acting.begin().await?;
            let new = books::NewDraft { book, from, note, lines, is_whole: whole };
            let draft = books::draft(&mut work, new).await?;
            show_draft(&mut work, draft).await?;
            work.commit().await?;
        }
        Price::Catalogue { acting } => {
            let mut work = acting.begin().await?;
            match books::draft_of_catalogue(&mut work).await? {
                Some(draft) => show_draft(&mut work, draft).await?,
                None => say("the catalogue lists nothing otherwise")?,
            }
            work.commit().await?;
        }
        Price::Show { stores, draft } => {
            let mut work = for_the_platform(&stores).await?;
            show_draft(&mut work, draft).await?;
        }
        Price::Approve { acting, draft } => {
            let mut work = acting.begin().await?;
            books::approve(&mut work, draft).await?;
            work.commit().await?;
            say(&format!("{draft} is approved"))?;
        }
        Price::Publish { acting, draft } => {
            let mut work = acting.begin().await?;
            let written = books::publish(&mut work, draft).await?;
            work.commit().await?;
            say(&format!("{draft} is published: {written} prices in all books"))?;
        }
        Price::Withdraw { acting, draft } => {
            let mut work = acting.begin().await?;
            books::withdraw(&mut work, draft).await?;
            work.commit().await?;
            say(&format!("{draft} is withdrawn"))?;
        }
    }
    Ok(())
}

async fn show_draft(work: &mut Work, id: PriceDraftId) -> Result<(), Box<dyn std::error::Error>> {
    let draft = books::find_draft(work, id).await?;
    say(&format!("{id}  {}  {}", draft.book_name, draft.note))?;
    let mut is_large = draft.needs_approval;
    for it in books::differences(work, &draft).await? {
        let (before, after) = (it.before.as_ref(), it.after.price.as_ref());
        let [before, after] = [before, after].map(|it| it.map_or("nothing".to_owned(), in_short));
        let mark = if it.is_large { "  !" } else { "" };
        is_large |= it.is_large;
        if it.kind != books::Change::None {
            let (provider, model) = (&it.row.provider, &it.row.model);
            say(&format!("{provider:<20} {model:<40} {before:<28} → {after}{mark}"))?;
        }
    }
    if is_large && draft.awaits_approval() {
        say("! moves by more than half or vanishes: another operator has to approve it")?;
    }
    Ok(())
}

/// What a million tokens cost.
fn in_short(price: &shared::money::Price) -> String {
    let rates = &price.standard().rates;
    format!("${} in, ${} out", rates.input, rates.output)
}

/// A transaction that sees and changes what is the platform's.
async fn for_the_platform(stores: &Stores) -> Result<Work, sqlx::Error> {
    let db = stores.database(1).await?;
    Work::begin(&db, audit::PLATFORM, Actor::System, Origin::internal()).await
}

async fn put_provider(new: &NewProvider) -> Result<(), Box<dyn std::error::Error>> {
    let egress = Egress::new(new.reach.clone());
    let said = SaidTimeouts {
        first_byte: new.first_byte_seconds.clone(),
        idle: new.idle_seconds.clone(),
        total: new.total_seconds.clone(),
    };
    let mut draft = Draft {
        vendor: new.vendor.clone(),
        name: new.name.clone(),
        base_url: new.base_url.clone(),
        region: new.region.clone(),
        ..Draft::default()
    };
    let name = draft.place(&egress)?.name;
    let models = known_models(&new.vendor);
    let sealer = new.credential_key.sealer("credentials");
    let mut work = for_the_platform(&new.stores).await?;
    draft.timeouts = said.over(upstreams::timeouts(&mut work, &name).await?);
    let place = draft.place(&egress)?;
    let declared = Declared { place, secret: new.secret.clone(), models };
    let upstream = upstreams::put(&mut work, &sealer, &declared).await?;
    work.commit().await?;
    say(&format!("{upstream} serves every organization"))?;
    Ok(())
}

fn say(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

async fn migrate(owner: Owner) -> Result<(), Box<dyn std::error::Error>> {
    let url = owner.owner_database_url.or(owner.database_url);
    let url = url.ok_or("set TURNPIKE_OWNER_DATABASE_URL or TURNPIKE_DATABASE_URL")?;
    let mut conn = PgConnection::connect(url.expose_secret()).await?;
    sqlx::migrate!("../migrations").run(&mut conn).await?;
    conn.close().await?;
    Ok(())
}

/// Everything secret that an installation needs, drawn at random. Readable by its owner
/// only. What is in the file already stays; what an update has need of is added.
fn write_secrets(file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let there = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    let drawn = draw_secrets();
    let is_there =
        |name: &str| there.lines().any(|it| it.split_once('=').is_some_and(|it| it.0 == name));
    // The halves of a key pair are new together.
    let missing: Vec<_> =
        drawn.into_iter().filter(|pair| !pair.iter().any(|it| is_there(&it.0))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let lines = missing.iter().flatten().map(|(name, value)| format!("{name}={value}\n"));
    let text = there.clone() + &lines.collect::<String>();
    let new = file.with_extension("new");
    let mut out =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    std::fs::rename(&new, file)?;
    Ok(())
}

/// By name; those that belong together, together.
fn draw_secrets() -> Vec<Vec<(String, String)>> {
    let named = |name: &str, value: &str| (format!("TURNPIKE_{name}"), value.to_owned());
    let master = || MasterKey::generate().to_base64();
    let (signing, verifying) = tokens::generate_signing_key();
    let (snapshot, snapshot_public) = Signer::generate();
    let mut secrets = vec![
        vec![named("MASTER_KEY", master().expose_secret())],
        vec![named("CREDENTIAL_KEY", master().expose_secret())],
        vec![named("SIGNING_KEY", signing.expose_secret()), named("VERIFYING_KEY", &verifying)],
        vec![
            named("SNAPSHOT_KEY", snapshot.expose_secret()),
            named("SNAPSHOT_PUBLIC_KEYS", &snapshot_public),
        ],
        vec![named("API_KEY", NewKey::generate(Brand::Live).secret.expose_secret())],
    ];
    for role in ["OWNER", "BILLING", "DEVELOPER", "OPERATOR"] {
        let email = format!("{}@northwind.example", role.to_lowercase());
        secrets.push(vec![named(&format!("{role}_EMAIL"), &email)]);
        secrets.push(vec![named(&format!("{role}_PASSWORD"), &random::base62(20))]);
    }
    secrets
}

fn roles() -> String {
    let lines = Permission::ALL.iter().map(|permission| {
        let roles: Vec<_> =
            Role::ALL.into_iter().filter(|it| it.may(*permission)).map(Role::title).collect();
        format!("{:<20} {:<75} {}", permission.name(), permission.about(), roles.join(", "))
    });
    lines.collect::<Vec<_>>().join("\n")
}
