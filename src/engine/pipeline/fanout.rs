//! One payload to several edges at once, and one answer for all of them.
//!
//! First every branch is asked (a pipeline's gates, an exporter's queue, the journal of those that share one), so that
//! "busy" is said before anything has moved. Then all branches run at the same time in the caller's task, the first one polled first; a single branch costs nothing extra.
//! Branches to exporters with `delivery: best_effort` run on in tasks of their own and have no say; what they do not take
//! is booked on their edge as dropped. Where no branch is required the answer is yes as soon as all is handed over. The
//! joint answer of the required ones:
//!
//! - all accept: accepted, with the rejections of the branch that rejected most;
//! - a branch refuses for now: refused for now, with the longest wish. What other branches took comes twice (booked as
//!   duplicates), but nothing is lost, and it ends once that branch takes it;
//! - branches refuse, all for good: refused for good, so that no client repeats for ever what can never be delivered.
//!
//! The collector says "for good" as soon as one branch does; then what another branch could not take *now* is lost.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use component::{BoxFuture, Consumer, Outcome, Refusal, Rejection};
use telemetry::{Fan, Node};
use wire::Payload;

use super::edge::{Edge, Spare, Target};
use super::journal_fanout::{self, Write};
use crate::harness::room::Room;
use crate::harness::tally::Tally;
use crate::harness::verdict::{self, Refused};

/// Edges that all get every payload.
pub(crate) struct Fanout {
    edges: Vec<Edge>,
    fan: Option<Arc<Fan>>,
}

impl Fanout {
    pub(crate) fn new(edges: Vec<Edge>) -> Fanout {
        Fanout { edges, fan: None }
    }

    /// Counts there what leaves towards all of these edges.
    pub(crate) fn counted(self, fan: Arc<Fan>) -> Fanout {
        Fanout {
            fan: Some(fan),
            ..self
        }
    }

    /// Sends to all, and books every edge.
    pub(crate) async fn send(&self, payload: Payload) -> Result<Outcome, Refusal> {
        let items = payload.items as u64;
        let answer = self.send_all(payload).await;
        if let (Ok(_), Some(fan)) = (&answer, &self.fan) {
            fan.add(items);
        }
        answer
    }

    async fn send_all(&self, payload: Payload) -> Result<Outcome, Refusal> {
        let tally = Tally::of(&payload);
        for edge in &self.edges {
            edge.book_offered(&tally);
        }
        let targets = match self.edges.as_slice() {
            [edge] if edge.target().branch().is_none() => {
                let result = edge.target().send(payload).await;
                return match result {
                    Ok(outcome) => {
                        edge.book_accepted(&tally);
                        Ok(outcome)
                    }
                    Err(refused) => {
                        edge.book_refused(&tally, &refused.moved);
                        Err(refused.refusal)
                    }
                };
            }
            edges => edges.iter().map(Edge::target).collect::<Vec<_>>(),
        };
        let required = self
            .edges
            .iter()
            .zip(&targets)
            .filter(|(_, t)| t.branch().is_none());
        let (edges, required): (Vec<&Edge>, Vec<&Arc<Target>>) = required.unzip();
        let (rooms, writes) = match reserve(&required, &payload).await {
            Ok(reserved) => reserved,
            Err(refusal) => {
                for edge in &self.edges {
                    edge.book_refused(&tally, &Tally::default());
                }
                return Err(refusal);
            }
        };
        let mut spares = Vec::new();
        for (edge, target) in self.edges.iter().zip(&targets) {
            if let Some(branch) = target.branch() {
                spares.push(Spare::hand(edge, target, branch, payload.clone(), &tally));
            }
        }
        let mut calls: Vec<BoxFuture<'_, Vec<Answer>>> = Vec::with_capacity(required.len());
        let is_written = |at: usize| writes.iter().any(|w| w.branches().any(|branch| branch == at));
        for (at, (target, room)) in required.into_iter().zip(rooms).enumerate() {
            if !is_written(at) {
                let payload = payload.clone();
                calls.push(Box::pin(
                    async move { vec![(at, target.call(payload, room).await)] },
                ));
            }
        }
        for write in writes {
            let payload = payload.clone();
            let branches: Vec<usize> = write.branches().collect();
            calls.push(Box::pin(async move {
                let result = write.append(payload).await;
                branches.into_iter().map(|at| (at, result.clone())).collect()
            }));
        }
        drop(payload);
        let mut answers: Vec<Answer> = all(calls).await.into_iter().flatten().collect();
        answers.sort_by_key(|(at, _)| *at);
        let edges: Vec<(&Edge, &Tally)> = edges.into_iter().map(|edge| (edge, &tally)).collect();
        let answers = answers.into_iter().map(|(_, answer)| answer).collect();
        let answer = join(&edges, answers).map(|outcomes| merge(outcomes.into_iter()));
        if answer.is_ok() {
            spares.iter().for_each(|spare| spare.tell());
        }
        answer
    }
}

impl Fanout {
    /// Sends each payload to the edge that leads to the node beside it, all at the same time, and books those edges.
    pub(crate) async fn send_parts(&self, parts: Vec<(&Node, Payload)>) -> Result<Outcome, Refusal> {
        let mut edges = Vec::with_capacity(parts.len());
        for (to, payload) in &parts {
            let Some(edge) = self.edges.iter().find(|edge| edge.to() == *to) else {
                return Err(Refusal::unavailable(format!("{to} is gone")));
            };
            edges.push((edge, Tally::of(payload)));
        }
        for (edge, tally) in &edges {
            edge.book_offered(tally);
        }
        let targets: Vec<Arc<Target>> = edges.iter().map(|(edge, _)| edge.target()).collect();
        let mut calls: Vec<BoxFuture<'_, Result<Outcome, Refused>>> = Vec::with_capacity(parts.len());
        for (target, (_, payload)) in targets.iter().zip(parts) {
            match target.reserve(&payload).await {
                Ok(room) => calls.push(Box::pin(target.call(payload, room))),
                Err(refusal) => {
                    for (edge, tally) in &edges {
                        edge.book_refused(tally, &Tally::default());
                    }
                    return Err(refusal);
                }
            }
        }
        let edges: Vec<(&Edge, &Tally)> = edges.iter().map(|(edge, tally)| (*edge, tally)).collect();
        let outcomes = join(&edges, all(calls).await)?;
        let rejected = outcomes.into_iter().flat_map(|outcome| outcome.rejected);
        Ok(Outcome {
            rejected: rejected.collect(),
        })
    }
}

/// Of one of the required branches.
type Answer = (usize, Result<Outcome, Refused>);

/// Books edges, each with what it was offered, and gives their outcomes if all have taken it.
fn join(edges: &[(&Edge, &Tally)], results: Vec<Result<Outcome, Refused>>) -> Result<Vec<Outcome>, Refusal> {
    let refusals = results
        .iter()
        .filter_map(|r| r.as_ref().err())
        .map(|r| r.refusal.clone());
    let Some(refusal) = refusals.reduce(verdict::join) else {
        for (edge, tally) in edges {
            edge.book_accepted(tally);
        }
        return Ok(results.into_iter().flatten().collect());
    };
    for ((edge, tally), result) in edges.iter().zip(&results) {
        match result {
            Ok(_) => edge.book_refused(tally, tally),
            Err(refused) => edge.book_refused(tally, &refused.moved),
        }
    }
    // "Busy" asks for the same again at once; after a part has moved it is not the queue's word any more.
    let moved = results
        .iter()
        .any(|r| r.as_ref().map_or_else(|e| !e.moved.is_zero(), |_| true));
    Err(match refusal {
        Refusal::Busy { retry_after } if moved => Refusal::Unavailable {
            retry_after,
            message: "one of several destinations is full".into(),
        },
        refusal => refusal,
    })
}

impl Consumer for Fanout {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        Box::pin(self.send(payload))
    }
}

/// Asks the required branches for room; for those that end in queues on disk, room for what is written for them
/// together. What holds no items is not written.
async fn reserve<'a>(
    required: &[&'a Arc<Target>],
    payload: &Payload,
) -> Result<(Vec<Option<Room>>, Vec<Write<'a>>), Refusal> {
    let mut rooms = Vec::with_capacity(required.len());
    for target in required {
        rooms.push(target.reserve(payload).await?);
    }
    let mut writes = match payload.items {
        0 => Vec::new(),
        _ => journal_fanout::gather(required)?,
    };
    for write in &mut writes {
        write.reserve(payload).await?;
    }
    Ok((rooms, writes))
}

/// Branches may reject the same items, so their numbers do not add up: the largest stands, the other words follow it.
fn merge(outcomes: impl Iterator<Item = Outcome>) -> Outcome {
    let mut most = Outcome::all();
    let mut words: Vec<Rejection> = Vec::new();
    for mut outcome in outcomes {
        if outcome.rejected_items() > most.rejected_items() {
            std::mem::swap(&mut outcome, &mut most);
        }
        words.extend(outcome.rejected.into_iter().map(|r| Rejection { items: 0, ..r }));
    }
    most.rejected.extend(words);
    most
}

/// Polls all until all are done; answers in their order.
pub(crate) async fn all<T>(mut futures: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    let mut results: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    poll_fn(|cx| {
        let mut left = false;
        for (future, slot) in futures.iter_mut().zip(&mut results) {
            if slot.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(value) => *slot = Some(value),
                    Poll::Pending => left = true,
                }
            }
        }
        if left { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    results
        .into_iter()
        .map(|r| r.expect("polled until all were there"))
        .collect()
}
