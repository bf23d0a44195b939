//! Keys of objects as the collector's `awss3` exporter makes them, and its receiver finds them.

use crate::blocks::S3Uploader;
use crate::partition::{Partition, joined};

/// How objects are called.
#[derive(Clone, Debug, PartialEq)]
pub struct Naming {
    /// With its `/`, or nothing.
    base: String,
    prefix: String,
    partition: Partition,
    file_prefix: String,
}

/// What is said of one object.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    /// In the place of the configured prefix, unless it is empty.
    pub prefix: &'a str,
    /// The moment whose directory it lies in, Unix seconds.
    pub seconds: i64,
    /// `logs`, `traces`, `metrics`.
    pub signal: &'a str,
    /// What no other object is called.
    pub unique: &'a str,
    /// With its dots.
    pub ending: &'a str,
}

impl Naming {
    /// Errors: the key below `s3uploader` that is wrong, and why.
    pub fn new(uploader: &S3Uploader) -> Result<Naming, (&'static str, String)> {
        Ok(Naming {
            base: slashed(uploader.base_prefix()),
            prefix: uploader.s3_prefix.clone(),
            partition: Partition::new(uploader.partition_format(), &uploader.s3_partition_timezone)?,
            file_prefix: uploader.file_prefix.clone(),
        })
    }

    /// The same within a store whose own prefix is all that stands before the directories.
    pub fn below_its_prefix(self) -> Naming {
        Naming {
            base: String::new(),
            prefix: String::new(),
            ..self
        }
    }

    /// The key of an object.
    pub fn key(&self, name: &Name<'_>) -> String {
        let prefix = if name.prefix.is_empty() {
            &self.prefix
        } else {
            name.prefix
        };
        let directory = format!(
            "{}{}{}",
            self.base,
            slashed(prefix),
            self.partition.at(name.seconds)
        );
        joined(&format!(
            "{}{}{}_{}{}",
            slashed(&directory),
            self.file_prefix,
            name.signal,
            name.unique,
            name.ending,
        ))
    }

    /// What the directories of all these moments, Unix seconds, begin with. Without prefixes.
    pub fn begin_of(&self, moments: impl IntoIterator<Item = i64>) -> String {
        let mut moments = moments.into_iter().map(|at| self.partition.at(at));
        let first = moments.next().unwrap_or_default();
        let begin = moments.fold(first, |begin, other| {
            let same = begin.char_indices().zip(other.chars());
            let same = same.take_while(|((_, a), b)| a == b);
            let end = same.last().map_or(0, |((at, c), _)| at + c.len_utf8());
            begin[..end].to_owned()
        });
        joined(&begin)
    }
}

fn slashed(prefix: &str) -> String {
    match prefix {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    }
}

#[cfg(test)]
mod tests {
    use config::Section;

    use super::*;

    fn naming(yaml: &str) -> Naming {
        let uploader = format!("{{s3_partition_timezone: UTC, {yaml}}}");
        let uploader = Section::from_yaml(&uploader).unwrap().parse().unwrap();
        Naming::new(&uploader).unwrap()
    }

    #[test]
    fn a_key_is_put_together_of_its_parts() {
        let check = |naming: Naming, prefix: &str, expected: &str| {
            let name = Name {
                prefix,
                seconds: 1_770_102_545,
                signal: "logs",
                unique: "7",
                ending: ".binpb.gz",
            };
            assert_eq!(naming.key(&name), expected);
        };
        let usual = "year=2026/month=02/day=03/hour=07/minute=09/";
        check(naming(""), "", &format!("{usual}logs_7.binpb.gz"));
        let all = "s3_base_prefix: b, s3_prefix: p, file_prefix: f-";
        check(naming(all), "", &format!("b/p/{usual}f-logs_7.binpb.gz"));
        check(naming(all), "own", &format!("b/own/{usual}f-logs_7.binpb.gz"));
        check(
            naming(all).below_its_prefix(),
            "",
            &format!("{usual}f-logs_7.binpb.gz"),
        );
    }

    #[test]
    fn directories_of_an_hour_begin_alike_as_far_as_they_do() {
        let check = |format: &str, expected: &str| {
            let naming = naming(&format!("s3_partition_format: '{format}'"));
            let hour = 1_770_102_000;
            let minutes = (0..60).map(|minute| hour + minute * 60);
            assert_eq!(naming.begin_of(minutes), expected, "{format}");
        };
        check("year=%Y/hour=%H/minute=%M", "year=2026/hour=07/minute=");
        check("%Y/%m/%d", "2026/02/03");
        check("%M/%H", "");
        check("\u{e4}%M", "\u{e4}");
        check("a//%Y", "a/2026");
    }
}
