//! `general.*`: what a model is called, from its folder's name, as gguf-py's `Metadata` guesses it.
//!
//! `Phi-3-mini-4k-instruct` is the model "Phi 3 Mini 4k Instruct", basename `Phi-3`, size `mini`, fine-tune `4k-instruct`.

use super::value::{Metadata, Value};
use regex_lite::Regex;
use serde_json::Value as Json;

/// What a name says.
#[derive(Debug, Default, PartialEq)]
struct Parts {
    name: Option<String>,
    organization: Option<String>,
    basename: Option<String>,
    finetune: Option<String>,
    version: Option<String>,
    size_label: Option<String>,
}

/// How many weights a model has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parameters {
    pub all: u64,
    /// Those of one expert, beside which all have what is not an expert's; 0 without experts.
    pub expert: u64,
    pub experts: u64,
}

impl Parameters {
    /// `3.8B`, or `16x2.6B`: so many experts, and the weights with one of them.
    fn label(&self) -> String {
        match self.experts {
            0 => rounded(self.all),
            n => format!("{n}x{}", rounded(self.all - (n - 1) * self.expert)),
        }
    }
}

/// The keys from `general.type` to `general.size_label`. `folder`: the checkpoint's name.
pub fn metadata(folder: &str, config: &Json, generation: Option<&Json>, parameters: Parameters) -> Metadata {
    let mut keys: Metadata = vec![("general.type".into(), Value::String("model".into()))];
    keys.extend(generation.map(sampling).unwrap_or_default());

    let mut all = Parts::default();
    // transformers 4 wrote where a model came from; only an id counts, not a path.
    let origin = config.get("_name_or_path").and_then(Json::as_str).filter(|id| id.matches('/').count() <= 1);
    for id in origin.into_iter().chain([folder]) {
        let parts = components(id, parameters.all);
        let title = |text: Option<String>| text.map(|text| title(&text));
        all.name = all.name.or_else(|| title(parts.name));
        all.organization = all.organization.or_else(|| title(parts.organization));
        all.basename = all.basename.or(parts.basename);
        all.finetune = all.finetune.or(parts.finetune);
        all.version = all.version.or(parts.version);
        all.size_label = all.size_label.or(parts.size_label);
    }
    let size_label = all.size_label.unwrap_or_else(|| parameters.label());
    let texts = [
        ("general.name", all.name.or_else(|| Some(folder.to_owned()))),
        ("general.version", all.version),
        ("general.organization", all.organization),
        ("general.finetune", all.finetune),
        ("general.basename", all.basename),
        ("general.size_label", Some(size_label)),
    ];
    keys.extend(texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), Value::String(text?)))));
    keys
}

/// generation_config.json's sampling settings.
fn sampling(generation: &Json) -> Metadata {
    let float = |n: &Json| n.as_f64().map(|n| Value::F32(n as f32));
    let int = |n: &Json| n.as_i64().and_then(|n| i32::try_from(n).ok()).map(Value::I32);
    let text = |s: &Json| s.as_str().map(|s| Value::String(s.to_owned()));
    type Read = dyn Fn(&Json) -> Option<Value>;
    let fields: [(&str, &[&str], &Read); 12] = [
        ("sequence", &["sequence"], &text),
        ("top_k", &["top_k"], &int),
        ("top_p", &["top_p"], &float),
        ("min_p", &["min_p"], &float),
        ("xtc_probability", &["xtc_probability"], &float),
        ("xtc_threshold", &["xtc_threshold"], &float),
        ("temp", &["temperature"], &float),
        ("penalty_last_n", &["penalty_last_n"], &int),
        ("penalty_repeat", &["penalty_repeat", "repetition_penalty"], &float),
        ("mirostat", &["mirostat"], &int),
        ("mirostat_tau", &["mirostat_tau"], &float),
        ("mirostat_eta", &["mirostat_eta"], &float),
    ];
    let found = fields.iter().filter_map(|(key, names, read)| {
        let value = names.iter().find_map(|name| generation.get(name))?;
        Some((format!("general.sampling.{key}"), read(value)?))
    });
    found.collect()
}

/// Words in title case, but for versions and words that have capitals already.
fn title(text: &str) -> String {
    let text = text.trim().replace('-', " ");
    let words = text.split_whitespace().map(|word| {
        let lower = word.chars().any(char::is_lowercase) && !word.chars().any(char::is_uppercase);
        let digits = word.starts_with(|c: char| c.is_ascii_digit());
        let version = word.strip_prefix('v').is_some_and(|rest| {
            rest.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
        });
        if !lower || digits || version {
            return word.to_owned();
        }
        // A letter after anything but a letter begins a word.
        let mut inside = false;
        let cased = word.chars().flat_map(|c| {
            let upper = c.is_alphabetic() && !inside;
            inside = c.is_alphabetic();
            if upper { c.to_uppercase().collect::<Vec<_>>() } else { vec![c] }
        });
        cased.collect()
    });
    words.collect::<Vec<_>>().join(" ")
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Role {
    Basename,
    Size,
    Finetune,
    Version,
    Type,
}

/// Takes `organization/name-1.5-7B-instruct` apart.
fn components(id: &str, parameters: u64) -> Parts {
    if id.contains(' ') {
        return Parts { name: Some(id.to_owned()), ..Parts::default() };
    }
    let (organization, full) = match id.split_once('/') {
        Some((organization, full)) => (Some(organization.to_owned()).filter(|o| !o.starts_with('.')), full),
        None => (None, id),
    };
    let regex = |pattern: &str| Regex::new(pattern).expect("the pattern is a constant");
    let version = regex(r"(?i)^(v|iter)?\d+([.]\d+)*$");
    let kind = regex(r"(?i)^(i?q\d(_\w)*|b?fp?(16|32))$");
    let size = regex(r"(?i)^((a|\d+x)?\d+([._]\d+)?[kmbt]\d?|small|mini|medium|large|x?xl)$");
    let tune = regex(r"(?i)^(chat|instruct|vision|lora)$");

    let mut parts: Vec<(String, Vec<Role>)> =
        full.split('-').filter(|part| !part.is_empty()).map(|part| (part.to_owned(), Vec::new())).collect();
    for (i, (part, roles)) in parts.iter_mut().enumerate() {
        if version.is_match(part) {
            roles.push(Role::Version);
        } else if kind.is_match(part) {
            roles.push(Role::Type);
            *part = part.to_uppercase();
        } else if i > 0 && size.is_match(part) {
            let (label, is_context) = size_part(part, parameters);
            roles.push(if is_context { Role::Finetune } else { Role::Size });
            *part = label;
        } else if i > 0 && tune.is_match(part) {
            roles.push(Role::Finetune);
        }
    }
    // A number says more than a word.
    let digit = |text: &str| text.chars().any(|c| c.is_ascii_digit());
    if parts.iter().any(|(part, roles)| roles.contains(&Role::Size) && digit(part)) {
        for (part, roles) in &mut parts {
            if part.chars().all(char::is_alphabetic) {
                roles.retain(|role| *role != Role::Size);
            }
        }
    }
    let mut at_start = true;
    for (part, roles) in &mut parts {
        let plain = roles.is_empty() && part.starts_with(char::is_alphabetic);
        if at_start && (plain || roles.contains(&Role::Version)) {
            roles.push(Role::Basename);
        } else {
            at_start = false;
            if roles.is_empty() {
                roles.push(Role::Finetune);
            }
        }
    }
    // Versions at the basename's end are versions only.
    for (_, roles) in parts.iter_mut().rev() {
        if roles.contains(&Role::Basename) && roles.len() > 1 {
            roles.retain(|role| *role != Role::Basename);
        } else {
            break;
        }
    }
    let join = |wanted: &dyn Fn(&[Role]) -> bool| {
        let chosen: Vec<&str> =
            parts.iter().filter(|(_, roles)| wanted(roles)).map(|(part, _)| part.as_str()).collect();
        (!chosen.is_empty()).then(|| chosen.join("-"))
    };
    let mut sizes: Vec<&str> = Vec::new();
    for (part, roles) in &parts {
        if roles.contains(&Role::Size) && !sizes.contains(&part.as_str()) {
            sizes.push(part);
        }
    }
    let size_label = (!sizes.is_empty()).then(|| sizes.join("-"));
    let finetune = join(&|roles| roles.contains(&Role::Finetune));
    let version = join(&|roles| roles.contains(&Role::Version) && !roles.contains(&Role::Basename));
    let basename = join(&|roles| roles.contains(&Role::Basename));
    // A name without any of these is too ambiguous to take a basename from.
    let clear = size_label.is_some() || finetune.is_some() || version.is_some();
    Parts {
        name: Some(full.to_owned()),
        organization,
        basename: basename.filter(|_| clear),
        finetune,
        version,
        size_label,
    }
}

/// A part that looks like a size, in its usual spelling; whether it is rather a context length.
fn size_part(part: &str, parameters: u64) -> (String, bool) {
    let mut chars: Vec<char> = part.replace('_', ".").chars().collect();
    let digit = |c: char| c.is_ascii_digit();
    // 7b1 is 7.1B.
    if let [.., unit, tail] = chars[..]
        && digit(tail)
    {
        chars.truncate(chars.len() - 2);
        chars.extend(['.', tail, unit]);
    }
    if let [.., before, unit] = &mut chars[..]
        && digit(*before)
        && "kmbt".contains(*unit)
    {
        *unit = unit.to_ascii_uppercase();
    }
    let (unit, number) =
        chars.split_last().map(|(unit, number)| (*unit, number.iter().collect::<String>())).unwrap_or_default();
    if parameters > 0
        && let Ok(number) = number.parse::<f64>()
    {
        let power = " KMBT".find(unit).map_or(-1, |power| power as i32);
        let claimed = number * 1000f64.powi(power);
        if (claimed - parameters as f64).abs() > (7 * u128::from(parameters) / 8) as f64 {
            return (
                format!(
                    "{number_text}{}",
                    unit.to_lowercase(),
                    number_text = chars[..chars.len() - 1].iter().collect::<String>()
                ),
                true,
            );
        }
    }
    (chars.into_iter().collect(), false)
}

/// `3.8B`: parameters with two digits at least, and a unit.
fn rounded(parameters: u64) -> String {
    let n = parameters as f64;
    let (scaled, unit) = match n {
        n if n > 1e12 => (n * 1e-12, "T"),
        n if n > 1e9 => (n * 1e-9, "B"),
        n if n > 1e6 => (n * 1e-6, "M"),
        n => (n * 1e-3, "K"),
    };
    let whole = scaled.round_ties_even();
    let digits = if whole == 0.0 { 0 } else { format!("{whole:.0}").len() };
    format!("{scaled:.*}{unit}", 2usize.saturating_sub(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: gguf-py 0.19, `Metadata.get_model_id_components` and `id_to_title`.
    #[test]
    fn names_come_apart_as_in_gguf_py() {
        let parts = |id, n| {
            let p = components(id, n);
            let text = |t: Option<String>| t.unwrap_or_else(|| "–".into());
            [text(p.organization), text(p.basename), text(p.finetune), text(p.version), text(p.size_label)]
        };
        assert_eq!(parts("Phi-3-mini-4k-instruct", 3_821_079_552), ["–", "Phi-3", "4k-instruct", "–", "mini"]);
        assert_eq!(
            parts("microsoft/Phi-4-mini-instruct", 3_836_021_760),
            ["microsoft", "Phi-4", "instruct", "–", "mini"]
        );
        assert_eq!(parts("phi-4", 14_659_507_200), ["–", "phi", "–", "4", "–"]);
        assert_eq!(parts("demo", 3_000_000), ["–", "–", "–", "–", "–"]);
        assert_eq!(parts("tiny-bpe", 3_900_000), ["–", "–", "–", "–", "–"]);
        assert_eq!(parts("bloom-7b1", 7_100_000_000), ["–", "bloom", "–", "–", "7.1B"]);
        assert_eq!(parts("a b", 1), ["–", "–", "–", "–", "–"]);
        assert_eq!(title("Phi-3-mini-4k-instruct"), "Phi 3 Mini 4k Instruct");
        assert_eq!(title("o'neil_model-v1.2 v2x"), "O'Neil_Model v1.2 V2X");
    }

    #[test]
    fn parameter_counts_are_rounded_as_in_gguf_py() {
        for (n, text) in [
            (3_821_079_552, "3.8B"),
            (14_659_507_200, "15B"),
            (3_934_464, "3.9M"),
            (999, "1.0K"),
            (10, "0.01K"),
            (9_960_000, "10M"),
            (1_000_000, "1000K"),
        ] {
            assert_eq!(rounded(n), text);
        }
    }
}
