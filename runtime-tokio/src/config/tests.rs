//! Whole texts: what is right, and every kind of what is wrong.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sluice_engine::Span;

use super::*;

const EXAMPLE: &str = include_str!("../../../sluice.example.toml");
const DOCUMENT: &str = include_str!("../../../docs/configuration.md");
const SMALL: &str = "[server]\nlisten = \"127.0.0.1:0\"\n[[groups]]\nname = \"main\"\n";
const HASH: &str = "0000000000000000000000000000000000000000000000000000000000000001";

/// Every section, as the document calls it.
const SECTIONS: [(&str, &[&str]); 13] = [
    ("[server]", Server::FIELDS),
    ("[redis]", Redis::FIELDS),
    ("[limits]", Limits::FIELDS),
    ("[upstream]", Upstream::FIELDS),
    ("[log]", Log::FIELDS),
    ("[anthropic]", Anthropic::FIELDS),
    ("[openai]", OpenAi::FIELDS),
    ("[policy]", Knobs::FIELDS),
    ("[[groups]]", Group::FIELDS),
    ("[[users]]", User::FIELDS),
    ("keys", Key::FIELDS),
    ("[[accounts]]", Account::FIELDS),
    ("[accounts.oauth]", OAuth::FIELDS),
];

/// A text, changed by a function that gets a whole account and a whole user.
fn text_of(change: impl Fn(&str) -> String) -> String {
    let whole = format!(
        "{SMALL}\
         [[users]]\nname = \"alice\"\nconcurrency = 1\n\
         keys = [{{ sha256 = \"{HASH}\", group = \"main\" }}]\n\
         [[accounts]]\nname = \"first\"\nbase_url = \"http://h\"\napi_key = \"sk-SECRET\"\n\
         concurrency = 1\ngroups = [\"main\"]\n"
    );
    change(&whole)
}

fn mistakes(text: &str) -> Vec<String> {
    let error = Config::parse(text, 1).expect_err(text);
    let told: Vec<_> = error.mistakes.iter().map(ToString::to_string).collect();
    assert!(!told.concat().contains("SECRET"), "{told:#?}");
    told
}

/// What is told when one piece of a good text is replaced.
fn replaced(from: &str, to: &str) -> Vec<String> {
    mistakes(&text_of(|text| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    }))
}

/// The example with its commented settings, too.
fn full_example() -> String {
    let uncommented = |line: &str| {
        let rest = line.strip_prefix("# ").unwrap_or(line);
        let word = rest.split(" = ").next().unwrap_or_default();
        let name = !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let setting = rest.contains(" = ") && name && !rest.starts_with("ca_file");
        if setting { rest.to_owned() } else { line.to_owned() }
    };
    let lines: Vec<_> = EXAMPLE.lines().map(uncommented).collect();
    lines.join("\n").replace("env:ANTHROPIC_API_KEY", "sk-example")
}

#[test]
fn the_example_is_a_good_configuration_that_says_the_defaults() {
    let text = EXAMPLE.replace("env:ANTHROPIC_API_KEY", "sk-example");
    let config = Config::parse(&text, 1).expect("the example is good");
    assert_eq!(config.policy(), Policy::fair(), "knobs of the example are the defaults");
    let small = Config::parse(SMALL, 1).expect("good");
    assert_eq!(format!("{:?}", config.limits), format!("{:?}", small.limits));
    assert_eq!(format!("{:?}", config.upstream), format!("{:?}", small.upstream));
    assert_eq!(format!("{:?}", config.log), format!("{:?}", small.log));
    assert_eq!(config.server.name, small.server.name);
    assert_eq!(config.server.workers, small.server.workers);
    assert!(config.users.len() >= 2 && config.accounts.len() >= 2);
    assert_eq!(config.warnings, []);
}

#[test]
fn what_the_example_has_commented_out_is_good_and_says_the_defaults_too() {
    let config = Config::parse(&full_example(), 1).expect("every setting of the example is known");
    let knobs = config.policy;
    // What "fair" leaves unset has no value to show.
    let want = Policy { lease_ttl: Some(Span::from_secs(900)), ..Policy::fair() };
    assert_eq!(knobs.policy(), want);
    assert!(config.accounts[0].proxy.is_some(), "commented lines were read");
}

#[test]
fn every_field_is_in_the_example_and_in_the_document() {
    let mut example = BTreeSet::new();
    for line in EXAMPLE.lines() {
        let line = line.trim_start_matches('#').trim().trim_start_matches("{ ");
        example.extend(line.strip_prefix("[accounts.").map(|table| table.trim_end_matches(']')));
        example.extend(line.split(", ").filter_map(|part| part.split(" = ").next()));
    }
    for (section, fields) in SECTIONS {
        let title = format!("\n## `{section}`");
        let start = DOCUMENT.find(&title).unwrap_or_else(|| panic!("no chapter {title}"));
        let rest = &DOCUMENT[start + title.len()..];
        let chapter = &rest[..rest.find("\n## ").unwrap_or(rest.len())];
        for field in fields {
            assert!(example.contains(field), "{section} {field} in the example");
            assert!(chapter.contains(&format!("\n| `{field}` |")), "{section} {field} documented");
        }
        let field = |line: &&str| line.starts_with("| `") && !line.starts_with("| `\"");
        let rows = chapter.lines().filter(field).count();
        assert_eq!(rows, fields.len(), "{section} documents its fields only");
    }
    for section in Config::FIELDS {
        assert!(DOCUMENT.contains(&format!("[{section}]")), "{section} documented");
        assert!(EXAMPLE.contains(&format!("[{section}]")), "{section} in the example");
    }
}

#[test]
fn defaults_in_the_document_are_those_of_the_code() {
    let mut text = SMALL.to_owned();
    for (section, _) in &SECTIONS[1..7] {
        let start = DOCUMENT.find(&format!("\n## `{section}`")).expect("a chapter");
        let rest = &DOCUMENT[start + 4..];
        let chapter = &rest[..rest.find("\n## ").unwrap_or(rest.len())];
        let _ = writeln!(text, "{section}");
        for row in chapter.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<_> = row.split(" | ").collect();
            let (field, default) = (cells[0].trim_matches(['|', ' ', '`']), cells[2]);
            if default != "none" {
                let _ = writeln!(text, "{field} = {}", default.trim_matches('`'));
            }
        }
    }
    let documented = Config::parse(&text, 1).expect("defaults are good values");
    let small = Config::parse(SMALL, 1).expect("good");
    assert_eq!(format!("{:?}", documented.redis), format!("{:?}", small.redis));
    assert_eq!(format!("{:?}", documented.limits), format!("{:?}", small.limits));
    assert_eq!(format!("{:?}", documented.upstream), format!("{:?}", small.upstream));
    assert_eq!(format!("{:?}", documented.log), format!("{:?}", small.log));
    assert_eq!(documented.policy(), Policy::fair());
}

#[test]
fn a_preset_is_changed_knob_by_knob() {
    let text = format!("{SMALL}[policy]\npreset = \"seed\"\nsticky_patience_ms = 7\n");
    let policy = Config::parse(&text, 1).expect("good").policy();
    let want = Policy { sticky_patience: Span::from_ms(7), ..Policy::seed() };
    assert_eq!(policy, want);
}

#[test]
fn one_place_to_listen_at_or_many() {
    let listen = |value: &str| {
        let text = SMALL.replace("\"127.0.0.1:0\"", value);
        let config = Config::parse(&text, 1).expect(value);
        config.server.listen.0.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(listen("\"[::1]:80\""), ["[::1]:80"]);
    assert_eq!(listen("[\"0.0.0.0:80\", \"unix:/s\"]"), ["0.0.0.0:80", "unix:/s"]);
    let told = mistakes(&SMALL.replace("\"127.0.0.1:0\"", "[]"));
    assert!(
        told[0].starts_with("line 2: server.listen = […]: must be \"ADDRESS:PORT\""),
        "{told:?}"
    );
}

#[test]
fn the_store_is_in_memory_or_a_redis() {
    let store = |value: &str| {
        let text = SMALL.replace("\n[[groups]]", &format!("\nstore = \"{value}\"\n[[groups]]"));
        Config::parse(&text, 1).map(|config| config.store)
    };
    assert_eq!(Config::parse(SMALL, 1).expect("good").store, Store::Memory);
    assert_eq!(store("memory"), Ok(Store::Memory));
    let shared = store("redis://gate:SECRET@127.0.0.1:6379/1").expect("good");
    let shown = format!("{shared:?}");
    assert!(shown.contains("redis://gate:***@127.0.0.1:6379/1"), "{shown}");
    for (value, told) in [
        ("redis:6379:SECRET", "line 3: server.store: is no URL of a Redis"),
        ("http://u:SECRET@h", "line 3: server.store: has another scheme"),
        ("redis://u:SECRET#@h", "line 3: server.store: has a # in it"),
        ("env:STORE", "line 3: server.store: env: is only for a configuration that is a file"),
    ] {
        let mistakes = store(value).expect_err(value).to_string();
        assert!(mistakes.starts_with(told), "{mistakes}");
        assert!(!mistakes.contains("SECRET"), "{mistakes}");
    }
    let told = mistakes(&format!("{SMALL}[redis]\ncell = \"{{a}}\"\n"));
    assert!(told[0].starts_with("line 6: redis.cell = \"{a}\": must be 1 to 64"), "{told:?}");
}

#[test]
fn numbers_are_read_in_every_notation_of_toml() {
    let text = format!("{SMALL}[limits]\nheaders_max = 0x1_0\nconnections_max = +1_000\n");
    let limits = Config::parse(&text, 1).expect("good").limits;
    assert_eq!((limits.headers_max, limits.connections_max), (16, 1000));
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(
        mistakes(""),
        [
            "server: is missing; it must be a table with fields such as listen",
            "groups: is missing; it must be a list, in brackets",
        ]
    );
    let told = mistakes("server = {}\ngroups = [{}]\nusers = [{}]\naccounts = [{}]\n");
    let named: Vec<_> = told.iter().map(|told| told.split(": is missing").next()).collect();
    let want = [
        "line 1: server.listen",
        "line 2: groups[0].name",
        "line 3: users[0].name",
        "line 3: users[0].concurrency",
        "line 4: accounts[0].name",
        "line 4: accounts[0].base_url",
        "line 4: accounts[0].concurrency",
        "line 4: accounts[0].groups",
        "line 4: accounts[0].api_key",
    ];
    assert_eq!(named, want.map(Some));
}

#[test]
fn a_secret_is_never_told() {
    for (from, to) in [
        ("\"sk-SECRET\"", "[\"sk-SECRET\"]"),
        ("\"sk-SECRET\"", "{ value = \"sk-SECRET\" }"),
        ("\"sk-SECRET\"", "\"sk SECRET\""),
        ("\"sk-SECRET\"", "\"sk-SECRET"),
        ("\"sk-SECRET\"", "sk-SECRET"),
        ("\"sk-SECRET\"", "\"env:sk-SECRET\""),
        ("\"sk-SECRET\"", "\"env:SECRET\""),
        ("api_key =", "apikey ="),
        ("api_key = ", "api_key = \"a\"\nproxy = \"http://u:p@SECRET\" #"),
        ("api_key = ", "api_key = \"a\"\nproxy = [\"http://u:SECRET@h:1\"] #"),
        ("api_key = ", "api_key = \"a\"\nproxy = \"u:SECRET@h:1\" #"),
        ("http://h", "http://u:SECRET@h"),
        ("http://h", "http://h?key=SECRET"),
        (HASH, "sk-SECRET"),
        ("keys = [", "keys = [\"SECRET\", "),
        ("keys = [", "keys = \"SECRET\" # "),
        ("keys = [", "keys = { key = \"SECRET\" } # "),
        ("[[users]]", "users = \"SECRET\"\n[[users]]"),
    ] {
        assert!(!replaced(from, to).is_empty(), "{to}");
    }
}

#[test]
fn each_kind_of_mistake_is_told_with_its_line_and_remedy() {
    for (from, to, want) in [
        ("[[users]]", "[[user]]", "line 5: user: there is no such field; did you mean \"users\"?"),
        (
            "\"alice\"",
            "7",
            "line 6: users[0].name = 7: must be 1 to 200 characters in quotes, without control \
             characters, and without space at either end",
        ),
        (
            "concurrency = 1",
            "concurrency = 0",
            "line 7: users[0].concurrency = 0: must be a whole number from 1 to 1000000, \
             \"unlimited\" or \"closed\"",
        ),
        (
            "group = \"main\"",
            "group = \"mian\"",
            "line 8: users[0].keys[0].group = \"mian\": there is no such group in [[groups]]; did \
             you mean \"main\"?",
        ),
        (
            "[\"main\"]",
            "[\"other\"]",
            "line 14: accounts[0].groups[0] = \"other\": there is no such group in [[groups]]",
        ),
        (
            "[\"main\"]",
            "[\n\"main\",\n\"main\"]",
            "line 16: accounts[0].groups[1] = \"main\": is there twice; once will do",
        ),
        (
            "\"http://h\"",
            "\"http://h:x\"",
            "line 11: accounts[0].base_url = \"http://h:x\": has a port not from 1 to 65535; it \
             must be https://HOST[:PORT][/PREFIX] or http://HOST[:PORT][/PREFIX], in quotes",
        ),
        ("\"sk-SECRET\"", "\"\"", "line 12: accounts[0].api_key: the value is empty"),
        (
            "\"sk-SECRET\"",
            "\"sk\"\nproxy = \"socks5://h\"",
            "line 13: accounts[0].proxy: has no port; it must be http://, https:// or socks5://, \
             then [USER:PASSWORD@]HOST:PORT",
        ),
        (
            "\"sk-SECRET\"",
            "\"sk\"\nproject = \"p\"",
            "line 13: accounts[0].project = \"p\": is for accounts with platform = \"gemini\" or \
             \"antigravity\" only",
        ),
        (
            "\"sk-SECRET\"",
            "\"sk\"\nplatform = \"antigravity\"",
            "line 9: accounts[0].project: is missing; an account with platform = \"antigravity\" \
             needs the project that requests are made for",
        ),
        (
            "\"sk-SECRET\"",
            "\"sk\"\nmixed = true",
            "line 13: accounts[0].mixed = true: is for accounts with platform = \"antigravity\" only",
        ),
        (
            "[[groups]]",
            "admin_listen = \"8080\"\n[[groups]]",
            "line 3: server.admin_listen = \"8080\": must be \"ADDRESS:PORT\", \"[IPV6]:PORT\" or \
             \"unix:/PATH\"; addresses are numbers, such as 127.0.0.1",
        ),
        (
            "[[groups]]",
            "[limits]\nparked_bytes_max = 5\n[[groups]]",
            "line 4: limits.parked_bytes_max = 5: must be at least 104988672: \
             limits.body_bytes_max, and the buffer it is read through",
        ),
        (
            "[[groups]]",
            "[policy]\nejection_ms = 2000\nejection_max_ms = 1000\n[[groups]]",
            "line 5: policy.ejection_max_ms = 1000: must be at least ejection_ms",
        ),
        (
            "[[groups]]",
            "[upstream]\nca_file = \"/dev/null\"\n[[groups]]",
            "line 4: upstream.ca_file = \"/dev/null\": files are only for a configuration that is \
             one",
        ),
        (
            "[[groups]]",
            "[[groups]",
            "line 3, column 10: this is no TOML: unclosed array table, expected `]`",
        ),
    ] {
        let told = replaced(from, to);
        assert!(told.iter().any(|told| told == want), "want {want}\nin {told:#?}");
    }
}

#[test]
fn mistakes_in_a_section_of_tokens_are_told_with_line_and_remedy() {
    let oauth =
        "oauth = { token_url = \"http://h/t\", client_id = \"me\", credential_file = \"/c\" }";
    let file = "line 12: accounts[0].oauth.credential_file = \"/c\": files are only for a \
                configuration that is one";
    assert_eq!(replaced("api_key = \"sk-SECRET\"", oauth), [file]);
    for (from, to, want) in [
        ("h/t", "h/t?x", "accounts[0].oauth.token_url: has characters"),
        (
            "token_url = \"http://h/t\", ",
            "",
            "accounts[0].oauth.token_url: is missing; it must be https://",
        ),
        ("\"me\"", "\"\"", "accounts[0].oauth.client_id = \"\": must be 1 to 200 characters"),
        (
            "\"me\"",
            "\"me\", client_secret = \"SEC RET\"",
            "accounts[0].oauth.client_secret: the value must be",
        ),
        (
            "\"me\"",
            "\"me\", scope = \"a  b\"",
            "accounts[0].oauth.scope = \"a  b\": must be 1 to 2000",
        ),
        ("\"/c\"", "\"\"", "accounts[0].oauth.credential_file = \"\": must be a path in quotes"),
        (
            "client_id",
            "clientid",
            "accounts[0].oauth.clientid: there is no such field; did you mean \"client_id\"?",
        ),
        (
            "oauth =",
            "api_key = \"SECRET\"\noauth =",
            "accounts[0].api_key: is beside a section oauth",
        ),
    ] {
        assert!(oauth.contains(from), "{from}");
        let told = replaced("api_key = \"sk-SECRET\"", &oauth.replacen(from, to, 1));
        let want = format!("line 12: {want}");
        assert!(told.iter().any(|told| told.starts_with(&want)), "want {want}\nin {told:#?}");
    }
    let told = replaced("api_key = \"sk-SECRET\"", "oauth = \"SECRET\"");
    assert_eq!(told, ["line 12: accounts[0].oauth: must be a table with fields such as token_url"]);
    let text = text_of(|text| {
        let text = text.replacen("api_key = \"sk-SECRET\"", oauth, 1);
        let at = text.find("[[accounts]]").expect("it is there");
        format!("{text}{}", text[at..].replace("first", "second"))
    });
    let told = mistakes(&text);
    let same = "line 18: accounts[1].oauth.credential_file = \"/c\": accounts[0].oauth.\
                credential_file (line 12) is the same file; each needs its own";
    assert_eq!(told, [file, same]);
}

#[test]
fn a_mistake_does_not_hide_another_and_does_not_make_one() {
    let told = replaced("name = \"main\"", "nam = \"main\"");
    assert_eq!(told.len(), 2, "unknown and missing, no unknown group: {told:#?}");
    let told = replaced("name = \"first\"", "nam = 1\npriority = \"high\"");
    assert_eq!(told.len(), 3, "{told:#?}");
}

#[test]
fn names_and_keys_are_unique() {
    let text = text_of(|text| {
        let more = text.replace(SMALL, "").replace(HASH, &HASH.to_uppercase());
        format!("{text}[[groups]]\nname = \"main\"\n{more}")
    });
    let told = mistakes(&text);
    assert_eq!(
        told,
        [
            "line 16: groups[1].name = \"main\": groups[0] (line 3) has that name already; choose \
             another",
            "line 18: users[1].name = \"alice\": users[0] (line 5) has that name already; choose \
             another",
            "line 20: users[1].keys[0].sha256: users[0].keys[0] (line 8) is the same key; a key \
             has one owner",
            "line 22: accounts[1].name = \"first\": accounts[0] (line 9) has that name already; \
             choose another",
        ]
    );
}

#[test]
fn what_is_hardly_meant_is_a_warning() {
    let text = text_of(|text| text.replace("[\"main\"]", "[]").replace("keys = [", "keys = [] # "));
    let config = Config::parse(&text, 1).expect("good");
    let told: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "line 4: groups[0].name = \"main\": no account is in this group; its users are served \
             by nobody",
            "line 6: users[0].name = \"alice\": this user has no key, and so cannot ask",
            "line 10: accounts[0].name = \"first\": this account is in no group, and so serves \
             nobody",
        ]
    );
}

#[test]
fn deep_and_long_texts_are_read_to_their_end() {
    let deep = format!("{SMALL}x = {}", "[".repeat(10_000));
    assert!(!mistakes(&deep).is_empty());
    let dotted = format!("{}a = 1\n{SMALL}", "a.".repeat(10_000));
    assert!(!mistakes(&dotted).is_empty());
    let long = text_of(|text| text.replace("\"alice\"", &format!("\"{}\"", "a".repeat(100_000))));
    let told = mistakes(&long).concat();
    assert!(told.len() < 1_000, "values are shortened");
}
