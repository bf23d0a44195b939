//! References to container images, as the distribution project writes them: `registry:5000/name:tag@sha256:digest`.

/// The parts of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Image<'a> {
    /// Without tag and digest.
    pub(super) repository: &'a str,
    pub(super) tag: Option<&'a str>,
    /// `sha256:...`
    pub(super) digest: Option<&'a str>,
}

const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

impl<'a> Image<'a> {
    /// `None` if it is none: upper case in the path, an odd tag, a digest that is too short.
    pub(super) fn parse(text: &'a str) -> Option<Image<'a>> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        let after_slash = name.rfind('/').map_or(0, |i| i + 1);
        let (repository, tag) = match name[after_slash..].rfind(':') {
            Some(i) => (&name[..after_slash + i], Some(&name[after_slash + i + 1..])),
            None => (name, None),
        };
        let is_good = is_repository(repository)
            && tag.is_none_or(is_tag)
            && digest.is_none_or(is_digest)
            && repository.len() <= NAME_MAX;
        is_good.then_some(Image {
            repository,
            tag,
            digest,
        })
    }

    /// With registry and full path, if it has a digest: `docker.io/library/nginx@sha256:...`.
    pub(super) fn canonical(&self) -> Option<String> {
        let digest = self.digest?;
        let (registry, path) = match self.repository.split_once('/') {
            Some(("index.docker.io", path)) => ("docker.io", path),
            Some((first, path)) if is_registry(first) => (first, path),
            _ => ("docker.io", self.repository),
        };
        let library = match registry == "docker.io" && !path.contains('/') {
            true => "library/",
            false => "",
        };
        Some(format!("{registry}/{library}{path}@{digest}"))
    }

    /// What stands for the version of a service: tag and digest, as far as they are there.
    pub(super) fn version(&self) -> Option<String> {
        match (self.tag, self.digest) {
            (Some(tag), Some(digest)) => Some(format!("{tag}@{digest}")),
            (part, None) | (None, part) => part.map(str::to_owned),
        }
    }
}

/// The first part of a name is a registry only if it looks like a host.
fn is_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.chars().any(|c| c.is_ascii_uppercase())
}

fn is_repository(repository: &str) -> bool {
    let (registry, path) = match repository.split_once('/') {
        Some((first, path)) if is_registry(first) => (Some(first), path),
        _ => (None, repository),
    };
    registry.is_none_or(is_host) && path.split('/').all(is_component)
}

fn is_host(host: &str) -> bool {
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "0"));
    let is_label = |label: &str| {
        !label.is_empty()
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_v6 = name.starts_with('[') && name.ends_with(']');
    let is_port = !port.is_empty() && port.chars().all(|c| c.is_ascii_digit());
    is_port && (is_v6 || name.split('.').all(is_label))
}

/// Letters and digits in lower case, with single `.`, `_`, `__` or any number of `-` between them.
fn is_component(part: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_separator = |s: &str| matches!(s, "" | "." | "_" | "__") || s.chars().all(|c| c == '-');
    part.starts_with(inner) && part.ends_with(inner) && part.split(inner).all(is_separator)
}

fn is_tag(tag: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.starts_with(is_word)
        && tag.len() <= TAG_MAX
        && tag.chars().all(|c| is_word(c) || c == '.' || c == '-')
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else {
        return false;
    };
    algorithm.starts_with(|c: char| c.is_ascii_alphabetic())
        && algorithm
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+._-".contains(c))
        && hex.len() >= 32
        && hex.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "4b0e2d1a7f3c9e8d6b5a40312f1e0d9c8b7a6f5e4d3c2b1a0f9e8d7c6b5a4938";

    #[test]
    fn takes_references_apart() {
        let check = |text: &str, expected: Option<(&str, Option<&str>, bool)>| {
            let text = text.replace("HEX", HEX);
            let found = Image::parse(&text).map(|i| (i.repository, i.tag, i.digest.is_some()));
            assert_eq!(found, expected, "{text}");
        };
        check("nginx", Some(("nginx", None, false)));
        check("nginx:1.27", Some(("nginx", Some("1.27"), false)));
        check("a/b/c:v1", Some(("a/b/c", Some("v1"), false)));
        check("reg.test:5000/a/b", Some(("reg.test:5000/a/b", None, false)));
        check(
            "reg.test:5000/a/b:t",
            Some(("reg.test:5000/a/b", Some("t"), false)),
        );
        check(
            "localhost/x_y--z.a__b:t",
            Some(("localhost/x_y--z.a__b", Some("t"), false)),
        );
        check("nginx@sha256:HEX", Some(("nginx", None, true)));
        check("r.io/n:1@sha256:HEX", Some(("r.io/n", Some("1"), true)));
        check("", None);
        check("nginx:", None);
        check("a/Nginx", None);
        check("a//b", None);
        check("a/b___c", None);
        check("-a", None);
        check("nginx@sha256:ab", None);
        check("docker-pullable://nginx@sha256:HEX", None);
    }

    #[test]
    fn names_images_in_full() {
        let check = |text: &str, canonical: Option<&str>, version: Option<&str>| {
            let text = text.replace("HEX", HEX);
            let image = Image::parse(&text).unwrap();
            let full = |s: &str| s.replace("HEX", HEX);
            assert_eq!(image.canonical(), canonical.map(full), "{text}");
            assert_eq!(image.version(), version.map(full), "{text}");
        };
        check("nginx:1", None, Some("1"));
        check("nginx", None, None);
        check(
            "nginx@sha256:HEX",
            Some("docker.io/library/nginx@sha256:HEX"),
            Some("sha256:HEX"),
        );
        check(
            "a/b:1@sha256:HEX",
            Some("docker.io/a/b@sha256:HEX"),
            Some("1@sha256:HEX"),
        );
        check(
            "index.docker.io/nginx@sha256:HEX",
            Some("docker.io/library/nginx@sha256:HEX"),
            Some("sha256:HEX"),
        );
        check("r.io/n@sha256:HEX", Some("r.io/n@sha256:HEX"), Some("sha256:HEX"));
    }
}
