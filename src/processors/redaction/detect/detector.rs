//! The detectors by name: where their candidates are, and who searches for them.

use std::ops::Range;

use component::prelude::*;
use wire::scan::{ByteSet, ClassRun, Gate, Literal};

use super::runs::Runs;
use super::{numbers, secrets};

/// What can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    /// Payment card numbers: grouping, issuer, Luhn.
    Card,
    /// International bank account numbers: country, length, mod 97.
    Iban,
    /// Mail addresses.
    Email,
    /// Telephone numbers: `+` and a country's code, the North American form, or a word that says so.
    Phone,
    /// IPv4 addresses that may be somebody's; versions are none.
    Ipv4,
    /// IPv6 addresses, global or local to a link or site.
    Ipv6,
    /// JSON web tokens.
    Jwt,
    /// Identifiers of AWS keys, and secret keys behind a name that says so.
    AwsKey,
    /// Google Cloud: API keys, client secrets, access tokens.
    GcpKey,
    /// GitHub tokens, classic and fine-grained.
    GithubToken,
    /// Slack tokens, and the secret part of webhooks.
    SlackToken,
    /// Stripe secret and restricted keys, webhook secrets.
    StripeKey,
    /// What follows `Bearer`.
    Bearer,
    /// What follows `Basic` and is `user:password`; user and password in URLs.
    BasicAuth,
    /// Private keys in PEM.
    PrivateKey,
    /// US social security numbers.
    UsSsn,
}

use Detector::*;

impl Detector {
    /// All of them.
    pub const ALL: [Detector; 16] = [
        Card,
        Iban,
        Email,
        Phone,
        Ipv4,
        Ipv6,
        Jwt,
        AwsKey,
        GcpKey,
        GithubToken,
        SlackToken,
        StripeKey,
        Bearer,
        BasicAuth,
        PrivateKey,
        UsSsn,
    ];

    /// As in a configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Card => "card",
            Iban => "iban",
            Email => "email",
            Phone => "phone",
            Ipv4 => "ipv4",
            Ipv6 => "ipv6",
            Jwt => "jwt",
            AwsKey => "aws_key",
            GcpKey => "gcp_key",
            GithubToken => "github_token",
            SlackToken => "slack_token",
            StripeKey => "stripe_key",
            Bearer => "bearer",
            BasicAuth => "basic_auth",
            PrivateKey => "private_key",
            UsSsn => "us_ssn",
        }
    }

    /// Its bit among candidates.
    pub(super) fn bit(self) -> u64 {
        1 << self as u64
    }

    /// Whether it looks at runs of digits.
    pub(super) fn reads_runs(self) -> bool {
        matches!(self, Card | Iban | Phone | Ipv4 | UsSsn)
    }

    /// What no finding can be without. Of a text that is [folded](super::fold), the gates hold for what it was before.
    pub(super) fn gates(self) -> Vec<Gate> {
        let literals = |all: &[&str]| {
            all.iter()
                .map(|l| Gate::Literal(Literal::new(l.as_bytes())))
                .collect()
        };
        match self {
            Card => vec![digits(13)],
            UsSsn => vec![digits(9)],
            // With a country's code the separators may be points, which a class for all would have to hold: then every
            // IP address would be a candidate.
            Phone => vec![digits(8), behind_plus()],
            Ipv4 => vec![Gate::Run(ClassRun {
                class: spread(b"."),
                min_len: 7,
                needs: vec![(spread(b""), 4), (ByteSet::of(b"."), 3)],
            })],
            Iban => vec![Gate::Run(ClassRun {
                class: set(&[(b'0', b'9'), (b'A', b'Z'), (b'a', b'z')], b" "),
                min_len: 15,
                needs: vec![(set(&[(b'0', b'9')], b""), 10)],
            })],
            Email => literals(&["@"]),
            Ipv6 => {
                let full = Gate::Run(ClassRun {
                    class: set(&[(b'0', b'9'), (b'A', b'F'), (b'a', b'f')], b":."),
                    min_len: 15,
                    needs: vec![(ByteSet::of(b":"), 6)],
                });
                vec![Gate::Literal(Literal::new(b"::")), full]
            }
            Jwt => literals(&["eyJ"]),
            AwsKey => {
                let id = Gate::Literal(Literal {
                    before: Some(ByteSet::of(b"KS")),
                    ..Literal::new(b"IA")
                });
                vec![id, Gate::LiteralAnyCase(Literal::new(b"secret"))]
            }
            GcpKey => literals(&["AIza", "GOCSPX-", "ya29."]),
            GithubToken => {
                let mut all: Vec<Gate> = literals(&["github_pat_"]);
                all.push(Gate::Literal(Literal {
                    after: Some(ByteSet::of(b"pousr")),
                    ..Literal::new(b"gh")
                }));
                all
            }
            SlackToken => literals(&["xox", "xapp-", "hooks.slack.com/"]),
            StripeKey => {
                let mut all: Vec<Gate> = literals(&["whsec_"]);
                all.push(Gate::Literal(Literal {
                    before: Some(ByteSet::of(b"sr")),
                    after: Some(ByteSet::of(b"lt")),
                    ..Literal::new(b"k_")
                }));
                all
            }
            Bearer => vec![Gate::LiteralAnyCase(Literal::new(b"bearer"))],
            BasicAuth => {
                let mut all: Vec<Gate> = literals(&["@"]);
                all.push(Gate::LiteralAnyCase(Literal::new(b"basic")));
                all
            }
            PrivateKey => literals(&["PRIVATE KEY"]),
        }
    }

    /// Appends where it finds something in a text that is folded; `key` is that of the innermost value, `runs` are those
    /// of the text if it [`reads_runs`](Detector::reads_runs).
    pub(super) fn find(self, text: &[u8], key: &[u8], runs: &Runs, found: &mut Vec<Range<usize>>) {
        match self {
            Card => numbers::card(text, key, runs, found),
            Iban => numbers::iban(text, runs, found),
            Email => secrets::email(text, found),
            Phone => numbers::phone(text, key, runs, found),
            Ipv4 => numbers::ipv4(text, key, runs, found),
            Ipv6 => numbers::ipv6(text, found),
            Jwt => secrets::jwt(text, found),
            AwsKey => secrets::aws_key(text, key, found),
            GcpKey => secrets::gcp_key(text, found),
            GithubToken => secrets::github_token(text, found),
            SlackToken => secrets::slack_token(text, found),
            StripeKey => secrets::stripe_key(text, found),
            Bearer => secrets::bearer(text, found),
            BasicAuth => secrets::basic_auth(text, found),
            PrivateKey => secrets::private_key(text, found),
            UsSsn => numbers::us_ssn(text, key, runs, found),
        }
    }

    /// One form of what may be written in several, so that hashes of it meet: separators and case do not count.
    pub(super) fn canonical(self, finding: &[u8], out: &mut Vec<u8>) {
        out.clear();
        match self {
            Card | Phone | UsSsn => out.extend(finding.iter().filter(|b| b.is_ascii_digit())),
            Iban => {
                let letters = finding.iter().filter(|b| b.is_ascii_alphanumeric());
                out.extend(letters.map(u8::to_ascii_uppercase));
            }
            Email | Ipv6 => out.extend(finding.iter().map(u8::to_ascii_lowercase)),
            _ => out.extend_from_slice(finding),
        }
    }
}

/// An escape of JSON for a character of ASCII: it may be any of a finding's.
pub(super) fn escapes() -> Gate {
    Gate::Literal(Literal::new(br"\u00"))
}

/// A run of so many digits and what may stand between them. All detectors of numbers have the same class, so that one
/// pass serves them.
fn digits(count: usize) -> Gate {
    Gate::Run(ClassRun {
        class: spread(b" -()/"),
        min_len: count,
        needs: vec![(spread(b""), count)],
    })
}

/// A plus sign and something that may be a digit.
fn behind_plus() -> Gate {
    let mut after = spread(b"(");
    after.insert(b'\\');
    Gate::Literal(Literal {
        after: Some(after),
        ..Literal::new(b"+")
    })
}

/// Digits, these bytes, and all bytes of other scripts' digits, of their blanks and hyphens, and of what is invisible.
fn spread(more: &[u8]) -> ByteSet {
    let others = [
        (0x80, 0xBF),
        (0xC2, 0xC2),
        (0xD9, 0xD9),
        (0xDB, 0xDB),
        (0xE2, 0xE2),
        (0xEF, 0xEF),
    ];
    set(&[(b'0', b'9')], more).union(&set(&others, b""))
}

fn set(ranges: &[(u8, u8)], more: &[u8]) -> ByteSet {
    let mut set = ByteSet::of(more);
    for (first, last) in ranges {
        set.insert_range(*first, *last);
    }
    set
}
