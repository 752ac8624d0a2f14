//! What the control plane takes from its environment. `--help` is the manual.

use std::time::Duration;

use clap::{Args, Parser};
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use shared::{
    config::{Floor, secret, store_url},
    reach::Reach,
    seal::MasterKey,
    snapshot::SnapshotKey,
    wire::{Address, NotMade, Patience, Pool},
};
use sqlx::{PgPool, postgres::PgPoolOptions};
use url::Url;

/// Long enough for one piece of an image over a slow network.
const REDIS_PATIENCE: Patience =
    Patience { connect: Duration::from_secs(2), answer: Duration::from_secs(2) };

/// Turnpike's control plane: the dashboard and the management API.
#[derive(Parser, Clone, Debug)]
#[command(version)]
pub struct Config {
    #[command(flatten)]
    pub floor: Floor,

    #[command(flatten)]
    pub stores: Stores,

    /// Where people reach the dashboard.
    #[arg(long, env = "TURNPIKE_PUBLIC_URL")]
    pub public_url: Url,

    /// Where developers reach the data plane.
    #[arg(long, env = "TURNPIKE_DATA_URL")]
    pub data_url: Url,

    /// 32 random bytes in base64, from which the keys for sealing and signing derive.
    #[arg(long, env = "TURNPIKE_MASTER_KEY", hide_env_values = true)]
    pub master_key: MasterKey,

    /// 32 random bytes in base64 that seal provider credentials; the proxies hold it too.
    #[arg(long, env = "TURNPIKE_CREDENTIAL_KEY", hide_env_values = true)]
    pub credential_key: MasterKey,

    /// An Ed25519 private key (PKCS #8, base64) that signs access tokens and checkpoints.
    #[arg(long, env = "TURNPIKE_SIGNING_KEY", value_parser = secret, hide_env_values = true)]
    pub signing_key: SecretString,

    /// An Ed25519 private key (PKCS #8, base64) that signs what proxies run.
    #[arg(long, env = "TURNPIKE_SNAPSHOT_KEY", hide_env_values = true)]
    pub snapshot_key: SnapshotKey,

    /// The same as the proxies are given.
    #[command(flatten)]
    pub reach: Reach,

    /// Networks whose X-Forwarded-For is believed.
    #[arg(long, env = "TURNPIKE_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<IpNet>,

    /// Where signed ends of the audit chains are appended. Keep it off the database's host.
    #[arg(long, env = "TURNPIKE_AUDIT_CHECKPOINTS")]
    pub audit_checkpoints: Option<std::path::PathBuf>,

    /// For how many days the request log is kept.
    #[arg(long, env = "TURNPIKE_REQUEST_DAYS", default_value_t = 31, value_parser = clap::value_parser!(u16).range(1..=400))]
    pub request_days: u16,

    /// Whether last month's invoices are issued and sent two days after its end, without being
    /// asked, where nothing is unusual. Operators do it otherwise.
    #[arg(long, env = "TURNPIKE_CLOSE_MONTHS", value_parser = clap::builder::FalseyValueParser::new(), default_value = "1")]
    pub close_months: bool,

    /// The program that makes PDFs of invoices; else `invoice-pdf` beside this one. Without it
    /// invoices have the other formats.
    #[arg(long, env = "TURNPIKE_INVOICE_PRINTER")]
    pub invoice_printer: Option<std::path::PathBuf>,

    /// More fonts for it, as files with colons between: for names in letters that its own lack,
    /// like those of Chinese, Japanese and Korean. Such a letter is a box otherwise.
    #[arg(long, env = "TURNPIKE_INVOICE_FONTS")]
    pub invoice_fonts: Option<std::ffi::OsString>,

    #[command(flatten)]
    pub stripe: Stripe,

    /// An SMTP server, as smtps://user:password@host. Without it mail stays in the outbox.
    #[arg(long, env = "TURNPIKE_SMTP_URL", value_parser = secret, hide_env_values = true)]
    pub smtp_url: Option<SecretString>,

    /// The sender of our mail.
    #[arg(long, env = "TURNPIKE_MAIL_FROM", default_value = "Turnpike <no-reply@localhost>")]
    pub mail_from: lettre::message::Mailbox,

    /// Serves the dev mailbox and the style guide. Not for production: it shows all mail.
    #[arg(long, env = "TURNPIKE_DEV", value_parser = clap::builder::FalseyValueParser::new(), default_value = "0")]
    pub dev: bool,
}

/// Collecting invoices by Stripe. Without it operators record what came.
#[derive(Args, Clone, Debug)]
pub struct Stripe {
    /// A secret key of Stripe, or a restricted one. Needs the webhooks' secrets too.
    #[arg(long = "stripe-secret-key", env = "TURNPIKE_STRIPE_SECRET_KEY", value_parser = secret, hide_env_values = true, requires = "webhook_secrets")]
    pub secret_key: Option<SecretString>,

    /// What Stripe signs its webhooks with, at `/stripe/webhooks`: the endpoint's signing secret,
    /// and while it is rolled the old one too, with a comma between.
    #[arg(long = "stripe-webhook-secrets", env = "TURNPIKE_STRIPE_WEBHOOK_SECRETS", value_delimiter = ',', value_parser = secret, hide_env_values = true, requires = "secret_key")]
    pub webhook_secrets: Vec<SecretString>,

    /// Where Stripe's API is.
    #[arg(
        long = "stripe-url",
        env = "TURNPIKE_STRIPE_URL",
        default_value = "https://api.stripe.com"
    )]
    pub url: Url,
}

#[derive(Args, Clone, Debug)]
pub struct Stores {
    /// PostgreSQL, as a role that is neither superuser nor the owner of the tables.
    #[arg(long, env = "TURNPIKE_DATABASE_URL", value_parser = store_url, hide_env_values = true)]
    pub database_url: SecretString,

    /// Redis: of a cluster the addresses of some nodes, with commas between.
    #[arg(long, env = "TURNPIKE_REDIS_URL", value_parser = store_url, hide_env_values = true)]
    pub redis_url: SecretString,
}

impl Stores {
    /// Connects as `turnpike_app` whoever the URL names, so that the rows of other
    /// tenants stay out of sight even with an owner's URL.
    pub async fn database(&self, most: u32) -> Result<PgPool, sqlx::Error> {
        let options: sqlx::postgres::PgConnectOptions =
            self.database_url.expose_secret().parse()?;
        PgPoolOptions::new()
            .max_connections(most)
            .acquire_timeout(Duration::from_secs(3))
            .connect_with(options.options([
                ("role", "turnpike_app"),
                ("statement_timeout", "2s"),
                ("idle_in_transaction_session_timeout", "10s"),
                // Of a question over many days it takes seconds to compile, and a fraction to
                // answer.
                ("jit", "off"),
            ]))
            .await
    }

    pub fn redis(&self) -> Result<Pool, NotMade> {
        self.redis_address()?.pool(REDIS_PATIENCE, 8)
    }

    pub fn redis_address(&self) -> Result<Address, NotMade> {
        Ok(self.redis_url.expose_secret().parse()?)
    }
}
