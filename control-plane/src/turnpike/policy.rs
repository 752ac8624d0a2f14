//! `turnpike policy`: the platform's own routing policies, which lead everybody's calls.

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use control_plane::{
    access::Work,
    config::Stores,
    policies::{
        self, Draft, How, Publication, Stranding,
        simulate::{self, MOST, Simulation, Sum, Trial, USUAL},
    },
};
use shared::{
    ids::PolicyId,
    snapshot::{Document, StagedBy},
};

use crate::{Acting, Fault, for_the_platform, say};

#[derive(Subcommand)]
pub enum Command {
    /// Lists them.
    List {
        #[command(flatten)]
        stores: Stores,
    },
    /// Prints what one says, as JSON.
    Show {
        #[command(flatten)]
        stores: Stores,
        name: String,
        /// What its draft says instead.
        #[arg(long)]
        draft: bool,
    },
    /// Saves a document, JSON, as a policy's draft. Where there is no policy of that name it makes
    /// one, which is in force at once.
    Draft {
        #[command(flatten)]
        acting: Acting,
        name: String,
        file: PathBuf,
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Decides the last calls of all organizations again, by the draft or another document, and
    /// says which keys it would leave without a model.
    Try {
        #[command(flatten)]
        stores: Stores,
        name: String,
        /// A document instead of the draft.
        #[arg(long)]
        file: Option<PathBuf>,
        /// How many calls.
        #[arg(long, default_value_t = USUAL, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST)))]
        calls: u32,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Publishes a policy's draft, to all calls or to some.
    Publish {
        #[command(flatten)]
        acting: Acting,
        name: String,
        /// The draft's own when left out.
        #[arg(long)]
        note: Option<String>,
        /// To so many percent, from 1 to 99; to all when left out.
        #[arg(long)]
        percent: Option<u8>,
        /// Of what.
        #[arg(long, value_enum, default_value_t = By::Keys)]
        of: By,
        /// Though keys would be left without a model.
        #[arg(long)]
        nevertheless: bool,
    },
    /// Gives a staged version to more calls, to all (100) or to none (0).
    Stage {
        #[command(flatten)]
        acting: Acting,
        name: String,
        percent: u8,
    },
    /// Makes a new version that says what an old one said.
    RollBack {
        #[command(flatten)]
        acting: Acting,
        name: String,
        version: i32,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum By {
    Keys,
    Calls,
}

/// What a staged version has a share of.
const fn parts(by: StagedBy) -> &'static str {
    match by {
        StagedBy::Keys => "the keys",
        StagedBy::Calls => "the calls",
    }
}

pub async fn run(command: Command) -> Result<(), Fault> {
    match command {
        Command::List { stores } => {
            for it in policies::list(&mut for_the_platform(&stores).await?).await? {
                let staged = it.staged.map(|it| {
                    format!("version {} has {} percent of {}", it.version, it.percent, parts(it.by))
                });
                let (id, name, version) = (it.id, it.name, it.version);
                say(&format!("{id}  {name:<24} {version:>4}  {}", staged.unwrap_or_default()))?;
            }
        }
        Command::Show { stores, name, draft } => {
            let mut work = for_the_platform(&stores).await?;
            let policy = named(&mut work, &name).await?;
            let document = match draft {
                false => policies::find(&mut work, policy).await?.document,
                true => drafted(&mut work, policy).await?,
            };
            say(&serde_json::to_string_pretty(&document)?)?;
        }
        Command::Draft { acting, name, file, note } => {
            let draft = Draft { name: name.parse()?, document: read(&file)?, note };
            let mut work = acting.begin().await?;
            match policies::named(&mut work, &name).await? {
                Some(policy) => {
                    policies::save(&mut work, policy, &draft, None).await?;
                    work.commit().await?;
                    say(&format!("the draft of {name} is saved: nothing is changed yet"))?;
                }
                None => {
                    policies::create(&mut work, &draft).await?;
                    work.commit().await?;
                    say(&format!("{name} is a policy now, for every organization"))?;
                }
            }
        }
        Command::Try { stores, name, file, calls, json } => {
            let mut work = for_the_platform(&stores).await?;
            let policy = named(&mut work, &name).await?;
            let document = match file {
                Some(file) => read(&file)?,
                None => drafted(&mut work, policy).await?,
            };
            policies::check_document(&mut work, &document).await?;
            let before = policies::find(&mut work, policy).await?;
            let lost = policies::stranded(&mut work, &before, &name.parse()?, &document).await?;
            let trial = Trial::Document(document.into());
            let simulation = simulate::simulate(&mut work, policy, trial, calls).await?;
            if json {
                let told = serde_json::json!({ "simulation": simulation, "stranded": lost });
                say(&told.to_string())?;
                return Ok(());
            }
            for line in told(&simulation) {
                say(&line)?;
            }
            if !lost.is_empty() {
                say(&lost.to_string())?;
            }
        }
        Command::Publish { acting, name, note, percent, of, nevertheless } => {
            let by = match of {
                By::Keys => StagedBy::Keys,
                By::Calls => StagedBy::Calls,
            };
            let publication = Publication {
                note,
                how: percent.map_or(How::AtOnce, |it| How::Staged(it, by)),
                stranding: if nevertheless { Stranding::Allow } else { Stranding::Refuse },
            };
            let mut work = acting.begin().await?;
            let policy = named(&mut work, &name).await?;
            policies::publish(&mut work, policy, &publication).await?;
            work.commit().await?;
            match percent {
                None => say(&format!("the draft of {name} is published"))?,
                Some(it) => {
                    let parts = parts(by);
                    say(&format!("the draft of {name} is published to {it} percent of {parts}"))?;
                }
            }
        }
        Command::Stage { acting, name, percent } => {
            let mut work = acting.begin().await?;
            let policy = named(&mut work, &name).await?;
            match percent {
                0 => policies::withdraw(&mut work, policy).await?,
                100 => policies::finish(&mut work, policy).await?,
                percent => policies::raise(&mut work, policy, percent).await?,
            }
            work.commit().await?;
            say(&format!("{percent} percent of the calls of {name} follow its staged version"))?;
        }
        Command::RollBack { acting, name, version } => {
            let mut work = acting.begin().await?;
            let policy = named(&mut work, &name).await?;
            policies::roll_back(&mut work, policy, version).await?;
            work.commit().await?;
            say(&format!("{name} says again what its version {version} said"))?;
        }
    }
    Ok(())
}

async fn named(work: &mut Work, name: &str) -> Result<PolicyId, Fault> {
    let found = policies::named(work, name).await?;
    found.ok_or_else(|| format!("the platform has no policy {name:?}").into())
}

async fn drafted(work: &mut Work, policy: PolicyId) -> Result<Document, Fault> {
    let draft = policies::draft_of(work, policy).await?;
    Ok(draft.ok_or(policies::PolicyError::NoDraft)?.document)
}

fn read(file: &Path) -> Result<Document, Fault> {
    let text = std::fs::read_to_string(file)?;
    serde_json::from_str(&text).map_err(|why| format!("{}: {why}", file.display()).into())
}

/// What a trial came to, line by line.
fn told(it: &Simulation) -> Vec<String> {
    let percent = |ppm: u32| format!("{}.{} %", ppm / 10_000, ppm / 1_000 % 10);
    let pair = |title: &str, of: u32, what: fn(&Sum) -> String| {
        format!("{title:<24} {:>14}  →  {:>14}  of {of} calls", what(&it.before), what(&it.after))
    };
    let mut lines = vec![format!(
        "{} calls, of which {} would first go elsewhere; version {} decides {} of {} as it did",
        it.calls, it.changed, it.version, it.reproduced.same, it.reproduced.of
    )];
    lines.push(pair("cost", it.before.priced, |sum| sum.cost.to_string()));
    lines.push(format!(
        "{:<24} {:>14}  →  {:>14}  of {} calls",
        "expected quality",
        percent(it.before.quality_ppm),
        percent(it.after.quality_ppm),
        it.before.judged
    ));
    lines.push(pair("expected time", it.before.timed, |sum| format!("{} ms", sum.latency_ms)));
    lines.push(pair("nobody may answer", it.calls, |sum| sum.unanswered.to_string()));
    lines.push(pair("refused by hard budgets", it.calls, |sum| sum.refused.to_string()));
    lines.extend(it.places.iter().map(|place| {
        let name = format!("{} at {}", place.model, place.provider);
        format!("  {name:<40} {:>6}  →  {:>6}", place.before, place.after)
    }));
    let left_out = it.left_out.iter();
    lines.extend(left_out.map(|it| format!("{} calls are left out: {}", it.calls, it.why)));
    lines
}
