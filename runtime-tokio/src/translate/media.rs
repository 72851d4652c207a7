//! Images and documents: what is sent along goes along, what stands elsewhere is named.

use super::gemini::Part;
use super::read::{self, Fields, Kind, Locate, Wrong};

/// The kinds of files, by the ends of their names.
const KINDS: [(&str, &str); 6] = [
    (".png", "image/png"),
    (".jpg", "image/jpeg"),
    (".jpeg", "image/jpeg"),
    (".gif", "image/gif"),
    (".webp", "image/webp"),
    (".pdf", "application/pdf"),
];

/// Reads a block of this kind, an `image` or a `document`.
pub(super) fn read<'a>(
    block: &Fields<'a>,
    kind: &str,
    parts: &mut Vec<Part<'a>>,
) -> Result<(), Wrong> {
    // A model of the Messages API is shown these as well.
    for name in ["title", "context"] {
        parts.extend(block.text(name)?.filter(|text| !read::is_blank(text)).map(Part::text));
    }
    let source = Fields::read(block.need("source")?).at("source")?;
    self::source(&source, kind == "document", parts).at("source")
}

fn source<'a>(
    source: &Fields<'a>,
    is_document: bool,
    parts: &mut Vec<Part<'a>>,
) -> Result<(), Wrong> {
    let kind = source.need_text("type")?;
    match &*kind {
        "base64" => {
            let (media_type, data) = (source.need_text("media_type")?, source.need_text("data")?);
            parts.push(Part::inline(media_type, data));
        }
        "url" => {
            let url = source.need_text("url")?;
            let media_type = media_type(&url).or_else(|| is_document.then_some("application/pdf"));
            parts.push(Part::file(url, media_type));
        }
        "text" if is_document => parts.push(Part::text(source.need_text("data")?)),
        "content" if is_document => content(source, parts).at("content")?,
        _ => {
            let what = format!("'{}' cannot be translated", kind.escape_debug());
            return Err(Wrong::new(what)).at("type");
        }
    }
    Ok(())
}

/// A document of blocks, which are texts and images.
fn content<'a>(source: &Fields<'a>, parts: &mut Vec<Part<'a>>) -> Result<(), Wrong> {
    let raw = source.get("content").ok_or_else(|| Wrong::new("is required"))?;
    if read::kind(raw) == Kind::Text {
        parts.push(Part::text(read::text(raw)?));
        return Ok(());
    }
    let blocks = read::list(raw).map_err(|_| Wrong::new("must be a string or an array"))?;
    for (i, raw) in blocks.into_iter().enumerate() {
        let block = Fields::read(raw).at(i)?;
        match &*block.need_text("type").at(i)? {
            "text" => parts.push(Part::text(block.need_text("text").at(i)?)),
            "image" => read(&block, "image", parts).at(i)?,
            _ => return Err(Wrong::new("must be text or image")).at("type").at(i),
        }
    }
    Ok(())
}

/// What a file is, by the end of its name; what cannot be told is the upstream's to find out.
fn media_type(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?.to_ascii_lowercase();
    KINDS.iter().find(|(end, _)| path.ends_with(end)).map(|(_, kind)| *kind)
}
