//! What serde and the framework say of a body, a query or a path, as a text for people.
//!
//! In: their English words. Out: the usual cases (a field that does not exist, one that is missing, a wrong type) in both languages; the
//! rest as it was said, with a word of ours before it.

use mail::text::Text;
use mail::{AddressError, DomainError};

/// What the framework puts in front.
const PREFIXES: [&str; 5] = [
    "Failed to deserialize the JSON body into the target type: ",
    "Failed to parse the request body as JSON: ",
    "Failed to deserialize query string: ",
    "Failed to deserialize form: ",
    "Invalid URL: ",
];

/// The text for these words.
#[must_use]
pub fn text_of(words: &str) -> Text {
    let bare = PREFIXES.iter().find_map(|p| words.strip_prefix(p)).unwrap_or(words);
    let marks = [
        "unknown field `",
        "unknown variant `",
        "missing field `",
        "duplicate field `",
        "invalid type: ",
        "invalid value: ",
    ];
    let Some(at) = marks.iter().filter_map(|mark| bare.find(mark)).min() else {
        return of_ours(bare).unwrap_or_else(|| Text::new("api.form").with("why", bare));
    };
    let (path, rest) = bare.split_at(at);
    // Lines of a body that no person has written say nothing.
    let rest = rest.split(" at line ").next().unwrap_or(rest);
    let text = known(rest).unwrap_or_else(|| Text::new("api.form").with("why", rest));
    match path.trim_end_matches(": ") {
        "" => text,
        path => Text::new("check.at").with("at", path).with("text", text),
    }
}

fn known(words: &str) -> Option<Text> {
    let (said, expected) = words.split_once(", expected ").unwrap_or((words, ""));
    let name = || said.split('`').nth(1);
    let choices = || match expected.strip_prefix("one of ").unwrap_or(expected) {
        "" => "–".to_owned(),
        some => some.replace(" or ", ", "),
    };
    if words.starts_with("unknown field") {
        let name = name()?;
        return Some(Text::new("api.json.unknown").with("field", name).with("known", choices()));
    }
    if words.starts_with("unknown variant") {
        let name = name()?;
        return Some(Text::new("api.json.variant").with("have", name).with("known", choices()));
    }
    if words.starts_with("missing field") {
        return Some(Text::new("api.json.missing").with("field", name()?));
    }
    if words.starts_with("duplicate field") {
        return Some(Text::new("api.json.twice").with("field", name()?));
    }
    let found = said
        .strip_prefix("invalid type: ")
        .or_else(|| said.strip_prefix("invalid value: "))?;
    Some(Text::new("api.json.type").with("have", found).with("expected", expected))
}

/// An error of a type of ours, told in its English words.
fn of_ours(words: &str) -> Option<Text> {
    let domain = [DomainError::Empty, DomainError::TooLong, DomainError::Character];
    let address = [
        AddressError::Form,
        AddressError::LocalTooLong,
        AddressError::LocalCharacter,
        AddressError::Literal,
    ];
    let ours = address.into_iter().map(Text::from).chain(domain.into_iter().map(Text::from));
    ours.into_iter().find_map(|text| {
        let at = words.find(&text.to_string())?;
        let path = words.get(..at)?.trim_end_matches(": ");
        Some(match path {
            "" => text,
            path => Text::new("check.at").with("at", path).with("text", text),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::text::Lang;

    #[test]
    fn the_words_of_serde_in_both_languages() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Some {
            #[serde(rename = "a")]
            _a: u32,
            #[serde(default, rename = "d")]
            _d: Option<mail::Domain>,
        }
        for (body, english, japanese) in [
            (
                "{\"b\":1}",
                "unknown field `b`; known: `a`, `d`",
                "「b」という項目はありません。指定できる項目: `a`, `d`",
            ),
            ("{}", "missing field `a`", "項目「a」を指定してください。"),
            (
                "{\"a\":1,\"a\":2}",
                "duplicate field `a`",
                "項目「a」が重複しています。1 つにしてください。",
            ),
            (
                "{\"a\":\"x\"}",
                "invalid type: string \"x\", expected u32",
                "値の型が正しくありません（指定された値: string \"x\"、必要な型: u32）。",
            ),
        ] {
            let text = text_of(&serde_json::from_str::<Some>(body).unwrap_err().to_string());
            assert_eq!(
                (text.to_string().as_str(), text.render(Lang::Ja).as_str()),
                (english, japanese),
                "{body}"
            );
        }
        let error = serde_json::from_str::<Some>("{\"a\":1,\"d\":\"a..b\"}").unwrap_err().to_string();
        assert!(text_of(&error).render(Lang::Ja).starts_with("ドメイン名"), "{error}");
        let framework = text_of(
            "Failed to deserialize the JSON body into the target type: settings.x: unknown field `y`, expected `z` at line 1 column 2",
        );
        assert_eq!(framework.to_string(), "settings.x: unknown field `y`; known: `z`");
        assert_eq!(text_of("something else").to_string(), "something else");
        assert!(text_of("something else").render(Lang::Ja).ends_with("something else"));
    }
}
