//! True type: what is this content, whatever its name and declared type say?
//!
//! In: the first octets of decoded content. Out: a media type.
//! Invariants: looks at [`HEAD_BYTES`] at most; opens nothing. A shallow answer for tracking; opening containers is the room `unpack`'s.

/// How much of the content is looked at.
pub const HEAD_BYTES: usize = 4 * 1024;

/// Signature at the very front, and the type it means. Longer ones first where they share a front.
const SIGNATURES: &[(&[u8], &str)] = &[
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"\0\0\x01\0", "image/x-icon"),
    (b"\x1f\x8b", "application/gzip"),
    (b"BZh", "application/x-bzip2"),
    (b"\xfd7zXZ\0", "application/x-xz"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"MSCF", "application/vnd.ms-cab-compressed"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (b"\x78\x9f\x3e\x22", "application/vnd.ms-tnef"),
    (b"{\\rtf", "application/rtf"),
    (b"MZ", "application/vnd.microsoft.portable-executable"),
    (b"\x7fELF", "application/x-elf"),
    (b"\xca\xfe\xba\xbe", "application/java-vm"),
    (b"\xcf\xfa\xed\xfe", "application/x-mach-binary"),
    (b"\xce\xfa\xed\xfe", "application/x-mach-binary"),
    (b"\0asm", "application/wasm"),
    (b"L\0\0\0\x01\x14\x02\0", "application/x-ms-shortcut"),
    (b"ITSF", "application/vnd.ms-htmlhelp"),
    (b"!BDN", "application/vnd.ms-outlook-pst"),
    (b"%!PS", "application/postscript"),
    (b"OggS", "application/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"MThd", "audio/midi"),
    (b"\x1a\x45\xdf\xa3", "video/x-matroska"),
    (b"FLV\x01", "video/x-flv"),
    (b"SQLite format 3\0", "application/vnd.sqlite3"),
    (b"wOFF", "font/woff"),
    (b"#!", "text/x-script"),
    (b"BEGIN:VCALENDAR", "text/calendar"),
    (b"BEGIN:VCARD", "text/vcard"),
];

/// Names in the first entries of a ZIP archive that tell what it really is.
const ZIP_NAMES: &[(&[u8], &str)] = &[
    (b"word/", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    (b"xl/", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    (b"ppt/", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    (b"META-INF/MANIFEST.MF", "application/java-archive"),
    (b"AndroidManifest.xml", "application/vnd.android.package-archive"),
];

/// The media type that the content's first octets show; `application/octet-stream` when they show none.
#[must_use]
pub fn true_type(head: &[u8]) -> &'static str {
    let head = head.get(..HEAD_BYTES).unwrap_or(head);
    if head.is_empty() {
        return "application/x-empty";
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return zip_type(head);
    }
    if let Some(kind) = container_type(head) {
        return kind;
    }
    match SIGNATURES.iter().find(|(signature, _)| head.starts_with(signature)) {
        // Two letters are not much: a text may begin with them.
        Some((b"MZ" | b"BM" | b"#!", _)) if is_text(head) && !head.starts_with(b"#!") => text_type(head),
        Some((_, kind)) => kind,
        None if is_text(head) => text_type(head),
        None => "application/octet-stream",
    }
}

fn at(head: &[u8], from: usize, signature: &[u8]) -> bool {
    head.get(from..).is_some_and(|h| h.starts_with(signature))
}

/// Signatures that do not stand at the front.
fn container_type(head: &[u8]) -> Option<&'static str> {
    if head.starts_with(b"RIFF") {
        return Some(match head.get(8..12) {
            Some(b"WEBP") => "image/webp",
            Some(b"WAVE") => "audio/wav",
            Some(b"AVI ") => "video/x-msvideo",
            _ => "application/x-riff",
        });
    }
    if at(head, 4, b"ftyp") {
        return Some(match head.get(8..12) {
            Some(b"heic" | b"heix" | b"mif1") => "image/heic",
            Some(b"avif") => "image/avif",
            Some(b"qt  ") => "video/quicktime",
            Some(b"M4A ") => "audio/mp4",
            _ => "video/mp4",
        });
    }
    if at(head, 2, b"-lh") && at(head, 6, b"-") {
        return Some("application/x-lzh-compressed");
    }
    at(head, 257, b"ustar").then_some("application/x-tar")
}

fn zip_type(head: &[u8]) -> &'static str {
    // OpenDocument and EPUB: the first entry is called `mimetype` and is stored as it is.
    if at(head, 30, b"mimetype") {
        for (text, kind) in [
            (
                &b"application/vnd.oasis.opendocument.text"[..],
                "application/vnd.oasis.opendocument.text",
            ),
            (
                b"application/vnd.oasis.opendocument.spreadsheet",
                "application/vnd.oasis.opendocument.spreadsheet",
            ),
            (
                b"application/vnd.oasis.opendocument.presentation",
                "application/vnd.oasis.opendocument.presentation",
            ),
            (b"application/epub+zip", "application/epub+zip"),
        ] {
            if at(head, 38, text) {
                return kind;
            }
        }
    }
    ZIP_NAMES
        .iter()
        .find(|(name, _)| memchr::memmem::find(head, name).is_some())
        .map_or("application/zip", |(_, kind)| kind)
}

/// Any charset of text: no NUL and hardly any other control character; or UTF-16 by its mark.
fn is_text(head: &[u8]) -> bool {
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return true;
    }
    head.iter().all(|b| *b >= 32 || matches!(b, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b)) && !head.contains(&0x7f)
}

fn text_type(head: &[u8]) -> &'static str {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let front = |tag: &[u8]| head.get(..tag.len()).is_some_and(|h| h.eq_ignore_ascii_case(tag));
    if front(b"<?xml") {
        if memchr::memmem::find(head, b"<svg").is_some() {
            "image/svg+xml"
        } else {
            "text/xml"
        }
    } else if front(b"<svg") {
        "image/svg+xml"
    } else if front(b"<!doctype html") || front(b"<html") || front(b"<head") || front(b"<body") || front(b"<script") {
        "text/html"
    } else {
        "text/plain"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        let check = |head: &[u8], expect: &str| assert_eq!(true_type(head), expect, "{head:x?}");
        check(b"", "application/x-empty");
        check(b"%PDF-1.7\n", "application/pdf");
        check(b"MZ\x90\0\x03", "application/vnd.microsoft.portable-executable");
        check(b"MZ is a text", "text/plain");
        check(b"#!/bin/sh\n", "text/x-script");
        check(b"PK\x03\x04rest", "application/zip");
        check(
            b"PK\x03\x04\x14\0\x06\0[Content_Types].xml word/document.xml",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        );
        check(
            &[b"PK\x03\x04".as_slice(), &[0; 26], b"mimetypeapplication/epub+zip"].concat(),
            "application/epub+zip",
        );
        check(b"RIFF\0\0\0\0WEBPVP8 ", "image/webp");
        check(b"\0\0\0\x18ftypheic", "image/heic");
        check(b"!\x1f-lh5-", "application/x-lzh-compressed");
        check(&[[0u8; 257].as_slice(), b"ustar"].concat(), "application/x-tar");
        check(b"  <!DOCTYPE HTML>", "text/html");
        check(b"<?xml version='1.0'?><svg>", "image/svg+xml");
        check("日本語".as_bytes(), "text/plain");
        check(b"\x93\xfa\x96\x7b", "text/plain");
        check(b"\x1b$B7oL>\x1b(B", "text/plain");
        check(b"\x01\x02\x03", "application/octet-stream");
    }
}
