//! What a certificate calls its owner: alternative names and the subject's common name. And when it ends.
//!
//! In: a certificate that was verified; nothing here decides whether it is to be believed. What cannot be read is left
//! out.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use webpki::EndEntityCert;
use wire::CertificateNames;

/// Names of one sort that are looked at; certificates with more have a purpose that is not ours.
const NAMES_MAX: usize = 64;
/// OID 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// The names in a certificate; `None` if it cannot be read.
pub(crate) fn names_of(certificate: &CertificateDer<'_>) -> Option<CertificateNames> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let owned = |name: &str| name.to_owned();
    Some(CertificateNames {
        uris: certificate.valid_uri_names().take(NAMES_MAX).map(owned).collect(),
        dns: certificate.valid_dns_names().take(NAMES_MAX).map(owned).collect(),
        common_name: common_name(certificate.subject()),
    })
}

/// What is told of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its common name, else its first alternative name; empty if it has neither.
    pub subject: String,
    /// Its end, in seconds since 1970.
    pub not_after_s: u64,
}

impl Certificate {
    /// The first certificate of a PEM file; `None` if it cannot be read.
    pub fn first_of(pem: &[u8]) -> Option<Certificate> {
        let der = CertificateDer::from_pem_slice(pem).ok()?;
        let names = names_of(&der)?;
        let first = |names: Vec<String>| names.into_iter().next();
        let subject = names
            .common_name
            .or_else(|| first(names.dns))
            .or_else(|| first(names.uris));
        Some(Certificate {
            subject: subject.unwrap_or_default(),
            not_after_s: not_after(&der)?,
        })
    }
}

/// The second of the two times in the validity, which is the first sequence of two times in what is signed.
fn not_after(certificate: &[u8]) -> Option<u64> {
    let (SEQUENCE, content) = Der(certificate).next()? else {
        return None;
    };
    let (SEQUENCE, signed) = Der(content).next()? else {
        return None;
    };
    // Before it: version, serial number, algorithm, issuer.
    Der(signed).take(5).find_map(|(tag, value)| {
        let mut times = Der(value);
        let (_, end) = (times.next()?, times.next()?);
        match (tag, end) {
            (SEQUENCE, (UTC_TIME, text)) => seconds(text, true),
            (SEQUENCE, (GENERALIZED_TIME, text)) => seconds(text, false),
            _ => None,
        }
    })
}

/// `YYMMDDHHMMSSZ`, or with four digits of the year, as seconds since 1970.
fn seconds(text: &[u8], is_short: bool) -> Option<u64> {
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) || digits.len() != if is_short { 12 } else { 14 } {
        return None;
    }
    let number = |digits: &[u8]| {
        digits
            .iter()
            .fold(0u64, |n, digit| n * 10 + u64::from(digit - b'0'))
    };
    let (year, rest) = digits.split_at(digits.len() - 10);
    let year = match (number(year), is_short) {
        (year @ 0..50, true) => 2000 + year,
        (year, true) => 1900 + year,
        (year, false) => year,
    };
    let [month, day, hour, minute, second] = [0, 2, 4, 6, 8].map(|at| number(&rest[at..at + 2]));
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year < 1970 {
        return None;
    }
    // Years begin in March, so that the day that comes and goes is their last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1;
    // From the first of March of year 0.
    const UNTIL_1970: u64 = 719_468;
    Some((days - UNTIL_1970) * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// The one common name of a subject: a sequence of sets of pairs of an OID and a text.
fn common_name(subject: &[u8]) -> Option<String> {
    let mut found = None;
    let mut sets = Der(subject);
    while let Some((SET, set)) = sets.next() {
        let mut pairs = Der(set);
        while let Some((SEQUENCE, pair)) = pairs.next() {
            let mut pair = Der(pair);
            let (Some((OID, COMMON_NAME)), Some((tag, text))) = (pair.next(), pair.next()) else {
                continue;
            };
            let text = matches!(tag, UTF8 | PRINTABLE | IA5).then(|| std::str::from_utf8(text).ok());
            // Which of two is meant nobody knows.
            if found.replace(text.flatten()?).is_some() {
                return None;
            }
        }
    }
    found.map(str::to_owned)
}

const OID: u8 = 0x06;
const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
const IA5: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// DER elements one after another.
struct Der<'a>(&'a [u8]);

impl<'a> Iterator for Der<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, len], mut rest) = self.0.split_first_chunk::<2>()?;
        let len = match len {
            0..=0x7f => usize::from(len),
            0x81 | 0x82 => {
                let (bytes, behind) = rest.split_at_checked(usize::from(len & 3))?;
                rest = behind;
                bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte))
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, value))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn names(uris: &[&str], dns: &[&str], common: &[&str]) -> CertificateNames {
        let dns: Vec<String> = dns.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(dns).unwrap();
        let uri = |text: &&str| SanType::URI((*text).try_into().unwrap());
        params.subject_alt_names.extend(uris.iter().map(uri));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Acme, Inc.");
        for name in common {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        names_of(made.der()).unwrap()
    }

    #[test]
    fn reads_alternative_names_and_the_common_name() {
        let long = "n".repeat(300);
        for (uris, dns, common) in [
            (&["spiffe://td/ns/a/sa/b"][..], &["a.example"][..], &["shop"][..]),
            (&["spiffe://td/a", "urn:b"], &[], &[]),
            (&[], &["a.example", "*.b.example"], &["käse"]),
            (&[], &[], &[long.as_str()]),
        ] {
            let found = names(uris, dns, common);
            assert_eq!(
                (&found.uris[..], &found.dns[..]),
                (&owned(uris)[..], &owned(dns)[..])
            );
            assert_eq!(found.common_name.as_deref(), common.first().copied());
        }
    }

    #[test]
    fn a_certificate_is_told_by_its_name_and_its_end() {
        let check = |text: &[u8], is_short: bool, expected: Option<u64>| {
            assert_eq!(seconds(text, is_short), expected, "{text:?}");
        };
        check(b"700101000000Z", true, Some(0));
        check(b"700301000000Z", true, Some(59 * 86_400));
        check(b"261122040506Z", true, Some(1_795_320_306));
        check(b"491231235959Z", true, Some(2_524_607_999));
        check(b"20500101000000Z", false, Some(2_524_608_000));
        check(b"20240229120000Z", false, Some(1_709_208_000));
        check(b"99991231235959Z", false, Some(253_402_300_799));
        check(b"19500101000000Z", false, None);
        check(b"261322040506Z", true, None);
        check(b"2611220405Z", true, None);
        check(b"261122040506", true, None);
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let expected = Certificate {
            subject: "a.example".to_owned(),
            not_after_s: 1_927_843_200,
        };
        assert_eq!(Certificate::first_of(made.pem().as_bytes()), Some(expected));
        assert_eq!(Certificate::first_of(b"no certificate"), None);
    }

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_subject_that_is_damaged_or_ambiguous_has_no_common_name() {
        let pair = |text: &[u8]| {
            [
                &[
                    0x31,
                    (text.len() + 9) as u8,
                    0x30,
                    (text.len() + 7) as u8,
                    6,
                    3,
                    0x55,
                    4,
                    3,
                    0x0c,
                    text.len() as u8,
                ],
                text,
            ]
            .concat()
        };
        let check = |subject: &[u8], expected: Option<&str>| {
            assert_eq!(common_name(subject).as_deref(), expected, "{subject:x?}");
        };
        check(&pair(b"a"), Some("a"));
        check(&[pair(b"a"), pair(b"b")].concat(), None);
        check(&pair(b"\xff"), None);
        check(&pair(b"abc")[..8], None);
        check(&[0x31, 0x84, 0xff, 0xff, 0xff, 0xff], None);
        check(&[], None);
        assert!(names_of(&CertificateDer::from(vec![0x30, 0x80])).is_none());
    }
}
