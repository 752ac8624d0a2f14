//! From what we serve to the newest revision: link by link, or all at once.

use std::{sync::PoisonError, time::Instant};

use shared::snapshot::{Genuine, Signed};
use tracing::{error, warn};

use super::{ADD_UP, Feed, NotTaken, Rejected, reading::Shelf};
use crate::catalog::Offered;

impl Feed {
    pub(super) async fn go_to(&self, shelf: Shelf) -> Result<(), NotTaken> {
        if self.catalog.present().is_none() {
            return self.start_over(shelf).await;
        }
        if self.is_time_to_add_up() && !self.catalog.adds_up() {
            self.metrics.snapshot.mended();
            error!("what we hold does not add up; taking everything anew");
            return self.start_over(shelf).await;
        }
        let ours = self.revision();
        if ours > shelf.revision {
            return Err(Rejected::Older { offered: shelf.revision, present: ours }.into());
        }
        match self.follow_log(shelf.revision).await {
            Ok(()) => self.rebase(shelf).await,
            Err(NotTaken::Feed(error)) => Err(error.into()),
            // What was refused as a link may be had whole, where there is a newer whole.
            Err(why) if shelf.full > self.revision() && self.is_worth_trying(shelf) => {
                warn!(%why, "taking everything anew: {why}");
                self.start_over(shelf).await
            }
            Err(why) => Err(why),
        }
    }

    async fn follow_log(&self, newest: i64) -> Result<(), NotTaken> {
        while self.revision() < newest {
            let at = self.revision();
            let deltas = self.deltas(at).await?;
            if deltas.is_empty() {
                return Err(NotTaken::NothingNewer(at));
            }
            for (revision, signed) in deltas {
                let delta = self.verify(signed, || format!("revision {revision}"))?;
                self.catalog.follow(&delta)?;
                self.kept.follow(delta.signed);
            }
        }
        Ok(())
    }

    /// Everything, and what followed it, in one step: nobody sees what is in between.
    async fn start_over(&self, shelf: Shelf) -> Result<(), NotTaken> {
        let full = self.everything(shelf.full).await?;
        let full = self.verify(full, || format!("all of revision {}", shelf.full))?;
        let (mut deltas, mut refused) = (Vec::new(), None);
        let mut at = full.head.revision;
        'log: while at < shelf.revision {
            let page = self.deltas(at).await?;
            if page.is_empty() {
                break;
            }
            for (revision, signed) in page {
                match self.verify(signed, || format!("revision {revision}")) {
                    Ok(delta) if revision == at + 1 => deltas.push(delta),
                    Ok(_) => break 'log,
                    Err(why) => {
                        refused = Some(why);
                        break 'log;
                    }
                }
                at = revision;
            }
        }
        let offered = tokio::task::block_in_place(|| self.catalog.replace(&full, &deltas))?;
        if offered != Offered::Known {
            self.kept.begin(full.signed, deltas.into_iter().map(|it| it.signed).collect());
        }
        refused.map_or(Ok(()), Err)
    }

    /// Lets the copy begin at a later revision once it has become long.
    async fn rebase(&self, shelf: Shelf) -> Result<(), NotTaken> {
        if self.kept.is_long_since(shelf.full) {
            let full = self.everything(shelf.full).await?;
            let full = self.verify(full, || format!("all of revision {}", shelf.full))?;
            self.kept.rebase(full);
        }
        Ok(())
    }

    fn verify(&self, signed: Signed, place: impl Fn() -> String) -> Result<Genuine, NotTaken> {
        let verified = self.verifier.verify(signed);
        verified.map_err(|why| NotTaken::NotGenuine { place: place(), why })
    }

    /// The same image is not asked for again and again that was refused already.
    fn is_worth_trying(&self, shelf: Shelf) -> bool {
        let refusing = self.refusing.lock().unwrap_or_else(PoisonError::into_inner);
        refusing.as_ref().is_none_or(|it| it.full != shelf.full)
    }

    fn is_time_to_add_up(&self) -> bool {
        let mut added_up = self.added_up.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = added_up.elapsed() >= ADD_UP;
        if is_time {
            *added_up = Instant::now();
        }
        is_time
    }
}
