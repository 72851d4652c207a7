//! From one configuration to the next while the gateway runs: what may change, and what stays.

use super::finding::Finding;
use super::{Config, ConfigError, Knobs};

/// Why a field keeps its value.
const FIXED: &str = "cannot change while the gateway runs: what it was at the start stays in force \
                     until the next";

impl Config {
    /// `new` as far as a gateway that was started with this one can take it, and a word on every
    /// field that it cannot, which stays as it is here. Users, groups, accounts, `[openai]` and most
    /// of `[policy]` are taken.
    ///
    /// # Errors
    /// Knobs of the two that do not fit together.
    pub fn renewed(&self, new: Self) -> Result<(Self, Vec<Finding>), ConfigError> {
        let sections: [(&str, Vec<&str>); 7] = [
            ("server", self.server.differing(&new.server)),
            ("redis", self.redis.differing(&new.redis)),
            ("limits", self.limits.differing(&new.limits)),
            ("upstream", self.upstream.differing(&new.upstream)),
            ("log", self.log.differing(&new.log)),
            ("anthropic", self.anthropic.differing(&new.anthropic)),
            ("policy", self.policy.differing(&new.policy)),
        ];
        let fixed =
            |section: &str, field: &str| section != "policy" || Knobs::FOR_LIFE.contains(&field);
        let mut stay = Vec::new();
        for (section, fields) in sections {
            for field in fields.into_iter().filter(|field| fixed(section, field)) {
                stay.push(Finding::of(&format!("{section}.{field}"), FIXED.to_owned()));
            }
        }
        let Self { server, store, redis, limits, upstream, log, anthropic, policy, .. } =
            self.clone();
        let policy = policy.renewed(new.policy.clone());
        let mistakes = policy.mistakes();
        if !mistakes.is_empty() {
            let told = |(field, value, remedy): (&str, String, String)| Finding {
                value: Some(value),
                ..Finding::of(&format!("policy.{field}"), remedy)
            };
            let mistakes = mistakes.into_iter().map(told).collect();
            return Err(ConfigError { file: None, mistakes });
        }
        Ok((Self { server, store, redis, limits, upstream, log, anthropic, policy, ..new }, stay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Config {
        let text = format!("groups = []\n{more}");
        Config::parse(&text, 1).expect(more)
    }

    #[test]
    fn what_cannot_change_is_named_and_stays() {
        let old = config("[server]\nlisten = \"127.0.0.1:1\"");
        let new = config(
            "[server]\nlisten = \"127.0.0.1:2\"\nworkers = 2\n[limits]\nheaders_max = 7\n\
             [upstream]\nhttp2 = false\n[log]\naccess = \"off\"\n\
             [policy]\npreset = \"seed\"\nlease_ttl_ms = 5000\nping_interval_ms = 7\n\
             [openai]\ndefault_instructions = \"Be brief.\"\n[[users]]\nname = \"u\"\nconcurrency = 1",
        );
        let (taken, stay) = old.renewed(new).expect("good");
        let named: Vec<_> = stay.iter().map(|finding| &*finding.path).collect();
        assert_eq!(
            named,
            [
                "server.listen",
                "server.workers",
                "limits.headers_max",
                "upstream.http2",
                "log.access",
                "policy.preset",
                "policy.lease_ttl_ms",
            ]
        );
        assert_eq!((taken.server.workers, taken.limits.headers_max), (1, 100));
        assert_eq!(taken.policy(), {
            let ping_interval = sluice_engine::Span::from_ms(7);
            sluice_engine::Policy { ping_interval, ..sluice_engine::Policy::fair() }
        });
        assert_eq!(taken.openai.default_instructions.as_deref(), Some("Be brief."));
        assert_eq!(taken.users.len(), 1);
    }

    #[test]
    fn the_same_again_needs_no_word() {
        let again = || config("[server]\nlisten = \"127.0.0.1:1\"\n[policy]\nlease_ttl_ms = 5000");
        let (_, stay) = again().renewed(again()).expect("good");
        assert_eq!(stay, []);
    }
}
