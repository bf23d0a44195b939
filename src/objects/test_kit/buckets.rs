//! Buckets with versions and locks, and what each call does to them.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_smithy_types::base64;
use bytes::Bytes;
use http::{HeaderMap, Method, Response};

use super::answer::{self, decoded, empty, escaped, http_date, iso_date, seconds, set, tag, xml};
use super::{ADMIN, WRITER};
use crate::store::{DefaultRetention, Mode, Retention, Versioning};

/// What a bucket is.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Whether it keeps versions.
    pub versioning: Versioning,
    /// Whether it has Object Lock.
    pub lock: bool,
    /// What an object without a lock gets.
    pub default: Option<DefaultRetention>,
    /// Objects in a page of a listing, at most 1000.
    pub page: usize,
    /// The account that owns it.
    pub owner: &'static str,
    /// What it does otherwise than Amazon.
    pub quirks: Quirks,
}

/// What a lesser store does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quirks {
    /// `If-None-Match` means nothing to it.
    pub ignores_conditions: bool,
    /// Takes the lock's headers and forgets them.
    pub forgets_locks: bool,
    /// Shows locks and does not keep them.
    pub deletes_locked: bool,
    /// Knows GOVERNANCE alone.
    pub only_governance: bool,
    /// Keeps no digests.
    pub hides_digests: bool,
    /// Versions and locks cannot be asked about.
    pub knows_no_settings: bool,
}

impl Bucket {
    /// With versions and Object Lock, empty.
    pub fn locked() -> Bucket {
        Bucket {
            versioning: Versioning::Enabled,
            lock: true,
            ..Bucket::plain()
        }
    }

    /// With neither.
    pub fn plain() -> Bucket {
        Bucket {
            versioning: Versioning::Off,
            lock: false,
            default: None,
            page: 1000,
            owner: "111122223333",
            quirks: Quirks::default(),
        }
    }
}

#[derive(Debug)]
struct Version {
    id: String,
    /// `None`: a delete marker.
    object: Option<Object>,
    last_modified: u64,
}

#[derive(Debug)]
struct Object {
    body: Bytes,
    sha256: String,
    retention: Option<Retention>,
    legal_hold: bool,
    /// Kept and given back as they came.
    headers: Vec<(&'static str, String)>,
    meta: Vec<(String, String)>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    settings: BTreeMap<String, Bucket>,
    /// By bucket and key, oldest first.
    versions: BTreeMap<(String, String), Vec<Version>>,
    next: u64,
    pub(super) ahead: i64,
}

/// One request, taken apart.
pub(super) struct Call<'a> {
    method: &'a Method,
    bucket: &'a str,
    key: &'a str,
    query: BTreeMap<String, String>,
    headers: &'a HeaderMap,
    body: Bytes,
}

impl<'a> Call<'a> {
    pub(super) fn of(
        method: &'a Method,
        path: &'a str,
        query: &str,
        headers: &'a HeaderMap,
        body: Bytes,
    ) -> Call<'a> {
        let path = path.trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let query = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        });
        Call {
            method,
            bucket,
            key,
            query: query.collect(),
            headers,
            body,
        }
    }

    fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn has(&self, name: &str) -> bool {
        self.query.contains_key(name)
    }

    fn query(&self, name: &str) -> &str {
        self.query.get(name).map_or("", |value| value)
    }

    fn access_key(&self) -> &str {
        let authorization = self.header("authorization").unwrap_or_default();
        let credential = authorization.split("Credential=").nth(1).unwrap_or_default();
        credential.split('/').next().unwrap_or_default()
    }
}

type Error = Box<Response<Bytes>>;
type Answer = Result<Response<Bytes>, Error>;

fn error(status: u16, code: &str, message: &str) -> Error {
    Box::new(answer::error(status, code, message))
}

impl Buckets {
    pub(super) fn add(&mut self, name: &str, bucket: Bucket) {
        self.settings.insert(name.to_owned(), bucket);
    }

    pub(super) fn settings(&mut self, name: &str) -> &mut Bucket {
        self.settings.get_mut(name).expect("a bucket that the test added")
    }

    pub(super) fn now(&self) -> u64 {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_secs());
        now.saturating_add_signed(self.ahead)
    }

    pub(super) fn answer(&mut self, call: &Call<'_>) -> Response<Bytes> {
        self.act(call).unwrap_or_else(|error| *error)
    }

    fn act(&mut self, call: &Call<'_>) -> Answer {
        if ![WRITER, ADMIN].contains(&call.access_key()) {
            return Err(error(403, "InvalidAccessKeyId", "The key is not known."));
        }
        if call.method == Method::PUT && call.key.is_empty() && call.query.is_empty() {
            let has_lock = call.header("x-amz-bucket-object-lock-enabled") == Some("true");
            self.add(
                call.bucket,
                if has_lock {
                    Bucket::locked()
                } else {
                    Bucket::plain()
                },
            );
            return Ok(empty(200));
        }
        let Some(bucket) = self.settings.get(call.bucket).cloned() else {
            return Err(error(404, "NoSuchBucket", "The specified bucket does not exist"));
        };
        if call
            .header("x-amz-expected-bucket-owner")
            .is_some_and(|owner| owner != bucket.owner)
        {
            return Err(error(403, "AccessDenied", "Access Denied"));
        }
        match (call.method.as_str(), call.key) {
            ("GET", "") if call.has("versioning") => versioning(&bucket),
            ("GET", "") if call.has("object-lock") => object_lock(&bucket),
            ("GET", "") if call.has("versions") => Ok(self.list_versions(call, &bucket)),
            ("GET", "") if call.has("list-type") => Ok(self.list(call, &bucket)),
            ("PUT", key) if !key.is_empty() && call.has("retention") => self.put_retention(call, &bucket),
            ("PUT", key) if !key.is_empty() && call.has("legal-hold") => self.put_legal_hold(call, &bucket),
            ("PUT", key) if !key.is_empty() => self.put(call, &bucket),
            ("GET" | "HEAD", key) if !key.is_empty() => self.get(call, &bucket),
            ("DELETE", key) if !key.is_empty() => self.delete(call, &bucket),
            _ => Err(error(
                501,
                "NotImplemented",
                "A header you provided implies functionality that is not implemented",
            )),
        }
    }

    fn put(&mut self, call: &Call<'_>, bucket: &Bucket) -> Answer {
        if call.header("x-amz-trailer").is_some() {
            return Err(error(501, "NotImplemented", "Trailers are not implemented"));
        }
        let sum = digest(&SHA256, &call.body);
        let sha256 = base64::encode(sum.as_ref());
        let signed = call.header("x-amz-content-sha256").unwrap_or("UNSIGNED-PAYLOAD");
        let hex: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        if signed != "UNSIGNED-PAYLOAD" && signed != hex {
            return Err(error(
                400,
                "XAmzContentSHA256Mismatch",
                "The provided digest does not match",
            ));
        }
        let sent = call.header("x-amz-checksum-sha256");
        if call.header("x-amz-sdk-checksum-algorithm").is_some() && sent.is_none() {
            return Err(error(
                400,
                "InvalidRequest",
                "x-amz-sdk-checksum-algorithm specified, but no checksum",
            ));
        }
        if sent.is_some_and(|sent| sent != sha256) {
            return Err(error(
                400,
                "BadDigest",
                "The SHA256 you specified did not match the calculated checksum.",
            ));
        }
        let (mut retention, legal_hold) = self.lock_of(call, bucket)?;
        if retention.is_none() {
            retention = bucket.default.map(|default| Retention {
                mode: default.mode,
                until: self.now() + default.days * 86_400,
            });
        }
        if (retention.is_some() || legal_hold) && sent.is_none() && call.header("content-md5").is_none() {
            let text = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock \
                        parameters";
            return Err(error(400, "InvalidRequest", text));
        }
        let at = (call.bucket.to_owned(), call.key.to_owned());
        let is_there = self
            .versions
            .get(&at)
            .and_then(|versions| versions.last())
            .is_some_and(|v| v.object.is_some());
        if call.header("if-none-match") == Some("*") && is_there && !bucket.quirks.ignores_conditions {
            return Err(error(
                412,
                "PreconditionFailed",
                "At least one of the pre-conditions you specified did not hold",
            ));
        }
        if bucket.quirks.forgets_locks {
            retention = None;
        }
        if bucket.quirks.only_governance {
            retention = retention.map(|retention| Retention {
                mode: Mode::Governance,
                ..retention
            });
        }
        self.next += 1;
        let is_versioned = bucket.versioning == Versioning::Enabled;
        let id = if is_versioned {
            format!("v{:08}", self.next)
        } else {
            "null".to_owned()
        };
        let kept = |name: &'static str| call.header(name).map(|value| (name, value.to_owned()));
        let headers = [
            "content-type",
            "content-encoding",
            "x-amz-server-side-encryption",
            "x-amz-server-side-encryption-aws-kms-key-id",
            "x-amz-server-side-encryption-bucket-key-enabled",
            "x-amz-storage-class",
        ];
        let object = Object {
            body: call.body.clone(),
            sha256: sha256.clone(),
            retention,
            legal_hold,
            headers: headers.into_iter().filter_map(kept).collect(),
            meta: meta(call.headers),
        };
        let version = Version {
            id: id.clone(),
            object: Some(object),
            last_modified: self.now(),
        };
        let versions = self.versions.entry(at).or_default();
        versions.retain(|version| version.id != id);
        versions.push(version);
        let mut response = empty(200);
        set(&mut response, "etag", &format!("\"{}\"", &hex[..32]));
        if is_versioned {
            set(&mut response, "x-amz-version-id", &id);
        }
        if sent.is_some() {
            set(&mut response, "x-amz-checksum-sha256", &sha256);
        }
        Ok(response)
    }

    /// The lock that a PUT asks for.
    fn lock_of(&self, call: &Call<'_>, bucket: &Bucket) -> Result<(Option<Retention>, bool), Error> {
        let invalid = |text: &str| error(400, "InvalidArgument", text);
        let mode = call.header("x-amz-object-lock-mode");
        let until = call.header("x-amz-object-lock-retain-until-date");
        let hold = call.header("x-amz-object-lock-legal-hold");
        let retention = match (mode, until) {
            (None, None) => None,
            (Some(mode), Some(until)) => {
                let mode = mode_of(mode).ok_or_else(|| invalid("Unknown wormMode directive."))?;
                let until = seconds(until).ok_or_else(|| invalid("The date is invalid"))?;
                if until <= self.now() {
                    return Err(invalid("The retain until date must be in the future!"));
                }
                Some(Retention { mode, until })
            }
            _ => {
                return Err(invalid(
                    "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied",
                ));
            }
        };
        let is_asked = retention.is_some() || hold.is_some();
        if is_asked && !bucket.lock && !bucket.quirks.forgets_locks {
            return Err(error(
                400,
                "InvalidRequest",
                "Bucket is missing Object Lock Configuration",
            ));
        }
        Ok((retention, hold == Some("ON")))
    }

    /// A version of the call's key, by its id or the newest.
    fn find(&mut self, call: &Call<'_>) -> Result<&mut Version, Error> {
        let at = (call.bucket.to_owned(), call.key.to_owned());
        let versions = self.versions.get_mut(&at).map(|versions| versions.iter_mut());
        let mut versions = versions.into_iter().flatten();
        match call.query("versionId") {
            "" => versions
                .next_back()
                .ok_or_else(|| error(404, "NoSuchKey", "The specified key does not exist.")),
            id => {
                let found = versions.find(|version| version.id == id);
                found.ok_or_else(|| error(404, "NoSuchVersion", "The specified version does not exist."))
            }
        }
    }

    fn get(&mut self, call: &Call<'_>, bucket: &Bucket) -> Answer {
        let (by_id, wants_digest) = (
            call.has("versionId"),
            call.header("x-amz-checksum-mode") == Some("ENABLED"),
        );
        let version = self.find(call)?;
        let Some(object) = &version.object else {
            let mut response = match by_id {
                true => error(
                    405,
                    "MethodNotAllowed",
                    "The specified method is not allowed against this resource.",
                ),
                false => error(404, "NoSuchKey", "The specified key does not exist."),
            };
            set(&mut response, "x-amz-delete-marker", "true");
            return Err(response);
        };
        let mut response = empty(200);
        *response.body_mut() = object.body.clone();
        set(&mut response, "content-length", &object.body.len().to_string());
        set(&mut response, "last-modified", &http_date(version.last_modified));
        if bucket.versioning != Versioning::Off {
            set(&mut response, "x-amz-version-id", &version.id);
        }
        if wants_digest && !bucket.quirks.hides_digests {
            set(&mut response, "x-amz-checksum-sha256", &object.sha256);
            set(&mut response, "x-amz-checksum-type", "FULL_OBJECT");
        }
        if let Some(retention) = object.retention {
            set(&mut response, "x-amz-object-lock-mode", retention.mode.as_str());
            set(
                &mut response,
                "x-amz-object-lock-retain-until-date",
                &iso_date(retention.until),
            );
        }
        if object.legal_hold {
            set(&mut response, "x-amz-object-lock-legal-hold", "ON");
        }
        for (name, value) in &object.headers {
            set(&mut response, name, value);
        }
        for (name, value) in &object.meta {
            let name = http::HeaderName::try_from(format!("x-amz-meta-{name}"));
            if let (Ok(name), Ok(value)) = (name, http::HeaderValue::from_str(value)) {
                response.headers_mut().insert(name, value);
            }
        }
        Ok(response)
    }

    fn delete(&mut self, call: &Call<'_>, bucket: &Bucket) -> Answer {
        let denied = || {
            error(
                403,
                "AccessDenied",
                "Access Denied because object protected by object lock.",
            )
        };
        if call.access_key() != ADMIN {
            return Err(error(403, "AccessDenied", "Access Denied"));
        }
        let at = (call.bucket.to_owned(), call.key.to_owned());
        let is_versioned = bucket.versioning == Versioning::Enabled;
        if !call.has("versionId") && is_versioned {
            self.next += 1;
            let marker = Version {
                id: format!("v{:08}", self.next),
                object: None,
                last_modified: self.now(),
            };
            let mut response = empty(204);
            set(&mut response, "x-amz-delete-marker", "true");
            set(&mut response, "x-amz-version-id", &marker.id);
            self.versions.entry(at).or_default().push(marker);
            return Ok(response);
        }
        let (now, bypass) = (
            self.now(),
            call.header("x-amz-bypass-governance-retention") == Some("true"),
        );
        let Ok(version) = self.find(call) else {
            return Ok(empty(204));
        };
        if let Some(object) = &version.object {
            let is_retained = object
                .retention
                .is_some_and(|r| r.until > now && (r.mode == Mode::Compliance || !bypass));
            if (is_retained || object.legal_hold) && !bucket.quirks.deletes_locked {
                return Err(denied());
            }
        }
        let id = version.id.clone();
        let versions = self.versions.entry(at.clone()).or_default();
        versions.retain(|version| version.id != id);
        if versions.is_empty() {
            self.versions.remove(&at);
        }
        Ok(empty(204))
    }

    fn put_retention(&mut self, call: &Call<'_>, bucket: &Bucket) -> Answer {
        if !bucket.lock {
            return Err(error(
                400,
                "InvalidRequest",
                "Bucket is missing Object Lock Configuration",
            ));
        }
        let text = String::from_utf8_lossy(&call.body).into_owned();
        let malformed = || error(400, "MalformedXML", "The XML you provided was not well-formed");
        let mode = tag(&text, "Mode").and_then(mode_of).ok_or_else(malformed)?;
        let until = tag(&text, "RetainUntilDate")
            .and_then(seconds)
            .ok_or_else(malformed)?;
        if until <= self.now() {
            return Err(error(
                400,
                "InvalidArgument",
                "The retain until date must be in the future!",
            ));
        }
        let (now, is_admin) = (self.now(), call.access_key() == ADMIN);
        let bypass = is_admin && call.header("x-amz-bypass-governance-retention") == Some("true");
        let object = self.find(call)?.object.as_mut();
        let object =
            object.ok_or_else(|| error(405, "MethodNotAllowed", "A delete marker has no retention."))?;
        if let Some(old) = object.retention.filter(|old| old.until > now) {
            let is_weaker = until < old.until || (old.mode == Mode::Compliance && mode == Mode::Governance);
            if is_weaker && (old.mode == Mode::Compliance || !bypass) {
                return Err(error(
                    403,
                    "AccessDenied",
                    "Access Denied because object protected by object lock.",
                ));
            }
        }
        object.retention = Some(Retention { mode, until });
        Ok(empty(200))
    }

    fn put_legal_hold(&mut self, call: &Call<'_>, bucket: &Bucket) -> Answer {
        if !bucket.lock {
            return Err(error(
                400,
                "InvalidRequest",
                "Bucket is missing Object Lock Configuration",
            ));
        }
        let text = String::from_utf8_lossy(&call.body).into_owned();
        let on = tag(&text, "Status") == Some("ON");
        let object = self.find(call)?.object.as_mut();
        let object = object.ok_or_else(|| error(405, "MethodNotAllowed", "A delete marker has no hold."))?;
        object.legal_hold = on;
        Ok(empty(200))
    }

    fn keys<'a>(&'a self, call: &'a Call<'_>) -> impl Iterator<Item = (&'a str, &'a [Version])> {
        let all = self.versions.iter();
        all.filter(|((bucket, key), _)| bucket == call.bucket && key.starts_with(call.query("prefix")))
            .map(|((_, key), versions)| (key.as_str(), &versions[..]))
    }

    fn list(&self, call: &Call<'_>, bucket: &Bucket) -> Response<Bytes> {
        let (token, start) = (call.query("continuation-token"), call.query("start-after"));
        let after = if token.is_empty() { start } else { token };
        let mut text = String::new();
        let (mut last, mut count, mut is_truncated) = ("", 0, false);
        for (key, versions) in self.keys(call).filter(|(key, _)| *key > after) {
            let Some((newest, object)) = versions.last().and_then(|v| Some((v, v.object.as_ref()?))) else {
                continue;
            };
            if count == bucket.page {
                is_truncated = true;
                break;
            }
            (last, count) = (key, count + 1);
            text += &format!(
                "<Contents><Key>{}</Key><LastModified>{}</LastModified><Size>{}</Size></Contents>",
                escaped(key),
                iso_date(newest.last_modified),
                object.body.len()
            );
        }
        if is_truncated {
            text += &format!("<NextContinuationToken>{}</NextContinuationToken>", escaped(last));
        }
        xml(
            200,
            &format!(
                "<ListBucketResult><IsTruncated>{is_truncated}</IsTruncated><KeyCount>{count}</KeyCount>{text}</ListBucketResult>"
            ),
        )
    }

    fn list_versions(&self, call: &Call<'_>, bucket: &Bucket) -> Response<Bytes> {
        let (key_marker, id_marker) = (call.query("key-marker"), call.query("version-id-marker"));
        let mut text = String::new();
        let (mut last, mut count, mut is_truncated) = (("", ""), 0, false);
        'keys: for (key, versions) in self.keys(call) {
            if key < key_marker || (key == key_marker && id_marker.is_empty()) {
                continue;
            }
            let mut is_skipped = key == key_marker;
            for (n, version) in versions.iter().rev().enumerate() {
                if is_skipped {
                    is_skipped = version.id != id_marker;
                    continue;
                }
                if count == bucket.page {
                    is_truncated = true;
                    break 'keys;
                }
                (last, count) = ((key, version.id.as_str()), count + 1);
                let kind = if version.object.is_some() {
                    "Version"
                } else {
                    "DeleteMarker"
                };
                let size = version
                    .object
                    .as_ref()
                    .map(|object| format!("<Size>{}</Size>", object.body.len()));
                text += &format!(
                    "<{kind}><Key>{}</Key><VersionId>{}</VersionId><IsLatest>{}</IsLatest><LastModified>{}</LastModified>{}</{kind}>",
                    escaped(key),
                    version.id,
                    n == 0,
                    iso_date(version.last_modified),
                    size.unwrap_or_default()
                );
            }
        }
        if is_truncated {
            text += &format!(
                "<NextKeyMarker>{}</NextKeyMarker><NextVersionIdMarker>{}</NextVersionIdMarker>",
                escaped(last.0),
                last.1
            );
        }
        xml(
            200,
            &format!(
                "<ListVersionsResult><IsTruncated>{is_truncated}</IsTruncated>{text}</ListVersionsResult>"
            ),
        )
    }
}

fn versioning(bucket: &Bucket) -> Answer {
    if bucket.quirks.knows_no_settings {
        return Err(error(
            501,
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
        ));
    }
    let status = match bucket.versioning {
        Versioning::Off => String::new(),
        other => format!("<Status>{}</Status>", other.as_str()),
    };
    Ok(xml(
        200,
        &format!("<VersioningConfiguration>{status}</VersioningConfiguration>"),
    ))
}

fn object_lock(bucket: &Bucket) -> Answer {
    if bucket.quirks.knows_no_settings {
        return Err(error(
            501,
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
        ));
    }
    if !bucket.lock {
        let text = "Object Lock configuration does not exist for this bucket";
        return Err(error(404, "ObjectLockConfigurationNotFoundError", text));
    }
    let rule = bucket.default.map(|default| {
        format!(
            "<Rule><DefaultRetention><Mode>{}</Mode><Days>{}</Days></DefaultRetention></Rule>",
            default.mode.as_str(),
            default.days
        )
    });
    let rule = rule.unwrap_or_default();
    Ok(xml(
        200,
        &format!(
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}</ObjectLockConfiguration>"
        ),
    ))
}

fn mode_of(text: &str) -> Option<Mode> {
    [Mode::Governance, Mode::Compliance]
        .into_iter()
        .find(|mode| mode.as_str() == text)
}

fn meta(headers: &HeaderMap) -> Vec<(String, String)> {
    let all = headers.iter();
    all.filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix("x-amz-meta-")?;
        Some((name.to_owned(), value.to_str().ok()?.to_owned()))
    })
    .collect()
}
