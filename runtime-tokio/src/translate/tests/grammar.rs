//! The grammar of a stream, written from what clients are promised: a judge of any events.

use super::*;

/// Judges a whole stream.
#[track_caller]
pub(super) fn judge(events: &[Value]) {
    let names: Vec<&str> = events.iter().map(|e| e["type"].as_str().expect("a type")).collect();
    let failed = names.last() == Some(&"error");
    assert!(failed || names.last() == Some(&"message_stop"), "a stream ends with its end");
    let (mut open, mut next) = (None, 0);
    for (i, event) in events.iter().enumerate() {
        let index = || event["index"].as_u64().expect("an index");
        match names[i] {
            "message_start" => assert_eq!(i, 0, "a start is first"),
            "content_block_start" => {
                assert_eq!((open, index()), (None, next), "one block at a time, counted");
                open = Some(event["content_block"]["type"].as_str().expect("a type"));
            }
            "content_block_delta" => {
                assert_eq!(index(), next, "what is added is added to the open block");
                let kind = match event["delta"]["type"].as_str().expect("a type") {
                    "text_delta" => &["text"][..],
                    "thinking_delta" | "signature_delta" => &["thinking"],
                    "input_json_delta" => &["tool_use", "server_tool_use"],
                    other => panic!("{other}"),
                };
                assert!(kind.contains(&open.expect("a block is open")));
            }
            "content_block_stop" => {
                assert_eq!(index(), next, "the open block closes");
                assert!(open.take().is_some());
                next += 1;
            }
            "message_delta" => assert_eq!((open, i), (None, names.len() - 2), "the end is last"),
            "message_stop" => assert_eq!(names[i - 1], "message_delta"),
            "error" => assert_eq!(i, names.len() - 1, "an error is last"),
            other => panic!("{other}"),
        }
    }
    assert!(names[0] == "message_start" || names.len() == 1, "only an error needs no start");
}
