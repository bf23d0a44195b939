//! Full files: how they are called, and which of them are deleted. Names are lumberjack's (v2.2).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use codec::time::Civil;

use super::Rotation;

/// Renames a full file. A name that is taken is never overwritten: the next millisecond is tried.
pub(super) fn set_aside(path: &Path, now: SystemTime) -> io::Result<()> {
    for ms in 0..1000 {
        let to = backup(path, Civil::from_system(now + Duration::from_millis(ms)));
        if !to.try_exists()? {
            return fs::rename(path, to);
        }
    }
    Err(io::Error::other("no free name for the full file"))
}

/// Deletes full files beyond the limits. What cannot be deleted stays and is tried again next time.
pub(super) fn clean(path: &Path, rotation: &Rotation, now: SystemTime) {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    let mut names: Vec<String> = entries
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .collect();
    names.retain(|name| stamp(path, name).is_some());
    // Of equal beginnings, the later stamp sorts later.
    names.sort_unstable_by(|a, b| b.cmp(a));
    let oldest = (rotation.max_days > 0)
        .then(|| now.checked_sub(Duration::from_secs(rotation.max_days.saturating_mul(86_400))))
        .flatten()
        .map(|time| text(Civil::from_system(time)));
    for (i, name) in names.iter().enumerate() {
        let one_too_many = rotation.max_backups > 0 && i >= rotation.max_backups;
        let too_old = oldest
            .as_deref()
            .is_some_and(|oldest| stamp(path, name) < Some(oldest));
        if one_too_many || too_old {
            match fs::remove_file(directory.join(name)) {
                Ok(()) => tracing::info!(file = %name, "deleted full file, as rotation says"),
                Err(error) => tracing::warn!(file = %name, %error, "cannot delete full file"),
            }
        }
    }
}

/// `out.json` at a time: `out-2022-09-14T05-02-14.173.json`.
fn backup(path: &Path, time: Civil) -> PathBuf {
    let (stem, extension) = parts(path);
    path.with_file_name(format!("{stem}-{}{extension}", text(time)))
}

fn text(time: Civil) -> String {
    let millis = time.millis().to_string();
    millis.trim_end_matches('Z').replace(':', "-")
}

/// The time in the name of a full file of `path`, if it is one.
fn stamp<'a>(path: &Path, name: &'a str) -> Option<&'a str> {
    let (stem, extension) = parts(path);
    let stamp = name
        .strip_prefix(&stem)?
        .strip_prefix('-')?
        .strip_suffix(&extension)?;
    const SHAPE: &[u8] = b"0000-00-00T00-00-00.000";
    let fits = |(byte, shape): (u8, &u8)| {
        if *shape == b'0' {
            byte.is_ascii_digit()
        } else {
            byte == *shape
        }
    };
    (stamp.len() == SHAPE.len() && stamp.bytes().zip(SHAPE).all(fits)).then_some(stamp)
}

/// Name without extension, and the extension with its dot.
fn parts(path: &Path) -> (String, String) {
    let part =
        |part: Option<&std::ffi::OsStr>| part.map_or(String::new(), |p| p.to_string_lossy().into_owned());
    let extension = path
        .extension()
        .map_or(String::new(), |e| format!(".{}", e.to_string_lossy()));
    (part(path.file_stem()), extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_663_131_734_173 + ms)
    }

    #[test]
    fn names_of_full_files() {
        #[track_caller]
        fn check(path: &str, name: &str, is_one: bool) {
            assert_eq!(stamp(Path::new(path), name).is_some(), is_one, "{name}");
        }
        assert_eq!(
            backup(Path::new("/x/out.json"), Civil::from_system(at(0))),
            Path::new("/x/out-2022-09-14T05-02-14.173.json")
        );
        check("/x/out.json", "out-2022-09-14T05-02-14.173.json", true);
        check("/x/out", "out-2022-09-14T05-02-14.173", true);
        check("/x/out.json", "out.json", false);
        check("/x/out.json", "out-2022-09-14T05-02-14.173.json.zst", false);
        check("/x/out.json", "out-b-2022-09-14T05-02-14.173.json", false);
        check("/x/out.json", "out-2022-09-14T05-02-14,173.json", false);
    }

    #[test]
    fn sets_aside_without_overwriting_and_cleans() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.json");
        for i in 0..5 {
            fs::write(&path, i.to_string()).unwrap();
            set_aside(&path, at(0)).unwrap();
        }
        fs::write(dir.path().join("out-other.json"), "mine").unwrap();
        let rotation = |max_backups, max_days| Rotation {
            max_backups,
            max_days,
            ..Rotation::default()
        };
        let count = || fs::read_dir(dir.path()).unwrap().count();
        clean(&path, &rotation(0, 0), at(0));
        assert_eq!(count(), 6);
        clean(&path, &rotation(2, 0), at(0));
        assert_eq!(count(), 3);
        assert_eq!(
            fs::read(dir.path().join("out-2022-09-14T05-02-14.177.json")).unwrap(),
            b"4"
        );
        clean(&path, &rotation(0, 1), at(86_400_000 - 1));
        assert_eq!(count(), 3);
        clean(&path, &rotation(0, 1), at(86_400_000 + 1_000));
        assert_eq!(count(), 1);
    }
}
