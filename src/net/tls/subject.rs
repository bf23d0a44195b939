//! What a certificate calls its owner: alternative names and the subject's common name.
//!
//! In: a certificate that was verified; nothing here decides whether it is to be believed. What cannot be read is left
//! out.

use rustls::pki_types::CertificateDer;
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
