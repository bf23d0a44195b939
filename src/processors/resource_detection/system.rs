//! Detector `system`: what the machine is called, and what it is.
//!
//! Values and their order are the collector's. Only what is switched on is looked at.

use std::net::{IpAddr, SocketAddr};

use component::prelude::*;
use net::names::Names;
use tracing::{debug, warn};

use super::interfaces::{self, Interface};
use super::{Found, Off, On};

/// `system`: which attributes, and where the name comes from.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Tried in order until one knows the name: `dns` (hosts file, alias, reverse), `os`, `cname`, `lookup` (reverse).
    /// Default: `dns`, `os`.
    pub hostname_sources: Vec<Source>,
    /// Which attributes are set.
    pub resource_attributes: Attributes,
}

/// Where the machine's name comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// What the kernel says.
    Os,
    /// The first of: the hosts file, the name after aliases, the name of an address.
    Dns,
    /// The name after aliases.
    Cname,
    /// The name of an address.
    Lookup,
}

/// `resource_attributes` of `system`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Attributes {
    #[serde(rename = "host.arch")]
    arch: Off,
    #[serde(rename = "host.cpu.cache.l2.size")]
    cpu_cache: Off,
    #[serde(rename = "host.cpu.family")]
    cpu_family: Off,
    #[serde(rename = "host.cpu.model.id")]
    cpu_model: Off,
    #[serde(rename = "host.cpu.model.name")]
    cpu_name: Off,
    #[serde(rename = "host.cpu.stepping")]
    cpu_stepping: Off,
    #[serde(rename = "host.cpu.vendor.id")]
    cpu_vendor: Off,
    #[serde(rename = "host.id")]
    id: Off,
    #[serde(rename = "host.interface")]
    interface: Off,
    #[serde(rename = "host.ip")]
    ip: Off,
    #[serde(rename = "host.mac")]
    mac: Off,
    #[serde(rename = "host.name")]
    name: On,
    #[serde(rename = "os.build.id")]
    os_build: Off,
    #[serde(rename = "os.description")]
    os_description: Off,
    #[serde(rename = "os.name")]
    os_name: Off,
    #[serde(rename = "os.type")]
    os_type: On,
    #[serde(rename = "os.version")]
    os_version: Off,
}

/// Looks at everything that is switched on. `lookup_time` bounds each question to name servers.
///
/// Errors: no source knows the name, or the kernel does not tell what it is asked.
pub(super) async fn detect(config: &Config, lookup_time: std::time::Duration) -> Result<Found, String> {
    let on = &config.resource_attributes;
    let mut found = Found::default();
    let name = hostname(&config.hostname_sources, lookup_time).await?;
    let mut put = |key: &str, is_on: bool, value: Option<String>| {
        if is_on {
            match value {
                Some(value) => found.put(key, &value),
                None => warn!(attribute = key, "this machine does not tell it"),
            }
        }
    };
    put("host.name", on.name.enabled, Some(name));
    put(
        "os.type",
        on.os_type.enabled,
        Some(std::env::consts::OS.to_owned()),
    );
    let files = Files::read().await;
    put("os.version", on.os_version.enabled, Some(files.platform().1));
    put("host.id", on.id.enabled, files.machine_id());
    put(
        "host.arch",
        on.arch.enabled,
        Some(arch(std::env::consts::ARCH).to_owned()),
    );
    if on.ip.enabled || on.mac.enabled || on.interface.enabled {
        let listed = tokio::task::spawn_blocking(interfaces::list).await;
        let all = listed
            .map_err(|error| error.to_string())?
            .map_err(|error| format!("the network interfaces cannot be listed: {error}"))?;
        if on.ip.enabled {
            found.put_list("host.ip", addresses(&all).map(|ip| ip.to_string()));
        }
        if on.mac.enabled {
            found.put_list("host.mac", all.iter().filter(|i| i.counts()).map(|i| mac(&i.mac)));
        }
        if on.interface.enabled {
            found.put_list("host.interface", all.iter().map(|i| i.name.clone()));
        }
    }
    let mut put = |key: &str, is_on: bool, value: Option<String>| {
        if is_on && let Some(value) = value {
            found.put(key, &value);
        }
    };
    put(
        "os.description",
        on.os_description.enabled,
        Some(files.description()),
    );
    put("os.name", on.os_name.enabled, Some(files.platform().0));
    put("os.build.id", on.os_build.enabled, Some(files.build_id()));
    let cpu = |key| files.cpu(key);
    put("host.cpu.vendor.id", on.cpu_vendor.enabled, cpu("vendor_id"));
    put("host.cpu.family", on.cpu_family.enabled, cpu("cpu family"));
    put("host.cpu.model.id", on.cpu_model.enabled, cpu("model"));
    put("host.cpu.model.name", on.cpu_name.enabled, cpu("model name"));
    put("host.cpu.stepping", on.cpu_stepping.enabled, cpu("stepping"));
    if on.cpu_cache.enabled {
        let size = cpu("cache size").and_then(|text| text.split(' ').next()?.parse().ok());
        found.put_int("host.cpu.cache.l2.size", size.unwrap_or(0));
    }
    found.schema_url = "https://opentelemetry.io/schemas/1.40.0";
    Ok(found)
}

// --- the name ---

async fn hostname(sources: &[Source], lookup_time: std::time::Duration) -> Result<String, String> {
    let host = match tokio::fs::read_to_string("/proc/sys/kernel/hostname").await {
        Ok(text) => text.trim_end().to_owned(),
        Err(error) => return Err(format!("the host's name cannot be read: {error}")),
    };
    first_known(sources, &host, &Names::of_system().await, lookup_time).await
}

/// What the first source that knows one calls a host.
async fn first_known(
    sources: &[Source],
    host: &str,
    names: &Names,
    lookup_time: std::time::Duration,
) -> Result<String, String> {
    let default = [Source::Dns, Source::Os];
    let sources = if sources.is_empty() { &default } else { sources };
    for source in sources {
        let asked = tokio::time::timeout(lookup_time, name_by(*source, host, names)).await;
        match asked.unwrap_or_else(|_| Err("no answer in time".into())) {
            Ok(name) => return Ok(name),
            Err(error) => debug!(?source, error, "the host's name is not known here"),
        }
    }
    Err("all hostname sources failed to get hostname".into())
}

async fn name_by(source: Source, host: &str, names: &Names) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    match source {
        Source::Os => Ok(host.to_owned()),
        Source::Cname => names.canonical(host).await.map_err(text),
        Source::Lookup => name_of_address(host, names).await,
        Source::Dns => match names.canonical(host).await {
            Ok(name) => Ok(name),
            Err(_) => name_of_address(host, names).await,
        },
    }
}

async fn name_of_address(host: &str, names: &Names) -> Result<String, String> {
    let addresses = tokio::net::lookup_host((host, 0))
        .await
        .map_err(|e| e.to_string())?;
    let mut last = format!("no such host: {host}");
    for ip in addresses.map(|a: SocketAddr| a.ip()) {
        match names.of_address(ip).await {
            Ok(name) => return Ok(name),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

// --- what it is ---

fn arch(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc64" => "ppc64",
        other => other,
    }
}

fn addresses(all: &[Interface]) -> impl Iterator<Item = &IpAddr> {
    let of_each = all.iter().filter(|i| i.counts()).flat_map(|i| &i.addresses);
    of_each.filter(|ip| !ip.is_loopback())
}

/// `AC-DE-48-23-45-67`.
fn mac(bytes: &[u8]) -> String {
    let each: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    each.join("-")
}

/// Texts in which Linux describes itself; empty where a file is missing.
#[derive(Debug, Default)]
struct Files {
    machine_id: String,
    os_release: String,
    debian_version: String,
    alpine_release: String,
    cpuinfo: String,
    /// System, name, release, version, as `uname` has them.
    kernel: [String; 4],
}

impl Files {
    async fn read() -> Files {
        let first = async |paths: &[&str]| {
            for path in paths {
                let text = tokio::fs::read_to_string(path).await.unwrap_or_default();
                if !text.trim().is_empty() {
                    return text;
                }
            }
            String::new()
        };
        let kernel = async |name| first(&[name]).await.trim_end().to_owned();
        Files {
            machine_id: first(&["/etc/machine-id", "/var/lib/dbus/machine-id"]).await,
            os_release: first(&["/etc/os-release", "/usr/lib/os-release"]).await,
            debian_version: first(&["/etc/debian_version"]).await,
            alpine_release: first(&["/etc/alpine-release"]).await,
            cpuinfo: first(&["/proc/cpuinfo"]).await,
            kernel: [
                kernel("/proc/sys/kernel/ostype").await,
                kernel("/proc/sys/kernel/hostname").await,
                kernel("/proc/sys/kernel/osrelease").await,
                kernel("/proc/sys/kernel/version").await,
            ],
        }
    }

    fn machine_id(&self) -> Option<String> {
        Some(self.machine_id.trim().to_owned()).filter(|id| !id.is_empty())
    }

    /// A value of `os-release`, without quotes and escapes; empty if it is not there.
    fn release(&self, key: &str) -> String {
        let mut values = self.os_release.lines().filter_map(|line| {
            let (name, value) = line.trim().split_once('=')?;
            (name.trim() == key).then_some(value.trim())
        });
        let value = values.next_back().unwrap_or("");
        let quoted = |q| value.strip_prefix(q).and_then(|v| v.strip_suffix(q));
        let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
        let mut out = String::new();
        let mut chars = value.chars().peekable();
        while let Some(c) = chars.next() {
            match (c, chars.peek()) {
                ('\\', Some('$' | '"' | '\'' | '\\' | '`')) => out.extend(chars.next()),
                _ => out.push(c),
            }
        }
        out
    }

    /// Name and version of the distribution; where it has a file of its own for that, by that file.
    fn platform(&self) -> (String, String) {
        let first_line = |text: &str| text.lines().next().unwrap_or("").to_owned();
        let (id, version) = (self.release("ID"), self.release("VERSION_ID"));
        match id.as_str() {
            "debian" | "" if !self.debian_version.is_empty() => {
                ("debian".into(), first_line(&self.debian_version))
            }
            "alpine" | "" if !self.alpine_release.is_empty() => {
                ("alpine".into(), first_line(&self.alpine_release))
            }
            _ => (id, version),
        }
    }

    /// `Debian GNU/Linux 12 (bookworm) (Linux host 6.1.0 #1 SMP x86_64)`.
    fn description(&self) -> String {
        let [system, name, release, version] = &self.kernel;
        let kernel = format!("{system} {name} {release} {version} {}", std::env::consts::ARCH);
        let pretty = match self.release("PRETTY_NAME") {
            pretty if !pretty.is_empty() => pretty,
            _ => {
                let version = Some(self.release("VERSION")).filter(|v| !v.is_empty());
                let version = version.unwrap_or_else(|| self.release("VERSION_ID"));
                match self.release("NAME") {
                    name if !name.is_empty() && !version.is_empty() => format!("{name} {version}"),
                    _ => return kernel,
                }
            }
        };
        format!("{pretty} ({kernel})")
    }

    /// What the distribution calls this build, else the kernel's release.
    fn build_id(&self) -> String {
        match self.release("BUILD_ID") {
            id if !id.is_empty() => id,
            _ => self.kernel[2].clone(),
        }
    }

    /// A value of the first processor.
    fn cpu(&self, key: &str) -> Option<String> {
        let of_first = self.cpuinfo.lines().take_while(|line| !line.trim().is_empty());
        let mut values = of_first.filter_map(|line| line.split_once(':'));
        values
            .find(|(name, _)| name.trim() == key)
            .map(|(_, value)| value.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(os_release: &str) -> Files {
        Files {
            os_release: os_release.into(),
            cpuinfo: "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 106\n\
                      model name\t: Xeon: fast\nstepping\t: 6\ncache size\t: 512 KB\n\nprocessor : 1\nvendor_id : x\n"
                .into(),
            kernel: ["Linux".into(), "n7".into(), "6.1.0-9".into(), "#1 SMP".into()],
            ..Files::default()
        }
    }

    #[test]
    fn describes_the_system_as_the_collector_does() {
        let arch = std::env::consts::ARCH;
        let check = |os_release: &str, description: &str, platform: (&str, &str), build: &str| {
            let files = files(os_release);
            assert_eq!(
                files.description(),
                description.replace("ARCH", arch),
                "{os_release}"
            );
            assert_eq!(
                files.platform(),
                (platform.0.into(), platform.1.into()),
                "{os_release}"
            );
            assert_eq!(files.build_id(), build, "{os_release}");
        };
        check("", "Linux n7 6.1.0-9 #1 SMP ARCH", ("", ""), "6.1.0-9");
        check(
            "PRETTY_NAME=\"Fedora Linux 40\"\nID=fedora\nVERSION_ID=40\nBUILD_ID='b \\$7'\n",
            "Fedora Linux 40 (Linux n7 6.1.0-9 #1 SMP ARCH)",
            ("fedora", "40"),
            "b $7",
        );
        check(
            "# c\nNAME=X\nVERSION_ID=\"2\"\nID=x",
            "X 2 (Linux n7 6.1.0-9 #1 SMP ARCH)",
            ("x", "2"),
            "6.1.0-9",
        );
        check("NAME=X\n", "Linux n7 6.1.0-9 #1 SMP ARCH", ("", ""), "6.1.0-9");
        let debian = |id: &str| Files {
            debian_version: "12.5\n".into(),
            ..files(&format!("ID={id}\nVERSION_ID=24.04"))
        };
        assert_eq!(debian("debian").platform(), ("debian".into(), "12.5".into()));
        assert_eq!(debian("ubuntu").platform(), ("ubuntu".into(), "24.04".into()));
    }

    #[test]
    fn reads_the_first_processor() {
        let files = files("");
        let check =
            |key: &str, expected: Option<&str>| assert_eq!(files.cpu(key).as_deref(), expected, "{key}");
        check("vendor_id", Some("GenuineIntel"));
        check("model", Some("106"));
        check("model name", Some("Xeon: fast"));
        check("cache size", Some("512 KB"));
        check("microcode", None);
    }

    #[test]
    fn writes_hardware_addresses_as_the_ieee_does() {
        assert_eq!(mac(&[0xac, 0xde, 0x48, 0x23, 0x45, 0x6]), "AC-DE-48-23-45-06");
        assert_eq!(arch("x86_64"), "amd64");
        assert_eq!(arch("riscv64"), "riscv64");
    }

    #[tokio::test]
    async fn the_sources_of_the_name_are_tried_in_order() {
        let names = Names::new("10.9.9.9 box.corp.test box\n10.9.9.8 other\n".into(), "");
        let check = async |source, host: &str, expected: Result<&str, ()>| {
            let found = name_by(source, host, &names).await;
            assert_eq!(found.as_deref().map_err(|_| ()), expected, "{source:?} {host}");
        };
        check(Source::Os, "box", Ok("box")).await;
        check(Source::Dns, "box", Ok("box.corp.test")).await;
        check(Source::Cname, "box", Ok("box.corp.test")).await;
        check(Source::Cname, "nobody.invalid", Err(())).await;
        check(Source::Dns, "10.9.9.8", Ok("other")).await;
        check(Source::Lookup, "10.9.9.9", Ok("box.corp.test")).await;
        check(Source::Lookup, "10.9.9.7", Err(())).await;
    }

    #[tokio::test]
    async fn a_host_that_no_source_knows_has_no_name() {
        let names = Names::new("10.9.9.9 box.corp.test box\n".into(), "");
        let check = async |sources: &[Source], host: &str, expected: Result<&str, &str>| {
            let found = first_known(sources, host, &names, std::time::Duration::from_secs(5)).await;
            assert_eq!(
                found.as_deref().map_err(String::as_str),
                expected,
                "{sources:?} {host}"
            );
        };
        check(&[], "box", Ok("box.corp.test")).await;
        check(&[], "10.9.9.1", Ok("10.9.9.1")).await;
        check(&[Source::Cname, Source::Os], "other", Ok("other")).await;
        let none = Err("all hostname sources failed to get hostname");
        check(&[Source::Cname], "other", none).await;
        check(&[Source::Lookup, Source::Cname], "10.9.9.1", none).await;
    }

    #[tokio::test]
    async fn everything_can_be_switched_on() {
        let yaml = "{hostname_sources: [os], resource_attributes: {host.arch: {enabled: true}, \
            host.ip: {enabled: true}, host.mac: {enabled: true}, host.interface: {enabled: true}, \
            os.description: {enabled: true}, os.name: {enabled: true}, os.version: {enabled: true}, \
            os.build.id: {enabled: true}, os.type: {enabled: false}}}";
        let config: Config = Section::from_yaml(yaml).and_then(Section::parse).unwrap();
        let found = detect(&config, std::time::Duration::from_secs(1)).await.unwrap();
        let keys: Vec<&str> = found.keys().collect();
        let expected = [
            "host.name",
            "os.version",
            "host.arch",
            "host.ip",
            "host.mac",
            "host.interface",
            "os.description",
            "os.name",
            "os.build.id",
        ];
        assert_eq!(keys, expected);
        assert_eq!(found.schema_url, "https://opentelemetry.io/schemas/1.40.0");
    }
}
