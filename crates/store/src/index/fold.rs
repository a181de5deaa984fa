//! Folding: which spellings of a text are the same to a searcher?
//!
//! In:  decoded text. Out: lower case; full-width letters and half-width kana to their usual width; katakana to hiragana;
//! [`pieces`]: words of letters and digits, and runs of Chinese, Japanese and Korean characters, which have no spaces between words.

/// A piece of folded text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Letters and digits of a script with spaces.
    Word(String),
    /// Characters of a script without.
    Run(String),
}

const HALF_KANA: [char; 56] = [
    'ヲ', 'ァ', 'ィ', 'ゥ', 'ェ', 'ォ', 'ャ', 'ュ', 'ョ', 'ッ', 'ー', 'ア', 'イ', 'ウ', 'エ', 'オ', 'カ', 'キ', 'ク', 'ケ', 'コ', 'サ',
    'シ', 'ス', 'セ', 'ソ', 'タ', 'チ', 'ツ', 'テ', 'ト', 'ナ', 'ニ', 'ヌ', 'ネ', 'ノ', 'ハ', 'ヒ', 'フ', 'ヘ', 'ホ', 'マ', 'ミ', 'ム',
    'メ', 'モ', 'ヤ', 'ユ', 'ヨ', 'ラ', 'リ', 'ル', 'レ', 'ロ', 'ワ', 'ン',
];

/// Folds a text.
#[must_use]
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{ff01}'..='\u{ff5e}' => push_lower(&mut out, char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c)),
            '\u{3000}' | '\u{a0}' => out.push(' '),
            '\u{ff66}'..='\u{ff9d}' => {
                let full = usize::try_from(u32::from(c) - 0xff66)
                    .ok()
                    .and_then(|i| HALF_KANA.get(i))
                    .copied()
                    .unwrap_or(c);
                out.push(hiragana(full));
            }
            // Voiced marks: half-width and combining ones join the kana before them.
            '\u{ff9e}' | '\u{3099}' => voice(&mut out, 1),
            '\u{ff9f}' | '\u{309a}' => voice(&mut out, 2),
            '\u{30a1}'..='\u{30f6}' => out.push(hiragana(c)),
            other => push_lower(&mut out, other),
        }
    }
    out
}

fn push_lower(out: &mut String, c: char) {
    if c.is_ascii() {
        out.push(c.to_ascii_lowercase())
    } else {
        out.extend(c.to_lowercase())
    }
}

fn hiragana(c: char) -> char {
    match c {
        '\u{30a1}'..='\u{30f6}' => char::from_u32(u32::from(c) - 0x60).unwrap_or(c),
        other => other,
    }
}

/// か + mark = が; は + the round mark = ぱ: in Unicode the voiced forms follow the plain ones.
fn voice(out: &mut String, by: u32) {
    let Some(last) = out.chars().next_back() else { return };
    let takes = match last {
        'か'..='ぢ' => by == 1 && u32::from(last) % 2 == 1,
        'つ' | 'て' | 'と' => by == 1,
        'は' | 'ひ' | 'ふ' | 'へ' | 'ほ' => true,
        _ => false,
    };
    if takes && let Some(voiced) = char::from_u32(u32::from(last) + by) {
        out.pop();
        out.push(voiced);
    }
    if last == 'う' && by == 1 {
        out.pop();
        out.push('ゔ');
    }
}

fn is_run(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{3096}' | '\u{30fc}' | '\u{3005}'..='\u{3007}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Cuts folded text into pieces.
#[must_use]
pub fn pieces(folded: &str) -> Vec<Piece> {
    let mut out = Vec::new();
    let mut current = String::new();
    let mut in_run = false;
    for c in folded.chars().chain(std::iter::once(' ')) {
        let run = is_run(c);
        let word = !run && c.is_alphanumeric();
        if !current.is_empty() && (in_run != run || !(run || word)) {
            let text = std::mem::take(&mut current);
            out.push(if in_run { Piece::Run(text) } else { Piece::Word(text) });
        }
        if run || word {
            in_run = run;
            current.push(c);
        }
    }
    out
}

/// Whether `text` has all pieces of `wanted`: words as whole words, runs as they stand. Nothing wanted is never found.
#[must_use]
pub fn has_pieces(wanted: &[Piece], text: &str) -> bool {
    let folded = fold(text);
    let there = pieces(&folded);
    !wanted.is_empty()
        && wanted.iter().all(|piece| match piece {
            Piece::Word(_) => there.contains(piece),
            Piece::Run(run) => folded.contains(run.as_str()),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding() {
        let check = |text: &str, expect: &str| assert_eq!(fold(text), expect, "{text}");
        check("Invoice 42", "invoice 42");
        check("ＩＮＶＯＩＣＥ　４２", "invoice 42");
        check("ﾐﾂﾓﾘｼｮ ｶﾞ ﾊﾟ ｳﾞ ﾀﾞ ﾂﾞ", "みつもりしょ が ぱ ゔ だ づ");
        check("カタカナー", "かたかなー");
        check("ÄÖ", "äö");
        check("か\u{3099}", "が");
    }

    #[test]
    fn cutting() {
        let check = |text: &str, expect: &[&str]| {
            let got: Vec<String> = pieces(&fold(text))
                .into_iter()
                .map(|p| match p {
                    Piece::Word(w) => w,
                    Piece::Run(r) => format!("[{r}]"),
                })
                .collect();
            assert_eq!(got, expect, "{text}");
        };
        check(
            "Re: 見積書PDFのご送付 (2026-11)",
            &["re", "[見積書]", "pdf", "[のご送付]", "2026", "11"],
        );
        check("", &[]);
        check(" - ", &[]);
    }

    #[test]
    fn having() {
        let check = |wanted: &str, text: &str, expect| assert_eq!(has_pieces(&pieces(&fold(wanted)), text), expect, "{wanted} in {text}");
        check("見積", "御見積書", true);
        check("積見", "御見積書", false);
        check("PDF 送付", "見積書ＰＤＦのご送付", true);
        check("voice", "invoice", false);
        check("ミツモリ", "みつもり", true);
        check("", "anything", false);
    }
}
