//! Dialling: every address that a name has is checked, and a checked one is dialled.

use std::{
    future::ready,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Uri, uri::Scheme};
use hyper_util::{
    client::legacy::connect::{HttpConnector, dns::Name},
    rt::TokioIo,
};
use shared::reach::{HTTPS, NotPermitted, Reach};
use tokio::{net::TcpStream, time::timeout};
use tower_service::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Sent data that nobody has acknowledged for so long means that the other end is gone.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// How often a connection that rests is asked whether it is still there.
const PROBE: Duration = Duration::from_secs(30);

/// Where names are looked up.
pub(super) trait Resolve: Send + Sync {
    fn resolve(&self, name: &str) -> Resolving;
}

pub(super) type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// The machine's own resolver.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names;

impl Resolve for Names {
    fn resolve(&self, name: &str) -> Resolving {
        let name = name.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|it| it.ip()).collect())
        })
    }
}

/// Connects to addresses that are permitted, by whichever name they are found.
#[derive(Clone)]
pub struct Guarded {
    reach: Arc<Reach>,
    resolver: Arc<dyn Resolve>,
    timeout: Duration,
}

impl Guarded {
    pub(super) fn new(reach: Arc<Reach>, resolver: Arc<dyn Resolve>, timeout: Duration) -> Self {
        Self { reach, resolver, timeout }
    }

    async fn connect(self, to: Uri) -> Result<TokioIo<TcpStream>, BoxError> {
        let addresses = self.checked(&to).await?;
        let mut tcp = HttpConnector::new_with_resolver(Fixed(addresses));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(self.timeout));
        tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        tcp.set_keepalive(Some(PROBE));
        Ok(tcp.call(to).await?)
    }

    /// All that the host of `to` stands for. One address that is not permitted spoils the
    /// others: whoever names it means no good.
    async fn checked(&self, to: &Uri) -> Result<Vec<SocketAddr>, BoxError> {
        let is_encrypted = to.scheme() == Some(&Scheme::HTTPS);
        let port = to.port_u16().unwrap_or(if is_encrypted { HTTPS } else { 80 });
        let host = to.host().ok_or(NotPermitted::NoHost)?;
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        let addresses = match bare.parse::<IpAddr>() {
            Ok(it) => vec![it],
            Err(_) => self.resolver.resolve(bare).await?,
        };
        for &address in &addresses {
            self.reach.permit(is_encrypted, port, address)?;
        }
        Ok(addresses.into_iter().map(|it| SocketAddr::new(it, port)).collect())
    }
}

impl Service<Uri> for Guarded {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        Box::pin(self.clone().connect(to))
    }
}

/// Answers every name with the addresses that were checked.
#[derive(Clone)]
struct Fixed(Vec<SocketAddr>);

impl Service<Name> for Fixed {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        ready(Ok(self.0.clone().into_iter()))
    }
}

/// Gives up a connection that does not come about in time, its encryption included.
#[derive(Clone)]
pub struct Timed<C> {
    connector: C,
    limit: Duration,
}

impl<C> Timed<C> {
    pub(super) fn new(connector: C, limit: Duration) -> Self {
        Self { connector, limit }
    }
}

impl<C> Service<Uri> for Timed<C>
where
    C: Service<Uri, Error = BoxError, Future: Send + 'static>,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Connecting<C::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (limit, connecting) = (self.limit, self.connector.call(to));
        Box::pin(async move {
            timeout(limit, connecting).await.unwrap_or_else(|_| {
                Err(io::Error::new(io::ErrorKind::TimedOut, "no connection in time").into())
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use http_body_util::Full;

    use super::*;
    use crate::{config::Timeouts, egress::Egress};

    /// Answers each question with the next of its lists, and the last one for ever.
    struct Scripted {
        answers: Vec<Vec<IpAddr>>,
        asked: AtomicUsize,
        names: Mutex<Vec<String>>,
    }

    impl Scripted {
        fn new(answers: &[&[&str]]) -> Arc<Self> {
            let list = |it: &&[&str]| it.iter().map(|it| it.parse().unwrap()).collect();
            let answers = answers.iter().map(list).collect();
            Arc::new(Self { answers, asked: 0.into(), names: Mutex::default() })
        }
    }

    impl Resolve for Scripted {
        fn resolve(&self, name: &str) -> Resolving {
            self.names.lock().unwrap().push(name.to_owned());
            let at = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
            let answer = self.answers[at].clone();
            Box::pin(async { Ok(answer) })
        }
    }

    /// A server on this machine that nobody may reach.
    struct Canary {
        listener: TcpListener,
        port: u16,
    }

    impl Canary {
        fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let port = listener.local_addr().unwrap().port();
            Self { listener, port }
        }

        /// Connections wait in the listener's queue from the moment they come about.
        fn is_untouched(&self) -> bool {
            self.listener.accept().is_err_and(|it| it.kind() == io::ErrorKind::WouldBlock)
        }
    }

    /// What may be called beside the world's addresses at their usual port.
    fn egress(networks: &[&str], ports: &[u16]) -> Egress {
        let networks = networks.iter().map(|it| it.parse().unwrap()).collect();
        let reach = Reach { networks, ports: ports.to_vec(), ..Reach::default() };
        let short = Duration::from_millis(200);
        let timeouts = Timeouts { connect: short, tls: short, ..Timeouts::default() };
        Egress::new(reach, &timeouts)
    }

    async fn dial(egress: &Egress, resolver: Arc<Scripted>, url: &str) -> String {
        let request = http::Request::get(url).body(Full::default()).unwrap();
        let error = egress.client_with(resolver).request(request).await.unwrap_err();
        assert!(error.is_connect(), "{error:?}");
        let causes = std::iter::successors(std::error::Error::source(&error), |it| it.source());
        causes.map(|it| it.to_string()).collect::<Vec<_>>().join(": ")
    }

    const PRIVATE: &str = "private network";

    #[tokio::test]
    async fn a_name_for_this_machine_is_not_dialled() {
        let canary = Canary::start();
        let egress = egress(&[], &[canary.port]);
        let url = format!("https://innocent.example.com:{}/", canary.port);
        for answer in [
            &["127.0.0.1"][..],
            &["::ffff:127.0.0.1"],
            &["::1"],
            &["0.0.0.0"],
            &["1.1.1.1", "127.0.0.1"],
            &["127.0.0.1", "1.1.1.1"],
        ] {
            let why = dial(&egress, Scripted::new(&[answer]), &url).await;
            assert!(why.contains(PRIVATE), "{answer:?}: {why}");
        }
        assert!(canary.is_untouched());
    }

    #[tokio::test]
    async fn a_literal_address_is_checked_though_nobody_resolves_it() {
        let canary = Canary::start();
        let world = egress(&[], &[canary.port]);
        for host in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"] {
            let url = format!("https://{host}:{}/", canary.port);
            let why = dial(&world, Scripted::new(&[&["1.1.1.1"]]), &url).await;
            assert!(why.contains(PRIVATE), "{host}: {why}");
        }
        // What only some resolvers take for an address is asked of ours, and then checked.
        let own = egress(&["192.0.2.0/24"], &[]);
        let resolver = Scripted::new(&[&["127.0.0.1"]]);
        let url = format!("http://0x7f.1:{}/", canary.port);
        let why = dial(&own, resolver.clone(), &url).await;
        assert!(why.contains(PRIVATE), "{why}");
        assert_eq!(*resolver.names.lock().unwrap(), ["0x7f.1"]);
        assert!(canary.is_untouched());
    }

    /// The address that was checked is the one that is dialled: nobody asks twice.
    #[tokio::test]
    async fn a_name_that_changes_its_mind_gains_nothing() {
        let (canary, harmless) = (Canary::start(), "192.0.2.1");
        let egress = egress(&[&format!("{harmless}/32")], &[canary.port]);
        let resolver = Scripted::new(&[&[harmless], &["127.0.0.1"]]);
        let url = format!("https://rebinding.example.com:{}/", canary.port);
        // Nobody answers at an address for documentation.
        let why = dial(&egress, resolver.clone(), &url).await;
        assert!(!why.contains(PRIVATE), "{why}");
        assert_eq!(resolver.asked.load(Ordering::SeqCst), 1);
        // The next connection asks again, and is told the other address.
        assert!(dial(&egress, resolver.clone(), &url).await.contains(PRIVATE));
        assert!(canary.is_untouched());
    }

    #[tokio::test]
    async fn what_is_not_encrypted_stays_in_the_operators_networks() {
        let egress = egress(&["192.0.2.0/24"], &[]);
        let (inside, outside) = (Scripted::new(&[&["192.0.2.1"]]), Scripted::new(&[&["1.1.1.1"]]));
        let why = dial(&egress, inside, "http://vllm.example.com:8000/").await;
        assert!(!why.contains("https"), "{why}");
        let why = dial(&egress, outside, "http://vllm.example.com:8000/").await;
        assert!(why.contains("https"), "{why}");
        let why = dial(&egress, Scripted::new(&[&["1.1.1.1"]]), "https://x.example.com:22/").await;
        assert!(why.contains("port"), "{why}");
    }

    #[tokio::test]
    async fn a_handshake_that_does_not_end_is_given_up() {
        let canary = Canary::start();
        let egress = egress(&["127.0.0.0/8"], &[]);
        let url = format!("https://silent.example.com:{}/", canary.port);
        let why = dial(&egress, Scripted::new(&[&["127.0.0.1"]]), &url).await;
        assert!(why.contains("in time"), "{why}");
        assert!(!canary.is_untouched(), "the connection itself came about");
    }
}
