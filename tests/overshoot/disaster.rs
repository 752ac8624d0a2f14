//! What befalls the stores, the proxies and the control plane in a drill, while calls are made.

use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use clap::ValueEnum;
use control_plane::failpoints::Failpoint;
use harness::processes::{Extent, Installation, Process, clocks::now_ms};
use serde_json::Value;
use shared::{
    counters::Epoch,
    money::{Period, Zone},
};
use tokio::time::sleep;

use super::{
    calling::{Calling, read},
    disks::Disk,
    journals::{Damage, Spoilt, spoil},
    running::Run,
    sampling::connect,
    say,
};

/// What a process says that does not start where another one is.
const TAKEN: &str = "another process has its state in";
/// What dies by its own hand.
const ABORTED: i32 = 6;
/// How far clocks of proxies go wrong.
const WRONG_MS: i64 = 3_600_000;
/// Where clocks stand before the end of a month: when everything is started, when calls begin,
/// and when the first month's budget is used up. Nobody is taken for dead who was silent for the
/// time between the last two.
const LEFT_AT_START_MS: i64 = 300_000;
const LEFT_AT_FIRST_MS: i64 = 50_000;
const LEFT_AT_LAST_MS: i64 = 2_000;
/// How long anything may take of which nobody says how long it takes.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Drill {
    /// Redis is killed, and starts again with what it wrote.
    RedisKilled,
    /// Redis is killed, and starts with an older file.
    RedisRewound,
    /// All that is in Redis is gone.
    Flushed,
    /// Of a Redis Cluster the master that counts is killed, and a replica takes over.
    ClusterMasterKilled,
    /// The control plane is killed, and with it the ingester and the healer.
    ControlPlaneKilled,
    /// The ingester dies at each place between reading and removing, one after the other.
    IngesterKilled,
    /// PostgreSQL stands still.
    PostgresFrozen,
    /// Proxies are killed again and again; each settles what it finds in its journal.
    ProxyKilled,
    /// The disks that journals are on are full, and have room again.
    JournalFull,
    /// Of proxies that are killed the last record on the disk is cut or garbled.
    JournalTorn,
    /// A proxy is started twice.
    TwoWithOneId,
    /// Proxies whose clocks are an hour ahead or behind, and a month that ends.
    ClocksApart,
}

impl Drill {
    pub const fn name(self) -> &'static str {
        match self {
            Self::RedisKilled => "Redis killed",
            Self::RedisRewound => "Redis went back to an older file",
            Self::Flushed => "Redis emptied",
            Self::ClusterMasterKilled => "a master of a Redis Cluster killed",
            Self::ControlPlaneKilled => "control plane killed",
            Self::IngesterKilled => "ingester killed at each failpoint",
            Self::PostgresFrozen => "PostgreSQL frozen",
            Self::ProxyKilled => "proxies killed, journals replayed",
            Self::JournalFull => "journals' disks full",
            Self::JournalTorn => "journals' tails cut and garbled",
            Self::TwoWithOneId => "two proxies with one id",
            Self::ClocksApart => "clocks +-1 h across a month's end",
        }
    }

    /// It strikes as soon as so many calls were let through: once for each.
    const fn marks(self) -> &'static [u64] {
        match self {
            Self::RedisRewound => &[450, 700],
            Self::ProxyKilled => &[400, 600, 800, 1_000, 1_200, 1_400],
            Self::JournalFull => &[500],
            Self::JournalTorn => &[400, 650, 900, 1_150],
            Self::TwoWithOneId => &[500, 900],
            Self::RedisKilled
            | Self::Flushed
            | Self::ClusterMasterKilled
            | Self::ControlPlaneKilled
            | Self::IngesterKilled
            | Self::PostgresFrozen
            | Self::ClocksApart => &[700],
        }
    }

    /// Nodes of a cluster tell their own addresses, so that nothing comes between.
    const fn is_on_cluster(self) -> bool {
        matches!(self, Self::ClusterMasterKilled)
    }
}

/// What drills are told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For how long PostgreSQL stands still.
    pub frozen: Duration,
    /// What moves clocks: `clock.c`, made into a library.
    pub clock: Option<PathBuf>,
}

pub struct Disaster {
    pub drill: Drill,
    settings: Settings,
    /// How often it has struck.
    struck: usize,
    copy: Option<PathBuf>,
    disks: Vec<Disk>,
    twin: Option<Process>,
    spoilt: Vec<Spoilt>,
    /// When the month ends, and how far all clocks are ahead of this machine's.
    month_ends_ms: i64,
    ahead_ms: i64,
}

impl Disaster {
    pub fn of(drill: Drill, settings: Settings) -> Self {
        let month_ends_ms = Period::Month.span_at(&Zone::UTC, now_ms()).end_ms;
        let is_moved = drill == Drill::ClocksApart;
        let ahead_ms = if is_moved { month_ends_ms - LEFT_AT_START_MS - now_ms() } else { 0 };
        Self {
            drill,
            settings,
            struck: 0,
            copy: None,
            disks: Vec::new(),
            twin: None,
            spoilt: Vec::new(),
            month_ends_ms,
            ahead_ms,
        }
    }

    pub fn extent(&self, proxies: usize) -> Extent {
        let on_cluster = self.drill.is_on_cluster();
        let clocks = (self.drill == Drill::ClocksApart).then(|| {
            let library = self.settings.clock.clone();
            (library.expect("--clock says where the library is that moves clocks"), self.ahead_ms)
        });
        Extent { proxies, relayed: !on_cluster, on_cluster, clocks }
    }

    /// How many times as much a week allows as a day: where two months are in it, as much as both.
    pub fn weeks_worth(&self) -> i64 {
        if self.drill == Drill::ClocksApart { 3 } else { 1 }
    }

    pub fn is_over(&self) -> bool {
        self.struck == self.drill.marks().len()
    }

    /// Calls of which the only record was spoilt.
    pub fn unknown(&self) -> Vec<u64> {
        self.spoilt.iter().filter_map(|it| it.only_record_of).collect()
    }

    /// Processes whose journals were spoilt: nobody lets go of what they hold for calls that
    /// these do not know, whether they were sent or not.
    pub fn spoilt(&self) -> Vec<Epoch> {
        self.spoilt.iter().map(|it| it.epoch).collect()
    }

    /// Before the first call.
    pub async fn prepares(&mut self, run: &mut Run) {
        if self.drill == Drill::JournalFull {
            self.moves_journals(&mut run.turnpike).await;
        }
        if self.drill == Drill::TwoWithOneId {
            self.starts_twin(&mut run.turnpike).await;
        }
    }

    /// What is called beside the proxies that there are.
    pub fn addresses(&self) -> Vec<String> {
        self.twin.iter().map(|it| it.url("")).collect()
    }

    /// The first call is about to be made.
    pub fn begins(&mut self, run: &Run, calling: &Calling) {
        if self.drill == Drill::ClocksApart {
            self.moves_clocks(run, calling, LEFT_AT_FIRST_MS);
        }
    }

    /// If it is time: `is_used_up` says that no budget has room for another call. Answers whether
    /// it was.
    pub async fn strikes(&mut self, run: &mut Run, calling: &Calling, is_used_up: bool) -> bool {
        let admitted = read(&calling.tally.admitted);
        let Some(mark) = self.drill.marks().get(self.struck) else { return false };
        let waits_for_cap = self.drill == Drill::ClocksApart;
        if !(if waits_for_cap { is_used_up } else { admitted >= *mark }) {
            return false;
        }
        let told = self.strike(run, calling).await;
        self.struck += 1;
        say(&format!("  ({}: {told}, after {admitted} calls were let through)", self.drill.name()));
        true
    }

    async fn strike(&mut self, run: &mut Run, calling: &Calling) -> String {
        let on = &mut run.turnpike;
        match self.drill {
            Drill::RedisKilled => {
                on.redis.kill().await;
                on.redis.start().await;
                "killed and started".to_owned()
            }
            Drill::RedisRewound => self.goes_back(on).await,
            Drill::Flushed => {
                let mut redis = connect(&run.redis).await.unwrap();
                let () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
                "FLUSHALL".to_owned()
            }
            Drill::ClusterMasterKilled => {
                let cluster = on.cluster.as_ref().unwrap();
                let killed = cluster.kill_master_of(&run.shard.to_string());
                cluster.is_whole_without(killed).await;
                "killed and replaced".to_owned()
            }
            Drill::ControlPlaneKilled => {
                on.control.kill().await;
                on.control.start().await;
                "killed and started".to_owned()
            }
            Drill::IngesterKilled => dies_everywhere(&mut on.control, calling).await,
            Drill::PostgresFrozen => self.freezes(on, calling).await,
            Drill::ProxyKilled => {
                let at = self.struck % on.proxies.len();
                on.proxies[at].kill().await;
                on.proxies[at].start().await;
                format!("{} killed and started", on.proxies[at].name)
            }
            Drill::JournalFull => self.fills_disks(on, calling).await,
            Drill::JournalTorn => self.tears(on).await,
            Drill::TwoWithOneId => {
                let it =
                    if self.struck == 0 { self.twin.as_mut().unwrap() } else { &mut on.proxies[0] };
                it.kill().await;
                it.start().await;
                format!("{} killed and started", it.name)
            }
            Drill::ClocksApart => {
                self.moves_clocks(run, calling, LEFT_AT_LAST_MS);
                let is_over = async || (calling.now_ms() > self.month_ends_ms).then_some(());
                wait("the month to end", is_over).await;
                "the month is over".to_owned()
            }
        }
    }

    /// What is left to be ended.
    pub async fn ends(&mut self) {
        if let Some(twin) = &mut self.twin {
            twin.terminate();
            assert!(twin.ended().await.success());
        }
    }

    async fn goes_back(&mut self, on: &mut Installation) -> String {
        let files = on.redis_files();
        let Some(copy) = &self.copy else {
            let copy = files.with_extension("old");
            same_files(&files, &copy);
            self.copy = Some(copy);
            return "its files copied".to_owned();
        };
        on.redis.kill().await;
        tokio::fs::remove_dir_all(&files).await.unwrap();
        same_files(copy, &files);
        on.redis.start().await;
        "killed, and started with those".to_owned()
    }

    /// So slow that calls are made all the while.
    async fn freezes(&self, on: &Installation, calling: &Calling) -> String {
        let frozen = self.settings.frozen;
        calling.rests(frozen / 12);
        on.postgres.freeze().await;
        sleep(frozen).await;
        on.postgres.thaw().await;
        calling.rests(Duration::ZERO);
        format!("for {frozen:?}")
    }

    /// Each proxy's onto a small disk of its own; where nobody may make one, with less room.
    async fn moves_journals(&mut self, on: &mut Installation) {
        for at in 0..on.proxies.len() {
            let place = on.home().join(format!("disk-{at}"));
            let disk = Disk::make(place);
            let proxy = &mut on.proxies[at];
            proxy.terminate();
            assert!(proxy.ended().await.success());
            // As little as may be, so that it is full soon.
            proxy.set("TURNPIKE_JOURNAL_BYTES", Some((4 << 20).to_string()));
            let journal = disk.as_ref().map(|it| it.path.join("journal"));
            proxy.set("TURNPIKE_JOURNAL_DIR", journal.map(|it| it.to_string_lossy().into_owned()));
            proxy.start().await;
            self.disks.extend(disk);
        }
    }

    async fn fills_disks(&mut self, on: &mut Installation, calling: &Calling) -> String {
        let is_small = self.disks.len() == on.proxies.len();
        self.disks.iter_mut().for_each(Disk::fills);
        if !is_small {
            // Nothing is let go of then.
            on.control.freeze().await;
        }
        for at in 0..on.proxies.len() {
            wait("a journal to be full", async || says(on, at, (503, "full")).await).await;
            on.metric_is(at, "turnpike_journal_full", "1").await;
        }
        let (refused, admitted) = (read(&calling.tally.unwritten), read(&calling.tally.admitted));
        let all_refuse = async || (read(&calling.tally.unwritten) >= refused + 200).then_some(());
        wait("calls to be refused", all_refuse).await;
        // Those under way were let through before.
        let more = read(&calling.tally.admitted) - admitted;
        if is_small {
            // What it keeps in memory since is gone with it.
            on.proxies[0].kill().await;
        }
        for disk in &mut self.disks {
            disk.has_room().await;
        }
        if is_small {
            on.proxies[0].start().await;
        } else {
            on.control.thaw().await;
        }
        for at in 0..on.proxies.len() {
            wait("a journal to have room", async || says(on, at, (200, "open")).await).await;
        }
        let why = if is_small { "the disks were full" } else { "journals had all they may take" };
        format!(
            "{why}, {} calls were refused with meter_unavailable, {more} that were under way began to be \
             answered, and calls go on",
            read(&calling.tally.unwritten)
        )
    }

    async fn tears(&mut self, on: &mut Installation) -> String {
        let damage = if self.struck.is_multiple_of(2) { Damage::Cut } else { Damage::Garbled };
        let at = self.struck / 2 % on.proxies.len();
        let journals = on.home().join(on.proxies[at].name).join("journal");
        on.proxies[at].kill().await;
        let spoilt = spoil(&journals, damage);
        on.proxies[at].start().await;
        let told = format!("{damage:?}: {}", spoilt.what);
        self.spoilt.push(spoilt);
        told
    }

    /// In the same directory it does not start; in one of its own, with the same name, it does.
    async fn starts_twin(&mut self, on: &mut Installation) {
        let mut twin = on.twin_of(0);
        let ended = twin.start_and_end().await;
        let said = twin.last_words();
        assert!(!ended.success() && said.contains(TAKEN), "{ended}: {said}");
        let line = said.lines().find(|it| it.contains(TAKEN)).unwrap_or_default();
        say(&format!(
            "  (in the same directory: {ended}, \"{}\")",
            &line[line.find(TAKEN).unwrap_or(0)..]
        ));
        let place = on.home().join("twin").to_string_lossy().into_owned();
        twin.set("TURNPIKE_STATE_DIR", Some(place));
        twin.start().await;
        self.twin = Some(twin);
    }

    /// To so long before the end of the month, unless it is later: those of proxies to an hour
    /// later or earlier.
    fn moves_clocks(&mut self, run: &Run, calling: &Calling, left_ms: i64) {
        self.ahead_ms = self.ahead_ms.max(self.month_ends_ms - left_ms - now_ms());
        let clocks = run.turnpike.clocks.as_ref().unwrap();
        clocks.moves_all(self.ahead_ms);
        for (proxy, wrong) in run.turnpike.proxies.iter().zip([WRONG_MS, -WRONG_MS].iter().cycle())
        {
            clocks.moves(proxy.name, self.ahead_ms + wrong);
        }
        calling.is_ahead(self.ahead_ms);
    }
}

/// The control plane dies at one place after the other, each time as soon as it comes there.
async fn dies_everywhere(control: &mut Process, calling: &Calling) -> String {
    calling.rests(Duration::from_secs(2));
    control.kill().await;
    for point in Failpoint::ALL {
        control.set("TURNPIKE_FAILPOINT", Some(point.name().to_owned()));
        let ended = control.start_and_end().await;
        let said = control.last_words();
        let is_by_itself = ended.signal() == Some(ABORTED);
        assert!(
            is_by_itself && said.contains(&format!("dying at {}", point.name())),
            "{ended}: {said}"
        );
    }
    control.set("TURNPIKE_FAILPOINT", None);
    control.start().await;
    calling.rests(Duration::ZERO);
    Failpoint::ALL.map(Failpoint::name).join(", ")
}

async fn says(on: &Installation, at: usize, (status, journal): (u16, &str)) -> Option<()> {
    let (said, text) = on.readiness(&on.proxies[at]).await?;
    let told: Value = serde_json::from_str(&text).ok()?;
    (said.as_u16() == status && told["journal"] == journal).then_some(())
}

async fn wait(what: &str, mut look: impl AsyncFnMut() -> Option<()>) {
    let looking = async {
        while look().await.is_none() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, looking).await.is_ok(), "still waiting for {what}");
}

/// With their owner.
fn same_files(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "{} cannot be copied", from.display());
}
