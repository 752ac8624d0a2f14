//! The way out: which addresses an upstream may have, and the client that calls them.
//!
//! Always holds: a connection is made to an address that was checked, and to no other, so
//! that a name which answers differently the second time gains nothing; what leaves for
//! the world is encrypted. Redirects are answers like others, and no proxy is ever asked.

mod connector;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
pub use shared::reach::NotPermitted;
use shared::reach::Reach;
use url::Url;

pub use self::connector::{Guarded, Timed};
use self::connector::{Names, Resolve};
use crate::config::Timeouts;

/// An HTTP client with its own connections: one for each worker thread.
pub type Client = legacy::Client<Timed<HttpsConnector<Guarded>>, Full<Bytes>>;

/// The most of an upstream's answer that a connection holds unread, and so the longest
/// head of one. What a stream holds in all is a few of these.
const READ_BUFFER: usize = 16 * 1024;

/// Connections to one place that are kept for the next call.
const MOST_IDLE: usize = 256;
const LONGEST_IDLE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct Egress {
    reach: Arc<Reach>,
    connect: Duration,
    tls: Duration,
}

impl Egress {
    pub fn new(reach: Reach, timeouts: &Timeouts) -> Self {
        Self { reach: reach.into(), connect: timeouts.connect, tls: timeouts.tls }
    }

    /// Whether an upstream may be configured with this address. What its name resolves to
    /// is checked when it is dialled.
    pub fn permits(&self, address: &Url) -> Result<(), NotPermitted> {
        self.reach.permits(address)
    }

    pub fn client(&self) -> Client {
        self.client_with(Arc::new(Names))
    }

    /// A client that learns addresses from `resolver`.
    fn client_with(&self, resolver: Arc<dyn Resolve>) -> Client {
        let guarded = Guarded::new(self.reach.clone(), resolver, self.connect);
        // The connector knows where plain HTTP is allowed.
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::aws_lc_rs::default_provider())
            .expect("the provider has the cipher suites of our TLS versions")
            .https_or_http()
            .enable_http1()
            .wrap_connector(guarded);
        legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(LONGEST_IDLE)
            .pool_max_idle_per_host(MOST_IDLE)
            .http1_max_buf_size(READ_BUFFER)
            .build(Timed::new(tls, self.connect + self.tls))
    }
}
