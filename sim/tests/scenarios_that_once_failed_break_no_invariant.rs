//! Every scenario that is kept in `regressions`, in whichever world it happens.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn scenarios_that_once_failed() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut files: Vec<_> = fs::read_dir(kept)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let mut run = Command::new(env!("CARGO_BIN_EXE_sluice-sim"));
        let done = run.arg("run").arg("--scenario").arg(&file).output();
        let done = done.expect("the program is there");
        let told = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{}: {told}", file.display());
    }
}
