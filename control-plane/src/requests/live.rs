//! Following the log: rows are sent to the page as they come, for as long as it is open.
//!
//! Each follower looks into the log on its own, a few times a second, by an index that
//! leads straight to what is new. A stream ends after a while and the browser comes back,
//! so that whoever lost their role or session does not go on seeing.

use std::{convert::Infallible, time::Duration};

use actix_web::{HttpRequest, HttpResponse, http::header::ContentEncoding, web::Bytes};
use askama::Template;
use futures::{StreamExt, stream};
use shared::failure::Classified;
use time::OffsetDateTime;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep},
};
use tracing::warn;

use super::{
    RequestError,
    filter::{Filter, RequestSearch},
    line::Line,
    store,
};
use crate::{
    access::{Doors, Grant, Work, may},
    web::{Failure, Search},
};

/// How many rows are sent at once, and as many as a page shows.
const MOST: i64 = 50;
/// How often a follower looks.
const BEAT: Duration = Duration::from_millis(400);
/// How long a stream lasts before the browser has to come back.
const LASTS: Duration = Duration::from_secs(60);
/// Calls that began on an earlier day than a call so long would have are not waited for.
const LONGEST_CALL: time::Duration = time::Duration::hours(2);

/// As many may follow at once in this process.
static PLACES: Semaphore = Semaphore::const_new(200);

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/requests.live", follow);
}

#[derive(Template)]
#[template(path = "requests/rows.html")]
struct Rows {
    base: String,
    rows: Vec<Line>,
}

struct Follower {
    grant: Grant<may::ViewRequests>,
    filter: Filter,
    since: i64,
    until: Instant,
    _place: SemaphorePermit<'static>,
}

async fn follow(
    grant: Grant<may::ViewRequests>,
    request: HttpRequest,
    search: Search<RequestSearch>,
) -> Result<HttpResponse, Failure> {
    let place = PLACES.try_acquire().map_err(|_| RequestError::TooManyFollow)?;
    let filter = search.filter(OffsetDateTime::now_utc(), grant.zone())?;
    // Where the browser was when the stream before this one ended.
    let last = request.headers().get("last-event-id").and_then(|it| it.to_str().ok()?.parse().ok());
    let since = match last.or(search.since) {
        Some(since) => since,
        None => end(&mut grant.begin().await?).await?,
    };
    let follower = Follower { grant, filter, since, until: Instant::now() + LASTS, _place: place };
    let begins =
        stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"retry: 1000\n\n")) });
    let rows = stream::unfold(follower, |mut it| async move {
        let news = it.next().await?;
        Some((Ok(Bytes::from(news)), it))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        // Compressed, an event would wait for those after it.
        .insert_header(ContentEncoding::Identity)
        .insert_header(("x-accel-buffering", "no"))
        .streaming(begins.chain(rows)))
}

/// Where the log ends at present.
pub(super) async fn end(work: &mut Work) -> Result<i64, RequestError> {
    let organization = work.organization;
    let day = (OffsetDateTime::now_utc() - LONGEST_CALL).date();
    Ok(store::end(work, organization, day).await?)
}

impl Follower {
    /// Waits for the next rows; ends when it is time to come back.
    async fn next(&mut self) -> Option<String> {
        while Instant::now() < self.until && !self.grant.platform.is_draining() {
            match self.news().await {
                Ok(Some(news)) => return Some(news),
                Ok(None) => sleep(BEAT).await,
                Err(error) => {
                    warn!(
                        code = error.code().name,
                        "a follower of the request log was left: {error}"
                    );
                    return None;
                }
            }
        }
        None
    }

    /// What came since we last looked, as an event for the page.
    async fn news(&mut self) -> Result<Option<String>, RequestError> {
        let mut work = self.grant.begin().await?;
        let end = end(&mut work).await?;
        if end <= self.since {
            return Ok(None);
        }
        let (organization, between) = (work.organization, (self.since, end));
        let requests = store::arrived(&mut work, organization, &self.filter, between, MOST).await?;
        self.since = end;
        if requests.is_empty() {
            return Ok(None);
        }
        let rows = requests.into_iter().map(|it| Line::of(it, self.grant.zone())).collect();
        let html = Rows { base: self.grant.path(""), rows }.render().unwrap_or_default();
        // A line of an event ends where a line of the text does.
        let data: String = html.lines().flat_map(|line| ["data: ", line, "\n"]).collect();
        Ok(Some(format!("id: {end}\nevent: rows\n{data}\n")))
    }
}
