//! A kubeconfig: the file by which kubectl finds a cluster and says who it is.
//!
//! What names a program or a plug-in to get credentials from is refused by its name: nothing is run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{Secret, Section};
use serde::Deserialize;
use serde_json::Value;

use super::access::{Credential, Settings};
use crate::literal::Literal;

/// One file. Keys that are not used are passed over.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct File {
    current_context: String,
    clusters: Vec<Named>,
    users: Vec<Named>,
    contexts: Vec<Named>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
    cluster: Option<Cluster>,
    user: Option<User>,
    context: Option<Context>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: String,
    certificate_authority_data: String,
    insecure_skip_tls_verify: bool,
    tls_server_name: String,
    proxy_url: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct User {
    token: Secret<String>,
    #[serde(rename = "tokenFile")]
    token_file: String,
    client_certificate: String,
    client_certificate_data: String,
    client_key: String,
    client_key_data: Secret<String>,
    username: String,
    password: Secret<String>,
    exec: Option<Refused>,
    auth_provider: Option<Refused>,
}

/// Something whose content does not matter.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Refused {}

/// The cluster and user of a context, by the files of `KUBECONFIG` or `~/.kube/config`; of several files, what an
/// earlier one names counts.
pub(super) fn find(context: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Settings, String> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    let paths: Vec<PathBuf> = match (set("KUBECONFIG"), set("HOME")) {
        (Some(list), _) => std::env::split_paths(&list).collect(),
        (None, Some(home)) => vec![Path::new(&home).join(".kube/config")],
        (None, None) => return Err("neither KUBECONFIG nor HOME is set".into()),
    };
    let mut all = File::default();
    for path in paths.iter().filter(|path| path.exists()) {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        // What is wrong stays unsaid: a message would quote the line, and there are secrets in this file.
        let unread = || format!("{}: it cannot be read as a kubeconfig", path.display());
        let mut file = read(&text).ok_or_else(unread)?;
        file.resolve(path.parent().unwrap_or(Path::new("")));
        if all.current_context.is_empty() {
            all.current_context = file.current_context;
        }
        all.clusters.append(&mut file.clusters);
        all.users.append(&mut file.users);
        all.contexts.append(&mut file.contexts);
    }
    if all.contexts.is_empty() {
        let paths: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
        return Err(format!("no context in {}", paths.join(", ")));
    }
    all.settings(context)
}

/// `None` if it is no YAML, or something in it is of another type.
fn read(text: &str) -> Option<File> {
    let all: BTreeMap<String, Literal> = Section::from_yaml(text).and_then(Section::parse).ok()?;
    let all = all.into_iter().map(|(key, value)| (key, json(value)));
    serde_json::from_value(all.filter(|(_, value)| !value.is_null()).collect()).ok()
}

/// As JSON, by which keys that are not used are passed over; a key with nothing behind it is as if it were not there.
fn json(value: Literal) -> Value {
    match value {
        Literal::Null => Value::Null,
        Literal::Bool(b) => b.into(),
        Literal::Int(i) => i.into(),
        Literal::Double(d) => d.into(),
        Literal::Str(text) => text.into(),
        Literal::List(values) => values.into_iter().map(json).collect(),
        Literal::Map(entries) => {
            let each = entries.into_iter().map(|(key, value)| (key, json(value)));
            each.filter(|(_, value)| !value.is_null()).collect()
        }
    }
}

impl File {
    /// Paths are relative to the file they stand in.
    fn resolve(&mut self, folder: &Path) {
        let absolute = |path: &mut String| {
            if !path.is_empty() {
                *path = folder.join(&*path).display().to_string();
            }
        };
        for cluster in self.clusters.iter_mut().filter_map(|n| n.cluster.as_mut()) {
            absolute(&mut cluster.certificate_authority);
        }
        for user in self.users.iter_mut().filter_map(|n| n.user.as_mut()) {
            absolute(&mut user.token_file);
            absolute(&mut user.client_certificate);
            absolute(&mut user.client_key);
        }
    }

    fn settings(self, context: &str) -> Result<Settings, String> {
        let name = match context {
            "" => self.current_context.as_str(),
            name => name,
        };
        let missing = |what: &str, name: &str| format!("the kubeconfig has no {what} \"{name}\"");
        let named = |list: &[Named], name: &str| list.iter().find(|n| n.name == name).cloned();
        let context = named(&self.contexts, name).and_then(|n| n.context);
        let context = context.ok_or_else(|| missing("context", name))?;
        let cluster = named(&self.clusters, &context.cluster).and_then(|n| n.cluster);
        let cluster = cluster.ok_or_else(|| missing("cluster", &context.cluster))?;
        let user = match context.user.as_str() {
            "" => User::default(),
            name => named(&self.users, name)
                .map(|n| n.user.unwrap_or_default())
                .ok_or_else(|| missing("user", name))?,
        };
        let refuse = |what: &str| {
            Err(format!(
                "{what} in the kubeconfig is not supported; use a token, a tokenFile or a client certificate"
            ))
        };
        if user.exec.is_some() {
            return refuse("exec");
        }
        if user.auth_provider.is_some() {
            return refuse("auth-provider");
        }
        if !cluster.proxy_url.is_empty() {
            return Err("proxy-url in the kubeconfig is not supported".into());
        }
        let mut tls = net::tls::ClientTls {
            insecure_skip_verify: cluster.insecure_skip_tls_verify,
            server_name_override: cluster.tls_server_name,
            ..Default::default()
        };
        match cluster.certificate_authority_data.as_str() {
            "" => tls.ca_file = cluster.certificate_authority,
            data => tls.ca_pem = decoded("certificate-authority-data", data)?,
        }
        match user.client_certificate_data.as_str() {
            "" => tls.cert_file = user.client_certificate,
            data => tls.cert_pem = decoded("client-certificate-data", data)?,
        }
        match user.client_key_data.expose().as_str() {
            "" => tls.key_file = user.client_key,
            data => tls.key_pem = decoded("client-key-data", data)?,
        }
        let token = user.token.expose();
        let credential = if !user.token_file.is_empty() {
            Credential::File(user.token_file.into())
        } else if !token.is_empty() {
            Credential::Fixed(Secret::new(format!("Bearer {token}")))
        } else if !user.username.is_empty() {
            let pair = format!("{}:{}", user.username, user.password.expose());
            let text = codec::base64::encode(codec::base64::Alphabet::Standard, pair.as_bytes());
            Credential::Fixed(Secret::new(format!("Basic {text}")))
        } else {
            Credential::None
        };
        if cluster.server.is_empty() {
            return Err(format!(
                "cluster \"{}\" of the kubeconfig has no server",
                context.cluster
            ));
        }
        Ok(Settings {
            server: cluster.server,
            tls,
            credential,
        })
    }
}

fn decoded(key: &str, data: &str) -> Result<Secret<String>, String> {
    let data: String = data.split_whitespace().collect();
    codec::base64::decode(codec::base64::Alphabet::Standard, &data)
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .map(Secret::new)
        .ok_or_else(|| format!("{key} in the kubeconfig is not base64 of PEM"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "
apiVersion: v1
kind: Config
preferences: {}
current-context: here
clusters:
- name: c1
  cluster: {server: 'https://10.0.0.1:6443', certificate-authority: pki/ca.crt, extensions: []}
- name: c2
  cluster: {server: 'http://127.0.0.1:8001', certificate-authority-data: Q0E=}
- name: c3
  cluster: {server: 'https://x', proxy-url: 'http://p'}
users:
- name: token
  user: {token: hush}
- name: file
  user: {tokenFile: t}
- name: basic
  user: {username: u, password: p}
- name: cert
  user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}
- name: exec
  user: {exec: {command: aws}}
- name: plugin
  user: {auth-provider: {name: gcp}}
contexts:
- {name: here, context: {cluster: c1, user: token, namespace: x}}
- {name: there, context: {cluster: c2, user: file}}
- {name: basic, context: {cluster: c2, user: basic}}
- {name: cert, context: {cluster: c2, user: cert}}
- {name: exec, context: {cluster: c1, user: exec}}
- {name: plugin, context: {cluster: c1, user: plugin}}
- {name: proxied, context: {cluster: c3, user: token}}
- {name: nobody, context: {cluster: c2}}
- {name: lost, context: {cluster: c9, user: token}}
- {name: who, context: {cluster: c1, user: nobody}}
";

    fn of(context: &str, text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, text).unwrap();
        let found = find(context, |name| {
            (name == "KUBECONFIG").then(|| format!("{}:/nowhere/config", path.display()))
        });
        let shown = folder.path().display().to_string();
        found
            .map(|mut settings| {
                settings.tls.ca_file = settings.tls.ca_file.replace(&shown, "");
                if let Credential::File(path) = &mut settings.credential {
                    *path = path.strip_prefix(folder.path()).unwrap().into();
                }
                settings
            })
            .map_err(|e| e.replace(&shown, ""))
    }

    #[test]
    fn finds_who_we_are() {
        let check = |context: &str, server: &str, credential: &str| {
            let settings = of(context, TWO).unwrap();
            let found = match &settings.credential {
                Credential::None => "none".to_owned(),
                Credential::Fixed(text) => text.expose().clone(),
                Credential::File(path) => format!("file {}", path.display()),
            };
            assert_eq!(
                (settings.server.as_str(), found.as_str()),
                (server, credential),
                "{context}"
            );
            assert!(!format!("{settings:?}").contains("hush"), "a secret is shown");
        };
        check("", "https://10.0.0.1:6443", "Bearer hush");
        check("here", "https://10.0.0.1:6443", "Bearer hush");
        check("there", "http://127.0.0.1:8001", "file t");
        check("basic", "http://127.0.0.1:8001", "Basic dTpw");
        check("nobody", "http://127.0.0.1:8001", "none");
        check("cert", "http://127.0.0.1:8001", "none");
        assert_eq!(of("here", TWO).unwrap().tls.ca_file, "/pki/ca.crt");
        let tls = of("cert", TWO).unwrap().tls;
        assert_eq!(tls.ca_pem.expose(), "CA");
        assert_eq!(
            (tls.cert_pem.expose().as_str(), tls.key_pem.expose().as_str()),
            ("CERT", "KEY")
        );
    }

    #[test]
    fn says_what_is_missing_or_not_supported_and_never_a_secret() {
        let check = |context: &str, text: &str, expected: &str| {
            let error = of(context, text).err().unwrap_or_default();
            assert_eq!(error, expected, "{context}");
        };
        let supported = "is not supported; use a token, a tokenFile or a client certificate";
        check("exec", TWO, &format!("exec in the kubeconfig {supported}"));
        check(
            "plugin",
            TWO,
            &format!("auth-provider in the kubeconfig {supported}"),
        );
        check("proxied", TWO, "proxy-url in the kubeconfig is not supported");
        check("nowhere", TWO, "the kubeconfig has no context \"nowhere\"");
        check("lost", TWO, "the kubeconfig has no cluster \"c9\"");
        check("who", TWO, "the kubeconfig has no user \"nobody\"");
        check("", "{}", "no context in /config, /nowhere/config");
        check(
            "",
            "users: [{name: a, user: {token: [hush]}}]",
            "/config: it cannot be read as a kubeconfig",
        );
        check("", "a: b: hush", "/config: it cannot be read as a kubeconfig");
    }
}
