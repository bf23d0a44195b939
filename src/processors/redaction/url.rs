//! `url_sanitizer`: a URL becomes the route that it belongs to: `/v1/products/22j` is `/v1/products/*`.
//!
//! Results are those of the collector (0.155), which takes them from grafana/clusterurl (0.2.1): a segment with anything
//! but letters, `-`, `_`, `.` and spaces becomes `*` (its second byte is forgiven), so does one whose letters follow each
//! other as they do in no word, and the query goes. What counts as a word is told by how often letters follow each other
//! in that project's sample of English; [`PAIRS`] are its counts.

use std::collections::HashSet;
use std::sync::LazyLock;

use wire::Signal;
use wire::view::{Kind, NodeId, View};

use super::UrlSanitizer;
use super::apply::Program;
use super::rules::Scratch;

/// The tenth separator ends it.
const SEPARATORS_MAX: usize = 10;

/// Mean probability of the pairs in a word at or below which it is none.
const THRESHOLD: f64 = 0.015099318064947853;

/// Fields of a span.
const NAME: u32 = 5;
const KIND: u32 = 6;
const KIND_SERVER: u64 = 2;
const KIND_CLIENT: u64 = 3;

/// Attributes that tell a span of HTTP.
const HTTP_KEYS: [&[u8]; 9] = [
    b"http.route",
    b"http.request.method",
    b"http.request.method_original",
    b"http.response.status_code",
    b"url.full",
    b"http.scheme",
    b"http.target",
    b"http.method",
    b"http.url",
];

/// `url_sanitizer`, switched on.
#[derive(Clone, Debug)]
pub(super) struct Urls {
    attributes: HashSet<Vec<u8>>,
    span_names: bool,
}

impl Urls {
    pub(super) fn new(config: &UrlSanitizer) -> Option<Urls> {
        config.enabled.then(|| Urls {
            attributes: config.attributes.iter().map(|k| k.clone().into_bytes()).collect(),
            span_names: config.sanitize_span_name,
        })
    }

    /// Whether any attribute may hold a URL.
    pub(super) fn has_attributes(&self) -> bool {
        !self.attributes.is_empty()
    }

    /// Whether the attribute with this key holds a URL.
    pub(super) fn is_url(&self, key: &[u8]) -> bool {
        self.attributes.contains(key)
    }
}

impl Program {
    /// Shortens the names of spans that were made by HTTP.
    pub(super) fn span_names(&self, view: &mut View<'_>, s: &mut Scratch) {
        let on = self.rules.urls.as_ref().is_some_and(|u| u.span_names);
        if !on || view.signal() != Signal::Traces {
            return;
        }
        for n in view.nodes() {
            if view.kind(n) == Kind::Span && !view.is_removed(n) {
                self.span_name(view, n, s);
            }
        }
    }

    fn span_name(&self, view: &mut View<'_>, n: NodeId, s: &mut Scratch) {
        let name = view.text(n, NAME);
        let called = matches!(view.number(n, KIND), Some(KIND_SERVER | KIND_CLIENT));
        let of_http = || name.contains(&b'/') || HTTP_KEYS.iter().any(|key| view.find(n, key).is_some());
        if !called || !of_http() || self.rules.is_allowed(&mut s.values, name) {
            return;
        }
        let short = &mut s.rendered;
        short.clear();
        shorten(name, short);
        // A name of which nothing is left says less than the old one.
        if *short != name && !short.is_empty() && !is_all_stars(short) {
            view.set_text(n, NAME, short);
        }
    }
}

fn is_all_stars(path: &[u8]) -> bool {
    let mut segments = path.split(|b| *b == b'/');
    path.contains(&b'*') && segments.all(|s| s == b"*" || s.is_empty())
}

/// Appends the route of a URL to `out`. No allocation but for the growth of `out`.
pub(super) fn shorten(url: &[u8], out: &mut Vec<u8>) {
    let mut start = out.len();
    // Whether the segment is known to become a star; then the rest of it is not looked at.
    let mut star = false;
    let mut separators = 0;
    for &byte in url {
        match byte {
            b'?' | b'&' | b'#' => {
                if star {
                    out.truncate(start);
                    out.push(b'*');
                }
                return;
            }
            b'/' => {
                separators += 1;
                if separators == SEPARATORS_MAX {
                    return finish_last(out, start, star);
                }
                finish(out, start, star);
                out.push(b'/');
                start = out.len();
                star = false;
            }
            _ if star => {}
            _ => {
                out.push(byte);
                let valid = byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_' | b'.' | b' ');
                star = !valid && out.len() - start != 2;
            }
        }
    }
    finish(out, start, star);
}

/// Ends the segment that begins at `start`.
fn finish(out: &mut Vec<u8>, start: usize, star: bool) {
    if star || !is_word(&out[start..]) {
        out.truncate(start);
        out.push(b'*');
    }
}

/// Ends the segment before the last separator. The collector does so twice, the second time from behind its star.
fn finish_last(out: &mut Vec<u8>, start: usize, star: bool) {
    if star {
        out.truncate(start);
        out.extend_from_slice(b"**");
    } else if !is_word(&out[start..]) {
        out[start] = b'*';
        finish(out, start + 1, false);
    }
}

/// Whether its letters follow each other as in a word. What has fewer than two letters and spaces passes.
fn is_word(text: &[u8]) -> bool {
    let letters = text.iter().filter_map(|byte| match byte.to_ascii_lowercase() {
        b' ' => Some(26),
        letter @ b'a'..=b'z' => Some(usize::from(letter - b'a')),
        _ => None,
    });
    let (mut sum, mut pairs, mut last) = (0.0, 0u32, None);
    for letter in letters {
        if let Some(before) = last.replace(letter) {
            sum += LOGARITHMS[before][letter];
            pairs += 1;
        }
    }
    (sum / f64::from(pairs.max(1))).exp() > THRESHOLD
}

/// Of the probability that a letter follows another.
static LOGARITHMS: LazyLock<[[f64; 27]; 27]> = LazyLock::new(|| {
    PAIRS.map(|row| {
        let all: u32 = row.iter().sum();
        row.map(|count| (f64::from(count) / f64::from(all)).ln())
    })
});

/// How often each letter, and a space, follows each letter, and a space. From grafana/clusterurl (Apache-2.0), whose
/// model has the logarithms of their shares.
#[rustfmt::skip]
const PAIRS: [[u32; 27]; 27] = [
    [77, 7911, 16196, 19244, 954, 3690, 7473, 494, 15798, 348, 4451, 33301, 10619, 84309, 139, 8262, 22, 40556, 38738, 57999, 4332, 8443, 3665, 574, 10547, 529, 26889],
    [5712, 430, 173, 146, 22687, 14, 11, 15, 2618, 492, 11, 8638, 161, 81, 8580, 18, 10, 4835, 1660, 665, 8653, 132, 34, 10, 6918, 10, 643],
    [17923, 12, 3092, 67, 25443, 22, 10, 21462, 7708, 11, 5118, 5469, 29, 21, 29249, 12, 244, 4942, 422, 13261, 5795, 11, 21, 10, 1426, 36, 3030],
    [4968, 123, 77, 2135, 28589, 229, 899, 239, 17466, 385, 96, 2148, 822, 536, 9079, 49, 60, 5467, 5165, 155, 3776, 782, 173, 10, 2033, 12, 119514],
    [27747, 1096, 14995, 54843, 14743, 6447, 4309, 1081, 7054, 197, 552, 19672, 14436, 56246, 3120, 7332, 1168, 84996, 49383, 14674, 1444, 10009, 5472, 7153, 6574, 269, 198260],
    [7400, 43, 63, 24, 10113, 6289, 58, 23, 10121, 14, 19, 2765, 17, 55, 17472, 29, 10, 11124, 312, 4260, 3522, 10, 48, 10, 254, 10, 43262],
    [6435, 18, 29, 96, 13196, 34, 926, 10192, 5374, 10, 18, 3270, 218, 2232, 5534, 33, 11, 7317, 1616, 670, 2853, 10, 48, 10, 262, 17, 33537],
    [43948, 181, 93, 155, 141082, 113, 20, 45, 39758, 12, 110, 384, 558, 358, 22561, 29, 12, 3023, 580, 6779, 2875, 21, 182, 10, 1922, 11, 27540],
    [8919, 3264, 22568, 14568, 15368, 7364, 9204, 40, 593, 12, 1934, 16792, 15285, 98277, 25441, 2660, 136, 12072, 46940, 44668, 543, 8035, 23, 765, 11, 1476, 8265],
    [644, 15, 16, 10, 1628, 13, 14, 12, 27, 10, 13, 11, 12, 10, 1867, 11, 12, 15, 16, 13, 2231, 10, 13, 10, 10, 10, 52],
    [863, 28, 75, 15, 9595, 60, 35, 853, 5404, 13, 18, 660, 77, 3059, 691, 17, 11, 134, 1603, 40, 766, 23, 140, 10, 298, 10, 7717],
    [20282, 274, 627, 11235, 32937, 3110, 209, 85, 22281, 12, 1380, 24848, 1244, 297, 16911, 722, 12, 691, 4053, 4114, 4296, 1206, 829, 10, 19012, 36, 25413],
    [21622, 3141, 177, 27, 31893, 206, 11, 33, 10901, 13, 17, 253, 3276, 434, 13459, 8419, 10, 510, 3632, 126, 3894, 12, 39, 10, 4067, 10, 18745],
    [11911, 432, 16416, 63355, 29594, 2920, 43632, 399, 13372, 695, 2642, 3512, 905, 3398, 20334, 180, 377, 273, 17062, 37506, 2691, 1716, 284, 209, 3829, 54, 83371],
    [2383, 2242, 5331, 6456, 1209, 43598, 1937, 869, 4386, 384, 4560, 15215, 22839, 65492, 11407, 7375, 48, 43968, 13181, 16901, 42083, 11075, 16601, 491, 1547, 173, 41963],
    [11650, 47, 145, 20, 17402, 148, 41, 2582, 6937, 21, 38, 9080, 170, 67, 11887, 6053, 10, 16517, 2102, 3659, 4033, 10, 83, 10, 673, 10, 5234],
    [10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 11, 10, 10, 10, 10, 10, 4575, 10, 10, 10, 10, 10, 19],
    [23200, 759, 4043, 7300, 73250, 1432, 3993, 728, 28556, 25, 2378, 2838, 7181, 6048, 29796, 1353, 36, 8000, 16690, 11966, 5667, 2252, 582, 12, 11678, 95, 53956],
    [13053, 573, 5391, 163, 37323, 667, 126, 17511, 20140, 23, 3411, 2918, 3284, 628, 16597, 6851, 292, 85, 19441, 38880, 12448, 124, 1488, 10, 1781, 16, 119931],
    [19027, 122, 1267, 33, 43605, 347, 94, 149382, 42434, 13, 28, 5450, 1086, 331, 43697, 131, 10, 14183, 11407, 8078, 9152, 32, 2539, 18, 6750, 154, 92803],
    [3460, 3312, 5399, 2488, 5211, 918, 5689, 57, 3322, 12, 279, 14499, 4578, 17149, 312, 6240, 18, 20623, 19289, 19433, 13, 157, 12, 92, 87, 715, 5268],
    [4430, 11, 10, 20, 31094, 10, 13, 11, 9146, 11, 19, 226, 10, 543, 3212, 10, 10, 99, 637, 18, 97, 12, 17, 11, 272, 10, 2301],
    [20240, 50, 48, 477, 15065, 107, 30, 19719, 17143, 14, 91, 423, 28, 3999, 8007, 25, 10, 1035, 1436, 350, 52, 10, 67, 10, 103, 12, 11380],
    [1039, 10, 1304, 15, 844, 29, 10, 133, 1246, 10, 10, 16, 12, 10, 115, 2220, 17, 96, 31, 1526, 125, 128, 11, 113, 57, 10, 769],
    [1754, 193, 310, 180, 4560, 247, 77, 56, 1837, 12, 49, 734, 987, 364, 9109, 740, 10, 268, 3677, 1227, 74, 40, 166, 38, 24, 37, 57570],
    [322, 10, 11, 37, 1599, 11, 10, 165, 390, 10, 14, 83, 74, 27, 713, 10, 10, 10, 12, 11, 179, 14, 11, 10, 42, 93, 170],
    [119765, 45059, 41922, 29525, 22375, 39546, 16579, 63769, 65796, 3504, 5304, 23578, 36144, 22822, 73366, 35601, 2019, 26025, 69201, 160543, 11794, 7548, 62533, 430, 9374, 213, 38433],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expected: &str) {
        let mut out = b">".to_vec();
        shorten(url.as_bytes(), &mut out);
        assert_eq!(String::from_utf8_lossy(&out[1..]), expected, "{url:?}");
    }

    /// What the collector's library (grafana/clusterurl 0.2.1) makes of them.
    #[rustfmt::skip]
    const ROWS: &[(&str, &str)] = &[
        ("/v1/products/22j", "/v1/products/*"),
        ("/products//org/3", "/products//org/*"),
        ("/attach?x=1", "/attach"),
        ("GET /api/cart?x", "GET /api/cart"),
        ("/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h/i"),
        ("/a/b/c/d/e/f/g/h/i/j/k/l", "/a/b/c/d/e/f/g/h/i"),
        ("/a/b/c/d/e/f/g/h/i/22/k/l", "/a/b/c/d/e/f/g/h/i"),
        ("/a/b/c/d/e/f/g/h/i/xkqzjw/k/l", "/a/b/c/d/e/f/g/h/i"),
        ("/a/b/c/d/e/f/g/h/i/j?k", "/a/b/c/d/e/f/g/h/i"),
        ("/users/fdklsd/j4elk/23993/job/2", "/users/*/j4elk/*/job/*"),
        ("123", "*"),
        ("/usuarios/fdklsd/j4elk/23993/job/2", "/usuarios/*/j4elk/*/job/*"),
        ("https://example.com/x/550e8400-e29b-41d4-a716-446655440000/y#z", "*//example.com/x/*/y"),
        ("/v1/k6-test-runs/1", "/v1/k6-test-runs/*"),
        ("/k66/x", "/*/x"),
        ("?q=1", ""),
        ("/22?x", "/*"),
        ("/xkqzjw?x", "/xkqzjw"),
        ("/xkqzjw", "/*"),
        ("/hello world/xq", "/hello world/*"),
        ("/Attach", "/Attach"),
        ("/x9", "/x9"),
        ("/9", "/*"),
        ("/99", "/*"),
        ("/a9b9c", "/*"),
        ("/_/-/.", "/_/-/."),
        ("GET /health", "GET /health"),
        ("/Ã©tÃ©", "/*"),
        ("/aÃ/b", "/*/b"),
        ("/aÃ©/b", "/*/b"),
        ("POST", "POST"),
        ("true", "true"),
        ("/svc.v1.Cart/AddItem", "/*/AddItem"),
        ("/wp-admin/load.php", "/wp-admin/*"),
        ("/api/v2/zzz/qqq", "/api/v2/zzz/*"),
        ("/foo/42/baz/43/", "/foo/*/*/*/"),
        ("/foo//", "/foo//"),
        ("/&x", "/"),
        ("#x", ""),
        ("/22#", "/*"),
        ("/a=b", "/a=b"),
        ("/users/JohnDoe/settings", "/users/JohnDoe/settings"),
        ("*", "*"),
        ("/*/x", "/*/x"),
        ("/b2*/x", "/*/x"),
        ("/q1/w2e/r", "/q1/w2e/r"),
        ("wp", "*"),
        (" ", " "),
        ("/  /", "/  /"),
        ("/x y z", "/x y z"),
        ("/graphql", "/*"),
        ("/kubernetes/namespaces/kube-system/pods", "/kubernetes/namespaces/kube-system/pods"),
        ("/api/v1/query_range", "/api/v1/query_range"),
        ("/1/2/3/4/5/6/7/8/9/10/11", "/*/*/*/*/*/*/*/*/**"),
        ("a/1b/2c", "a/*/*"),
        ("", ""),
        ("/a/b/c/d/e/f/g/h/xkqzjw/k", "/a/b/c/d/e/f/g/h/**"),
        ("/a/b/c/d/e/f/g/h/xkaerty/k", "/a/b/c/d/e/f/g/h/*kaerty"),
        ("/a/b/c/d/e/f/g/h/word", "/a/b/c/d/e/f/g/h/word"),
    ];

    #[test]
    fn routes_are_the_collectors() {
        for (url, expected) in ROWS {
            check(url, expected);
        }
    }

    #[test]
    fn a_name_of_stars_is_told() {
        for (name, expected) in [
            ("/*/*", true),
            ("*", true),
            ("/", false),
            ("", false),
            ("/*/a", false),
            ("**", false),
        ] {
            assert_eq!(is_all_stars(name.as_bytes()), expected, "{name}");
        }
    }
}
