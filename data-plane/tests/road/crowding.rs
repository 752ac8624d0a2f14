//! Many clients that are slow, send too much or are too many, beside one that is none of it.
//! Who behaves is served all the while, and the others take what they may and no more.

use std::{fs, io::Write, sync::Arc, time::Duration};

use data_plane::config::Config;
use flate2::{Compression, write::GzEncoder};
use futures::future::join_all;
use shared::{
    ids::UpstreamId,
    keys::NewKey,
    snapshot::{Dialect, Model},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::{Notify, watch},
    task::JoinSet,
};

use crate::{
    plane::{Answer, Plane, anothers},
    soon,
    upstream::{EVENTS, Event, JSON, Step, Upstream, answer, staying},
};

const CALL: &str = r#"{"model":"auto","messages":[]}"#;
const REPLY: &str = r#"{"id":"1","choices":[]}"#;
/// Asks the upstream that does not behave.
const OTHER_CALL: &str = r#"{"model":"other","messages":[{"role":"user","content":"x"}]}"#;
const OTHER_STREAM: &str =
    r#"{"model":"other","stream":true,"messages":[{"role":"user","content":"x"}]}"#;
/// A flood in the place of a stream.
const ENDLESS: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";

const MEGABYTE: usize = 1_000_000;
/// Of JSON: enough to use up the stack of whoever descends into it.
const DEPTH: usize = 100_000;

/// A plane that serves two organizations: that of many, who have the plane's own key, and
/// that of one who looks on.
struct Crowded {
    plane: Plane,
    bystander: NewKey,
    other: Upstream,
    upstream: Upstream,
}

impl Crowded {
    /// `script` is what the upstream does that the bystander does not ask.
    async fn start(script: Vec<Step>, change: impl FnOnce(&mut Config)) -> Self {
        Self::speaking(Dialect::OpenAi, script, change).await
    }

    async fn speaking(
        dialect: Dialect,
        script: Vec<Step>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let other = Upstream::start([script]).await;
        let upstream = Upstream::start([staying(answer("200 OK", JSON, REPLY))]).await;
        let plane = Plane::bare(|it| {
            // Whoever misbehaves goes on to.
            it.breaker_calls = u32::MAX;
            change(it);
        })
        .await;
        let mut bystander = None;
        plane.serve_changed(upstream.address, |image| {
            let (new, key) = anothers(&image.keys[0]);
            bystander = Some(new);
            image.keys.push(key);
            let mut second = image.upstreams[0].clone();
            second.id = UpstreamId::generate();
            second.dialect = dialect;
            second.base_url = format!("http://{}/v1", other.address);
            second.credentials = vec![plane.credential(&second)];
            // It writes little: an answer that nobody takes any more is heard out that far.
            second.models = vec![Model::of_text("other", "other", 8_000, 16)];
            image.upstreams.push(second);
        });
        let crowded = Self { plane, bystander: bystander.unwrap(), other, upstream };
        crowded.serves().await;
        crowded
    }

    /// The bystander calls, and is served.
    async fn serves(&self) {
        let answer = self.plane.chat_with(&self.bystander, CALL).await;
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, REPLY.as_bytes()));
    }

    /// The same until something has come about.
    async fn serves_until(&self, mut is: impl AsyncFnMut() -> bool) {
        soon(async {
            while !is().await {
                self.serves().await;
            }
        })
        .await;
    }

    /// The same until `work` is done.
    async fn serves_while<F: Future>(&self, work: F) -> F::Output {
        let calling = async {
            loop {
                self.serves().await;
            }
        };
        soon(async {
            tokio::select! {
                output = work => output,
                () = calling => unreachable!("it goes on for ever"),
            }
        })
        .await
    }

    async fn metric(&self, name: &str) -> usize {
        let metrics = self.plane.get_privately("/metrics").await;
        let metrics = std::str::from_utf8(&metrics.body).unwrap();
        let line = metrics.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
    }

    /// How many calls are under way.
    async fn in_flight(&self) -> usize {
        self.metric("turnpike_requests_in_flight").await
    }

    /// Sockets that somebody holds, at both ends of what clients and the proxy, and the proxy and
    /// its upstreams have between them. Other tests may be in this process too.
    fn open_sockets(&self) -> usize {
        let ends = [self.plane.address, self.other.address, self.upstream.address];
        let ports = ends.map(|it| format!(":{:04X}", it.port()));
        let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
        let is_ours = |line: &&str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let is_of = |end: &str| ports.iter().any(|port| end.ends_with(port));
            // Without an inode the socket is the kernel's alone.
            fields[9] != "0" && (is_of(fields[1]) || is_of(fields[2]))
        };
        table.lines().skip(1).filter(is_ours).count()
    }

    /// A connection that has been served once.
    async fn known(&self) -> TcpStream {
        let mut client = self.plane.connect().await;
        client.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"alive\n") {
            assert!(soon(client.read_buf(&mut answer)).await.unwrap() > 0);
        }
        client
    }

    /// A connection on which a body has begun that has so many bytes.
    async fn sending(&self, length: usize) -> TcpStream {
        let mut client = self.plane.connect().await;
        let head = self.head(&format!("content-length: {length}\r\n"));
        client.write_all(head.as_bytes()).await.unwrap();
        client
    }

    fn head(&self, headers: &str) -> String {
        let bearer = self.plane.bearer();
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: {bearer}\r\n{headers}\r\n"
        )
    }

    /// A connection on which a stream comes that nobody takes, and how that was answered.
    async fn not_reading(&self) -> (TcpStream, String) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let mut client = socket.connect(self.plane.address).await.unwrap();
        self.plane.ask(&mut client, OTHER_STREAM).await;
        let mut status = [0; 12];
        soon(client.read_exact(&mut status)).await.unwrap();
        (client, String::from_utf8(status.into()).unwrap())
    }
}

/// The most memory that this process has had.
fn peak_memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|it| it.strip_prefix("VmHWM:")).unwrap();
    peak.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1_024
}

/// What is open beside what a test counts: connections that are kept for the next call, and
/// those of the calls that look.
const SOME_SOCKETS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_take_their_share_and_no_more() {
    const EACH: usize = 100;
    // An organization alone has half of the seats.
    const SEATS: usize = 300;
    let script = vec![Step::Send(EVENTS.into()), Step::Flood];
    let crowded = Crowded::start(script, |it| {
        it.max_in_flight = SEATS.try_into().unwrap();
        let long = Duration::from_secs(3_600);
        (it.timeouts.head, it.timeouts.body, it.timeouts.write) = (long, long, long);
    })
    .await;
    let (sockets, memory) = (crowded.open_sockets(), peak_memory());

    let (mut heads, mut bodies, mut readers) = (vec![], vec![], vec![]);
    for _ in 0..EACH / 2 {
        heads.extend([crowded.plane.connect().await, crowded.known().await]);
    }
    for _ in 0..EACH {
        bodies.push(crowded.sending(20 * MEGABYTE).await);
    }
    crowded.serves_until(async || crowded.in_flight().await == EACH).await;
    for nth in 0..EACH {
        let (client, status) = crowded.not_reading().await;
        let fits = nth < SEATS / 2 - EACH;
        assert_eq!(status, if fits { "HTTP/1.1 200" } else { "HTTP/1.1 503" }, "{nth}");
        if fits {
            readers.push(client);
        }
    }

    for byte in b"POST /v1/chat/completions HTTP/1.1\r\n" {
        for client in heads.iter_mut().chain(&mut bodies) {
            client.write_all(&[*byte]).await.unwrap();
        }
        crowded.serves().await;
    }
    let mut flooded = 0;
    crowded
        .serves_until(async || {
            for _ in 0..20 {
                crowded.serves().await;
            }
            let before = std::mem::replace(&mut flooded, crowded.other.flooded());
            assert!(flooded < readers.len() * 4 * MEGABYTE, "{flooded} were taken for nobody");
            flooded == before
        })
        .await;
    crowded.serves_until(async || crowded.in_flight().await == SEATS / 2).await;
    // Both ends of each, and those to the upstream.
    let theirs = 2 * (heads.len() + bodies.len() + 2 * readers.len());
    assert!(
        crowded.open_sockets() <= sockets + theirs + SOME_SOCKETS,
        "{} of {theirs}",
        crowded.open_sockets() - sockets
    );
    let grown = peak_memory() - memory;
    assert!(grown < 64 * MEGABYTE, "{grown} bytes");

    drop((heads, bodies, readers));
    crowded.serves_until(async || crowded.in_flight().await == 0).await;
    crowded.serves_until(async || crowded.open_sockets() <= sockets + SOME_SOCKETS).await;
}

/// Sends a byte whenever the bystander has been served, until the connection is closed.
async fn drip(mut client: TcpStream, mut served: watch::Receiver<u32>) {
    let mut answer = Vec::new();
    loop {
        tokio::select! {
            read = client.read_buf(&mut answer) => if read.is_ok_and(|it| it > 0) { continue } else { return },
            it = served.changed() => it.unwrap(),
        }
        let _ = client.write_all(b"x").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_dropped_in_time() {
    const EACH: usize = 60;
    let script = vec![Step::Send(EVENTS.into()), Step::Flood];
    let mut crowded = Crowded::start(script, |it| {
        let short = Duration::from_secs(2);
        (it.timeouts.head, it.timeouts.body, it.timeouts.write) = (short, short, short);
    })
    .await;
    let sockets = crowded.open_sockets();
    let (tick, served) = watch::channel(0);
    let (mut dripping, mut readers) = (JoinSet::new(), vec![]);
    for _ in 0..EACH {
        let body = crowded.sending(1_000).await;
        for client in [crowded.plane.connect().await, crowded.known().await, body] {
            dripping.spawn(drip(client, served.clone()));
        }
        readers.push(crowded.not_reading().await);
    }
    let mut left = readers.len();
    soon(async {
        while left > 0 || !dripping.is_empty() {
            crowded.serves().await;
            tick.send_modify(|it| *it += 1);
            while let Some(dropped) = dripping.try_join_next() {
                dropped.unwrap();
            }
            let ended = std::iter::from_fn(|| crowded.other.events.try_recv().ok());
            left -= ended.filter(|it| matches!(it, Event::Flooded(_))).count();
        }
    })
    .await;
    crowded.serves_until(async || crowded.in_flight().await == 0).await;
    let late = r#"turnpike_refusals_total{code="request_timeout"}"#;
    assert_eq!(crowded.metric(late).await, EACH);
    drop(readers);
    crowded.serves_until(async || crowded.open_sockets() <= sockets + SOME_SOCKETS).await;
}

/// Whoever holds them loses them in time, and nobody is turned away meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_when_all_connections_are_taken_waits_for_one() {
    const MOST: u32 = 20;
    let crowded = Crowded::start(vec![], |it| {
        it.max_connections = Some(MOST);
        it.timeouts.head = Duration::from_secs(1);
    })
    .await;
    let sockets = crowded.open_sockets();
    let idle = join_all((0..2 * MOST).map(|_| crowded.plane.connect())).await;
    crowded.serves().await;
    let theirs = idle.len() + usize::try_from(MOST).unwrap();
    assert!(crowded.open_sockets() <= sockets + theirs + SOME_SOCKETS);
}

/// Sends all of that, or as much as is taken, and returns what was answered.
async fn send_all(
    client: TcpStream,
    head: String,
    pieces: impl Iterator<Item = Vec<u8>>,
) -> String {
    let (mut reader, mut writer) = client.into_split();
    let sending = async move {
        writer.write_all(head.as_bytes()).await.unwrap();
        for piece in pieces {
            if writer.write_all(&piece).await.is_err() {
                break;
            }
        }
        // Held until there is an answer: who hangs up gets none.
        writer
    };
    let reading = async move {
        let mut answer = Vec::new();
        while reader.read_buf(&mut answer).await.is_ok_and(|it| it > 0) {}
        String::from_utf8(answer).unwrap()
    };
    tokio::join!(sending, reading).1
}

type Pieces = Box<dyn Iterator<Item = Vec<u8>> + Send>;
/// Statuses and words with which something may be answered.
type Allowed = &'static [(&'static str, &'static str)];

const TOO_LARGE: (&str, &str) = ("413", "larger than");
const NO_ROOM: (&str, &str) = ("503", "overloaded");

/// A hundred megabytes, packed into a thousandth of that.
fn bomb() -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..100 {
        packed.write_all(&vec![b' '; MEGABYTE]).unwrap();
    }
    packed.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sends_too_much_is_refused_within_limits() {
    const EACH: usize = 25;
    const PIECE: usize = 50_000;
    // An organization alone has half of it.
    let crowded = Crowded::start(vec![], |it| it.body_memory_bytes = 64_000_000).await;
    let (bomb, deep) = (bomb(), format!(r#"{{"model":"auto","messages":{}"#, "[".repeat(DEPTH)));
    let closed = format!("{deep}{}}}", "]".repeat(DEPTH));
    let memory = peak_memory();
    let mut sending = JoinSet::new();
    for _ in 0..EACH {
        let huge = || std::iter::repeat_n(vec![b'x'; PIECE], 100 * MEGABYTE / PIECE);
        let chunks =
            huge().map(|it| [format!("{PIECE:x}\r\n").into(), it, b"\r\n".into()].concat());
        let length = |it: usize| format!("content-length: {it}\r\n");
        let whole = |body: &[u8]| Box::new(std::iter::once(body.to_vec()));
        let packed = |how: &str| format!("content-encoding: {how}\r\n{}", length(bomb.len()));
        let all: [(String, Pieces, Allowed); 6] = [
            (length(100 * MEGABYTE), Box::new(huge()), &[TOO_LARGE]),
            ("transfer-encoding: chunked\r\n".into(), Box::new(chunks), &[TOO_LARGE, NO_ROOM]),
            (packed("gzip"), whole(&bomb), &[("400", "compressed")]),
            (packed("GZip, br"), whole(&bomb), &[("400", "compressed")]),
            (length(closed.len()), whole(closed.as_bytes()), &[("400", "nested"), NO_ROOM]),
            (length(deep.len()), whole(deep.as_bytes()), &[("400", "not a JSON object"), NO_ROOM]),
        ];
        for (headers, pieces, allowed) in all {
            let head = crowded.head(&format!("connection: close\r\n{headers}"));
            let client = crowded.plane.connect().await;
            sending.spawn(async move {
                let answer = send_all(client, head, pieces).await;
                let is = |(status, words): &(&str, &str)| {
                    answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(words)
                };
                assert!(allowed.iter().any(is), "{headers}{answer}");
            });
        }
    }
    let all = async {
        while let Some(refused) = sending.join_next().await {
            refused.unwrap();
        }
    };
    crowded.serves_while(all).await;
    let grown = peak_memory() - memory;
    // What a body grows into is up to twice as large.
    assert!(grown < 150 * MEGABYTE, "{grown} bytes");
    crowded.serves_until(async || crowded.in_flight().await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_sends_too_much_is_refused_within_limits() {
    let bomb = bomb();
    let packed = |status: &str, kind: &str| {
        let length = bomb.len();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-encoding: gzip\r\n\
             content-length: {length}\r\n\r\n"
        );
        vec![Step::Send([head.as_bytes(), &bomb].concat())]
    };
    let endless = vec![Step::Send(ENDLESS.into()), Step::Flood];
    for (script, codes) in [
        (packed("200 OK", "application/json"), &["upstream_error"][..]),
        (packed("200 OK", "text/event-stream"), &["upstream_error"]),
        (packed("400 Bad", "application/json"), &["upstream_error"]),
        (packed("503 Busy", "application/json"), &["upstream_error"]),
        (endless, &["upstream_error", "overloaded"]),
    ] {
        let crowded = Crowded::start(script, |it| it.body_memory_bytes = 64_000_000).await;
        let memory = peak_memory();
        let calls = join_all((0..10).map(|_| crowded.plane.chat(OTHER_CALL)));
        for answer in crowded.serves_while(calls).await {
            assert!(codes.contains(&answer.code().as_str()), "{answer:?}");
        }
        let grown = peak_memory() - memory;
        assert!(grown < 150 * MEGABYTE, "{grown} bytes");
    }
}

/// Whoever translates an answer reads it.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_nested_deep_is_no_way_to_stop_us() {
    let deep = "[".repeat(DEPTH) + &"]".repeat(DEPTH);
    for (dialect, event) in [
        (Dialect::Anthropic, r#"{"type":"message_start","message":"#),
        (Dialect::Anthropic, r#"{"id":"1","content":"#),
        (Dialect::Gemini, r#"{"candidates":"#),
    ] {
        for (call, text, kind) in [
            (OTHER_CALL, format!("{event}{deep}}}"), JSON),
            (
                OTHER_STREAM,
                format!("data: {event}{deep}}}\n\n"),
                "content-type: text/event-stream\r\n",
            ),
        ] {
            let script = answer("200 OK", kind, &text);
            let crowded = Crowded::speaking(dialect, script, |_| ()).await;
            let told = crowded.plane.chat(call).await;
            assert_eq!((told.status.as_u16(), told.code().as_str()), (502, "upstream_error"));
            crowded.serves().await;
        }
    }
}

#[track_caller]
fn check_shed(answer: &Answer) {
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "overloaded"), "{answer:?}");
    assert_eq!(answer.headers["retry-after"], "2");
    assert!(!answer.headers.contains_key("x-should-retry"), "another try may well be served");
    assert!(!answer.headers.contains_key("x-turnpike-attempts"), "nobody was asked");
}

/// Five times as many as there is room for.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_before_any_work_and_all_that_fits_is_served() {
    const SEATS: usize = 40;
    const FIT: usize = SEATS / 2;
    let gate = Arc::new(Notify::new());
    let whole = answer("200 OK", JSON, REPLY);
    let script = staying([vec![Step::Await(gate.clone())], whole].concat());
    let change = |it: &mut Config| it.max_in_flight = SEATS.try_into().unwrap();
    let mut crowded = Crowded::start(script, change).await;
    let mut shed = 0;
    for _ in 0..3 {
        let (plane, mut under_way) = (&crowded.plane, vec![]);
        let call = || plane.chat(OTHER_CALL);
        let mut first = Box::pin(join_all((0..FIT).map(|_| call())));
        for _ in 0..FIT {
            let asked = async { crowded.other.events.recv().await.unwrap() };
            tokio::select! {
                it = &mut first => panic!("they were to wait: {it:?}"),
                it = soon(asked) => under_way.push(it),
            }
        }
        // Nothing that was let in has ended, and what comes now is told so at once.
        let more = join_all((0..4 * FIT).map(|_| call()));
        let more = tokio::select! {
            it = &mut first => panic!("they were to wait: {it:?}"),
            it = soon(more) => it,
        };
        more.iter().for_each(check_shed);
        shed += more.len();
        crowded.serves().await;
        // Of a body that nobody will read nothing is awaited.
        let mut unsent = crowded.sending(20 * MEGABYTE).await;
        let mut status = [0; 12];
        soon(unsent.read_exact(&mut status)).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 503");
        shed += 1;
        assert!(crowded.other.events.try_recv().is_err(), "nobody was asked for it");

        let opening = async {
            loop {
                gate.notify_waiters();
                crowded.serves().await;
            }
        };
        let served = tokio::select! {
            it = &mut first => it,
            () = soon(opening) => unreachable!("it goes on for ever"),
        };
        assert!(served.iter().all(|it| it.status == 200), "{served:?}");
    }
    let counted = crowded.metric(r#"turnpike_refusals_total{code="overloaded"}"#).await;
    assert_eq!(counted, shed);
}

/// Whoever is refused comes again, and is served when there is room: no call that was let in
/// fails, and none that was refused was sent.
#[tokio::test(flavor = "multi_thread")]
async fn under_overload_no_call_fails_that_is_let_in() {
    const SEATS: usize = 20;
    const CALLERS: usize = 5 * SEATS / 2;
    const CALLS: usize = 4;
    let script = staying(answer("200 OK", JSON, REPLY));
    let change = |it: &mut Config| it.max_in_flight = SEATS.try_into().unwrap();
    let mut crowded = Crowded::start(script, change).await;
    let caller = async || {
        let mut served = 0;
        while served < CALLS {
            let answer = crowded.plane.chat(OTHER_CALL).await;
            match answer.status.as_u16() {
                200 => served += 1,
                _ => check_shed(&answer),
            }
        }
    };
    let all = join_all((0..CALLERS).map(|_| caller()));
    crowded.serves_while(all).await;
    assert_eq!(crowded.other.requests(), CALLERS * CALLS);
}
