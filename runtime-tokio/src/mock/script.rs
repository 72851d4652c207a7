//! The script: a TOML file that says how requests with each key are answered.
//!
//! A mistake is told with its line, the text there and what it must be: what a number may be is in
//! its type, so that whoever reads the file knows the place.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use hyper::header::HeaderValue;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use tokio::sync::Semaphore;

use super::behaviour::{Behaviour, Fault, MILLE};
use super::issuer::{Client, Grants};

/// How requests with each key are answered.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// With every key that is not named.
    pub default: Behaviour,
    /// With these. Nothing is taken over from `default`.
    #[serde(deserialize_with = "named_keys")]
    pub keys: BTreeMap<String, Behaviour>,
    /// Who is issued access tokens.
    pub clients: BTreeMap<String, Client>,
}

/// What is wrong with a script: the line, the text there, and what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError(String);

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScriptError {}

/// Bytes of a script.
const SCRIPT_BYTES_MAX: u64 = 4 << 20;

impl Script {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or its first mistake.
    pub fn load(path: &Path) -> Result<Self, ScriptError> {
        let told = |why: &dyn fmt::Display| ScriptError(format!("{}: {why}", path.display()));
        let bytes = std::fs::metadata(path).map_err(|error| told(&error))?.len();
        if bytes > SCRIPT_BYTES_MAX {
            return Err(told(&format!("{bytes} bytes; a script has at most {SCRIPT_BYTES_MAX}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| told(&error))?;
        Self::parse(&text).map_err(|error| told(&error))
    }

    /// Reads a text.
    ///
    /// # Errors
    /// Its first mistake.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        toml::from_str(text).map_err(|error| ScriptError(error.to_string().trim_end().to_owned()))
    }
}

impl<'de> Deserialize<'de> for Behaviour {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawBehaviour::deserialize(deserializer).map(Self::from)
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawBehaviour {
    greeting: Option<String>,
    latency_ms: Option<Within<0, DAY_MS>>,
    words: Option<Within<1, 1_000_000_000>>,
    pace_ms: Option<Within<0, DAY_MS>>,
    tool: bool,
    limit: Option<Within<1, 1_000_000>>,
    over_limit: OverLimit,
    hold: bool,
    faults: Faults,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OverLimit {
    #[default]
    Serve,
    Refuse,
}

impl From<RawBehaviour> for Behaviour {
    fn from(raw: RawBehaviour) -> Self {
        let or = Self::default();
        let ms = |number: Option<Within<0, DAY_MS>>, or| {
            number.map_or(or, |Within(ms)| Duration::from_millis(ms.into()))
        };
        Self {
            greeting: raw.greeting.unwrap_or(or.greeting),
            latency: ms(raw.latency_ms, or.latency),
            words: raw.words.map_or(or.words, |Within(words)| words as usize),
            pace: ms(raw.pace_ms, or.pace),
            tool: raw.tool,
            limit: raw.limit.map(|Within(limit)| limit),
            refuses_over_limit: raw.over_limit == OverLimit::Refuse,
            faults: raw.faults.0,
            hold: raw.hold.then(|| Rc::new(Semaphore::new(0))),
        }
    }
}

const DAY_MS: u32 = 86_400_000;
const DAY_SECS: u32 = 86_400;

/// A whole number within these bounds, both included.
#[derive(Clone, Copy)]
struct Within<const MIN: u32, const MAX: u32>(u32);

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Within<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number<const MIN: u32, const MAX: u32>(PhantomData<Within<MIN, MAX>>);

        impl<const MIN: u32, const MAX: u32> Visitor<'_> for Number<MIN, MAX> {
            type Value = Within<MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from {MIN} to {MAX}")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                let inside = u32::try_from(number).ok().filter(|n| (MIN..=MAX).contains(n));
                inside
                    .map(Within)
                    .ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
            }
        }

        deserializer.deserialize_i64(Number(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Client {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawClient::deserialize(deserializer).map(Self::from)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClient {
    key: String,
    secret: Option<String>,
    expires_in_s: Option<Within<1, DAY_SECS>>,
    #[serde(default)]
    rotates: bool,
    refuses: Option<Refuses>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Refuses {
    InvalidGrant,
    ServerError,
}

impl From<RawClient> for Client {
    fn from(raw: RawClient) -> Self {
        Self {
            secret: raw.secret,
            expires_in_secs: raw.expires_in_s.map(|Within(secs)| secs.into()),
            rotates: raw.rotates,
            grants: match raw.refuses {
                None => Grants::Token,
                Some(Refuses::InvalidGrant) => Grants::Refusal(400, "invalid_grant"),
                Some(Refuses::ServerError) => Grants::Refusal(500, "server_error"),
            },
            ..Self::of(&raw.key)
        }
    }
}

/// Each with how often it happens, together at most always.
#[derive(Default, Deserialize)]
#[serde(try_from = "Vec<RawFault>")]
struct Faults(Vec<(u32, Fault)>);

impl TryFrom<Vec<RawFault>> for Faults {
    type Error = String;

    fn try_from(raw: Vec<RawFault>) -> Result<Self, String> {
        let faults: Vec<_> = raw.into_iter().map(|RawFault(mille, fault)| (mille, fault)).collect();
        let sum: u64 = faults.iter().map(|(mille, _)| u64::from(*mille)).sum();
        if sum > MILLE.into() {
            return Err(format!(
                "faults: the per_mille of all faults add up to {sum}; make them {MILLE} at most \
                 (a fault without per_mille happens always, which is {MILLE})"
            ));
        }
        Ok(Self(faults))
    }
}

#[derive(Deserialize)]
#[serde(try_from = "FaultFields")]
struct RawFault(u32, Fault);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultFields {
    kind: Kind,
    per_mille: Option<Within<1, MILLE>>,
    status: Option<Within<300, 599>>,
    retry_after_s: Option<Within<0, DAY_SECS>>,
    error: Option<ErrorClass>,
    after_events: Option<Within<0, { u32::MAX }>>,
    location: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Status,
    Redirect,
    Html,
    Reset,
    Torn,
    Truncated,
    Stall,
    Linger,
    ErrorEvent,
}

impl TryFrom<FaultFields> for RawFault {
    type Error = String;

    fn try_from(given: FaultFields) -> Result<Self, String> {
        given.fit()?;
        let after = given.after_events.map(|Within(events)| events as usize);
        let error = given.error.map(ErrorClass::name);
        let fault = match given.kind {
            Kind::Status => {
                let status = given.status_within(400, 599, None)?;
                let retry_after = given.retry_after_s.map(|Within(secs)| secs.into());
                Fault::Status(status, error.unwrap_or_else(|| class_of(status)), retry_after)
            }
            Kind::Redirect => {
                let status = given.status_within(300, 399, Some(307))?;
                let location = given.location.ok_or("a redirect needs a location; add one")?;
                if HeaderValue::try_from(&location).is_err() {
                    return Err(format!("location: {location:?} must be one line of text"));
                }
                Fault::Redirect(status, location)
            }
            Kind::Html => Fault::Html,
            Kind::Reset => Fault::Reset,
            Kind::Torn => after.map_or(Fault::Truncate, Fault::TearAfter),
            Kind::Truncated => Fault::EndAfter(after.unwrap_or(usize::MAX)),
            Kind::Stall => after.map_or(Fault::Stall, Fault::StallAfter),
            Kind::Linger => Fault::Linger,
            Kind::ErrorEvent => {
                let class = error.unwrap_or(ErrorClass::OverloadedError.name());
                after.map_or(Fault::ErrorEvent(class), |after| Fault::ErrorAfter(class, after))
            }
        };
        Ok(Self(given.per_mille.map_or(MILLE, |Within(mille)| mille), fault))
    }
}

impl FaultFields {
    /// Whether every field that is given means something for this kind of fault.
    fn fit(&self) -> Result<(), String> {
        let (name, takes): (_, &[&str]) = match self.kind {
            Kind::Status => ("status", &["status", "retry_after_s", "error"]),
            Kind::Redirect => ("redirect", &["status", "location"]),
            Kind::Html => ("html", &[]),
            Kind::Reset => ("reset", &[]),
            Kind::Torn => ("torn", &["after_events"]),
            Kind::Truncated => ("truncated", &["after_events"]),
            Kind::Stall => ("stall", &["after_events"]),
            Kind::Linger => ("linger", &[]),
            Kind::ErrorEvent => ("error_event", &["error", "after_events"]),
        };
        let given = [
            ("status", self.status.is_some()),
            ("retry_after_s", self.retry_after_s.is_some()),
            ("error", self.error.is_some()),
            ("after_events", self.after_events.is_some()),
            ("location", self.location.is_some()),
        ];
        match given.iter().find(|(field, given)| *given && !takes.contains(field)) {
            None => Ok(()),
            Some((field, _)) => {
                let takes = [&["kind", "per_mille"], takes].concat().join(", ");
                Err(format!("{field}: a fault of kind \"{name}\" has none; remove it ({takes})"))
            }
        }
    }

    fn status_within(&self, min: u16, max: u16, or: Option<u16>) -> Result<u16, String> {
        let status = self.status.and_then(|Within(status)| u16::try_from(status).ok()).or(or);
        let status = status.ok_or("a fault of kind \"status\" needs a status; add one")?;
        if (min..=max).contains(&status) {
            Ok(status)
        } else {
            Err(format!("status: {status} must be from {min} to {max} for this kind of fault"))
        }
    }
}

/// The classes of errors that the Messages protocol knows.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ErrorClass {
    InvalidRequestError,
    AuthenticationError,
    BillingError,
    PermissionError,
    NotFoundError,
    RequestTooLarge,
    RateLimitError,
    TimeoutError,
    ApiError,
    OverloadedError,
}

impl ErrorClass {
    const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequestError => "invalid_request_error",
            Self::AuthenticationError => "authentication_error",
            Self::BillingError => "billing_error",
            Self::PermissionError => "permission_error",
            Self::NotFoundError => "not_found_error",
            Self::RequestTooLarge => "request_too_large",
            Self::RateLimitError => "rate_limit_error",
            Self::TimeoutError => "timeout_error",
            Self::ApiError => "api_error",
            Self::OverloadedError => "overloaded_error",
        }
    }
}

/// The class that goes with a status.
const fn class_of(status: u16) -> &'static str {
    let class = match status {
        401 => ErrorClass::AuthenticationError,
        402 => ErrorClass::BillingError,
        403 => ErrorClass::PermissionError,
        404 => ErrorClass::NotFoundError,
        413 => ErrorClass::RequestTooLarge,
        429 => ErrorClass::RateLimitError,
        504 => ErrorClass::TimeoutError,
        529 => ErrorClass::OverloadedError,
        500.. => ErrorClass::ApiError,
        _ => ErrorClass::InvalidRequestError,
    };
    class.name()
}

/// Keys that a request can carry.
fn named_keys<'de, D>(deserializer: D) -> Result<BTreeMap<String, Behaviour>, D::Error>
where
    D: Deserializer<'de>,
{
    let keys = BTreeMap::<Key, Behaviour>::deserialize(deserializer)?;
    Ok(keys.into_iter().map(|(Key(key), behaviour)| (key, behaviour)).collect())
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct Key(String);

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(key: String) -> Result<Self, String> {
        let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
        if visible && super::answer::is_key(&key) {
            Ok(Self(key))
        } else {
            Err(format!("the key {key:?} must be 1 to 256 visible ASCII characters"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(lines: &str) -> Behaviour {
        Script::parse(&format!("[default]\n{lines}")).expect("a good script").default
    }

    fn mistake(text: &str) -> String {
        Script::parse(text).expect_err("a bad script").to_string()
    }

    #[test]
    fn the_example_is_a_good_script() {
        let script = Script::parse(super::super::command::EXAMPLE).expect("the example is good");
        assert!(script.keys.len() >= 2, "{script:?}");
        let page = include_str!("../../../docs/mock-upstream.md");
        assert!(page.contains(super::super::command::EXAMPLE), "the page shows it as it is");
    }

    #[test]
    fn nothing_is_a_script_too() {
        let script = Script::parse("").expect("good");
        assert_eq!(format!("{:?}", script.default), format!("{:?}", Behaviour::default()));
    }

    #[test]
    fn every_field_arrives() {
        let all = one("greeting = \"Hi\"\nlatency_ms = 7\nwords = 3\npace_ms = 9\ntool = true\n\
                       limit = 4\nover_limit = \"refuse\"\nhold = true\n");
        let ms = Duration::from_millis;
        assert_eq!((&*all.greeting, all.latency, all.words, all.pace), ("Hi", ms(7), 3, ms(9)));
        assert!(all.tool && all.refuses_over_limit && all.hold.is_some());
        assert_eq!(all.limit, Some(4));
        let script = "[keys.\"sk-a b\"]\n[keys.b]\nwords = 9\n";
        assert!(mistake(script).contains("visible ASCII"), "{}", mistake(script));
        let script = Script::parse("[keys.\"sk-a\"]\n[keys.b]\nwords = 9\n").expect("good");
        assert_eq!(script.keys.values().map(|b| b.words).collect::<Vec<_>>(), [9, 5]);
    }

    #[test]
    fn a_client_can_be_written() {
        let client = |lines: &str| {
            let script = Script::parse(&format!("[clients.c]\nkey = \"k\"\n{lines}\n"));
            script.expect("a good script").clients.remove("c").expect("it is there")
        };
        let plain = client("");
        assert_eq!((&*plain.key, plain.rotates, plain.grants), ("k", false, Grants::Token));
        assert_eq!(plain.expires_in_secs, None);
        let full = client(
            "secret = \"s\"\nexpires_in_s = 60\nrotates = true\nrefuses = \"invalid_grant\"",
        );
        assert_eq!((full.secret.as_deref(), full.expires_in_secs), (Some("s"), Some(60)));
        assert_eq!((full.rotates, full.grants), (true, Grants::Refusal(400, "invalid_grant")));
        let told = mistake("[clients.c]\nkey = \"k\"\nrefuses = \"x\"\n");
        assert!(told.contains("`invalid_grant` or `server_error`"), "{told}");
        assert!(mistake("[clients.c]\n").contains("missing field `key`"));
    }

    #[test]
    fn every_fault_can_be_written() {
        let faults = [
            ("kind = \"status\", status = 429", Fault::Status(429, "rate_limit_error", None)),
            (
                "kind = \"status\", status = 529, retry_after_s = 5",
                Fault::Status(529, "overloaded_error", Some(5)),
            ),
            ("kind = \"status\", status = 503", Fault::Status(503, "api_error", None)),
            (
                "kind = \"status\", status = 400, error = \"billing_error\"",
                Fault::Status(400, "billing_error", None),
            ),
            ("kind = \"redirect\", location = \"/x\"", Fault::Redirect(307, "/x".to_owned())),
            ("kind = \"html\"", Fault::Html),
            ("kind = \"reset\"", Fault::Reset),
            ("kind = \"torn\"", Fault::Truncate),
            ("kind = \"torn\", after_events = 2", Fault::TearAfter(2)),
            ("kind = \"truncated\"", Fault::EndAfter(usize::MAX)),
            ("kind = \"truncated\", after_events = 1", Fault::EndAfter(1)),
            ("kind = \"stall\"", Fault::Stall),
            ("kind = \"stall\", after_events = 4", Fault::StallAfter(4)),
            ("kind = \"linger\"", Fault::Linger),
            ("kind = \"error_event\"", Fault::ErrorEvent("overloaded_error")),
            (
                "kind = \"error_event\", error = \"api_error\", after_events = 5",
                Fault::ErrorAfter("api_error", 5),
            ),
        ];
        for (text, fault) in faults {
            let sometimes = one(&format!("faults = [{{ {text}, per_mille = 30 }}]"));
            assert_eq!(sometimes.faults, [(30, fault.clone())]);
            assert_eq!(one(&format!("faults = [{{ {text} }}]")).faults, [(MILLE, fault)]);
        }
    }

    /// What is wrong on the third line, and what is told about it.
    const MISTAKES: [(&str, &[&str]); 22] = [
        ("wordz = 1", &["wordz", "unknown field", "words"]),
        ("words = 0", &["words = 0", "`0`", "from 1 to 1000000000"]),
        ("words = \"x\"", &["\"x\"", "a whole number from 1"]),
        ("words = 1.5", &["1.5", "a whole number"]),
        ("latency_ms = -1", &["`-1`", "from 0 to 86400000"]),
        ("pace_ms = 86400001", &["86400001", "from 0 to 86400000"]),
        ("limit = 0", &["`0`", "from 1 to 1000000"]),
        ("over_limit = \"x\"", &["`x`", "`serve` or `refuse`"]),
        ("tool = 1", &["tool = 1", "expected a boolean"]),
        ("greeting = 1", &["greeting = 1", "expected a string"]),
        ("faults = 1", &["faults = 1", "expected a sequence"]),
        ("faults = [{ per_mille = 1 }]", &["missing field `kind`"]),
        ("faults = [{ kind = \"x\" }]", &["`x`", "`reset`", "`error_event`"]),
        ("faults = [{ kind = \"reset\", at = 1 }]", &["unknown field `at`", "`after_events`"]),
        ("faults = [{ kind = \"reset\", per_mille = 1001 }]", &["`1001`", "from 1 to 1000"]),
        ("faults = [{ kind = \"reset\", status = 500 }]", &["status: ", "\"reset\"", "remove it"]),
        ("faults = [{ kind = \"status\" }]", &["needs a status"]),
        ("faults = [{ kind = \"status\", status = 307 }]", &["status: 307", "from 400 to 599"]),
        ("faults = [{ kind = \"status\", status = 900 }]", &["`900`", "from 300 to 599"]),
        ("faults = [{ kind = \"redirect\" }]", &["needs a location"]),
        ("faults = [{ kind = \"error_event\", error = \"x\" }]", &["`x`", "`overloaded_error`"]),
        ("faults = [{ kind = \"html\" }, { kind = \"reset\" }]", &["add up to 2000", "at most"]),
    ];

    #[test]
    fn every_mistake_is_told_with_line_text_and_remedy() {
        for (line, parts) in MISTAKES {
            let told = mistake(&format!("\n[default]\n{line}\n"));
            for part in [&["line 3", line], parts].concat() {
                assert!(told.contains(part), "no {part:?} in: {told}");
            }
        }
        assert!(mistake("default = 1").contains("line 1"));
        assert!(mistake("[keys.a]\n[keys.a]\n").contains("line 2"));
        assert!(mistake("[key.a]\n").contains("expected one of `default`, `keys`, `clients`"));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let told = Script::load(Path::new("/nowhere/mock.toml")).expect_err("not there");
        assert!(told.to_string().starts_with("/nowhere/mock.toml: "), "{told}");
    }
}
