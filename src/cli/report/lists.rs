//! The populations behind the figures, as tables.

use super::controls::Make;
use super::document::{Listing, listing};

impl Make<'_> {
    /// Every population that is listed, by file.
    pub(super) fn listings(&self) -> Vec<Listing> {
        let (facts, trail) = (self.input.facts, self.input.trail);
        let mut all = vec![
            listing(
                "evidence/cc7.2-tests.csv",
                &[
                    "t",
                    "lock",
                    "result",
                    "read_back",
                    "second_write_refused",
                    "delete_refused",
                    "entry",
                ],
                &facts.tests,
            ),
            listing(
                "evidence/a1.2-starts.csv",
                &[
                    "t",
                    "stop_before",
                    "version",
                    "config_sha256",
                    "recovered",
                    "journal",
                    "entry",
                ],
                &facts.starts,
            ),
            listing(
                "evidence/a1.2-restores.csv",
                &["t", "by", "filter", "records", "bytes", "to", "reason", "entry"],
                &facts.restores,
            ),
            listing(
                "evidence/c1.2-shreds.csv",
                &[
                    "t",
                    "keys",
                    "method",
                    "objects",
                    "effective",
                    "approvals",
                    "confirmed",
                    "entry",
                ],
                &facts.shreds,
            ),
            listing(
                "evidence/c1.2-holds.csv",
                &["t", "id", "what", "filter", "objects", "by", "reason", "entry"],
                &facts.holds,
            ),
            listing(
                "evidence/pi1.3-gaps.csv",
                &["t", "objects", "records", "why", "detail", "entry"],
                &facts.gaps,
            ),
        ];
        all.push(Listing {
            file: "evidence/cc7.2-sources.csv",
            columns: &["service"],
            rows: facts.services.iter().map(|name| vec![name.clone()]).collect(),
        });
        let books = facts.books.iter().map(|([month, tenant, signal], sums)| {
            let numbers = [
                sums.carried_in,
                sums.admitted,
                sums.created,
                sums.archived,
                sums.dropped.total(),
                sums.failed.total(),
                sums.merged,
                sums.lost,
                sums.twice,
                sums.objects,
                sums.bytes,
                sums.records,
            ];
            let mut row = vec![month.clone(), tenant.clone(), signal.clone()];
            row.extend(numbers.iter().map(u64::to_string));
            row
        });
        all.push(Listing {
            file: "evidence/pi1.3-books.csv",
            columns: &[
                "month",
                "tenant",
                "signal",
                "carried_in",
                "in",
                "created",
                "archived",
                "dropped",
                "failed",
                "merged",
                "lost",
                "possibly_twice",
                "objects",
                "bytes",
                "records_in_objects",
            ],
            rows: books.collect(),
        });
        let kept = facts.kept.iter().map(|([class, tenant], kept)| {
            let [least, most] = kept
                .days
                .map_or([String::new(), String::new()], |days| days.map(|n| n.to_string()));
            let [first, last] = kept.until.map_or([String::new(), String::new()], |until| {
                until.map(|t| t.to_string())
            });
            let counts = [kept.objects, kept.bytes, kept.unlocked, kept.held].map(|n| n.to_string());
            [
                vec![class.clone(), tenant.clone()],
                counts.to_vec(),
                vec![least, most, first, last],
            ]
            .concat()
        });
        all.push(Listing {
            file: "evidence/pi1.5-objects.csv",
            columns: &[
                "class",
                "tenant",
                "objects",
                "bytes",
                "without_lock",
                "on_hold",
                "days_least",
                "days_most",
                "until_first",
                "until_last",
            ],
            rows: kept.collect(),
        });
        if self.trail.is_ok() {
            all.push(listing(
                "evidence/cc6.1-authn.csv",
                &["t", "actor", "object", "scheme", "reason", "attempts", "record"],
                &trail.failed,
            ));
            all.push(listing(
                "evidence/cc6.1-admin.csv",
                &["t", "actor", "call", "outcome", "parameters_sha256", "record"],
                &trail.called,
            ));
            all.push(listing(
                "evidence/cc8.1-changes.csv",
                &[
                    "t",
                    "act",
                    "actor",
                    "trigger",
                    "old_sha256",
                    "new_sha256",
                    "change_id",
                    "changed",
                    "text_sha256",
                    "record",
                ],
                &trail.changes,
            ));
            let drops = trail.drops.iter().map(|(rule, (first, n))| {
                let cells =
                    [&rule.rule, &rule.edge, &rule.tenant, &rule.config, &rule.change].map(String::clone);
                [vec![first.to_string()], cells.to_vec(), vec![n.to_string()]].concat()
            });
            all.push(Listing {
                file: "evidence/pi1.3-removed.csv",
                columns: &[
                    "first",
                    "rule",
                    "edge",
                    "tenant",
                    "config_sha256",
                    "change_id",
                    "records",
                ],
                rows: drops.collect(),
            });
        }
        all.sort_by_key(|listing| listing.file);
        all
    }
}
