//! Who sent a request, by what the header `User-Agent` says: the program and its version, the system and its version.
//!
//! Browsers call themselves by each other's names, so the order of the rules decides: the special before the general. The
//! rules are few; what they do not know is `Other`.

use super::{Args, Def, any};
use crate::error::Result;
use crate::value::{MapBuilder, Val};

pub(crate) const DEFS: &[Def] = &[Def::get("UserAgent", &[any("user_agent")], |a| parse(&a))];

/// Before the version, what must occur too, and the program's name.
const PROGRAMS: &[(&str, &str, &str)] = &[
    // Crawlers and checks, which often add a browser's name.
    ("Googlebot/", "", "Googlebot"),
    ("bingbot/", "", "bingbot"),
    ("YandexBot/", "", "YandexBot"),
    ("DuckDuckBot/", "", "DuckDuckBot"),
    ("facebookexternalhit/", "", "FacebookBot"),
    ("HeadlessChrome/", "", "HeadlessChrome"),
    // Browsers on the engine of another.
    ("Edg/", "", "Edge"),
    ("EdgA/", "", "Edge Mobile"),
    ("EdgiOS/", "", "Edge Mobile"),
    ("Edge/", "", "Edge"),
    ("OPR/", "Mobile", "Opera Mobile"),
    ("OPR/", "", "Opera"),
    ("Vivaldi/", "", "Vivaldi"),
    ("YaBrowser/", "", "Yandex Browser"),
    ("SamsungBrowser/", "", "Samsung Internet"),
    ("UCBrowser/", "", "UC Browser"),
    ("CriOS/", "", "Chrome Mobile iOS"),
    ("FxiOS/", "", "Firefox iOS"),
    ("Firefox/", "Mobile;", "Firefox Mobile"),
    ("Firefox/", "", "Firefox"),
    ("Electron/", "", "Electron"),
    ("Chrome/", "Mobile", "Chrome Mobile"),
    ("Chromium/", "", "Chromium"),
    ("Chrome/", "", "Chrome"),
    ("Version/", "Mobile/", "Mobile Safari"),
    ("Version/", "Safari/", "Safari"),
    ("MSIE ", "", "IE"),
    ("rv:", "Trident/", "IE"),
    ("Opera/", "", "Opera"),
    // Tools and libraries.
    ("curl/", "", "curl"),
    ("Wget/", "", "Wget"),
    ("PostmanRuntime/", "", "PostmanRuntime"),
    ("python-requests/", "", "Python Requests"),
    ("aiohttp/", "", "Python aiohttp"),
    ("Python-urllib/", "", "Python-urllib"),
    ("Go-http-client/", "", "Go-http-client"),
    ("grpc-go/", "", "grpc-go"),
    ("okhttp/", "", "okhttp"),
    ("Apache-HttpClient/", "", "Apache-HttpClient"),
    ("axios/", "", "axios"),
    ("node-fetch/", "", "node-fetch"),
    ("kube-probe/", "", "kube-probe"),
    ("Prometheus/", "", "Prometheus"),
];

/// Before the version, and the system's name.
const SYSTEMS: &[(&str, &str)] = &[
    ("Windows Phone ", "Windows Phone"),
    ("Windows NT ", "Windows"),
    ("Android ", "Android"),
    ("CPU iPhone OS ", "iOS"),
    ("iPhone OS ", "iOS"),
    ("CPU OS ", "iOS"),
    ("CrOS x86_64 ", "Chrome OS"),
    ("Mac OS X ", "Mac OS X"),
    ("Ubuntu", "Ubuntu"),
    ("Fedora", "Fedora"),
    ("FreeBSD", "FreeBSD"),
    ("Linux", "Linux"),
];

/// Versions of Windows by the numbers that it gives itself.
const WINDOWS: &[(&str, &str)] = &[
    ("10.0", "10"),
    ("6.3", "8.1"),
    ("6.2", "8"),
    ("6.1", "7"),
    ("6.0", "Vista"),
    ("5.1", "XP"),
];

fn parse(a: &Args<'_>) -> Result<Val<'static>> {
    let text = a.utf8(0)?;
    let program = PROGRAMS.iter().find_map(|(before, also, name)| {
        let version = after(&text, before)?;
        text.contains(also).then(|| (*name, numbers(version, 3)))
    });
    let (name, version) = program.unwrap_or(("Other", String::new()));
    let mut map = MapBuilder::default();
    map.put_str("user_agent.name", name.as_bytes());
    map.put_str("user_agent.original", text.as_bytes());
    map.put_str("user_agent.version", version.as_bytes());
    let system = SYSTEMS
        .iter()
        .find_map(|(before, name)| Some((*name, after(&text, before)?)));
    if let Some((name, rest)) = system {
        map.put_str("os.name", name.as_bytes());
        let version = numbers(rest, 4);
        let windows = WINDOWS.iter().find(|(nt, _)| name == "Windows" && *nt == version);
        let version = windows.map_or(version.as_str(), |(_, release)| release);
        if !version.is_empty() {
            map.put_str("os.version", version.as_bytes());
        }
    }
    Ok(map.value())
}

/// What stands behind the first occurrence.
fn after<'t>(text: &'t str, before: &str) -> Option<&'t str> {
    text.find(before).map(|at| &text[at + before.len()..])
}

/// So many numbers of a version at most, with dots between; Apple writes underlines.
fn numbers(text: &str, most: usize) -> String {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
        .unwrap_or(text.len());
    let parts = text[..end]
        .split(['.', '_'])
        .filter(|part| !part.is_empty())
        .take(most);
    parts.collect::<Vec<_>>().join(".")
}
