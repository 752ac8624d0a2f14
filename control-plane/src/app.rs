//! Every room's doors, and what surrounds them.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix_web::{
    App, HttpServer,
    dev::ServerHandle,
    middleware::{Compress, from_fn},
    web::{Data, PayloadConfig},
};
use shared::{counters::Places, feedback, generations, snapshot::LAST_USED, tasks::Supervisor};
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::sync::Notify;
use tracing::info;

use crate::{
    access::Doors, alerts, audit, billing, budgets, config::Config, cost_centers, counters,
    defaults, docs, fleet, health, identity, invoices, keys, learning, ledger, limits, mail,
    members, models, operator, organizations, payments, platform::Platform, policies, projects,
    reconciliation, requests, snapshots, teams, tokens, upstreams, usage, web,
};

/// Every route of the control plane.
pub fn doors() -> Doors {
    let mut doors = Doors::default();
    doors.get("/assets/{tag}/{name}", web::assets::serve);
    health::doors(&mut doors);
    docs::doors(&mut doors);
    identity::doors(&mut doors);
    organizations::doors(&mut doors);
    members::doors(&mut doors);
    teams::doors(&mut doors);
    projects::doors(&mut doors);
    cost_centers::doors(&mut doors);
    budgets::doors(&mut doors);
    alerts::doors(&mut doors);
    keys::doors(&mut doors);
    requests::doors(&mut doors);
    usage::doors(&mut doors);
    invoices::doors(&mut doors);
    payments::doors(&mut doors);
    billing::doors(&mut doors);
    ledger::doors(&mut doors);
    policies::doors(&mut doors);
    learning::doors(&mut doors);
    models::doors(&mut doors);
    upstreams::doors(&mut doors);
    limits::doors(&mut doors);
    defaults::doors(&mut doors);
    tokens::doors(&mut doors);
    audit::doors(&mut doors);
    mail::doors(&mut doors);
    operator::doors(&mut doors);
    reconciliation::doors(&mut doors);
    fleet::doors(&mut doors);
    doors
}

/// The largest form or body that any of our routes has a use for.
const LARGEST_BODY: usize = 256 * 1024;

/// A control plane that serves. It stops when told to, and not before its requests end.
pub struct Running {
    pub address: SocketAddr,
    pub metrics_address: Option<SocketAddr>,
    pub platform: Data<Platform>,
    pub supervisor: Supervisor,
    server: ServerHandle,
    metrics: Option<ServerHandle>,
}

impl Running {
    pub async fn stop(self) {
        self.platform.drain();
        self.server.stop(true).await;
        if let Some(metrics) = self.metrics {
            metrics.stop(false).await;
        }
        self.supervisor.shut_down().await;
    }
}

pub async fn start(config: &Config) -> Result<Running, StartError> {
    let db = config.stores.database(16).await?;
    refuse_might(&db).await?;
    let platform = Data::new(Platform::new(config, db, config.stores.redis()?)?);
    let supervisor = Supervisor::default();

    let listener = TcpListener::bind(config.floor.listen)?;
    let address = listener.local_addr()?;
    let shared = platform.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(shared.clone())
            .app_data(PayloadConfig::new(LARGEST_BODY))
            .wrap(Compress::default())
            .wrap(from_fn(web::around))
            .configure(|app| doors().open(app))
    })
    .workers(config.floor.workers.unwrap_or(2))
    .client_request_timeout(Duration::from_secs(5))
    .shutdown_timeout(config.floor.drain_seconds)
    .disable_signals()
    .listen(listener)?
    .run();
    let handle = server.handle();
    supervisor.run("server", server);

    let (metrics, metrics_address) = match config.floor.metrics_listen {
        Some(listen) => {
            let listener = TcpListener::bind(listen)?;
            let address = listener.local_addr()?;
            let server = health::metrics(listener)?;
            let handle = server.handle();
            supervisor.run("metrics", server);
            (Some(handle), Some(address))
        }
        None => (None, None),
    };
    employ(&supervisor, config, &platform);
    tell(&supervisor, config, &platform)?;
    info!(%address, "the control plane serves on {address}");
    Ok(Running { address, metrics_address, platform, supervisor, server: handle, metrics })
}

/// The work that goes on without being asked.
fn employ(supervisor: &Supervisor, config: &Config, platform: &Data<Platform>) {
    let (nudges, unasked) = (&platform.nudges, Arc::<Notify>::default);

    let desk = platform.clone();
    supervisor.every(
        "publish snapshots",
        Duration::from_secs(1),
        nudges.snapshot.clone(),
        move || {
            let desk = desk.clone();
            async move { snapshots::publish(&desk).await }
        },
    );

    let desk = platform.clone();
    supervisor.every("note key uses", Duration::from_secs(10), unasked(), move || {
        let desk = desk.clone();
        async move { keys::note_uses(&desk, LAST_USED).await }
    });

    let ingester =
        Arc::new(requests::Ingester::new(platform.clone(), Places::default(), config.request_days));
    supervisor.every("log requests", Duration::from_millis(200), unasked(), move || {
        let ingester = ingester.clone();
        async move { ingester.run().await }
    });

    let desk = platform.clone();
    supervisor.every("take feedback", Duration::from_secs(1), unasked(), move || {
        let desk = desk.clone();
        async move { learning::take(&desk, feedback::STREAM).await }
    });

    let desk = platform.clone();
    supervisor.every("learn from feedback", Duration::from_secs(5), unasked(), move || {
        let desk = desk.clone();
        async move { learning::learn_due(&desk).await }
    });

    let desk = platform.clone();
    supervisor.every("notice what is asked again", Duration::from_secs(60), unasked(), move || {
        let desk = desk.clone();
        async move { learning::notice_due(&desk).await }
    });

    let desk = platform.clone();
    supervisor.every("weigh cost and quality", Duration::from_secs(60), unasked(), move || {
        let desk = desk.clone();
        async move { learning::weigh_due(&desk).await }
    });

    let desk = platform.clone();
    supervisor.every("set caps", Duration::from_secs(5), nudges.caps.clone(), move || {
        let desk = desk.clone();
        async move { budgets::terms::repeat(&desk).await }
    });

    let desk = platform.clone();
    supervisor.every("tell alerts", Duration::from_secs(1), unasked(), move || {
        let desk = desk.clone();
        async move { alerts::take(&desk, &Places::default()).await }
    });

    let desk = platform.clone();
    supervisor.every("send webhooks", Duration::from_secs(5), nudges.webhooks.clone(), move || {
        let desk = desk.clone();
        async move { alerts::deliver_due(&desk).await }
    });

    let keeper = Arc::new(counters::Keeper::new(platform.clone(), Places::default()));
    let (healer, at_once) = (keeper.clone(), unasked());
    // Until then nobody is let through by a hard budget.
    at_once.notify_one();
    supervisor.every("heal counters", Duration::from_secs(1), at_once, move || {
        let healer = healer.clone();
        async move { healer.heal().await }
    });
    supervisor.every("sweep holds", Duration::from_secs(10), unasked(), move || {
        let keeper = keeper.clone();
        async move { keeper.sweep().await }
    });

    let desk = platform.clone();
    supervisor.every("reconcile", Duration::from_secs(300), unasked(), move || {
        let desk = desk.clone();
        async move { reconciliation::run(&desk.db, &desk.redis, &Places::default()).await }
    });

    let desk = platform.clone();
    supervisor.every("charge usage", Duration::from_secs(60), unasked(), move || {
        let desk = desk.clone();
        async move {
            ledger::charge_due(&desk.db).await?;
            ledger::prepaid::follow_all(&desk.db).await
        }
    });
    let desk = platform.clone();
    supervisor.every("seal ledgers", Duration::from_secs(600), unasked(), move || {
        let desk = desk.clone();
        async move {
            ledger::credits::expire_due(&desk.db).await?;
            ledger::seal_due(&desk.db).await
        }
    });

    if config.close_months {
        let desk = platform.clone();
        supervisor.every("close months", Duration::from_secs(3_600), unasked(), move || {
            let desk = desk.clone();
            async move { invoices::close_due(&desk).await }
        });
    }

    if platform.payments.is_some() {
        collect(supervisor, platform);
    }

    let carrier = config.smtp_url.clone().map(|url| (url, config.mail_from.clone()));
    let desk = platform.clone();
    supervisor.every("send mail", Duration::from_secs(10), nudges.mail.clone(), move || {
        let (desk, carrier) = (desk.clone(), carrier.clone());
        async move { mail::send_due(&desk, carrier.as_ref()).await }
    });

    if let Some(path) = config.audit_checkpoints.clone() {
        let (desk, key) = (platform.clone(), config.signing_key.clone());
        supervisor.every("sign audit chains", Duration::from_secs(60), unasked(), move || {
            let (desk, key, path) = (desk.clone(), key.clone(), path.clone());
            async move { audit::checkpoint(&desk.db, &key, &path).await.map(drop) }
        });
    }

    let desk = platform.clone();
    supervisor.every("clear away", Duration::from_secs(600), unasked(), move || {
        let desk = desk.clone();
        async move { identity::clear_away(&desk.db).await }
    });

    let desk = platform.clone();
    supervisor.every(
        "forget webhooks' messages",
        Duration::from_secs(3_600),
        unasked(),
        move || {
            let desk = desk.clone();
            async move { alerts::forget_old(&desk).await }
        },
    );
}

/// Has proxies told what became of calls, for as long as we serve.
fn tell(
    supervisor: &Supervisor,
    config: &Config,
    platform: &Data<Platform>,
) -> Result<(), StartError> {
    let address = config.stores.redis_address()?;
    let teller = requests::Teller::new(platform.clone(), address, generations::QUESTIONS);
    let (teller, unasked) = (Arc::new(teller), Arc::<Notify>::default());
    supervisor.every("tell of requests", Duration::from_secs(1), unasked, move || {
        let teller = teller.clone();
        async move { teller.run().await }
    });
    Ok(())
}

/// Has invoices collected.
fn collect(supervisor: &Supervisor, platform: &Data<Platform>) {
    let nudges = &platform.nudges;
    let desk = platform.clone();
    let nudge = nudges.collections.clone();
    supervisor.every("collect invoices", Duration::from_secs(5), nudge, move || {
        let desk = desk.clone();
        async move { payments::collect_due(&desk, OffsetDateTime::now_utc()).await }
    });
    let desk = platform.clone();
    let nudge = nudges.payment_events.clone();
    supervisor.every("handle payment events", Duration::from_secs(5), nudge, move || {
        let desk = desk.clone();
        async move { payments::handle_due(&desk, OffsetDateTime::now_utc()).await }
    });
    let desk = platform.clone();
    let unasked = Arc::<Notify>::default();
    supervisor.every("sweep payment events", Duration::from_secs(3_600), unasked, move || {
        let desk = desk.clone();
        async move { payments::sweep(&desk, OffsetDateTime::now_utc()).await }
    });
}

/// Refuses to serve as a role that row security does not bind.
async fn refuse_might(db: &PgPool) -> Result<(), StartError> {
    let is_mighty = sqlx::query_scalar!(
        r#"SELECT rolsuper OR rolbypassrls AS "is_mighty!" FROM pg_roles
            WHERE rolname = current_user"#
    )
    .fetch_one(db)
    .await?;
    if is_mighty { Err(StartError::Mighty) } else { Ok(()) }
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the database's role gets around row security: use one that does not")]
    Mighty,
    #[error("the database cannot be reached, or was not migrated")]
    Database(#[from] sqlx::Error),
    #[error("the address of Redis is not valid")]
    Redis(#[from] shared::wire::NotMade),
    #[error(transparent)]
    Token(#[from] tokens::TokenError),
    #[error("the address to serve on is not free")]
    Listen(#[from] io::Error),
}
