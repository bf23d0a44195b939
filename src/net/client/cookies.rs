//! Cookies that a client keeps between requests: what load balancers want for stickiness.
//!
//! After RFC 6265, for the few hosts that a config names, and stricter in one thing: a cookie goes back to the host that
//! set it and to no other, whatever its `Domain` says. Bounded in number and size.

use http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};

use super::http::http_date;
use super::pool::Origin;

const COOKIES_MAX: usize = 64;
const COOKIE_BYTES_MAX: usize = 4 << 10;

/// What was set and has not expired.
#[derive(Default)]
pub(super) struct Jar(Vec<Cookie>);

struct Cookie {
    host: String,
    path: String,
    name: String,
    value: String,
    secure: bool,
    /// Seconds since 1970; `None` = as long as the client lives.
    until_s: Option<u64>,
}

impl Jar {
    /// Takes up what an answer sets. `now_s` in seconds since 1970.
    pub(super) fn learn(&mut self, origin: &Origin, path: &str, answer: &HeaderMap, now_s: u64) {
        for line in answer.get_all(SET_COOKIE) {
            let Some(cookie) = line.to_str().ok().and_then(|l| read(l, origin, path, now_s)) else {
                continue;
            };
            let same = |c: &Cookie| (&c.host, &c.path, &c.name) == (&cookie.host, &cookie.path, &cookie.name);
            self.0
                .retain(|c| !same(c) && c.until_s.is_none_or(|until| until > now_s));
            if cookie.until_s.is_none_or(|until| until > now_s) {
                if self.0.len() == COOKIES_MAX {
                    self.0.remove(0);
                }
                self.0.push(cookie);
            }
        }
    }

    /// Adds what belongs to a request, beside a `Cookie` that is there already. Longer paths come first.
    pub(super) fn add(&self, origin: &Origin, path: &str, headers: &mut HeaderMap, now_s: u64) {
        let belongs = |c: &&Cookie| {
            c.host == origin.host
                && (origin.tls || !c.secure)
                && c.until_s.is_none_or(|until| until > now_s)
                && is_below(path, &c.path)
        };
        let mut found: Vec<&Cookie> = self.0.iter().filter(belongs).collect();
        found.sort_by_key(|c| std::cmp::Reverse(c.path.len()));
        let mut pairs: Vec<String> = found.iter().map(|c| format!("{}={}", c.name, c.value)).collect();
        if let Some(given) = headers.get(COOKIE).and_then(|v| v.to_str().ok()) {
            pairs.insert(0, given.to_owned());
        }
        if let Ok(mut value) = HeaderValue::from_str(&pairs.join("; "))
            && !found.is_empty()
        {
            value.set_sensitive(true);
            headers.insert(COOKIE, value);
        }
    }
}

/// One `Set-Cookie`; `None` = not for us, or nonsense.
fn read(line: &str, origin: &Origin, path: &str, now_s: u64) -> Option<Cookie> {
    if line.len() > COOKIE_BYTES_MAX {
        return None;
    }
    let mut parts = line.split(';');
    let (name, value) = parts.next()?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() {
        return None;
    }
    // The default: the request's folder.
    let folder = path.rfind('/').map_or("", |end| &path[..end]);
    let mut cookie = Cookie {
        host: origin.host.clone(),
        path: if folder.is_empty() {
            "/".into()
        } else {
            folder.to_owned()
        },
        name: name.to_owned(),
        value: value.to_owned(),
        secure: false,
        until_s: None,
    };
    let mut has_age = false;
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "path" if value.starts_with('/') => cookie.path = value.to_owned(),
            "secure" => cookie.secure = true,
            "domain" => {
                let domain = value.trim_start_matches('.').to_ascii_lowercase();
                let above = origin.host.ends_with(&format!(".{domain}"));
                if !domain.is_empty() && domain != origin.host && !above {
                    return None;
                }
            }
            "max-age" => {
                if let Ok(age) = value.parse::<i64>() {
                    has_age = true;
                    cookie.until_s = Some(u64::try_from(age).map_or(0, |age| now_s.saturating_add(age)));
                }
            }
            "expires" if !has_age => {
                if let Some(at) = http_date(value) {
                    cookie.until_s = Some(at);
                }
            }
            _ => {}
        }
    }
    Some(cookie)
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || folder.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 784_111_770;

    fn origin(tls: bool, host: &str) -> Origin {
        Origin {
            tls,
            host: host.into(),
            port: 1,
        }
    }

    /// What `tls://host/to` is sent after `a.test/v1/logs` has set `lines`.
    fn sent(lines: &[&str], to: (bool, &str, &str)) -> String {
        let mut answer = HeaderMap::new();
        for line in lines {
            answer.append(SET_COOKIE, HeaderValue::from_str(line).unwrap());
        }
        let mut jar = Jar::default();
        jar.learn(&origin(true, "a.test"), "/v1/logs", &answer, NOW_S);
        let mut headers = HeaderMap::new();
        jar.add(&origin(to.0, to.1), to.2, &mut headers, NOW_S);
        headers
            .get(COOKIE)
            .map_or(String::new(), |v| v.to_str().unwrap().to_owned())
    }

    #[test]
    fn cookies_go_back_where_they_belong() {
        let check = |lines: &[&str], to: (bool, &str, &str), expected: &str| {
            assert_eq!(sent(lines, to), expected, "{lines:?} {to:?}");
        };
        let here = (true, "a.test", "/v1/logs");
        check(&["k=v"], here, "k=v");
        check(&["k=v", "k=w; Path=/v1", "l=x; path=/"], here, "k=w; l=x");
        check(&["k=v"], (true, "a.test", "/v1/traces"), "k=v");
        check(&["k=v"], (true, "a.test", "/v2/logs"), "");
        check(&["k=v"], (true, "a.test", "/v10/logs"), "");
        check(&["k=v; Path=/"], (true, "b.test", "/"), "");
        check(&["k=v; Path=/; Domain=.a.test"], here, "k=v");
        check(&["k=v; Domain=b.test"], here, "");
        check(&["k=v; Path=/; Domain=test"], (true, "b.test", "/"), "");
        check(&["k=v; Path=/; Secure"], (true, "a.test", "/"), "k=v");
        check(&["k=v; Path=/; Secure"], (false, "a.test", "/"), "");
        check(&["k=v; Max-Age=10"], here, "k=v");
        check(&["k=v; Max-Age=0"], here, "");
        check(&["k=v", "k=w; Max-Age=-1"], here, "");
        check(&["k=v; Expires=Sun, 06 Nov 1994 08:49:37 GMT"], here, "k=v");
        check(&["k=v; Expires=Sun, 06 Nov 1994 08:49:00 GMT"], here, "");
        check(
            &["k=v; Expires=Sun, 06 Nov 1994 08:49:00 GMT; Max-Age=5"],
            here,
            "k=v",
        );
        check(
            &["k=v; Max-Age=5; Expires=Sun, 06 Nov 1994 08:49:00 GMT"],
            here,
            "k=v",
        );
        check(&["=v", "nonsense", &format!("k={}", "x".repeat(5000))], here, "");
    }

    #[test]
    fn what_the_user_gave_stays_and_the_number_is_bounded() {
        let mut answer = HeaderMap::new();
        for i in 0..100 {
            answer.append(SET_COOKIE, HeaderValue::from_str(&format!("k{i}=v")).unwrap());
        }
        let (mut jar, at) = (Jar::default(), origin(true, "a.test"));
        jar.learn(&at, "/", &answer, NOW_S);
        assert_eq!(jar.0.len(), COOKIES_MAX);
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_static("own=1"));
        jar.add(&at, "/", &mut headers, NOW_S);
        assert!(
            headers[COOKIE]
                .to_str()
                .unwrap()
                .starts_with("own=1; k36=v; k37=v")
        );
        assert!(headers[COOKIE].is_sensitive());
    }
}
