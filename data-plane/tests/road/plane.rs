//! A data plane to test against, with a key, and an upstream for every model.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use clap::Parser;
use data_plane::{
    app::{Running, start_from},
    catalog::feed::Source,
    config::Config,
};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use shared::{
    counters::{Amounts, Opening, Shard, Terms},
    ids::{ApiKeyId, CredentialId, OrganizationId, ProjectId, UpstreamId},
    keys::{Brand, NewKey},
    seal::MasterKey,
    snapshot::{
        Assurances, Budget, Credential, Dialect, Key, Limits, Model, Scope, Secret, Signer,
        Snapshot, Timeouts, Upstream,
    },
    wire::{Address, Patience, Wire},
};
use time::OffsetDateTime;
use tokio::{io::AsyncWriteExt, net::TcpStream};

pub struct Plane {
    pub running: Running,
    pub address: SocketAddr,
    pub private: SocketAddr,
    pub key: NewKey,
    master: MasterKey,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?} is not JSON"))
    }

    pub fn code_if_any(&self) -> Option<String> {
        self.json()["error"]["code"].as_str().map(str::to_owned)
    }

    pub fn code(&self) -> String {
        let json = self.json();
        assert_eq!(json["error"]["code"], self.headers["x-turnpike-error-code"].to_str().unwrap());
        json["error"]["code"].as_str().unwrap().to_owned()
    }
}

pub fn config(master: &MasterKey) -> Config {
    let key = master.to_base64();
    Config::parse_from([
        "data-plane",
        "--listen=127.0.0.1:0",
        "--metrics-listen=127.0.0.1:0",
        "--workers=1",
        // Nobody listens there.
        "--redis-url=redis://127.0.0.1:1",
        &format!("--credential-key={}", key.expose_secret()),
        &format!("--snapshot-public-keys={}", Signer::generate().1),
        "--allow-private-upstreams",
    ])
}

impl Plane {
    /// Starts without anything to serve.
    pub async fn bare(change: impl FnOnce(&mut Config)) -> Self {
        // Nobody listens there.
        Self::bare_from(Source::standard("redis://127.0.0.1:1".into()), change).await
    }

    pub async fn bare_from(source: Source, change: impl FnOnce(&mut Config)) -> Self {
        let master = MasterKey::generate();
        let mut config = config(&master);
        change(&mut config);
        let running = start_from(source, config).await.unwrap();
        let (address, private) = (running.address, running.metrics_address.unwrap());
        Self { running, address, private, key: NewKey::generate(Brand::Live), master }
    }

    pub async fn start(upstream: SocketAddr) -> Self {
        Self::with(upstream, |_| ()).await
    }

    pub async fn with(upstream: SocketAddr, change: impl FnOnce(&mut Config)) -> Self {
        let plane = Self::bare(change).await;
        plane.serve(upstream);
        plane
    }

    /// With several upstreams that serve the same, in the order to be tried.
    pub async fn between(upstreams: &[SocketAddr], change: impl FnOnce(&mut Config)) -> Self {
        let plane = Self::bare(change).await;
        plane.serve_from(upstreams);
        plane
    }

    /// Publishes the key, and the models `auto`, which has another name upstream, and
    /// `same`, which has not.
    pub fn serve(&self, upstream: SocketAddr) {
        self.serve_from(&[upstream]);
    }

    fn serve_from(&self, upstreams: &[SocketAddr]) {
        let image = image_of(&self.master, &self.key, upstreams);
        self.running.catalog.offer(&serde_json::to_vec(&image).unwrap()).unwrap();
    }

    /// The same with how long each upstream, in their order, may take.
    pub fn serve_timed(&self, upstreams: &[(SocketAddr, Timeouts)]) {
        let addresses: Vec<_> = upstreams.iter().map(|it| it.0).collect();
        let mut image = image_of(&self.master, &self.key, &addresses);
        for (upstream, (_, timeouts)) in image.upstreams.iter_mut().zip(upstreams) {
            upstream.timeouts = *timeouts;
        }
        self.running.catalog.offer(&serde_json::to_vec(&image).unwrap()).unwrap();
    }

    /// The same with limits for its key.
    pub fn serve_limited(&self, upstream: SocketAddr, limits: Limits) {
        let mut image = image(&self.master, &self.key, upstream);
        image.keys.iter_mut().for_each(|it| it.limits = limits);
        self.running.catalog.offer(&serde_json::to_vec(&image).unwrap()).unwrap();
    }

    /// The same with whatever `change` makes of it.
    pub fn serve_changed(&self, upstream: SocketAddr, change: impl FnOnce(&mut Snapshot)) {
        let mut image = image(&self.master, &self.key, upstream);
        change(&mut image);
        self.running.catalog.offer(&serde_json::to_vec(&image).unwrap()).unwrap();
    }

    /// The same as the text that it is read from, with whatever `change` makes of it.
    pub fn serve_text(&self, upstream: SocketAddr, change: impl FnOnce(&mut Value)) {
        let mut image = serde_json::to_value(image(&self.master, &self.key, upstream)).unwrap();
        change(&mut image);
        self.running.catalog.offer(&serde_json::to_vec(&image).unwrap()).unwrap();
    }

    /// Another secret that opens `upstream`.
    pub fn credential(&self, upstream: &Upstream) -> Credential {
        let id = CredentialId::generate();
        let purpose = Upstream::purpose(id, upstream.organization, &upstream.base_url);
        let secret = SecretString::from("sk-upstream");
        let sealed_secret = self.master.sealer("credentials").seal_text(&secret, &purpose);
        Credential { id, weight: 1, sealed_secret }
    }

    /// The same with so many secrets for the upstream.
    pub fn serve_with_secrets(&self, upstreams: &[SocketAddr], secrets: usize) {
        let mut image = image_of(&self.master, &self.key, upstreams);
        for upstream in &mut image.upstreams {
            upstream.credentials = (0..secrets).map(|_| self.credential(upstream)).collect();
        }
        self.running.catalog.offer(&serde_json::to_vec(&image).unwrap()).unwrap();
    }

    /// The same with a key that is for `scopes` only.
    pub fn serve_scopes(&self, upstream: SocketAddr, scopes: &[Scope]) {
        let mut image = image(&self.master, &self.key, upstream);
        image.keys.iter_mut().for_each(|it| it.scopes = scopes.to_vec());
        self.running.catalog.offer(&serde_json::to_vec(&image).unwrap()).unwrap();
    }

    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.key.secret.expose_secret())
    }

    pub async fn chat(&self, body: &str) -> Answer {
        self.chat_with(&self.key, body).await
    }

    pub async fn chat_with(&self, key: &NewKey, body: &str) -> Answer {
        let bearer = format!("Bearer {}", key.secret.expose_secret());
        let request = Request::post(format!("http://{}/v1/chat/completions", self.address))
            .header("authorization", bearer);
        send(request, body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        let request = Request::get(format!("http://{}{path}", self.address))
            .header("authorization", self.bearer());
        send(request, "").await
    }

    /// Awaits that no call is under way.
    pub async fn is_idle(&self) {
        let idle = b"turnpike_requests_in_flight 0";
        let is_it = |it: &[u8]| it.windows(idle.len()).any(|it| it == idle);
        while !is_it(&self.get_privately("/metrics").await.body) {}
    }

    pub async fn get_privately(&self, path: &str) -> Answer {
        send(Request::get(format!("http://{}{path}", self.private)), "").await
    }

    /// A connection on which a chat call has been sent.
    pub async fn open(&self, body: &str) -> TcpStream {
        let mut stream = self.connect().await;
        self.ask(&mut stream, body).await;
        stream
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub async fn ask(&self, stream: &mut TcpStream, body: &str) {
        let (bearer, length) = (self.bearer(), body.len());
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: {bearer}\r\n\
             content-length: {length}\r\n\r\n"
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    }
}

/// Says of the store of counters that nothing was lost, which is otherwise for the control
/// plane to say.
pub async fn warm(source: &Source) {
    let mut redis = redis_of(source).await;
    let scripts = shared::counters::Scripts::new(source.events.clone());
    scripts.enter(&redis.history().await.unwrap());
    let mut warming = scripts.load();
    for shard in shared::counters::Shard::all() {
        warming.set(source.events.incarnation(shard), "1 W 0").ignore();
    }
    let () = warming.exec_async(&mut redis).await.unwrap();
}

/// Says of budgets that nothing was spent before they counted, which is otherwise for the control
/// plane to say, too.
pub async fn open(source: &Source, budgets: &[Budget]) {
    let mut redis = redis_of(source).await;
    let scripts = shared::counters::Scripts::new(source.events.clone());
    let () = scripts.load_terms().exec_async(&mut redis).await.unwrap();
    for budget in budgets {
        let opening = Opening { from_ms: -1, until_ms: 0, spent: Amounts::default() };
        let terms = Terms { budget, opening: Some(opening) };
        let ask = scripts.set_terms(Shard::of(budget.organization), terms);
        let _: i64 = ask.query_async(&mut redis).await.unwrap();
    }
}

async fn redis_of(source: &Source) -> Wire {
    let patience = Duration::from_secs(10);
    let patience = Patience { connect: patience, answer: patience };
    let address: Address = source.redis_url.expose_secret().parse().unwrap();
    address.connect(patience).await.unwrap()
}

pub async fn send(request: http::request::Builder, body: &str) -> Answer {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let request = request.body(Full::from(body.to_owned())).unwrap();
    crate::soon(async {
        let (head, body) = client.request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    })
    .await
}

/// A key like `key`, of another organization.
pub fn anothers(key: &Key) -> (NewKey, Key) {
    let new = NewKey::generate(Brand::Live);
    let secrets = vec![Secret { hash: new.hash.0.to_vec(), valid_until: None }];
    let (id, organization) = (ApiKeyId::generate(), OrganizationId::generate());
    (new, Key { id, organization, project: ProjectId::generate(), secrets, ..key.clone() })
}

pub fn image(master: &MasterKey, key: &NewKey, upstream: SocketAddr) -> Snapshot {
    image_of(master, key, &[upstream])
}

/// The first is called `scripted`, and the others `other`.
fn image_of(master: &MasterKey, key: &NewKey, addresses: &[SocketAddr]) -> Snapshot {
    let providers = std::iter::once("scripted").chain(std::iter::repeat("other"));
    let upstreams = addresses.iter().zip(providers);
    let upstreams = upstreams.map(|(it, provider)| upstream(master, provider, *it)).collect();
    let key = Key {
        id: ApiKeyId::generate(),
        organization: OrganizationId::generate(),
        project: ProjectId::generate(),
        secrets: vec![Secret { hash: key.hash.0.to_vec(), valid_until: None }],
        scopes: Scope::ALL.to_vec(),
        allowed_models: None,
        allowed_addresses: vec![],
        expires_at: None,
        limits: Limits::default(),
        routing: Default::default(),
    };
    let taken_at = OffsetDateTime::now_utc() - Duration::from_secs(60);
    Snapshot {
        revision: 1,
        taken_at,
        upstreams,
        keys: vec![key],
        policies: vec![],
        tenants: vec![],
        budgets: Vec::new(),
        books: Vec::new(),
        projects: vec![],
        revoked: vec![],
        learned: vec![],
    }
}

fn upstream(master: &MasterKey, provider: &str, at: SocketAddr) -> Upstream {
    let (credential, base_url) = (CredentialId::generate(), format!("http://{at}/v1"));
    let purpose = Upstream::purpose(credential, None, &base_url);
    let secret = SecretString::from("sk-upstream");
    let sealed_secret = master.sealer("credentials").seal_text(&secret, &purpose);
    let model = |name, upstream_name| Model::of_text(name, upstream_name, 8_000, 1_000);
    Upstream {
        id: UpstreamId::generate(),
        organization: None,
        provider: provider.into(),
        dialect: Dialect::OpenAi,
        base_url,
        region: None,
        credentials: vec![Credential { id: credential, weight: 1, sealed_secret }],
        models: vec![model("auto", "gpt-5"), model("same", "same")],
        timeouts: Timeouts::default(),
        assurances: Assurances::default(),
    }
}
