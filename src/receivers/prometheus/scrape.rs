//! One target, scraped again and again: fetch, read, relabel, translate, hand on.
//!
//! A scrape is taken whole or not at all: one that fails marks all series of the target as gone and says `up` 0. Every
//! bound of the job holds while reading. What was handed on and refused is counted and not kept.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use codec::base64::{self, Alphabet};
use codec::exposition::{Format, Line, Reader};
use component::memory::Class;
use component::prelude::*;
use config::Secret;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Uri};
use net::client::{HttpClient, HttpReply};
use net::compression;
use telemetry::{Column, Row};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, error, info, warn};
use wire::Encoding;

use super::config::{Auth, Limits, Plan, Word};
use super::relabel::{Cache, Labels};
use super::target::Target;
use super::translate::{At, Metas, Point, SERIES_MAX, Translator};

/// A job and its client.
pub(super) struct Job {
    pub(super) plan: Plan,
    pub(super) client: HttpClient,
    pub(super) accept: HeaderValue,
}

/// Scrapes one target.
pub(super) struct Scraper {
    job: Arc<Job>,
    target: Target,
    receiver: String,
    memory: Arc<Memory>,
    next: Arc<dyn Consumer>,
    row: Arc<Row>,
    version: &'static str,
    /// Away while a thread for long work has it.
    work: Option<Box<Work>>,
    /// Why the last scrape failed.
    trouble: Option<String>,
}

/// What translating needs, apart from the text.
pub(super) struct Work {
    job: Arc<Job>,
    target: Target,
    cache: Cache,
    translator: Translator,
}

/// A body, and how it is to be read.
pub(super) struct Fetched {
    pub(super) body: Bytes,
    pub(super) format: Format,
}

/// Samples before and after relabelling, and series that are new.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    scraped: usize,
    kept: usize,
    added: usize,
}

/// Redirects that are followed in one scrape.
const REDIRECTS_MAX: usize = 10;

/// Texts up to this size are read where they are; longer ones on a thread for long work.
const INLINE_BYTES_MAX: usize = 256 << 10;

/// A file with a credential is read up to here.
const CREDENTIAL_BYTES_MAX: u64 = 64 << 10;

impl Scraper {
    pub(super) fn new(
        job: Arc<Job>,
        target: Target,
        cx: &BuildContext,
        next: Arc<dyn Consumer>,
        row: Arc<Row>,
    ) -> Scraper {
        let version = cx.info.version;
        let work = Some(Work::new(&job, &target, version));
        Scraper {
            job,
            target,
            receiver: cx.id.to_string(),
            memory: cx.memory.clone(),
            next,
            row,
            version,
            work,
            trouble: None,
        }
    }

    /// Scrapes until told to stop. A fetch is broken off then, what was fetched is handed on.
    pub(super) async fn run(mut self, mut stop: Stop) {
        let mut ticks = tokio::time::interval_at(Instant::now() + self.target.offset(), self.target.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = stop.stopped() => return,
                _ = ticks.tick() => {}
            }
            let began = Instant::now();
            let now_ms = unix_ms();
            let fetched = tokio::select! {
                () = stop.stopped() => return,
                fetched = self.fetch() => fetched,
            };
            if let Some(bytes) = self.translate(fetched, now_ms, began).await {
                self.hand_on(bytes, began).await;
            }
        }
    }

    /// Asks the target, within the time and the size that the job allows.
    async fn fetch(&self) -> Result<Fetched, String> {
        let limits = &self.job.plan.limits;
        let limit = tokio::time::timeout(self.target.timeout, self.ask());
        let reply = limit
            .await
            .map_err(|_| format!("no answer within {:?}", self.target.timeout))??;
        if reply.status != http::StatusCode::OK {
            return Err(format!("server returned HTTP status {}", reply.status));
        }
        let header = |name| {
            reply
                .headers
                .get(name)
                .and_then(|v| v.to_str().ok())
                .map(str::trim)
        };
        let body = match header(CONTENT_ENCODING) {
            None | Some("" | "identity") => reply.body.clone(),
            Some("gzip") => {
                let decoded = compression::decode(Encoding::Gzip, &reply.body, limits.body_bytes);
                decoded.map_err(|e| e.to_string())?.bytes
            }
            Some(other) => return Err(format!("unsupported content encoding {other:?}")),
        };
        let format = match header(CONTENT_TYPE).filter(|t| !t.is_empty()) {
            Some(content_type) => Format::of_content_type(content_type),
            None => None,
        };
        Ok(Fetched {
            body,
            format: format.unwrap_or(self.job.plan.fallback),
        })
    }

    async fn ask(&self) -> Result<HttpReply, String> {
        let plan = &self.job.plan;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, self.job.accept.clone());
        // without it a server may still choose; so identity is said where gzip is not wanted
        let encoding = if plan.is_compressed { "gzip" } else { "identity" };
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
        let seconds = self.target.timeout.as_secs_f64().to_string();
        if let Ok(seconds) = HeaderValue::from_str(&seconds) {
            headers.insert("x-prometheus-scrape-timeout-seconds", seconds);
        }
        if let Some(credentials) = credentials(&plan.auth).await? {
            headers.insert(AUTHORIZATION, credentials);
        }
        let mut url = self.target.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let reply = self
                .job
                .client
                .get_here(&url, &headers, plan.limits.body_bytes)
                .await;
            let reply = reply.map_err(|e| e.to_string())?;
            let to = reply.headers.get(LOCATION).and_then(|to| to.to_str().ok());
            let Some(to) = to.filter(|_| plan.follows && reply.status.is_redirection()) else {
                return Ok(reply);
            };
            url = redirected(&url, to).ok_or("a redirect that leads nowhere")?;
            let target = &self.target.url;
            if (url.scheme(), url.authority()) != (target.scheme(), target.authority()) {
                headers.remove(AUTHORIZATION);
            }
        }
        Err(format!("stopped after {REDIRECTS_MAX} redirects"))
    }

    /// The scrape as an export request. `None` if nothing may or can be said.
    async fn translate(
        &mut self,
        fetched: Result<Fetched, String>,
        now_ms: i64,
        began: Instant,
    ) -> Option<Bytes> {
        let mut work = self.work.take()?;
        let (room, fetched) = match fetched {
            Ok(fetched) => match self.memory.reserve(Class::Door, 2 * fetched.body.len()) {
                None => (None, Err("no room in the memory budget".to_owned())),
                room => (room, Ok(fetched)),
            },
            Err(error) => (None, Err(error)),
        };
        let took = began.elapsed();
        let done = match fetched {
            Ok(fetched) if fetched.body.len() > INLINE_BYTES_MAX => {
                let thread = tokio::task::spawn_blocking(move || {
                    let done = work.scrape(Ok(fetched), now_ms, took);
                    (work, done)
                });
                match thread.await {
                    Ok((back, done)) => {
                        work = back;
                        done
                    }
                    Err(error) => {
                        // the state went with the thread: the target begins anew
                        tracing::error!(receiver = %self.receiver, error = %error, "a scrape failed within");
                        self.work = Some(Work::new(&self.job, &self.target, self.version));
                        return None;
                    }
                }
            }
            fetched => work.scrape(fetched, now_ms, took),
        };
        self.work = Some(work);
        drop(room);
        self.log(done.error);
        if done.unfit > 0 {
            let (receiver, target) = (&self.receiver, self.target.label("instance"));
            debug!(
                receiver,
                target,
                samples = done.unfit,
                "samples that fit no data point were dropped"
            );
        }
        (!done.bytes.is_empty()).then(|| done.bytes.into())
    }

    async fn hand_on(&self, bytes: Bytes, began: Instant) {
        let shape = match wire::validate(Signal::Metrics, &bytes, &wire::Limits::default()) {
            Ok(shape) => shape,
            Err(fault) => {
                error!(receiver = self.receiver, error = %fault, "a scrape was written wrongly, and is lost");
                return;
            }
        };
        let context = Context {
            // by then the next scrape is there
            deadline: Some((began + self.target.interval).into_std()),
            receiver: Some(self.receiver.as_str().into()),
            ..Context::default()
        };
        let payload = Payload::new(Signal::Metrics, Chunk::new(bytes, shape), Arc::new(context));
        let items = payload.items as u64;
        self.row.add_items(Column::Offered, None, items);
        let next = self.next.clone();
        // in a task of its own, so that a panic is a refusal
        let answer = tokio::spawn(async move { next.consume(payload).await }).await;
        let refusal = match answer {
            Ok(Ok(_)) => None,
            Ok(Err(refusal)) => Some(refusal.message()),
            Err(_) => Some("internal error".to_owned()),
        };
        let column = if refusal.is_none() {
            Column::Accepted
        } else {
            Column::Refused
        };
        self.row.add_items(column, None, items);
        if let Some(error) = refusal {
            let (receiver, target) = (&self.receiver, self.target.label("instance"));
            warn!(
                receiver,
                target, items, error, "a scrape was refused, its points are lost"
            );
        }
    }

    /// Says that scraping fails, or works again; not the same thing twice.
    fn log(&mut self, trouble: Option<String>) {
        let (receiver, job, target) = (&self.receiver, &self.job.plan.name, self.target.label("instance"));
        match &trouble {
            Some(error) if self.trouble.as_ref() != Some(error) => {
                warn!(
                    receiver,
                    job, target, error, "Failed to scrape Prometheus endpoint"
                );
            }
            None if self.trouble.is_some() => {
                info!(receiver, job, target, "the Prometheus endpoint answers again");
            }
            _ => {}
        }
        self.trouble = trouble;
    }
}

/// What a scrape came to.
pub(super) struct Done {
    pub(super) bytes: Vec<u8>,
    pub(super) unfit: usize,
    pub(super) error: Option<String>,
}

impl Work {
    pub(super) fn new(job: &Arc<Job>, target: &Target, version: &'static str) -> Box<Work> {
        Box::new(Work {
            cache: job.plan.rules.cache(),
            translator: Translator::new(
                target.label("job"),
                target.label("instance"),
                target.scheme,
                version,
            ),
            job: job.clone(),
            target: target.clone(),
        })
    }

    pub(super) fn scrape(&mut self, fetched: Result<Fetched, String>, now_ms: i64, took: Duration) -> Done {
        let body_bytes = fetched.as_ref().map_or(0, |fetched| fetched.body.len());
        let read = fetched.and_then(|fetched| self.read(&fetched, now_ms));
        let counts = read.as_ref().map_or(Counts::default(), |counts| *counts);
        if read.is_err() {
            self.translator.give_up();
        }
        self.report(read.is_ok(), counts, body_bytes, took, now_ms);
        let written = self.translator.finish(now_ms);
        Done {
            bytes: written.bytes,
            unfit: written.unfit,
            error: read.err(),
        }
    }

    #[cfg(test)]
    pub(super) fn series(&self) -> usize {
        self.translator.series()
    }

    /// Reads a body into the translator, every sample relabelled.
    fn read(&mut self, fetched: &Fetched, now_ms: i64) -> Result<Counts, String> {
        let Work {
            job,
            target,
            cache,
            translator,
        } = self;
        let plan = &job.plan;
        let text = std::str::from_utf8(&fetched.body).map_err(|_| "the text is not UTF-8")?;
        let mut reader = Reader::new(text, fetched.format);
        let mut metas = Metas::new();
        let mut counts = Counts::default();
        let mut labels = Labels::default();
        while let Some(line) = reader.read().map_err(|e| e.to_string())? {
            let sample = match line {
                Line::Type(name, kind) => {
                    metas.entry(name.into_owned()).or_default().kind = kind;
                    continue;
                }
                Line::Help(name, help) => {
                    metas.entry(name.into_owned()).or_default().help = help.into_owned();
                    continue;
                }
                Line::Unit(name, unit) => {
                    metas.entry(name.into_owned()).or_default().unit = unit.to_owned();
                    continue;
                }
                Line::Sample(sample) => sample,
            };
            counts.scraped += 1;
            labels.0.clear();
            labels.0.append(&mut reader.labels);
            settle(&mut labels, &target.labels, plan.honor_labels);
            labels.0.push(("__name__".into(), sample.name));
            if !plan.rules.apply(cache, &mut labels) {
                continue;
            }
            counts.kept += 1;
            let most = if plan.limits.samples == 0 {
                SERIES_MAX
            } else {
                plan.limits.samples
            };
            if counts.kept > most {
                return Err(format!("sample limit exceeded: more than {most} samples"));
            }
            for (name, value) in &plan.external_labels {
                labels.set(name.into(), value.into());
            }
            labels.0.retain(|(_, value)| !value.is_empty());
            check(&labels, &plan.limits)?;
            labels.0.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            if let Some(twice) = labels.0.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                return Err(format!(
                    "invalid sample: non-unique label names: {:?}",
                    twice[0].0
                ));
            }
            let Some(at) = labels.0.iter().position(|(name, _)| name == "__name__") else {
                return Err("a sample lost its name by relabelling".into());
            };
            let (_, name) = labels.0.remove(at);
            let at = match sample.timestamp_ms.filter(|_| plan.honor_timestamps) {
                Some(ms) => At {
                    ms,
                    tracked: plan.track_timestamps,
                },
                None => At {
                    ms: now_ms,
                    tracked: true,
                },
            };
            let point = Point {
                name: &name,
                labels: &labels.0,
                at,
                value: sample.value,
                exemplar: sample
                    .exemplar
                    .map(|exemplar| (exemplar, reader.exemplar_labels.as_slice())),
            };
            translator
                .add(&metas, &point)
                .map_err(|_| format!("more than {SERIES_MAX} series"))?;
        }
        counts.added = translator.added();
        Ok(counts)
    }

    /// The metrics about the scrape itself.
    fn report(&mut self, is_up: bool, counts: Counts, body_bytes: usize, took: Duration, now_ms: i64) {
        let plan = &self.job.plan;
        let mut labels = Labels::default();
        for (name, value) in self
            .target
            .labels
            .iter()
            .map(|(n, v)| (n, v))
            .chain(&plan.external_labels)
        {
            labels.set(name.into(), value.into());
        }
        labels.0.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut own = vec![
            ("up", f64::from(u8::from(is_up))),
            ("scrape_duration_seconds", took.as_secs_f64()),
            ("scrape_samples_scraped", counts.scraped as f64),
            ("scrape_samples_post_metric_relabeling", counts.kept as f64),
            ("scrape_series_added", counts.added as f64),
        ];
        if plan.extra {
            own.extend([
                ("scrape_timeout_seconds", self.target.timeout.as_secs_f64()),
                ("scrape_sample_limit", plan.limits.samples as f64),
                ("scrape_body_size_bytes", body_bytes as f64),
            ]);
        }
        for (name, value) in own {
            let point = Point {
                name,
                labels: &labels.0,
                at: At {
                    ms: now_ms,
                    tracked: false,
                },
                value,
                exemplar: None,
            };
            // there is no room for it only where there is none for the target's own
            let _ = self.translator.add(&Metas::new(), &point);
        }
    }
}

/// Joins a sample's labels with those of its target. Where both have one, the sample's wins if it is honoured, else it
/// is renamed `exported_...`.
fn settle<'a>(labels: &mut Labels<'a>, target: &'a [(String, String)], honor: bool) {
    for (name, value) in target {
        let theirs = labels.get(name);
        if !theirs.is_empty() && honor {
            continue;
        }
        if !theirs.is_empty() {
            let theirs = theirs.to_owned();
            let mut renamed = format!("exported_{name}");
            while labels.0.iter().any(|(n, _)| *n == renamed) || target.iter().any(|(n, _)| *n == renamed) {
                renamed.insert_str(0, "exported_");
            }
            labels.set(renamed.into(), theirs.into());
        }
        labels.set(name.into(), value.into());
    }
}

/// The job's limits on labels.
fn check(labels: &Labels<'_>, limits: &Limits) -> Result<(), String> {
    let count = labels.0.len();
    if limits.labels > 0 && count > limits.labels {
        return Err(format!(
            "label_limit exceeded ({count} labels, limit {})",
            limits.labels
        ));
    }
    for (name, value) in &labels.0 {
        for (what, len, limit) in [
            ("label_name_length_limit", name.len(), limits.label_name_bytes),
            ("label_value_length_limit", value.len(), limits.label_value_bytes),
        ] {
            if limit > 0 && len > limit {
                return Err(format!(
                    "{what} exceeded (label {name:?}, {len} bytes, limit {limit})"
                ));
            }
        }
    }
    Ok(())
}

/// The value of `Authorization`, files read now.
async fn credentials(auth: &Auth) -> Result<Option<HeaderValue>, String> {
    let text = match auth {
        Auth::None => return Ok(None),
        Auth::Basic { username, password } => {
            let pair = format!(
                "{}:{}",
                username.read().await?.expose(),
                password.read().await?.expose()
            );
            format!("Basic {}", base64::encode(Alphabet::Standard, pair.as_bytes()))
        }
        Auth::Scheme { scheme, credentials } => format!("{scheme} {}", credentials.read().await?.expose()),
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| "credentials that fit no header")?;
    value.set_sensitive(true);
    Ok(Some(value))
}

impl Word {
    async fn read(&self) -> Result<Secret<String>, String> {
        let path = match self {
            Word::Text(text) => return Ok(text.clone()),
            Word::File(path) => path,
        };
        let mut text = String::new();
        let read = async {
            let file = tokio::fs::File::open(path).await?;
            file.take(CREDENTIAL_BYTES_MAX).read_to_string(&mut text).await
        };
        read.await
            .map_err(|e| format!("unable to read credentials file {path:?}: {e}"))?;
        Ok(Secret::new(text.trim().to_owned()))
    }
}

/// Where a `Location` leads, seen from a URL.
fn redirected(from: &Uri, to: &str) -> Option<Uri> {
    let (scheme, authority) = (from.scheme_str()?, from.authority()?);
    let whole = if to.contains("://") {
        to.to_owned()
    } else if let Some(rest) = to.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if to.starts_with('/') {
        format!("{scheme}://{authority}{to}")
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{to}")
    };
    let uri: Uri = whole.parse().ok()?;
    matches!(uri.scheme_str(), Some("http" | "https")).then_some(uri)
}

fn unix_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
