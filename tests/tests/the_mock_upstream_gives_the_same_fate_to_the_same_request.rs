//! What happens to the n-th request of a key follows from the seed, whatever other keys do.

use sluice_tests::hello;
use sluice_tests::upstream::run;

const SCRIPT: &str = "[default]\nfaults = [\n\
    { kind = \"status\", status = 529, per_mille = 300 },\n\
    { kind = \"status\", status = 401, per_mille = 300 },\n]\n";
const REQUESTS: usize = 30;

/// The statuses of the requests of `key`, between others.
fn fates(seed: u64, key: &str, others: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    run(SCRIPT, seed, async |upstream| {
        for n in 0..REQUESTS {
            for _ in 0..others {
                upstream.ask("other", &hello(false)).await;
            }
            statuses.push(upstream.ask(key, &hello(n.is_multiple_of(2))).await.status());
        }
    });
    statuses
}

#[test]
fn the_seed_decides() {
    let fate = fates(1, "a", 0);
    assert_eq!(fate, fates(1, "a", 2));
    assert_ne!(fate, fates(2, "a", 0));
    assert_ne!(fate, fates(1, "b", 0));
    for status in [200, 401, 529] {
        assert!(fate.contains(&status), "{fate:?}");
    }
}
