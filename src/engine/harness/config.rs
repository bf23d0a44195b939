//! `timeout`, `retry_on_failure` and `sending_queue`: the collector's keys, defaults, states and messages.
//!
//! [`Settings::take`] takes the blocks that an exporter offers out of its section, before the exporter sees it; a block
//! that is not offered stays there and becomes an unknown key. Source: opentelemetry-collector exporterhelper 0.159.

use std::sync::Arc;
use std::time::Duration;

use component::exporter::{Block, Harness};
use component::{FlushPolicy, Storage};
use config::{ComponentId, Diags, Optional, Section, Shape};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PipelineBatch;
use super::collect::Gathering;
use super::retry::RetrySettings;
use super::room::Sizer;

/// What the harness of one exporter does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Longest time of one attempt; `None` = no limit.
    pub timeout: Option<Duration>,
    /// `None` = a failed attempt is the last one.
    pub retry: Option<RetrySettings>,
    /// `None` = the caller waits for the attempt.
    pub queue: Option<QueueSettings>,
    /// Largest batch in encoded bytes, unless the batch says otherwise.
    pub bytes_max: Option<usize>,
    /// The exporter that gets what this one gives up or what is rejected for good.
    pub dead_letter: Option<ComponentId>,
    /// Whether callers are answered for this exporter.
    pub delivery: Delivery,
    /// What it means that the far side does not let us in.
    pub on_auth_error: OnAuthError,
    /// What the log adds where data is lost or given back: which block that is off could have helped. The collector's
    /// words.
    pub hint: &'static str,
    /// Keys of client metadata that the exporter or its authenticator reads; with `storage` they go to the disk too.
    pub context_keys: Vec<String>,
    /// Keys of client metadata whose values must not meet in one batch, since the exporter itself reads them.
    pub apart_by: Vec<String>,
    /// What the queue's storage promises.
    pub storage: Option<Storage>,
    /// The exporter gathers: this drives it.
    pub gathering: Option<Arc<Gathering>>,
    /// What the user wrote himself.
    pub written: Written,
}

/// Keys whose default is another one for an exporter that gathers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// `sending_queue.queue_size`.
    pub queue_size: bool,
    /// `retry_on_failure.max_elapsed_time`, above zero.
    pub gives_up: bool,
}

/// Whether an exporter has a say in the answer to a caller. Ours; the collector has no such key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// What it refuses is refused.
    #[default]
    Required,
    /// What it refuses is booked, and nobody is told or kept waiting.
    BestEffort,
}

/// What it means that the far side does not let us in (401, 403, `UNAUTHENTICATED`, `PERMISSION_DENIED`). Ours; the
/// collector rejects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnAuthError {
    /// A credential will come right: long pauses, and nothing is given up for it.
    #[default]
    Retry,
    /// The data is rejected for good.
    Reject,
}

/// `sending_queue`, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueSettings {
    /// Attempts at the same time.
    pub consumers: usize,
    /// How much it holds, in units of `sizer`, what is in flight included.
    pub size: usize,
    /// What `size` counts.
    pub sizer: Sizer,
    /// Callers wait for room instead of being refused.
    pub block: bool,
    /// Callers wait for the result of the export.
    pub wait_for_result: bool,
    /// The extension in whose journal it is kept; `None` = in memory.
    pub storage: Option<ComponentId>,
    /// What happens to data that finds no room.
    pub overflow: Overflow,
    /// `None` = sent as they came, unless a pipeline's `batch` says otherwise.
    pub batch: Option<FlushPolicy>,
}

/// What a full queue does. Ours; the collector's refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// Callers are told to come again.
    #[default]
    Refuse,
    /// The oldest that is not being sent makes room, booked as dropped. Only with `storage`.
    DropOldest,
}

#[derive(Clone, Deserialize, Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct TimeoutBlock {
    /// Longest time of one attempt; 0 is without limit.
    timeout: Option<config::Duration>,
}

#[derive(Clone, Deserialize, Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct RetryBlock {
    /// Whether and when a failed attempt is made again.
    retry_on_failure: Retry,
}

#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct RetryOff {
    /// Whether and when a failed attempt is made again.
    retry_on_failure: Optional<Retry>,
}

#[derive(Deserialize, Clone, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Retry {
    /// Without it a failed attempt is the last one.
    enabled: bool,
    /// Before the second attempt.
    initial_interval: config::Duration,
    /// How far an interval may differ from its length, 0 to 1.
    randomization_factor: f64,
    /// How much longer each interval is than the one before.
    multiplier: f64,
    /// Longest interval.
    max_interval: config::Duration,
    /// When to give up; 0 is never.
    max_elapsed_time: config::Duration,
    /// After how many further attempts to give up; 0 is never.
    max_retries: u32,
}

#[derive(Clone, Deserialize, Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct AuthBlock {
    /// What it means that the far side does not let us in: `retry` or `reject`.
    on_auth_error: OnAuthError,
}

#[derive(Clone, Deserialize, Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct EndBlock {
    /// Id of the exporter that gets what this one gives up.
    dead_letter: Option<ComponentId>,
    /// Whether callers are answered for this exporter: `required` or `best_effort`.
    delivery: Delivery,
}

#[derive(Clone, Deserialize, Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct StorageBlock {
    /// Short for `sending_queue.storage`: id of an extension that keeps the queue on disk.
    storage: Option<ComponentId>,
}

#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct QueueOn {
    /// What waits to be sent.
    sending_queue: Optional<Queue>,
}

#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct QueueOff {
    /// What waits to be sent.
    sending_queue: Optional<Queue>,
}

#[derive(Deserialize, Clone, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Queue {
    /// Attempts at the same time.
    num_consumers: i64,
    /// How much it holds, in units of `sizer`.
    queue_size: i64,
    /// What `queue_size` counts: `requests`, `items` or `bytes`.
    sizer: Option<String>,
    /// Callers wait for room instead of being refused.
    block_on_overflow: bool,
    /// Callers wait for the result of the export.
    wait_for_result: bool,
    /// Id of an extension that keeps the queue on disk.
    storage: Option<ComponentId>,
    /// With `storage`: what happens when it is full, `refuse` or `drop_oldest`.
    overflow: Overflow,
    /// How requests are joined and cut before they are sent.
    batch: Optional<Batch>,
}

#[derive(Deserialize, Clone, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Batch {
    /// Sent after this long, however little there is.
    flush_timeout: config::Duration,
    /// Sent as soon as there is so much.
    min_size: i64,
    /// Cut to at most so much; 0 is without limit.
    max_size: i64,
    /// What the sizes count: `items` or `bytes`; absent, as the queue.
    sizer: Option<String>,
    /// What is never joined.
    partition: Partition,
}

#[derive(Deserialize, Clone, Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Partition {
    /// Keys of client metadata: requests that differ in one stay apart.
    metadata_keys: Vec<String>,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            enabled: true,
            initial_interval: config::Duration(Duration::from_secs(5)),
            randomization_factor: 0.5,
            multiplier: 1.5,
            max_interval: config::Duration(Duration::from_secs(30)),
            max_elapsed_time: config::Duration(Duration::from_secs(300)),
            max_retries: 0,
        }
    }
}

impl Default for RetryOff {
    fn default() -> RetryOff {
        RetryOff {
            retry_on_failure: Optional::Default(Retry::default()),
        }
    }
}

impl Default for QueueOn {
    fn default() -> QueueOn {
        QueueOn {
            sending_queue: Optional::Some(Queue::default()),
        }
    }
}

impl Default for QueueOff {
    fn default() -> QueueOff {
        QueueOff {
            sending_queue: Optional::Default(Queue::default()),
        }
    }
}

impl Default for Queue {
    fn default() -> Queue {
        Queue {
            num_consumers: 10,
            queue_size: 1000,
            sizer: None,
            block_on_overflow: false,
            wait_for_result: false,
            storage: None,
            overflow: Overflow::Refuse,
            batch: Optional::Default(Batch::default()),
        }
    }
}

impl Default for Batch {
    fn default() -> Batch {
        Batch {
            flush_timeout: config::Duration(Duration::from_millis(200)),
            min_size: 8192,
            max_size: 0,
            sizer: None,
            partition: Partition::default(),
        }
    }
}

impl Settings {
    /// How requests gather, if they do. The exporter's own batch settings win over a pipeline's; the metadata keys of
    /// both hold in any case, as do those that the exporter itself reads.
    pub(crate) fn flush(&self, batch: Option<&PipelineBatch>) -> Option<FlushPolicy> {
        let own = self.queue.as_ref().and_then(|q| q.batch.as_ref());
        let mut flush = own.or(batch.map(|b| &b.policy))?.clone();
        for key in batch.iter().flat_map(|b| &b.policy.metadata_keys) {
            if !flush.metadata_keys.iter().any(|k| k.eq_ignore_ascii_case(key)) {
                flush.metadata_keys.push(key.clone());
                flush.cardinality_max = batch.and_then(|b| b.policy.cardinality_max);
            }
        }
        if flush.metadata_keys.is_empty() && !self.apart_by.is_empty() {
            // A limit is for the keys that it was written for.
            flush.cardinality_max = None;
        }
        for key in &self.apart_by {
            if !flush.metadata_keys.iter().any(|k| k.eq_ignore_ascii_case(key)) {
                flush.metadata_keys.push(key.clone());
            }
        }
        Some(flush)
    }

    /// Takes the blocks that `offer` names out of the section, and checks them. All faults at once.
    pub fn take(section: &mut Section, offer: &Harness) -> Result<Settings, Diags> {
        let offer = match &offer.instead {
            Some(other) if (other.when)(section) => other.harness,
            _ => offer,
        };
        if let Some(prepare) = offer.prepare {
            (prepare.0)(section)?;
        }
        if !offer.also_in.is_empty() {
            for key in ["sending_queue", "retry_on_failure", "timeout"] {
                section.lift(offer.also_in, key);
            }
        }
        let mut faults = removed(section, offer);
        let timeout = offer.timeout_ms.map(|ms| {
            if let Err(diags) = section.default_to("timeout", &format!("{ms}ms")) {
                faults.extend(diags.0);
            }
            let block: TimeoutBlock = keep(section.take(), &mut faults);
            block.timeout.map_or(Duration::from_millis(ms), |d| d.0)
        });
        let has_size = section
            .clone()
            .take_raw("sending_queue")
            .is_some_and(|queue| queue.contains("queue_size"));
        let gives_up = section
            .clone()
            .take_raw("retry_on_failure")
            .is_some_and(|retry| retry.contains("max_elapsed_time"));
        let mut retry = match offer.retry {
            Block::Absent => None,
            state => {
                let block: RetryBlock = keep(take_retry(section, state), &mut faults);
                check_retry(&block.retry_on_failure, section, &mut faults)
            }
        };
        let queue: Option<Queue> = match offer.queue {
            Block::Absent => None,
            Block::On => keep(section.take::<QueueOn>(), &mut faults)
                .sending_queue
                .into_option(),
            Block::Off => keep(section.take::<QueueOff>(), &mut faults)
                .sending_queue
                .into_option(),
        };
        let queue = match offer.storage {
            true => take_storage(section, queue, &mut faults),
            false => queue,
        };
        let queue = queue.and_then(|q| check_queue(&q, section, &mut faults));
        let auth: AuthBlock = match offer.retry {
            Block::Absent => AuthBlock::default(),
            _ => keep(section.take(), &mut faults),
        };
        let end: EndBlock = keep(section.take(), &mut faults);
        if !faults.is_empty() {
            return Err(Diags(faults));
        }
        let written = Written {
            queue_size: has_size,
            gives_up: gives_up && retry.as_ref().is_some_and(|retry| retry.elapsed_max.is_some()),
        };
        let has_no_retry = offer.retry != Block::Absent && retry.is_none();
        let has_no_queue = offer.queue != Block::Absent && queue.is_none();
        // What is on disk is given up only if the user says when.
        if let Some(retry) = &mut retry
            && !gives_up
            && queue.as_ref().is_some_and(|q| q.storage.is_some())
        {
            retry.elapsed_max = None;
        }
        Ok(Settings {
            timeout: timeout.filter(|t| !t.is_zero()),
            retry,
            queue,
            bytes_max: offer.batch_bytes_max,
            dead_letter: end.dead_letter,
            delivery: end.delivery,
            on_auth_error: auth.on_auth_error,
            hint: match (has_no_retry, has_no_queue) {
                (false, false) => "",
                (false, true) => " Try enabling sending_queue to survive temporary failures.",
                (true, false) => " Try enabling retry_on_failure config option to retry on retryable errors.",
                (true, true) => {
                    " Try enabling retry_on_failure config option to retry on retryable errors. \
                     Try enabling sending_queue to survive temporary failures."
                }
            },
            context_keys: Vec::new(),
            apart_by: Vec::new(),
            storage: None,
            gathering: None,
            written,
        })
    }
}

/// Spellings that the collector had once. They are refused, each with the one to write, and taken out of the section.
fn removed(section: &mut Section, offer: &Harness) -> Vec<config::Diag> {
    let mut faults = Vec::new();
    if offer.queue == Block::Absent {
        return faults;
    }
    if section.contains("batcher") {
        let help = "write its keys below `sending_queue::batch`: flush_timeout, min_size, max_size, sizer";
        let message = "`batcher` is not a key of exporters any more";
        faults.push(section.diag("batcher", message).with_help(help));
        section.take_raw("batcher");
    }
    let queue = section.clone().take_raw("sending_queue");
    if queue.is_some_and(|queue| queue.contains("blocking")) {
        let message = "`blocking` is not a key of `sending_queue` any more";
        let fault = section.diag("sending_queue.blocking", message);
        faults.push(fault.with_help("write `block_on_overflow`, which means the same"));
        section.take_raw("sending_queue");
    }
    faults
}

/// The blocks that [`Settings::take`] takes.
pub fn keys(offer: &Harness) -> Vec<Shape> {
    let timeout = offer.timeout_ms.map(|_| Shape::of::<TimeoutBlock>());
    let retry = match offer.retry {
        Block::Absent => None,
        Block::On => Some(Shape::of::<RetryBlock>()),
        Block::Off => Some(Shape::of::<RetryOff>()),
    };
    let queue = match offer.queue {
        Block::Absent => None,
        Block::On => Some(Shape::of::<QueueOn>()),
        Block::Off => Some(Shape::of::<QueueOff>()),
    };
    let auth = (offer.retry != Block::Absent).then(Shape::of::<AuthBlock>);
    let is_stored = offer.storage || offer.instead.is_some_and(|other| other.harness.storage);
    let storage = is_stored.then(Shape::of::<StorageBlock>);
    let end = Some(Shape::of::<EndBlock>());
    [timeout, retry, queue, storage, auth, end]
        .into_iter()
        .flatten()
        .collect()
}

/// `storage` on the exporter itself: the queue's, which it switches on.
fn take_storage(
    section: &mut Section,
    queue: Option<Queue>,
    faults: &mut Vec<config::Diag>,
) -> Option<Queue> {
    let block: StorageBlock = keep(section.take(), faults);
    let Some(storage) = block.storage else {
        return queue;
    };
    let mut queue = queue.unwrap_or_default();
    if queue.storage.as_ref().is_some_and(|known| *known != storage) {
        let message = "`storage` and `sending_queue::storage` name different extensions";
        let fault = section.diag("storage", message);
        faults.push(fault.with_help("`storage` is short for `sending_queue::storage`: write one of them"));
    }
    queue.storage = Some(storage);
    Some(queue)
}

/// What an exporter that gathers cannot do, and what to write instead.
pub(crate) fn faults_of_gathering(settings: &Settings, section: &Section) -> Vec<config::Diag> {
    let queue = settings.queue.as_ref();
    let checks = [
        (
            queue.is_some_and(|q| q.batch.is_some()),
            "sending_queue.batch",
            "this exporter gathers by itself: what it takes has no batches",
            "take `batch` out; how much belongs together is set with the exporter's own keys",
        ),
        (
            settings.retry.is_none(),
            "retry_on_failure.enabled",
            "this exporter does not give up",
            "take `enabled: false` out",
        ),
        (
            settings.written.gives_up,
            "retry_on_failure.max_elapsed_time",
            "this exporter does not give up",
            "take `max_elapsed_time` out, or set it to 0",
        ),
        (
            settings.retry.as_ref().is_some_and(|r| r.retries_max.is_some()),
            "retry_on_failure.max_retries",
            "this exporter does not give up",
            "take `max_retries` out, or set it to 0",
        ),
        (
            queue.is_some_and(|q| q.overflow == Overflow::DropOldest),
            "sending_queue.overflow",
            "what this exporter has accepted is never dropped",
            "write `overflow: refuse`, which is the default: callers are told to come again",
        ),
        (
            queue.is_some_and(|q| q.wait_for_result),
            "sending_queue.wait_for_result",
            "the result of this exporter comes long after a caller can wait for it",
            "take `wait_for_result` out; with `storage` callers are answered when the data is safe on disk",
        ),
        (
            settings.dead_letter.is_some(),
            "dead_letter",
            "this exporter does not give up, so there is nothing for a dead letter",
            "take `dead_letter` out",
        ),
    ];
    let wrong = checks.into_iter().filter(|(is_wrong, ..)| *is_wrong);
    wrong
        .map(|(_, key, message, help)| section.diag(key, message).with_help(help))
        .collect()
}

/// `retry_on_failure` that is off unless written keeps its switch apart, as its `enabled` is true in the collector.
fn take_retry(section: &mut Section, state: Block) -> Result<RetryBlock, Diags> {
    if state == Block::On {
        return section.take();
    }
    let off: RetryOff = section.take()?;
    let off = off.retry_on_failure.into_option();
    let retry_on_failure = off.unwrap_or(Retry {
        enabled: false,
        ..Retry::default()
    });
    Ok(RetryBlock { retry_on_failure })
}

fn keep<T: Default>(block: Result<T, Diags>, faults: &mut Vec<config::Diag>) -> T {
    block.unwrap_or_else(|diags| {
        faults.extend(diags.0);
        T::default()
    })
}

fn check_retry(retry: &Retry, section: &Section, faults: &mut Vec<config::Diag>) -> Option<RetrySettings> {
    let mut fault = |key: &str, message: &str| {
        faults.extend(section.fault(&format!("retry_on_failure.{key}"), message).0);
    };
    if !(0.0..=1.0).contains(&retry.randomization_factor) {
        fault(
            "randomization_factor",
            "'randomization_factor' must be within [0, 1]",
        );
    }
    if !(retry.multiplier >= 0.0 && retry.multiplier.is_finite()) {
        fault("multiplier", "'multiplier' must be non-negative");
    }
    let elapsed = retry.max_elapsed_time.0;
    if !elapsed.is_zero() && elapsed < retry.initial_interval.0 {
        fault(
            "max_elapsed_time",
            "'max_elapsed_time' must not be less than 'initial_interval'",
        );
    }
    if !elapsed.is_zero() && elapsed < retry.max_interval.0 {
        fault(
            "max_elapsed_time",
            "'max_elapsed_time' must not be less than 'max_interval'",
        );
    }
    retry.enabled.then(|| RetrySettings {
        initial: retry.initial_interval.0,
        randomization: retry.randomization_factor,
        multiplier: retry.multiplier,
        max: retry.max_interval.0,
        elapsed_max: Some(elapsed).filter(|e| !e.is_zero()),
        retries_max: Some(retry.max_retries).filter(|n| *n > 0),
    })
}

fn check_queue(queue: &Queue, section: &Section, faults: &mut Vec<config::Diag>) -> Option<QueueSettings> {
    let before = faults.len();
    let mut fault = |key: &str, message: String| {
        faults.extend(section.fault(&format!("sending_queue.{key}"), message).0);
    };
    let mut positive = |key: &str, value: i64| {
        if value <= 0 {
            fault(key, format!("`{key}` must be positive"));
        }
        usize::try_from(value).unwrap_or(0)
    };
    let consumers = positive("num_consumers", queue.num_consumers);
    let size = positive("queue_size", queue.queue_size);
    let sizer = match queue.sizer.as_deref().map(parse_sizer) {
        None => Sizer::Requests,
        Some(Ok(sizer)) => sizer,
        Some(Err(message)) => {
            fault("sizer", message);
            Sizer::Requests
        }
    };
    if queue.storage.is_some() && queue.wait_for_result {
        let message = "`wait_for_result` is not supported with a persistent queue configured with `storage`";
        fault("wait_for_result", message.into());
    }
    if queue.storage.is_none() && queue.overflow != Overflow::Refuse {
        fault("overflow", "`overflow` needs `storage`".into());
    }
    let batch = queue
        .batch
        .get()
        .map(|b| check_batch(b, queue, sizer, size, &mut fault));
    (faults.len() == before).then_some(QueueSettings {
        consumers,
        size,
        sizer,
        block: queue.block_on_overflow,
        wait_for_result: queue.wait_for_result,
        storage: queue.storage.clone(),
        overflow: queue.overflow,
        batch,
    })
}

fn check_batch(
    batch: &Batch,
    queue: &Queue,
    queue_sizer: Sizer,
    queue_size: usize,
    fault: &mut impl FnMut(&str, String),
) -> FlushPolicy {
    let written = batch
        .sizer
        .as_deref()
        .or(queue.sizer.as_deref())
        .unwrap_or("items");
    let sizer = match parse_sizer(written) {
        Ok(Sizer::Requests) => {
            let message = "`batch` supports only `items` or `bytes` sizer, found \"requests\"";
            fault("batch.sizer", message.into());
            Sizer::Items
        }
        Ok(sizer) => sizer,
        Err(message) => {
            fault("batch.sizer", message);
            Sizer::Items
        }
    };
    if batch.flush_timeout.0.is_zero() {
        fault("batch.flush_timeout", "`flush_timeout` must be positive".into());
    }
    let (min, max) = (usize::try_from(batch.min_size), usize::try_from(batch.max_size));
    if min.is_err() {
        fault("batch.min_size", "`min_size` must be non-negative".into());
    }
    if max.is_err() {
        fault("batch.max_size", "`max_size` must be non-negative".into());
    }
    let (min, max) = (min.unwrap_or(0), max.unwrap_or(0));
    if max > 0 && max < min {
        fault(
            "batch.max_size",
            format!("`max_size` ({max}) must be greater or equal to `min_size` ({min})"),
        );
    }
    if sizer == queue_sizer && min > queue_size {
        let message = format!("`min_size` ({min}) must be less than or equal to `queue_size` ({queue_size})");
        fault("batch.min_size", message);
    }
    let keys = &batch.partition.metadata_keys;
    for (at, key) in keys.iter().enumerate() {
        if keys[..at].iter().any(|k| k.eq_ignore_ascii_case(key)) {
            let message = format!(
                "duplicate entry in metadata_keys: \"{}\" (case-insensitive)",
                key.to_lowercase()
            );
            fault("batch.partition.metadata_keys", message);
        }
    }
    let max = Some(max).filter(|max| *max > 0);
    let by_items = sizer == Sizer::Items;
    FlushPolicy {
        items_min: if by_items { min } else { usize::MAX },
        items_max: max.filter(|_| by_items),
        bytes_min: Some(min).filter(|_| !by_items),
        bytes_max: max.filter(|_| !by_items),
        timeout: batch.flush_timeout.0,
        metadata_keys: keys.clone(),
        cardinality_max: None,
    }
}

fn parse_sizer(text: &str) -> Result<Sizer, String> {
    match text {
        "requests" => Ok(Sizer::Requests),
        "items" => Ok(Sizer::Items),
        "bytes" => Ok(Sizer::Bytes),
        other => Err(format!("invalid sizer: {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(yaml: &str, offer: &Harness) -> Result<Settings, Vec<String>> {
        let mut section = Section::from_yaml(yaml).expect("YAML");
        let settings = Settings::take(&mut section, offer);
        settings.map_err(|diags| diags.0.into_iter().map(|d| d.message).collect())
    }

    fn queue(yaml: &str) -> Option<QueueSettings> {
        take(yaml, &Harness::QUEUE_RETRY_TIMEOUT).expect("valid").queue
    }

    #[test]
    fn blocks_of_what_an_exporter_sends_through_count_as_its_own() {
        let offer = Harness {
            also_in: &["protocol", "otlp"],
            ..Harness::QUEUE_RETRY_TIMEOUT
        };
        let check = |yaml: &str, queue: Option<usize>, timeout_s: u64, left: &str| {
            let mut section = Section::from_yaml(yaml).expect("YAML");
            let settings = Settings::take(&mut section, &offer).expect("valid");
            assert_eq!(settings.queue.map(|q| q.size), queue, "{yaml}");
            assert_eq!(settings.timeout, Some(Duration::from_secs(timeout_s)), "{yaml}");
            let otlp = section.take_raw("protocol").and_then(|mut p| p.take_raw("otlp"));
            let keys = otlp.map(|otlp| otlp.keys().collect::<Vec<_>>().join(" "));
            assert_eq!(keys.unwrap_or_default(), left, "{yaml}");
        };
        check("{}", Some(1000), 5, "");
        check("protocol: {otlp: }", Some(1000), 5, "");
        check(
            "protocol: {otlp: {timeout: 1s, compression: none, sending_queue: {queue_size: 7}}}",
            Some(7),
            1,
            "compression",
        );
        check("protocol: {otlp: {sending_queue: {enabled: false}}}", None, 5, "");
        check(
            "{timeout: 2s, sending_queue: {queue_size: 9}, protocol: {otlp: {timeout: 1s, sending_queue: {enabled: false}}}}",
            Some(9),
            2,
            "",
        );
    }

    #[test]
    fn a_section_that_asks_for_another_harness_gets_it() {
        let offer = Harness {
            queue: Block::Off,
            instead: Some(component::Instead {
                when: |section| section.contains("gathers"),
                harness: &Harness::COLLECT,
            }),
            ..Harness::QUEUE_RETRY_TIMEOUT
        };
        let check = |yaml: &str, has_queue: bool, timeout: Option<u64>, left: &[&str]| {
            let mut section = Section::from_yaml(yaml).expect("YAML");
            let settings = Settings::take(&mut section, &offer).expect("valid");
            assert_eq!(settings.queue.is_some(), has_queue, "{yaml}");
            assert_eq!(settings.timeout, timeout.map(Duration::from_secs), "{yaml}");
            assert_eq!(section.keys().collect::<Vec<_>>(), left, "{yaml}");
        };
        check("storage: file_storage", false, Some(5), &["storage"]);
        check(
            "{gathers: , storage: file_storage, timeout: 1s}",
            true,
            None,
            &["gathers", "timeout"],
        );
        let named = Shape::keys(&keys(&offer));
        assert!(
            ["storage", "timeout"]
                .iter()
                .all(|key| named.iter().any(|own| own == key)),
            "{named:?}"
        );
    }

    #[test]
    fn the_keys_that_are_named_are_the_ones_that_are_taken() {
        let retry_offered = Harness {
            retry: Block::Off,
            ..Harness::QUEUE_RETRY_TIMEOUT
        };
        for offer in [
            Harness::QUEUE_RETRY_TIMEOUT,
            Harness::QUEUE_OFFERED,
            retry_offered,
        ] {
            let mut section = Section::from_yaml("{}").expect("YAML");
            Settings::take(&mut section, &offer).expect("defaults are valid");
            let config::Effective::Map(taken) = section.effective() else {
                panic!("blocks are maps");
            };
            let mut named = Shape::keys(&keys(&offer));
            named.sort();
            assert_eq!(named, taken.into_keys().collect::<Vec<_>>(), "{offer:?}");
        }
    }

    #[test]
    fn defaults_match_otelcol() {
        let settings = take("{}", &Harness::QUEUE_RETRY_TIMEOUT).expect("valid");
        let expected = Settings {
            timeout: Some(Duration::from_secs(5)),
            retry: Some(RetrySettings {
                initial: Duration::from_secs(5),
                randomization: 0.5,
                multiplier: 1.5,
                max: Duration::from_secs(30),
                elapsed_max: Some(Duration::from_secs(300)),
                retries_max: None,
            }),
            queue: Some(QueueSettings {
                consumers: 10,
                size: 1000,
                sizer: Sizer::Requests,
                block: false,
                wait_for_result: false,
                storage: None,
                overflow: Overflow::Refuse,
                batch: None,
            }),
            bytes_max: None,
            dead_letter: None,
            delivery: Delivery::Required,
            on_auth_error: OnAuthError::Retry,
            hint: "",
            ..Settings::default()
        };
        assert_eq!(settings, expected);
        let offered = take("{}", &Harness::QUEUE_OFFERED).expect("valid");
        let expected = Settings {
            hint: " Try enabling sending_queue to survive temporary failures.",
            ..Settings::default()
        };
        assert_eq!(offered, expected);
    }

    #[test]
    fn switches_have_three_states() {
        let check = |yaml, expected| assert_eq!(queue(yaml).is_some(), expected, "{yaml}");
        check("sending_queue:", true);
        check("sending_queue: {enabled: false}", false);
        check("sending_queue: {queue_size: 5}", true);
        let offered = |yaml| {
            take(yaml, &Harness::QUEUE_OFFERED)
                .expect("valid")
                .queue
                .is_some()
        };
        assert!(offered("sending_queue:"));
        assert!(offered("sending_queue: {queue_size: 5}"));
        assert!(!offered("sending_queue: {enabled: false}"));
        let retry = |yaml| take(yaml, &Harness::QUEUE_RETRY_TIMEOUT).expect("valid").retry;
        assert!(retry("retry_on_failure: {enabled: false}").is_none());
        assert_eq!(
            retry("retry_on_failure: {max_elapsed_time: 0s}")
                .expect("on")
                .elapsed_max,
            None
        );
        let retries = |yaml| retry(yaml).expect("on").retries_max;
        assert_eq!(retries("retry_on_failure: {max_retries: 7}"), Some(7));
        assert_eq!(retries("retry_on_failure: {max_retries: 0}"), None);
        assert_eq!(
            take("timeout: 0s", &Harness::QUEUE_RETRY_TIMEOUT)
                .expect("valid")
                .timeout,
            None
        );
        let batch = |yaml| queue(yaml).and_then(|q| q.batch);
        assert_eq!(batch("sending_queue: {}"), None);
        for yaml in ["sending_queue: {batch: }", "sending_queue: {batch: {}}"] {
            let policy = batch(yaml).expect("on");
            assert_eq!(
                (policy.items_min, policy.items_max, policy.bytes_min),
                (8192, None, None)
            );
            assert_eq!(policy.timeout, Duration::from_millis(200));
        }
        let policy =
            batch("sending_queue: {sizer: bytes, queue_size: 9000, batch: {max_size: 9000}}").expect("on");
        assert_eq!(
            (policy.items_min, policy.bytes_min, policy.bytes_max),
            (usize::MAX, Some(8192), Some(9000))
        );
    }

    #[test]
    fn own_keys_are_read_on_any_exporter() {
        for offer in [Harness::QUEUE_RETRY_TIMEOUT, Harness::QUEUE_OFFERED] {
            let settings = take("{dead_letter: file/dead, delivery: best_effort}", &offer).expect("valid");
            assert_eq!(settings.dead_letter, ComponentId::parse("file/dead").ok());
            assert_eq!(settings.delivery, Delivery::BestEffort);
        }
        let settings = take("on_auth_error: reject", &Harness::QUEUE_RETRY_TIMEOUT).expect("valid");
        assert_eq!(settings.on_auth_error, OnAuthError::Reject);
    }

    #[test]
    fn blocks_that_are_not_offered_stay_in_the_section() {
        let mut section = Section::from_yaml("{timeout: 1s, sending_queue: {}, path: x}").expect("YAML");
        Settings::take(&mut section, &Harness::QUEUE_OFFERED).expect("valid");
        assert_eq!(section.keys().collect::<Vec<_>>(), ["timeout", "path"]);
    }

    #[test]
    fn what_is_on_disk_is_given_up_only_if_that_is_written() {
        let check = |yaml: &str, expected: Option<u64>| {
            let retry = take(yaml, &Harness::QUEUE_RETRY_TIMEOUT).expect("valid").retry;
            let elapsed = retry.expect("on").elapsed_max;
            assert_eq!(elapsed, expected.map(Duration::from_secs), "{yaml}");
        };
        check("{}", Some(300));
        check("sending_queue: {storage: file_storage/a}", None);
        check(
            "{sending_queue: {storage: file_storage}, retry_on_failure: {max_interval: 20s}}",
            None,
        );
        check(
            "{sending_queue: {storage: file_storage}, retry_on_failure: {max_elapsed_time: 60s}}",
            Some(60),
        );
        check(
            "{sending_queue: {storage: file_storage}, retry_on_failure: {max_elapsed_time: 0}}",
            None,
        );
        let queue = queue("sending_queue: {storage: file_storage/a, overflow: drop_oldest}").expect("on");
        assert_eq!(queue.storage, ComponentId::parse("file_storage/a").ok());
        assert_eq!(queue.overflow, Overflow::DropOldest);
    }

    #[test]
    fn faults_are_the_collectors_and_all_at_once() {
        let check = |yaml: &str, expected: &[&str]| {
            let faults = take(yaml, &Harness::QUEUE_RETRY_TIMEOUT).expect_err(yaml);
            assert_eq!(faults.len(), expected.len(), "{yaml}: {faults:?}");
            for (fault, expected) in faults.iter().zip(expected) {
                assert!(
                    fault.contains(expected),
                    "{yaml}: {fault:?} does not say {expected:?}"
                );
            }
        };
        check(
            "sending_queue: {num_consumers: 0}",
            &["`num_consumers` must be positive"],
        );
        check(
            "sending_queue: {num_consumers: -1, queue_size: 0, sizer: kilos}",
            &[
                "`num_consumers` must be positive",
                "`queue_size` must be positive",
                "invalid sizer: \"kilos\"",
            ],
        );
        check(
            "sending_queue: {storage: file_storage, wait_for_result: true}",
            &["`wait_for_result` is not supported with a persistent queue configured with `storage`"],
        );
        check(
            "sending_queue: {overflow: drop_oldest}",
            &["`overflow` needs `storage`"],
        );
        check("sending_queue: {overflow: drop}", &["invalid value \"drop\""]);
        check(
            "sending_queue: {sizer: requests, batch: }",
            &["`batch` supports only `items` or `bytes` sizer, found \"requests\""],
        );
        check(
            "sending_queue: {batch: {min_size: 10, max_size: 5}}",
            &["must be greater or equal to `min_size`"],
        );
        check(
            "sending_queue: {sizer: items, queue_size: 10, batch: }",
            &["must be less than or equal to `queue_size`"],
        );
        check(
            "sending_queue: {batch: {flush_timeout: 0s}}",
            &["`flush_timeout` must be positive"],
        );
        check(
            "sending_queue: {batch: {partition: {metadata_keys: [A, a]}}}",
            &["duplicate entry in metadata_keys: \"a\" (case-insensitive)"],
        );
        check(
            "retry_on_failure: {enabled: false, randomization_factor: 2, multiplier: -1}",
            &[
                "'randomization_factor' must be within [0, 1]",
                "'multiplier' must be non-negative",
            ],
        );
        check(
            "retry_on_failure: {max_elapsed_time: 10s}",
            &["'max_elapsed_time' must not be less than 'max_interval'"],
        );
        check("timeout: -5s", &["non-negative"]);
        check("retry_on_failure: {max_retries: -1}", &["overflows uint"]);
        check("retry_on_failure: {initial_interval: -5s}", &["non-negative"]);
        check("retry_on_failure: {max_interval: -5s}", &["non-negative"]);
        check(
            "retry_on_failure: {enabled: false, initial_interval: 10m, max_elapsed_time: 5m}",
            &["'max_elapsed_time' must not be less than 'initial_interval'"],
        );
        check(
            "sending_queue: {batch: {min_size: -1, max_size: -1}}",
            &[
                "`min_size` must be non-negative",
                "`max_size` must be non-negative",
            ],
        );
        check(
            "sending_queue: {sizer: bytes, queue_size: 10, batch: {min_size: 11}}",
            &["`min_size` (11) must be less than or equal to `queue_size` (10)"],
        );
        check(
            "sending_queue: {batch: {sizer: kilos}}",
            &["invalid sizer: \"kilos\""],
        );
        check(
            "{sending_queue: {blocking: true, queue_size: 0}, batcher: {min_size: 1}, on_auth_error: never}",
            &[
                "`batcher` is not a key of exporters any more",
                "`blocking` is not a key of `sending_queue` any more",
                "invalid value \"never\"",
            ],
        );
        check("delivery: sometimes", &["invalid value \"sometimes\""]);
        check(
            "sending_queue: {overflow: drop_newest}",
            &["invalid value \"drop_newest\""],
        );
        check(
            "{retry_on_failure: {multiplier: -1}, sending_queue: {queue_size: 0}}",
            &["multiplier", "queue_size"],
        );
    }
}
