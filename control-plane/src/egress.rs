//! The way out to addresses that people typed: which ones may be called, and the call.
//!
//! Always holds: the address that was checked is the one that is dialled; a redirect is
//! an answer like others; no proxy is asked. Nothing of an answer but its status is read, but for
//! the payment provider's, whose address no customer types.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use reqwest::{Method, StatusCode, header::HeaderMap, redirect::Policy};
use shared::reach::{NotPermitted, Reach};
use url::{Host, Url};

/// What the operator allows.
#[derive(Clone, Debug)]
pub struct Egress(Arc<Reach>);

/// A question whose answer is read.
pub struct Asked<'a> {
    pub method: Method,
    /// Without its query, which is none of what may be called.
    pub address: &'a Url,
    pub query: &'a str,
    pub headers: HeaderMap,
    pub body: String,
    pub patience: Duration,
    /// The most bytes of an answer that are read; a longer one is none.
    pub most: usize,
}

/// No answer was to be had. Why is nobody's business: whoever tries addresses would
/// learn what is behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there was no answer")]
pub struct NoAnswer;

impl Egress {
    pub fn new(reach: Reach) -> Self {
        Self(reach.into())
    }

    /// Whether calls may go to `address`, as far as the text of it tells.
    pub fn permits(&self, address: &Url) -> Result<(), NotPermitted> {
        self.0.permits(address)
    }

    /// Asks for `address`, and says how that was answered.
    pub async fn get(&self, address: &Url, headers: HeaderMap) -> Result<StatusCode, NoAnswer> {
        let client = self.client(address, PATIENCE).await?;
        let answer = client.get(address.clone()).headers(headers).send().await;
        answer.map(|it| it.status()).map_err(|_| NoAnswer)
    }

    /// What dials `address` where it was found to be, and nothing else.
    async fn client(&self, address: &Url, patience: Duration) -> Result<reqwest::Client, NoAnswer> {
        let dialled = self.resolve(address).await?;
        let mut client = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(PATIENCE)
            .timeout(patience);
        if let Some(Host::Domain(name)) = address.host() {
            client = client.resolve_to_addrs(name, &dialled);
        }
        client.build().map_err(|_| NoAnswer)
    }

    /// Sends a message to `address`, and says how that was answered.
    pub async fn post(
        &self,
        address: &Url,
        headers: HeaderMap,
        body: String,
    ) -> Result<StatusCode, NoAnswer> {
        let client = self.client(address, PATIENCE).await?;
        let answer = client.post(address.clone()).headers(headers).body(body).send().await;
        answer.map(|it| it.status()).map_err(|_| NoAnswer)
    }

    /// Asks, and says how that was answered and with what, up to a bound.
    pub async fn exchange(&self, asked: Asked<'_>) -> Result<(StatusCode, Vec<u8>), NoAnswer> {
        let client = self.client(asked.address, asked.patience).await?;
        let mut address = asked.address.clone();
        address.set_query(Some(asked.query).filter(|it| !it.is_empty()));
        let request = client.request(asked.method, address).headers(asked.headers).body(asked.body);
        let mut answer = request.send().await.map_err(|_| NoAnswer)?;
        let (status, mut body) = (answer.status(), Vec::new());
        while let Some(piece) = answer.chunk().await.map_err(|_| NoAnswer)? {
            if body.len() + piece.len() > asked.most {
                return Err(NoAnswer);
            }
            body.extend_from_slice(&piece);
        }
        Ok((status, body))
    }

    /// Where `address` is, if all of that may be called.
    async fn resolve(&self, address: &Url) -> Result<Vec<SocketAddr>, NoAnswer> {
        self.permits(address).map_err(|_| NoAnswer)?;
        let port = address.port_or_known_default().ok_or(NoAnswer)?;
        let found: Vec<SocketAddr> = match address.host().ok_or(NoAnswer)? {
            Host::Ipv4(it) => vec![(it, port).into()],
            Host::Ipv6(it) => vec![(it, port).into()],
            Host::Domain(name) => {
                let asked = tokio::net::lookup_host((name, port));
                let found = tokio::time::timeout(PATIENCE, asked).await.map_err(|_| NoAnswer)?;
                found.map_err(|_| NoAnswer)?.collect()
            }
        };
        self.permitted(address, found)
    }

    /// All of them or none: which one is dialled is not ours to say.
    fn permitted(
        &self,
        address: &Url,
        found: Vec<SocketAddr>,
    ) -> Result<Vec<SocketAddr>, NoAnswer> {
        let is_encrypted = address.scheme() == "https";
        let is_permitted =
            |it: &SocketAddr| self.0.permit(is_encrypted, it.port(), it.ip()).is_ok();
        let all = !found.is_empty() && found.iter().all(is_permitted);
        if all { Ok(found) } else { Err(NoAnswer) }
    }
}

/// Somebody waits in front of a page.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_to_one_private_address_is_not_dialled() {
        let (public, private) = ("1.1.1.1:443".parse().unwrap(), "10.0.0.1:443".parse().unwrap());
        let address = "https://llm.example.com".parse().unwrap();
        let egress = Egress::new(Reach::default());
        assert_eq!(egress.permitted(&address, vec![public]), Ok(vec![public]));
        assert_eq!(egress.permitted(&address, vec![public, private]), Err(NoAnswer));
        assert_eq!(egress.permitted(&address, vec![]), Err(NoAnswer));
        let networks = vec!["10.0.0.0/8".parse().unwrap()];
        let own = Egress::new(Reach { networks, ..Reach::default() });
        assert_eq!(own.permitted(&address, vec![public, private]), Ok(vec![public, private]));
        // What is not encrypted stays inside.
        let address = "http://llm.example.com:443".parse().unwrap();
        assert_eq!(own.permitted(&address, vec![private]), Ok(vec![private]));
        assert_eq!(own.permitted(&address, vec![public]), Err(NoAnswer));
    }

    #[tokio::test]
    async fn a_private_address_is_refused_when_it_is_dialled_too() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("https://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let egress = Egress::new(Reach::default());
        assert_eq!(egress.get(&address, HeaderMap::new()).await, Err(NoAnswer));
        assert!(listener.accept().is_err(), "nobody came");
    }

    #[tokio::test]
    async fn a_name_is_dialled_at_the_address_that_was_checked() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Whoever hangs up on a request that was not read cuts the answer off.
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]).unwrap();
            let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
            std::io::Write::write_all(&mut stream, answer).unwrap();
            stream
        });
        let address = format!("http://localhost:{port}/models").parse().unwrap();
        let egress = Egress::new(Reach::with_this_machine());
        assert_eq!(egress.get(&address, HeaderMap::new()).await, Ok(StatusCode::NO_CONTENT));
        drop(answering.join());
    }
}
