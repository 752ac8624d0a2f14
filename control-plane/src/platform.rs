//! What every handler and job may need, made once at the start.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use aws_lc_rs::hmac;
use ipnet::IpNet;
use shared::{
    counters::{self, Scripts},
    seal::{MasterKey, Sealer},
    snapshot::Places,
};
use sqlx::PgPool;
use tokio::sync::Notify;
use url::Url;

use crate::{
    config::Config,
    egress::Egress,
    identity::Passwords,
    invoices::pdf::Printer,
    payments::{Letters, Rail},
    snapshots::Publisher,
    tokens::AccessTokens,
};

pub struct Platform {
    pub db: PgPool,
    pub redis: shared::wire::Pool,
    /// Where people reach the dashboard: links in mail begin with it.
    pub public_url: Url,
    /// Where developers reach the data plane: snippets begin with it.
    pub data_url: Url,
    /// Whether the dev mailbox and the style guide are served.
    pub is_dev: bool,
    /// Whether months are closed without being asked.
    pub closes_months: bool,
    pub trusted_proxies: Vec<IpNet>,
    /// Which addresses of providers and webhooks may be called.
    pub egress: Egress,
    pub secrets: Secrets,
    pub access_tokens: AccessTokens,
    pub passwords: Passwords,
    pub publisher: Publisher,
    /// How what is spent of budgets is asked for, and caps are set.
    pub counters: Scripts,
    /// Who collects invoices, where anybody does.
    pub payments: Option<Rail>,
    /// Who makes PDFs of invoices.
    pub printer: Printer,
    pub nudges: Nudges,
    draining: AtomicBool,
}

/// Keys derived from the master key, one for each use.
pub struct Secrets {
    /// Proves that a form came from a page of ours.
    pub forms: hmac::Key,
    /// Makes recovery codes, device marks and throttling buckets unreadable.
    pub marks: hmac::Key,
    pub mail: Sealer,
    pub webhooks: Sealer,
    pub seeds: Sealer,
    /// Shared with the data plane: from the credential key, not the master key.
    pub credentials: Sealer,
}

impl Secrets {
    pub fn new(master: &MasterKey, credential: &MasterKey) -> Self {
        Self {
            forms: master.signer("forms"),
            marks: master.signer("marks"),
            mail: master.sealer("mail"),
            webhooks: master.sealer("webhooks"),
            seeds: master.sealer("seeds"),
            credentials: credential.sealer("credentials"),
        }
    }
}

/// Wakes the jobs after a commit. A lost nudge costs a period, never a change.
#[derive(Clone, Default)]
pub struct Nudges {
    pub mail: Arc<Notify>,
    pub webhooks: Arc<Notify>,
    pub collections: Arc<Notify>,
    pub payment_events: Arc<Notify>,
    pub snapshot: Arc<Notify>,
    pub caps: Arc<Notify>,
}

impl Platform {
    pub fn new(
        config: &Config,
        db: PgPool,
        redis: shared::wire::Pool,
    ) -> Result<Self, crate::tokens::TokenError> {
        let signer = config.snapshot_key.signer();
        let egress = Egress::new(config.reach.clone());
        let secrets = Secrets::new(&config.master_key, &config.credential_key);
        let nudges = Nudges::default();
        let letters = Letters {
            sealer: config.master_key.sealer("mail"),
            public_url: config.public_url.clone(),
            nudge: nudges.mail.clone(),
        };
        let publisher = Publisher::new(db.clone(), redis.clone(), signer, Places::default());
        Ok(Self {
            db,
            redis,
            publisher,
            counters: Scripts::new(counters::Places::default()),
            public_url: config.public_url.clone(),
            data_url: config.data_url.clone(),
            is_dev: config.dev,
            closes_months: config.close_months,
            trusted_proxies: config.trusted_proxies.clone(),
            payments: Rail::of(&config.stripe, &egress, letters),
            printer: Printer::new(config.invoice_printer.clone(), config.invoice_fonts.clone()),
            egress,
            secrets,
            access_tokens: AccessTokens::new(&config.signing_key)?,
            passwords: Passwords::default(),
            nudges,
            draining: AtomicBool::new(false),
        })
    }

    /// From now on we are not ready: what is under way ends, and nothing new comes.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// A page of ours as a link that works outside of it.
    pub fn link(&self, path: &str) -> String {
        format!("{}{path}", self.public_url.as_str().trim_end_matches('/'))
    }
}
