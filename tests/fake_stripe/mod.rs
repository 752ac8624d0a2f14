//! The stand-in for Stripe as a server: its API, the pages that it hosts, and webhooks.
//!
//! What it keeps is `world`. Whoever runs it decides where webhooks go; what is not taken is told
//! again a few times, as Stripe does, and can be read from the list of events for good.

mod pages;
pub mod world;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    dev::ServerHandle,
    web::{self, Bytes, Data},
};
use tokio::{runtime, sync::Notify};
use url::form_urlencoded;

use self::world::{Ask, Fake, Manners, Reply};

#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    /// Where webhooks go, and what they are signed with.
    pub webhooks: Option<String>,
    pub secrets: Vec<String>,
    /// Where all that it keeps is written down, for the next one to go on with.
    pub file: Option<PathBuf>,
}

/// One that serves until it is stopped.
pub struct FakeStripe {
    pub address: SocketAddr,
    pub fake: Arc<Fake>,
    webhooks: Arc<Mutex<Option<String>>>,
    server: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

struct Desk {
    fake: Arc<Fake>,
    news: Arc<Notify>,
}

/// How often a webhook is tried that is not taken.
const MOST_TRIES: u32 = 4;

impl FakeStripe {
    pub fn start(config: Config) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen)?;
        let address = listener.local_addr()?;
        let fake = Arc::new(begin(&format!("http://{address}"), config.file.as_deref())?);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let news = Arc::<Notify>::default();
        let desk = Data::new(Desk { fake: fake.clone(), news: news.clone() });
        let server = {
            let _inside = runtime.enter();
            HttpServer::new(move || App::new().app_data(desk.clone()).configure(doors))
                .workers(1)
                .disable_signals()
                .shutdown_timeout(1)
                .listen(listener)?
                .run()
        };
        let handle = server.handle();
        let webhooks = Arc::new(Mutex::new(config.webhooks.clone()));
        let telling = tell(fake.clone(), config, webhooks.clone(), news);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = server => (),
                    () = telling => (),
                }
            });
        });
        Ok(Self { address, fake, webhooks, server: handle, thread: Some(thread) })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where webhooks go from now on.
    pub fn tell_to(&self, address: &str) {
        let mut to = self.webhooks.lock().unwrap_or_else(PoisonError::into_inner);
        *to = Some(address.to_owned());
    }

    pub fn stop(&mut self) {
        let stopping = self.server.stop(false);
        let Some(thread) = self.thread.take() else { return };
        let Ok(runtime) = runtime::Builder::new_current_thread().build() else { return };
        // On a thread of its own: whoever stops it may be in a runtime.
        let stopped = std::thread::spawn(move || runtime.block_on(stopping));
        drop(stopped.join());
        drop(thread.join());
    }
}

impl Drop for FakeStripe {
    fn drop(&mut self) {
        self.stop();
    }
}

fn doors(app: &mut web::ServiceConfig) {
    app.service(web::resource(["/healthz", "/readyz"]).to(HttpResponse::Ok));
    pages::doors(app);
    app.service(web::resource("/v1/{rest:.*}").to(answer));
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or_default()
}

async fn answer(request: HttpRequest, body: Bytes, desk: Data<Desk>) -> HttpResponse {
    let header = |name: &str| request.headers().get(name).and_then(|it| it.to_str().ok());
    let has_key = header("authorization").is_some_and(|it| it.starts_with("Bearer sk_test_"));
    let has_version = header("stripe-version").is_some_and(|it| it.contains('.'));
    if !has_key || !has_version {
        let error = serde_json::json!({ "error": {
            "type": "invalid_request_error", "message": "A test key and a version are needed",
        }});
        return HttpResponse::Unauthorized().json(error);
    }
    let words = if request.method() == "GET" { request.query_string().as_bytes() } else { &body };
    let ask = Ask {
        method: request.method().to_string(),
        path: request.path().to_owned(),
        form: form_urlencoded::parse(words).into_owned().collect(),
        key: header("idempotency-key").map(str::to_owned),
    };
    desk.fake.set_time(now());
    let answered = desk.fake.answer(&ask);
    desk.news.notify_one();
    match answered {
        Some(Reply { status, body }) => {
            let status = actix_web::http::StatusCode::from_u16(status).unwrap_or_default();
            HttpResponse::build(status).json(body)
        }
        // Never answered: the caller's patience ends first.
        None => std::future::pending().await,
    }
}

fn begin(base: &str, file: Option<&Path>) -> io::Result<Fake> {
    match file.map(std::fs::read_to_string) {
        Some(Ok(saved)) => Fake::of(base, &saved).map_err(io::Error::other),
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Some(Err(_)) | None => Ok(Fake::new(base)),
    }
}

/// Whole or not at all.
fn keep(fake: &Fake, file: &Path) -> io::Result<()> {
    let new = file.with_extension("new");
    std::fs::write(&new, fake.saved().map_err(io::Error::other)?)?;
    std::fs::rename(new, file)
}

/// Writes down what there is, and carries webhooks, as both come up.
async fn tell(
    fake: Arc<Fake>,
    config: Config,
    webhooks: Arc<Mutex<Option<String>>>,
    news: Arc<Notify>,
) {
    let Ok(client) = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()
    else {
        return;
    };
    let secrets: Vec<_> = config.secrets.iter().map(String::as_str).collect();
    loop {
        news.notified().await;
        fake.set_time(now());
        let kept = config.file.as_deref().map_or(Ok(()), |file| keep(&fake, file));
        if let Err(error) = kept {
            eprintln!("fake-stripe: nothing is kept: {error}");
        }
        let to = webhooks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(to) = to else { continue };
        for it in fake.deliveries(&secrets, Manners::default()) {
            for turn in 0..MOST_TRIES {
                let request = client
                    .post(&to)
                    .header("stripe-signature", &it.signature)
                    .header("content-type", "application/json")
                    .body(it.body.clone());
                if request.send().await.is_ok_and(|it| it.status().is_success()) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200 << turn)).await;
            }
        }
    }
}
