//! Chat templates: Jinja as transformers 5.23 sets it up (`utils/chat_template_utils.py`).

use crate::error::{Error, ErrorKind, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, UndefinedBehavior, context};
use regex_lite::Regex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    pub content: String,
}

const NAME: &str = "chat_template";

pub(super) struct Template {
    environment: Environment<'static>,
    /// `bos_token` and the like, which templates may write.
    tokens: BTreeMap<&'static str, String>,
}

impl Template {
    pub fn new(source: &str, tokens: BTreeMap<&'static str, String>) -> Result<Self> {
        let mut environment = Environment::new();
        let syntax =
            SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|error| fault(&error))?;
        environment.set_syntax(syntax);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        // Python's methods on strings, lists and dictionaries.
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", tojson);
        environment.add_template_owned(NAME, without_generation(source)).map_err(|error| fault(&error))?;
        Ok(Self { environment, tokens })
    }

    pub fn render(&self, messages: &[Message], answer: bool) -> Result<String> {
        let template = self.environment.get_template(NAME).map_err(|error| fault(&error))?;
        let turn = |message: &Message| {
            Value::from_pairs([("role", message.role.as_str()), ("content", message.content.as_str())])
        };
        let messages: Value = messages.iter().map(turn).collect();
        let tokens = Value::from_pairs(self.tokens.iter().map(|(name, token)| (*name, token.as_str())));
        template.render(context! { messages, add_generation_prompt => answer, ..tokens }).map_err(|error| fault(&error))
    }
}

/// transformers' own statement marks the assistant's words for training; for a prompt it is a block like any other.
fn without_generation(source: &str) -> String {
    let tag = |name: &str| Regex::new(&format!(r"\{{%([-+]?)\s*{name}\s*([-+]?)%\}}")).expect("a valid pattern");
    let source = tag("generation").replace_all(source, "{%$1 if true $2%}");
    tag("endgeneration").replace_all(&source, "{%$1 endif $2%}").into_owned()
}

fn fault(error: &minijinja::Error) -> Error {
    let mut message = error.detail().unwrap_or("the template is at fault").to_owned();
    if error.kind() != minijinja::ErrorKind::InvalidOperation || error.detail().is_none() {
        message = error.to_string();
    }
    Error::new(ErrorKind::BadConfig, format!("the chat template cannot be rendered: {message}"))
}

/// What templates call for conversations that they do not take.
fn raise_exception(message: String) -> Result<String, minijinja::Error> {
    Err(minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, message))
}

/// Python's `json.dumps(value, ensure_ascii=False)`: transformers replaces Jinja's own filter, which escapes HTML.
fn tojson(value: Value, _positional: Rest<Value>, options: Kwargs) -> Result<String, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    options.assert_all_used()?;
    let mut out = String::new();
    write_json(&mut out, &value, indent, 0)?;
    Ok(out)
}

fn write_json(out: &mut String, value: &Value, indent: Option<usize>, depth: usize) -> Result<(), minijinja::Error> {
    let line = |out: &mut String, depth: usize| {
        if let Some(width) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', width * depth));
        }
    };
    // Python puts a space after a comma unless it breaks the line there.
    let comma = if indent.is_some() { "," } else { ", " };
    let (open, close) = match value.kind() {
        ValueKind::Map => ('{', '}'),
        ValueKind::Seq | ValueKind::Iterable => ('[', ']'),
        kind => {
            out.push_str(&scalar(value, kind)?);
            return Ok(());
        }
    };
    out.push(open);
    let mut empty = true;
    for item in value.try_iter()? {
        if !std::mem::take(&mut empty) {
            out.push_str(comma);
        }
        line(out, depth + 1);
        if open == '{' {
            let key = serde_json::Value::String(item.to_string());
            let _ = write!(out, "{key}: ");
            write_json(out, &value.get_item(&item)?, indent, depth + 1)?;
        } else {
            write_json(out, &item, indent, depth + 1)?;
        }
    }
    if !empty {
        line(out, depth);
    }
    out.push(close);
    Ok(())
}

fn scalar(value: &Value, kind: ValueKind) -> Result<String, minijinja::Error> {
    match kind {
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(value.is_true().to_string()),
        ValueKind::String => Ok(serde_json::Value::from(&*value.to_str().unwrap_or_default()).to_string()),
        // Python cannot serialize Jinja's undefined either.
        ValueKind::Undefined => {
            let what = "tojson was given a value that is not there";
            Err(minijinja::Error::new(minijinja::ErrorKind::UndefinedError, what))
        }
        _ => Ok(value.to_string()),
    }
}

/// `datetime.now().strftime(format)`, in UTC (std knows no time zone), for the directives that templates use.
fn strftime_now(format: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    strftime(format, now.as_secs())
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

fn strftime(format: &str, seconds: u64) -> String {
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let directive = characters.next();
        let _ = match directive {
            Some('Y') => write!(out, "{year}"),
            Some('y') => write!(out, "{:02}", year % 100),
            Some('m') => write!(out, "{month:02}"),
            Some('d') => write!(out, "{day:02}"),
            Some('B') => write!(out, "{}", MONTHS[month as usize - 1]),
            Some('b') => write!(out, "{}", &MONTHS[month as usize - 1][..3]),
            Some('A') => write!(out, "{}", DAYS[(days % 7) as usize]),
            Some('a') => write!(out, "{}", &DAYS[(days % 7) as usize][..3]),
            Some('H') => write!(out, "{hour:02}"),
            Some('I') => write!(out, "{:02}", (hour + 11) % 12 + 1),
            Some('p') => write!(out, "{}", if hour < 12 { "AM" } else { "PM" }),
            Some('M') => write!(out, "{minute:02}"),
            Some('S') => write!(out, "{second:02}"),
            Some('%') => write!(out, "%"),
            other => write!(out, "%{}", other.map(String::from).unwrap_or_default()),
        };
    }
    out
}

/// Year, month and day of a day counted from 1970-01-01.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> Result<String> {
        let tokens = BTreeMap::from([("bos_token", "<s>".to_owned())]);
        let message = |role: &str, content: &str| Message { role: role.into(), content: content.into() };
        Template::new(source, tokens)?.render(&[message("user", "Hi \"<b>\" é"), message("assistant", "")], true)
    }

    #[test]
    fn dates() {
        assert_eq!(strftime("%d %b %Y %A %H:%M:%S", 0), "01 Jan 1970 Thursday 00:00:00");
        assert_eq!(strftime("%Y-%m-%d %a %I:%M %p", 1_709_211_661), "2024-02-29 Thu 01:01 PM");
        assert_eq!(strftime("%B %y %%%q", 1_767_225_599), "December 25 %%q");
    }

    #[test]
    fn json_is_pythons() {
        assert_eq!(
            render("{{ messages | tojson }}").unwrap(),
            r#"[{"role": "user", "content": "Hi \"<b>\" é"}, {"role": "assistant", "content": ""}]"#
        );
        assert_eq!(
            render("{{ {'a': [1, 2.0, none, true], 'b': {}} | tojson(indent=2) }}").unwrap(),
            "{\n  \"a\": [\n    1,\n    2.0,\n    null,\n    true\n  ],\n  \"b\": {}\n}"
        );
    }

    #[test]
    fn blocks_leave_no_white_space() {
        let source = "{% for message in messages %}\n    {% if message.role == 'assistant' %}\n        {% break %}\n    {% endif %}\n{{ bos_token }}{{ message.content.upper().strip() }}\n{% endfor %}\n";
        assert_eq!(render(source).unwrap(), "<s>HI \"<B>\" É\n");
    }

    #[test]
    fn a_template_may_refuse() {
        let error = render("{{ raise_exception('Roles must alternate') }}").unwrap_err();
        assert_eq!(error.kind.code(), "bad-config");
        assert!(error.message.ends_with("cannot be rendered: Roles must alternate"), "{error}");
        assert_eq!(render("{% for %}").unwrap_err().kind.code(), "bad-config");
    }
}
