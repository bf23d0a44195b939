//! What days, months and halves of the day are called in the languages of the world.

/// The names of one language. A list is empty where the language has no such names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Locale {
    /// From Sunday on.
    pub(crate) days_short: Vec<&'static str>,
    pub(crate) days: Vec<&'static str>,
    pub(crate) months_short: Vec<&'static str>,
    pub(crate) months: Vec<&'static str>,
    /// AM, PM.
    pub(crate) halves: Vec<&'static str>,
}

impl Locale {
    /// The language of a tag such as `de` or `pt-BR`, which must be written as BCP 47 has it.
    pub(crate) fn named(tag: &str) -> Option<Locale> {
        let mut lines = include_str!("data/locales.txt").lines();
        let (_, names) = lines
            .by_ref()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once('\t'))
            .find(|(tags, _)| tags.split(' ').any(|known| known == tag))?;
        let mut lists = names.split('\t').map(|list| match list {
            "" => Vec::new(),
            list => list.split('|').collect(),
        });
        let mut next = || lists.next().unwrap_or_default();
        Some(Locale {
            days_short: next(),
            days: next(),
            months_short: next(),
            months: next(),
            halves: next(),
        })
    }
}

/// Which of several names a text begins with, in any case, and its length in bytes: of several the longest.
pub(crate) fn begins(text: &str, names: &[&str]) -> Option<(usize, usize)> {
    let mut found: Option<(usize, usize)> = None;
    for (i, name) in names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        let longer = found.is_none_or(|(_, len)| name.len() > len);
        let same = |shown: &str| {
            let lower = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<Vec<_>>();
            shown == *name || lower(shown) == lower(name)
        };
        if longer && text.get(..name.len()).is_some_and(same) {
            found = Some((i, name.len()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_is_whole() {
        let lines = include_str!("data/locales.txt")
            .lines()
            .filter(|line| !line.starts_with('#'));
        let (mut tables, mut tags) = (0, 0);
        for line in lines {
            tables += 1;
            let columns: Vec<_> = line.split('\t').collect();
            assert_eq!(columns.len(), 6, "{line}");
            for tag in columns[0].split(' ') {
                tags += 1;
                let locale = Locale::named(tag).expect(tag);
                let check = |list: &[&str], len: usize| {
                    assert!(list.is_empty() || list.len() == len, "{tag}: {list:?}");
                };
                check(&locale.days_short, 7);
                check(&locale.days, 7);
                check(&locale.months_short, 12);
                check(&locale.months, 12);
                check(&locale.halves, 2);
            }
        }
        assert_eq!((tables, tags), (346, 1015));
        for tag in ["", "xx", "pt_BR", "FR", "#"] {
            assert_eq!(Locale::named(tag), None, "{tag}");
        }
    }

    #[test]
    fn the_longest_name_counts() {
        let check = |text: &str, names: &[&str], expected: Option<(usize, usize)>| {
            assert_eq!(begins(text, names), expected, "{text}");
        };
        check("10月1", &["1月", "10月"], Some((1, 5)));
        check("十一月", &["十月", "十一月"], Some((1, 9)));
        check("mayo", &["ma", "may", "mayo"], Some((2, 4)));
        check("MÄRZ 1", &["Feb", "März"], Some((1, 5)));
        check("mä", &["März"], None);
        check("", &["", "a"], None);
        check("aé", &["aéb", "a"], Some((1, 1)));
        check("é", &["ab"], None);
    }
}
