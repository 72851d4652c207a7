//! Checking: how the fields of a configuration fit each other and the world outside it.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Report, did_you_mean, quoted};
use super::listen::Listen;
use super::secret::Outside;
use super::{Account, Config, OAuth, PlatformName, Store};
use crate::directory::Proxy;
use crate::gateway::READ_BYTES_MAX;
use crate::protocol::Protocol;
use crate::upstream::oauth::file::{FILE_BYTES_MAX, Stored};

/// The longest file of certificates, in bytes.
const CA_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Notes everything that does not fit, and puts the values of secrets in the place of their sources.
pub(super) fn check(config: &mut Config, report: &mut Report, outside: Outside) {
    listeners(config, report);
    store(config, report, outside);
    sizes(config, report);
    certificates(config, report, outside);
    for (field, value, must) in config.policy.mistakes() {
        report.mistake(&format!("policy.{field}"), Some(value), must);
    }
    references(config, report);
    unique_names(config, report);
    unique_keys(config, report);
    repeated_groups(config, report);
    unique_files(config, report);
    for (index, account) in config.accounts.iter_mut().enumerate() {
        secrets(account, &format!("accounts[{index}]"), report, outside);
        envelope(account, &format!("accounts[{index}]"), report);
    }
    idle(config, report);
}

fn listeners(config: &Config, report: &mut Report) {
    let clients = &config.server.listen.0;
    let path = |index| match clients.len() {
        1 => "server.listen".to_owned(),
        _ => format!("server.listen[{index}]"),
    };
    let mut all: Vec<(String, &Listen)> =
        clients.iter().enumerate().map(|(index, listen)| (path(index), listen)).collect();
    let admin = config.server.admin_listen.as_ref();
    all.extend(admin.map(|listen| ("server.admin_listen".to_owned(), listen)));
    for (n, (path, listen)) in all.iter().enumerate() {
        if let Some((first, _)) = all[..n].iter().find(|(_, other)| listen.collides(other)) {
            let remedy = format!("{first} takes that place already; choose another port or path");
            report.mistake(path, Some(quoted(&listen.to_string())), remedy);
        }
    }
}

/// A URL is shown without its password, and what is none not at all.
fn store(config: &mut Config, report: &mut Report, outside: Outside) {
    const PATH: &str = "server.store";
    let source = &mut config.server.store;
    if report.is_wrong(PATH) {
        return;
    }
    match source.resolve(outside).and_then(|()| Store::parse(source.expose())) {
        Ok(store) => config.store = store,
        Err(why) => report.mistake(PATH, None, why),
    }
}

fn sizes(config: &Config, report: &mut Report) {
    let (one, all) = (config.limits.body_bytes_max, config.limits.parked_bytes_max);
    let with_buffer = one.saturating_add(one.min(READ_BYTES_MAX));
    if with_buffer > all && !report.is_wrong("limits.body_bytes_max") {
        let remedy = format!(
            "must be at least {with_buffer}: limits.body_bytes_max, and the buffer it is read through"
        );
        report.mistake("limits.parked_bytes_max", Some(all.to_string()), remedy);
    }
}

fn certificates(config: &Config, report: &mut Report, outside: Outside) {
    let Some(file) = &config.upstream.ca_file else { return };
    let why = match outside.file(file, CA_FILE_BYTES_MAX) {
        Ok(text) if text.contains("-----BEGIN CERTIFICATE-----") => return,
        Ok(_) => "must hold certificates in PEM form, and there is none in it".to_owned(),
        Err(why) => why,
    };
    report.mistake("upstream.ca_file", Some(quoted(&file.to_string_lossy())), why);
}

fn unique_names(config: &Config, report: &mut Report) {
    let groups: Vec<_> = config.groups.iter().map(|group| &*group.name).collect();
    let users: Vec<_> = config.users.iter().map(|user| &*user.name).collect();
    let accounts: Vec<_> = config.accounts.iter().map(|account| &*account.name).collect();
    for (section, names) in [("groups", groups), ("users", users), ("accounts", accounts)] {
        let mut firsts = BTreeMap::new();
        for (index, name) in names.into_iter().enumerate() {
            let first = *firsts.entry(name).or_insert(index);
            if first != index {
                let first = format!("{section}[{first}]");
                let remedy =
                    format!("{} has that name already; choose another", at(&first, report));
                report.mistake(&format!("{section}[{index}].name"), Some(quoted(name)), remedy);
            }
        }
    }
}

fn unique_keys(config: &Config, report: &mut Report) {
    let mut firsts = BTreeMap::new();
    for (u, user) in config.users.iter().enumerate() {
        for (k, key) in user.keys.iter().enumerate() {
            let path = format!("users[{u}].keys[{k}]");
            let first = firsts.entry(key.sha256.to_hex()).or_insert_with(|| path.clone());
            if *first != path {
                let remedy = format!("{} is the same key; a key has one owner", at(first, report));
                report.mistake(&format!("{path}.sha256"), None, remedy);
            }
        }
    }
}

fn references(config: &Config, report: &mut Report) {
    if report.is_wrong("groups") {
        // Which groups there are is not known.
        return;
    }
    let groups: BTreeSet<&str> = config.groups.iter().map(|group| &*group.name).collect();
    let mut refer = |path: String, group: &str| {
        if !groups.contains(group) {
            let hint = did_you_mean(group, groups.iter().copied());
            let remedy = format!("there is no such group in [[groups]]{hint}");
            report.mistake(&path, Some(quoted(group)), remedy);
        }
    };
    for (u, user) in config.users.iter().enumerate() {
        for (k, key) in user.keys.iter().enumerate() {
            refer(format!("users[{u}].keys[{k}].group"), &key.group);
        }
    }
    for (a, account) in config.accounts.iter().enumerate() {
        for (g, group) in account.groups.iter().enumerate() {
            refer(format!("accounts[{a}].groups[{g}]"), group);
        }
    }
}

fn repeated_groups(config: &Config, report: &mut Report) {
    for (a, account) in config.accounts.iter().enumerate() {
        let mut seen = BTreeSet::new();
        for (g, group) in account.groups.iter().enumerate() {
            if !seen.insert(group) {
                let path = format!("accounts[{a}].groups[{g}]");
                report.mistake(&path, Some(quoted(group)), "is there twice; once will do".into());
            }
        }
    }
}

/// Who wants an envelope, and what goes with it.
fn envelope(account: &Account, path: &str, report: &mut Report) {
    if report.is_wrong(&format!("{path}.platform")) {
        return;
    }
    let antigravity = account.platform == PlatformName::Antigravity;
    let speaks_gemini = account.platform.protocol() == Protocol::Gemini;
    match &account.project {
        None if antigravity && !report.is_wrong(&format!("{path}.project")) => {
            let remedy = "is missing; an account with platform = \"antigravity\" needs the project \
                          that requests are made for";
            report.mistake(&format!("{path}.project"), None, remedy.to_owned());
        }
        Some(project) if !speaks_gemini => {
            let remedy = "is for accounts with platform = \"gemini\" or \"antigravity\" only";
            report.mistake(&format!("{path}.project"), Some(quoted(project)), remedy.to_owned());
        }
        Some(_) | None => {}
    }
    if account.mixed && !antigravity {
        let remedy = "is for accounts with platform = \"antigravity\" only";
        report.mistake(&format!("{path}.mixed"), Some("true".to_owned()), remedy.to_owned());
    }
}

/// The values of an account's secrets are never shown.
fn secrets(account: &mut Account, path: &str, report: &mut Report, outside: Outside) {
    let api_key = format!("{path}.api_key");
    match (&mut account.api_key, &account.oauth) {
        (Some(_), Some(_)) => {
            let remedy = "is beside a section oauth; an account has one of the two";
            report.mistake(&api_key, None, remedy.to_owned());
        }
        (Some(key), None) => {
            if let Err(why) = key.resolve(outside) {
                report.mistake(&api_key, None, why);
            }
        }
        (None, None)
            if !report.is_wrong(&api_key) && !report.is_wrong(&format!("{path}.oauth")) =>
        {
            let remedy = "is missing; an account has an api_key, or a section oauth in its place";
            report.mistake(&api_key, None, remedy.to_owned());
        }
        (None, _) => {}
    }
    if let Some(oauth) = &mut account.oauth {
        tokens(oauth, &format!("{path}.oauth"), report, outside);
    }
    let Some(proxy) = &mut account.proxy else { return };
    let resolved = proxy.resolve(outside);
    if let Err(why) = resolved.and_then(|()| Proxy::parse(proxy).map(drop)) {
        report.mistake(&format!("{path}.proxy"), None, why);
    }
}

/// What access tokens come from and are kept in.
fn tokens(oauth: &mut OAuth, path: &str, report: &mut Report, outside: Outside) {
    if let Some(Err(why)) = oauth.client_secret.as_mut().map(|secret| secret.resolve(outside)) {
        report.mistake(&format!("{path}.client_secret"), None, why);
    }
    let file = &oauth.credential_file;
    let read = outside.file(file, FILE_BYTES_MAX).and_then(|text| Stored::parse(&text).map(drop));
    if let Err(why) = read {
        let shown = Some(quoted(&file.to_string_lossy()));
        report.mistake(&format!("{path}.credential_file"), shown, why);
    }
}

/// Of two accounts with the same file, each would put its own tokens in the place of the other's.
fn unique_files(config: &Config, report: &mut Report) {
    let mut firsts = BTreeMap::new();
    for (index, account) in config.accounts.iter().enumerate() {
        let Some(oauth) = &account.oauth else { continue };
        let path = format!("accounts[{index}].oauth.credential_file");
        let first = firsts.entry(&oauth.credential_file).or_insert_with(|| path.clone());
        if *first != path {
            let shown = Some(quoted(&oauth.credential_file.to_string_lossy()));
            let remedy = format!("{} is the same file; each needs its own", at(first, report));
            report.mistake(&path, shown, remedy);
        }
    }
}

/// Warns of what nobody can use.
fn idle(config: &Config, report: &mut Report) {
    let used: BTreeSet<_> = config.accounts.iter().flat_map(|account| &account.groups).collect();
    for (index, group) in config.groups.iter().enumerate() {
        if !used.contains(&group.name) {
            let why = "no account is in this group; its users are served by nobody".to_owned();
            report.warning(&format!("groups[{index}].name"), Some(quoted(&group.name)), why);
        }
    }
    for (index, user) in config.users.iter().enumerate() {
        if user.keys.is_empty() {
            let why = "this user has no key, and so cannot ask".to_owned();
            report.warning(&format!("users[{index}].name"), Some(quoted(&user.name)), why);
        }
    }
    for (index, account) in config.accounts.iter().enumerate() {
        if account.groups.is_empty() {
            let why = "this account is in no group, and so serves nobody".to_owned();
            report.warning(&format!("accounts[{index}].name"), Some(quoted(&account.name)), why);
        }
    }
}

/// A path with its line.
fn at(path: &str, report: &Report) -> String {
    report.line(path).map_or_else(|| path.to_owned(), |line| format!("{path} (line {line})"))
}
