//! Any bytes as a configuration: read to the end, never with a panic, and never with a look outside.

use sluice_runtime_tokio::config::Config;
use sluice_runtime_tokio::directory::Directory;

/// Runs one input.
///
/// # Panics
/// When mistakes are told badly, or a configuration without mistakes cannot be used.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text, 1) {
        Ok(config) => {
            assert!(config.policy().validate().is_ok());
            Directory::new(&config).expect("a configuration that was checked");
        }
        Err(error) => {
            let lines = text.matches('\n').count() + 1;
            assert!(!error.mistakes.is_empty());
            for mistake in &error.mistakes {
                assert!(mistake.line.is_none_or(|line| (1..=lines).contains(&line)), "{mistake}");
                assert!(!mistake.to_string().contains(char::is_control), "one line each");
            }
        }
    }
}
