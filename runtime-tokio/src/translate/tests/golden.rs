//! Golden files: what is asked of the upstream for a request, and what a client is answered.

use std::fs;
use std::path::Path;

use super::*;

/// Every file of a folder, with its name.
fn files(folder: &str) -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/translate/golden").join(folder);
    let entries = fs::read_dir(&folder).expect("the files are committed");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} holds files", folder.display());
    let read = |path: std::path::PathBuf| {
        let text = fs::read_to_string(&path).expect("readable");
        (path.display().to_string(), serde_json::from_str(&text).expect("JSON"))
    };
    paths.into_iter().map(read).collect()
}

#[track_caller]
fn compare(file: &str, got: &Value, want: &Value) {
    assert_eq!(got, want, "{file}\nhas come out as\n{got:#}");
}

#[test]
fn requests() {
    for (file, golden) in files("requests") {
        let upstream = Upstream {
            model: golden["model"].as_str().expect("a model"),
            project: golden["project"].as_str(),
        };
        let got = match request(golden["input"].to_string().as_bytes(), &upstream) {
            Ok(request) => json!({
                "expected": serde_json::from_slice::<Value>(&request).expect("JSON"),
            }),
            Err(error) => json!({ "refused": error.message }),
        };
        for outcome in ["expected", "refused"] {
            compare(&file, &got[outcome], &golden[outcome]);
        }
    }
}

#[test]
fn answers() {
    for (file, golden) in files("answers") {
        let chunks = golden["chunks"].as_array().expect("chunks");
        let stream = stream_of(chunks);
        compare(&file, &events_of(&streamed([stream.clone()])).into(), &golden["events"]);
        let refused = |error: ApiError| json!({ "type": error.kind, "message": error.message });
        let message = message_of(stream).unwrap_or_else(refused);
        compare(&file, &message, &golden["message"]);
        // The same chunks in an array, as they come without an event stream.
        let body = golden["chunks"].to_string();
        let plain = crate::translate::whole(body.as_bytes(), naming());
        let plain = plain.map(|body| serde_json::from_slice(&body).expect("JSON"));
        compare(&file, &plain.unwrap_or_else(refused), &golden["message"]);
    }
}
