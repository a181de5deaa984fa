//! Paths and queries of the API, escaped.

/// A path segment or query value: everything but unreserved characters is escaped (RFC 3986 §2.3).
pub(crate) fn escaped(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, b| {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
        out
    })
}

/// `path?name=value&…` of the values that are given.
pub(crate) fn with_query(path: &str, values: &[(&str, Option<String>)]) -> String {
    let query: Vec<String> = values
        .iter()
        .filter_map(|(name, value)| value.as_ref().map(|v| format!("{name}={}", escaped(v))))
        .collect();
    if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", query.join("&"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped() {
        let path = with_query("/x", &[("a", Some("b&c=日".into())), ("none", None)]);
        assert_eq!(path, "/x?a=b%26c%3D%E6%97%A5");
        assert_eq!(with_query("/x", &[("none", None)]), "/x");
    }
}
