//! htpasswd tables: `user:hash`, one a line, as go-htpasswd reads them.
//!
//! Known are bcrypt (`$2a$`, `$2b$`, `$2x$`, `$2y$`), Apache's MD5 (`$apr1$`, and its elder `$1$`), `{SHA}`, `{SSHA}`,
//! SHA-crypt (`$5$`, `$6$`) and, last, plain text. The later line of a user wins. A line that cannot be read counts
//! for nothing: it never becomes a password in plain text.

use std::collections::HashMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512, digest};
use codec::base64::{self, Alphabet};

use super::crypt::{self, ShaCrypt};

/// Users and how their passwords are known.
#[derive(Default)]
pub(super) struct Table {
    users: HashMap<String, Hash>,
    /// What a user is checked against whom nobody knows: the costliest of all, so that the time says nothing.
    decoy: Option<Hash>,
    /// Numbers of lines that could not be read, from 1.
    pub(super) bad_lines: Vec<usize>,
}

#[derive(Clone)]
enum Hash {
    Bcrypt {
        cost: u32,
        salt: [u8; 16],
        hash: [u8; 23],
    },
    Md5 {
        magic: &'static str,
        salt: String,
        hash: String,
    },
    Sha1 {
        hash: [u8; 20],
        salt: Vec<u8>,
    },
    ShaCrypt(ShaCrypt),
    /// SHA-256 of the password: compared in a time that does not tell its length.
    Plain([u8; 32]),
}

/// Costlier bcrypt takes more than five seconds a check: a line that says so cannot be read.
const BCRYPT_COST_MAX: u32 = 16;

/// Longer passwords are nobody's.
const PASSWORD_BYTES_MAX: usize = 512;

impl Table {
    /// Reads the lines of several texts; later ones win.
    pub(super) fn read(texts: &[&str]) -> Table {
        let mut table = Table::default();
        let lines = texts.iter().flat_map(|text| text.lines());
        for (i, line) in lines.enumerate() {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let user = line
                .split_once(':')
                .and_then(|(user, hash)| Some((user, Hash::read(hash)?)));
            match user {
                Some((user, hash)) => {
                    table.users.insert(user.to_owned(), hash);
                }
                None => table.bad_lines.push(i + 1),
            }
        }
        table.decoy = table.users.values().max_by_key(|hash| hash.cost_us()).cloned();
        table
    }

    /// Whether the password is that user's. Takes as long for a user that does not exist as for the costliest one.
    pub(super) fn verify(&self, user: &str, password: &str) -> bool {
        let Some(decoy) = &self.decoy else { return false };
        // Some hashes take time with the square of the length.
        let (password, cut) = match password
            .char_indices()
            .find(|(at, c)| at + c.len_utf8() > PASSWORD_BYTES_MAX)
        {
            Some((at, _)) => (&password[..at], true),
            None => (password, false),
        };
        match self.users.get(user) {
            Some(hash) => hash.verify(password) && !cut,
            None => {
                let _ = std::hint::black_box(decoy.verify(password));
                false
            }
        }
    }

    /// Whether a check takes long enough to be kept off the threads that serve.
    pub(super) fn is_costly(&self) -> bool {
        self.decoy.as_ref().is_some_and(|hash| hash.cost_us() > 50)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.users.len()
    }
}

impl Hash {
    fn read(text: &str) -> Option<Hash> {
        for magic in ["$apr1$", "$1$"] {
            if let Some(rest) = text.strip_prefix(magic) {
                let (salt, hash) = rest.split_once('$')?;
                return Some(Hash::Md5 {
                    magic,
                    salt: salt.get(..salt.len().min(8))?.to_owned(),
                    hash: hash.to_owned(),
                });
            }
        }
        if let Some(rest) = text.strip_prefix("{SHA}") {
            let hash = base64::decode(Alphabet::Standard, rest)?.try_into().ok()?;
            return Some(Hash::Sha1 {
                hash,
                salt: Vec::new(),
            });
        }
        if let Some(rest) = text.strip_prefix("{SSHA}") {
            let bytes = base64::decode(Alphabet::Standard, rest)?;
            let (hash, salt) = bytes.split_at_checked(20)?;
            return Some(Hash::Sha1 {
                hash: hash.try_into().ok()?,
                salt: salt.to_vec(),
            });
        }
        if ["$2a$", "$2b$", "$2x$", "$2y$"]
            .iter()
            .any(|magic| text.starts_with(magic))
        {
            let (cost, rest) = text[4..].split_once('$')?;
            let cost = cost
                .parse()
                .ok()
                .filter(|cost| (4..=BCRYPT_COST_MAX).contains(cost))?;
            let (salt, hash) = rest.split_at_checked(22)?;
            return Some(Hash::Bcrypt {
                cost,
                salt: crypt::bcrypt_bytes(salt)?.try_into().ok()?,
                hash: crypt::bcrypt_bytes(hash)?.try_into().ok()?,
            });
        }
        if text.starts_with("$5$") || text.starts_with("$6$") {
            return Some(Hash::ShaCrypt(ShaCrypt::read(text)?));
        }
        Some(Hash::Plain(sha256(text)))
    }

    fn verify(&self, password: &str) -> bool {
        match self {
            Hash::Bcrypt { cost, salt, hash } => same(&crypt::bcrypt(*cost, salt, password), hash),
            Hash::Md5 { magic, salt, hash } => same(
                crypt::md5_crypt(magic, salt, password).as_bytes(),
                hash.as_bytes(),
            ),
            Hash::Sha1 { hash, salt } => {
                let text = [password.as_bytes(), salt].concat();
                same(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text).as_ref(), hash)
            }
            Hash::ShaCrypt(crypt) => {
                let algorithm = if crypt.is_512 { &SHA512 } else { &SHA256 };
                same(
                    crypt.digest(algorithm, password).as_bytes(),
                    crypt.hash.as_bytes(),
                )
            }
            Hash::Plain(hash) => same(&sha256(password), hash),
        }
    }

    /// About how long a check takes, in microseconds.
    fn cost_us(&self) -> u64 {
        match self {
            Hash::Bcrypt { cost, .. } => 50 << cost,
            Hash::Md5 { .. } => 300,
            Hash::ShaCrypt(crypt) => u64::from(crypt.rounds) / 2,
            Hash::Sha1 { .. } | Hash::Plain(_) => 1,
        }
    }
}

fn same(a: &[u8], b: &[u8]) -> bool {
    verify_slices_are_equal(a, b).is_ok()
}

fn sha256(text: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes and their passwords; made by crypt(3) and openssl.
    const LINES: &[(&str, &str)] = &[
        (
            "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "U*U",
        ),
        ("$2b$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy", ""),
        ("$apr1$xxxxxxxx$dxHfLAsjHkDRmG83UXe8K0", "password"),
        ("$apr1$aB$zkX.l3z/Idwdwpe.fbiOA.", "grüß grüß grüß"),
        ("$1$xxxxxxxx$UYCIxa628.9qXjpQCjM4a.", "password"),
        ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "password"),
        ("{SSHA}yI6cZwQadOA1e+/f+T+H3eCQQhRzYWx0", "password"),
        (
            "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
            "Hello world!",
        ),
        (
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
            "Hello world!",
        ),
        (
            "$6$rounds=1500$aBcDeFgHiJkLmNoP$z8YP9JUytMrmSy.Qp1S06IvcF/PznD9aj4PxsHpxgaHwb6dWJJntxxS9W/n3h6AiPL5zqwa//Om0jhIZ.4WUA.",
            "grüß grüß grüß grüß grüß grüß grüß grüß grüß ",
        ),
        (
            "$5$rounds=1000$aB$KCOfJXFOJM4lDIIAfRDpEwQUJ5bbl9r1BUUQrqJ6fMD",
            "grüß grüß grüß grüß grüß grüß grüß grüß grüß ",
        ),
        ("in the clear", "in the clear"),
    ];

    #[test]
    fn reads_every_hash_that_go_htpasswd_reads() {
        for (line, password) in LINES {
            let table = Table::read(&[&format!("user:{line}")]);
            assert_eq!(table.bad_lines, Vec::<usize>::new(), "{line}");
            assert!(table.verify("user", password), "{line}");
            for wrong in ["Password", &format!("{password}x"), &format!("{line}$")] {
                assert!(!table.verify("user", wrong), "{line} {wrong}");
            }
            assert!(!table.verify("nobody", password), "{line}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_is_no_password() {
        let check = |text: &str| {
            let table = Table::read(&[text]);
            assert_eq!(
                (table.len(), table.bad_lines.as_slice()),
                (0, [1].as_slice()),
                "{text}"
            );
            let password = text.split_once(':').map_or("", |(_, password)| password);
            assert!(!table.verify("user", password), "{text}");
        };
        check("no colon");
        check("user:{SHA}not base64");
        check("user:{SHA}aGVsbG8=");
        check("user:{SSHA}aGVsbG8=");
        check("user:$apr1$saltonly");
        check("user:$2y$05$tooshort");
        check("user:$2y$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW");
        check("user:$2y$03$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW");
        check("user:$5$nothing");
        check("user:$6$rounds=99999999$salt$hash");
    }

    #[test]
    fn only_the_first_72_bytes_count_for_bcrypt_and_none_beyond_512() {
        let bcrypt = Table::read(&["user:$2b$05$CCCCCCCCCCCCCCCCCCCCC.D7RDOYXakZhsFmh/LdqQNx0kQ424AFS"]);
        assert!(bcrypt.verify("user", &"x".repeat(80)));
        assert!(bcrypt.verify("user", &"x".repeat(72)));
        assert!(!bcrypt.verify("user", &"x".repeat(71)));
        assert!(!bcrypt.verify("user", &"x".repeat(513)));
        let plain = Table::read(&[&format!("a:{}\nb:{}", "x".repeat(512), "x".repeat(513))]);
        assert!(plain.verify("a", &"x".repeat(512)));
        assert!(!plain.verify("b", &"x".repeat(513)));
    }

    #[test]
    fn later_lines_and_later_texts_win() {
        let table = Table::read(&["a:1\na:2\n\n  b:x:y  \n", "b:3"]);
        assert_eq!(table.len(), 2);
        assert!(table.verify("a", "2") && !table.verify("a", "1"));
        assert!(table.verify("b", "3") && !table.verify("b", "x:y"));
        assert!(!Table::read(&[]).verify("", ""));
        assert!(!table.is_costly());
        assert!(Table::read(&["a:1", &format!("b:{}", LINES[0].0)]).is_costly());
    }
}
