//! Tasks that a worker cannot live without.

use std::future::Future;

/// Runs a task of the current local set. A panic in it ends the process: without it requests would
/// wait for ever, and whoever watches over the process would not learn of it.
pub(crate) fn spawn_vital(name: &'static str, task: impl Future<Output = ()> + 'static) {
    spawn(name, task, |name| {
        tracing::error!(task = name, "a task that cannot be missed has failed; the process ends");
        std::process::abort();
    });
}

fn spawn(name: &'static str, task: impl Future<Output = ()> + 'static, failed: fn(&'static str)) {
    let vital = Vital { name, failed };
    drop(tokio::task::spawn_local(async move {
        let _vital = vital;
        task.await;
    }));
}

struct Vital {
    name: &'static str,
    failed: fn(&'static str),
}

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.failed)(self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::task::{LocalSet, yield_now};

    use super::*;

    thread_local! {
        static FAILED: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    #[tokio::test]
    async fn only_a_panic_ends_the_process() {
        let tasks = LocalSet::new();
        let failed = |name| FAILED.set(Some(name));
        let turn = async |task: &str| {
            yield_now().await;
            assert_ne!(task, "fails", "as it should here");
        };
        for (name, expected) in [("ends", None), ("fails", Some("fails"))] {
            tasks.run_until(async { spawn(name, async move { turn(name).await }, failed) }).await;
            tasks
                .run_until(async {
                    for _ in 0..3 {
                        yield_now().await
                    }
                })
                .await;
            assert_eq!(FAILED.take(), expected);
        }
        tasks.run_until(async { spawn("dropped", std::future::pending(), failed) }).await;
        drop(tasks);
        assert_eq!(FAILED.take(), None);
    }
}
