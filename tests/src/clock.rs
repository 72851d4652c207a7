//! A wall clock that the test sets, for processes that it starts: a library of a few lines is preloaded
//! into them. Whole programs that do so would be something more to install.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;

use sluice_test_redis::Variables;

/// Goes away with its handle.
pub struct WallClock {
    directory: PathBuf,
    shift: File,
}

impl WallClock {
    /// One that shows the machine's time; `None`, said on standard error, where there is no C compiler.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let id = std::process::id();
        let directory = std::env::temp_dir().join(format!("sluice-tests-{id}-{name}-clock"));
        fs::create_dir_all(&directory).expect("there is a directory for temporary files");
        let shift = File::create(directory.join("shift")).expect("a file");
        let clock = Self { directory, shift };
        clock.shift_by(0);
        let source = clock.directory.join("clock.c");
        fs::write(&source, include_str!("clock.c")).expect("a file");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(clock.library()).arg(source);
        match compiler.output() {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "it is C for Linux: {said}");
                Some(clock)
            }
            Err(error) => {
                eprintln!("SKIPPED: cc does not start ({error}); is it installed?");
                None
            }
        }
    }

    /// From now on it shows so many seconds more than the machine's.
    pub fn shift_by(&self, seconds: i64) {
        self.shift.write_all_at(&seconds.to_ne_bytes(), 0).expect("the file is there");
    }

    /// What a process has to find in its environment to go by it.
    #[must_use]
    pub fn variables(&self) -> Variables {
        let shift = self.directory.join("shift");
        vec![
            ("LD_PRELOAD".to_owned(), self.library().into()),
            ("SLUICE_CLOCK_SHIFT".to_owned(), shift.into()),
        ]
    }

    fn library(&self) -> PathBuf {
        self.directory.join("clock.so")
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.directory));
    }
}
