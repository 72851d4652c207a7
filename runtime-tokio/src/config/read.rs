//! Reading: from the tree of a TOML text to values, field by field, past every mistake.
//!
//! A section of the file is described once, by [`section!`]: its fields with their types, defaults
//! and rules. That makes the struct, the reading and the list of names. Deserializing with serde
//! would be as short but ends at the first mistake.

use std::fmt::Display;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::finding::{Report, did_you_mean, quoted};

/// A value with the place where it stands.
pub(super) type Node<'t> = Spanned<DeValue<'t>>;

/// Why there is no value.
pub(super) enum Wrong {
    /// It is not what it must be.
    Kind,
    /// It is not what it must be, for this reason.
    Because(String),
}

/// What can be read.
pub(super) trait Read: Sized {
    /// What it must be, unless the field has a rule of its own: `must be …`.
    fn must() -> String;

    /// Reads it.
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Result<Self, Wrong>;

    /// What takes its place when it cannot be read, so that everything else is still checked. It
    /// never gets out: a configuration with a mistake is not handed over.
    fn stand_in() -> Self;

    /// The value as shown in a mistake; `None` if it may be secret.
    fn shown(node: &Node<'_>) -> Option<String> {
        Some(match node.get_ref() {
            DeValue::String(text) => quoted(text),
            DeValue::Integer(n) => n.to_string(),
            DeValue::Float(n) => n.to_string(),
            DeValue::Boolean(b) => b.to_string(),
            DeValue::Datetime(time) => time.to_string(),
            DeValue::Array(_) => "[…]".to_owned(),
            DeValue::Table(_) => "{…}".to_owned(),
        })
    }
}

/// What a field must be beyond its type.
pub(super) struct Rule<F> {
    must: Option<String>,
    holds: F,
}

impl<F> Rule<F> {
    /// What is wrong with this value, if something is.
    pub(super) fn refusal<T: Read>(self, value: &T) -> Option<String>
    where
        F: Fn(&T) -> bool,
    {
        (!(self.holds)(value)).then(|| self.must.unwrap_or_else(T::must))
    }
}

/// No rule.
pub(super) fn any<T>() -> Rule<impl Fn(&T) -> bool> {
    Rule { must: None, holds: |_: &T| true }
}

/// This rule, in these words.
pub(super) fn rule<T, F: Fn(&T) -> bool>(must: &str, holds: F) -> Rule<F> {
    Rule { must: Some(must.to_owned()), holds }
}

/// A number within this range.
pub(super) fn within<T: PartialOrd + Display>(
    range: RangeInclusive<T>,
) -> Rule<impl Fn(&T) -> bool> {
    let must = format!("must be a whole number from {} to {}", range.start(), range.end());
    Rule { must: Some(must), holds: move |value: &T| range.contains(value) }
}

/// A name: of a user, a model and so on.
pub(super) fn name() -> Rule<impl Fn(&String) -> bool> {
    let must = "must be 1 to 200 characters in quotes, without control characters, and without \
                space at either end";
    let holds = |name: &String| {
        let size = name.chars().count();
        (1..=200).contains(&size) && name.trim() == name && !name.contains(char::is_control)
    };
    rule(must, holds)
}

/// Scopes of access tokens (RFC 6749, 3.3).
pub(super) fn scope() -> Rule<impl Fn(&String) -> bool> {
    let must = "must be 1 to 2000 characters in quotes: names of visible ASCII characters other than \
                quotes and backslashes, with one space between them";
    let plain = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
    let word = move |word: &str| !word.is_empty() && word.bytes().all(plain);
    rule(must, move |scope: &String| scope.len() <= 2000 && scope.split(' ').all(word))
}

/// Walks the tree and notes where it is.
pub(super) struct Reader<'r> {
    /// Where every line begins.
    lines: Vec<usize>,
    /// Of the field being read.
    path: String,
    report: &'r mut Report,
}

impl<'r> Reader<'r> {
    pub(super) fn new(text: &str, report: &'r mut Report) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { lines: [0].into_iter().chain(ends).collect(), path: String::new(), report }
    }

    /// Line and column of a place in the text, both from 1; the column counts bytes.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= offset);
        (line, offset - self.lines[line - 1] + 1)
    }

    /// Reads the value of a field that may be left out. `None` also if it is wrong.
    pub(super) fn optional<T: Read>(
        &mut self,
        table: &DeTable<'_>,
        field: &str,
        rule: Rule<impl Fn(&T) -> bool>,
    ) -> Option<T> {
        let (key, node) = table.get_key_value(field)?;
        self.member(field, key.span().start, |reader| reader.value(node, rule))
    }

    /// Reads the value of a field that must be there.
    pub(super) fn required<T: Read>(
        &mut self,
        table: &DeTable<'_>,
        field: &str,
        rule: Rule<impl Fn(&T) -> bool>,
    ) -> T {
        if !table.contains_key(field) {
            let must = rule.must.clone().unwrap_or_else(T::must);
            let path = join(&self.path, field);
            self.report.mistake(&path, None, format!("is missing; it {must}"));
        }
        self.optional(table, field, rule).unwrap_or_else(T::stand_in)
    }

    /// Reads a list.
    pub(super) fn list<T: Read>(&mut self, nodes: &[Node<'_>]) -> Vec<T> {
        let element = |(n, node): (usize, &Node<'_>)| {
            let outer = self.path.len();
            self.path += &format!("[{n}]");
            let read = self.at(node.span().start, |reader| reader.value(node, any()));
            self.path.truncate(outer);
            read.unwrap_or_else(T::stand_in)
        };
        nodes.iter().enumerate().map(element).collect()
    }

    /// Reads something in the current field under a name of the operator's choosing.
    pub(super) fn member<R>(
        &mut self,
        name: &str,
        offset: usize,
        read: impl FnOnce(&mut Self) -> R,
    ) -> R {
        let outer = self.path.len();
        self.path = join(&self.path, name);
        let read = self.at(offset, read);
        self.path.truncate(outer);
        read
    }

    /// A section: a table that holds nothing but these fields.
    pub(super) fn section<'n, 't>(
        &mut self,
        node: &'n Node<'t>,
        fields: &[&str],
    ) -> Result<&'n DeTable<'t>, Wrong> {
        let table = node.get_ref().as_table().ok_or(Wrong::Kind)?;
        self.fields(table, fields);
        Ok(table)
    }

    /// Notes fields that are none.
    pub(super) fn fields(&mut self, table: &DeTable<'_>, fields: &[&str]) {
        for (key, _) in table {
            let name = key.get_ref();
            if !fields.contains(&&**name) {
                let mut hint = did_you_mean(name, fields.iter().copied());
                if hint.is_empty() {
                    hint = format!("; known here: {}", fields.join(", "));
                }
                self.member(name, key.span().start, |reader| {
                    reader.refuse(None, format!("there is no such field{hint}"));
                });
            }
        }
    }

    /// Reads the value of the current field; what is wrong with it is noted.
    pub(super) fn value<T: Read>(
        &mut self,
        node: &Node<'_>,
        rule: Rule<impl Fn(&T) -> bool>,
    ) -> Option<T> {
        let why = match T::read(node, self) {
            Ok(value) if (rule.holds)(&value) => return Some(value),
            Ok(_) | Err(Wrong::Kind) => rule.must.unwrap_or_else(T::must),
            Err(Wrong::Because(why)) => why,
        };
        self.refuse(T::shown(node), why);
        None
    }

    /// Notes a mistake of the current field.
    pub(super) fn refuse(&mut self, shown: Option<String>, remedy: String) {
        self.report.mistake(&self.path, shown, remedy);
    }

    fn at<R>(&mut self, offset: usize, read: impl FnOnce(&mut Self) -> R) -> R {
        let (line, _) = self.position(offset);
        self.report.seen(&self.path, line);
        read(self)
    }
}

/// The path of a field in a section.
fn join(path: &str, name: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    let plain = (1..=60).contains(&name.len()) && name.bytes().all(bare);
    let name = if plain { name.to_owned() } else { quoted(name) };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// Describes a section of the file: `KIND FIELD: TYPE [= DEFAULT][, RULE];`, where the kind is
/// `required`, `optional` (it becomes an `Option`) or `default`. What stands `beside` is not in the
/// file, and begins with its type's default.
macro_rules! section {
    (
        $(#[$doc:meta])* $section:ident {
            $($(#[$field_doc:meta])*
            $kind:ident $field:ident: $type:ty $(= $default:expr)? $(, $rule:expr)?;)*
        }
        $(beside { $($(#[$beside_doc:meta])* $beside:ident: $beside_type:ty;)* })?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $section {
            $($(#[$field_doc])* pub $field: section!(@type $kind $type),)*
            $($($(#[$beside_doc])* pub $beside: $beside_type,)*)?
        }

        impl $section {
            /// The names of its fields in the file.
            pub const FIELDS: &[&str] = &[$(stringify!($field)),*];

            /// The fields of the file in which another one differs.
            #[must_use]
            pub fn differing(&self, other: &Self) -> Vec<&'static str> {
                let same = [$((stringify!($field), self.$field == other.$field)),*];
                same.into_iter().filter(|(_, same)| !same).map(|(field, _)| field).collect()
            }

            /// Reads the fields of a table that is known to hold no others.
            pub(in crate::config) fn read_fields(
                reader: &mut $crate::config::read::Reader<'_>,
                table: &toml::de::DeTable<'_>,
            ) -> Self {
                Self {
                    $($field: section!(
                        @read $kind reader table $field [$($default)?] [$($rule)?]
                    ),)*
                    $($($beside: <$beside_type>::default(),)*)?
                }
            }
        }

        impl $crate::config::read::Read for $section {
            fn must() -> String {
                format!("must be a table with fields such as {}", Self::FIELDS[0])
            }

            fn read(
                node: &$crate::config::read::Node<'_>,
                reader: &mut $crate::config::read::Reader<'_>,
            ) -> Result<Self, $crate::config::read::Wrong> {
                let table = reader.section(node, Self::FIELDS)?;
                Ok(Self::read_fields(reader, table))
            }

            fn stand_in() -> Self {
                Self {
                    $($field: section!(@stand_in $kind $type [$($default)?]),)*
                    $($($beside: <$beside_type>::default(),)*)?
                }
            }

            // It may hold a secret that was put in a wrong place.
            fn shown(_: &$crate::config::read::Node<'_>) -> Option<String> {
                None
            }
        }
    };
    (@type optional $type:ty) => { Option<$type> };
    (@type $kind:ident $type:ty) => { $type };
    (@read required $reader:ident $table:ident $field:ident [] $rule:tt) => {
        $reader.required($table, stringify!($field), section!(@rule $rule))
    };
    (@read optional $reader:ident $table:ident $field:ident [] $rule:tt) => {
        $reader.optional($table, stringify!($field), section!(@rule $rule))
    };
    (@read default $reader:ident $table:ident $field:ident [$default:expr] $rule:tt) => {
        $reader
            .optional($table, stringify!($field), section!(@rule $rule))
            .unwrap_or_else(|| $default)
    };
    (@rule []) => { $crate::config::read::any() };
    (@rule [$rule:expr]) => { $rule };
    (@stand_in required $type:ty []) => { <$type as $crate::config::read::Read>::stand_in() };
    (@stand_in optional $type:ty []) => { None };
    (@stand_in default $type:ty [$default:expr]) => { $default };
}

/// Makes an enum of the words that a field may be; the first one is the default.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $word:literal),* $(,)?
    })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them, each as it is written.
            pub const WORDS: &[(&str, Self)] = &[$(($word, Self::$variant)),*];
        }

        impl Default for $name {
            fn default() -> Self {
                Self::WORDS[0].1
            }
        }

        impl $crate::config::read::Read for $name {
            fn must() -> String {
                let words: Vec<_> = Self::WORDS.iter().map(|w| format!("\"{}\"", w.0)).collect();
                let must = format!("must be {}", words.join(", "));
                match must.rsplit_once(", ") {
                    Some((others, last)) => format!("{others} or {last}"),
                    None => must,
                }
            }

            fn read(
                node: &$crate::config::read::Node<'_>,
                _: &mut $crate::config::read::Reader<'_>,
            ) -> Result<Self, $crate::config::read::Wrong> {
                let word = node.get_ref().as_str();
                let found = Self::WORDS.iter().find(|w| Some(w.0) == word);
                found.map(|w| w.1).ok_or($crate::config::read::Wrong::Kind)
            }

            fn stand_in() -> Self {
                Self::default()
            }
        }
    )*};
}

pub(super) use {section, words};
