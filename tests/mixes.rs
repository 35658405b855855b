//! Which type each tensor gets, against llama_model_quantize (tools/mix_fixtures.py): every mix over Phi models and over small
//! ones of odd shapes and counts, with and without an importance matrix, and with what a person can ask for besides.

use phiquant::formats::gguf::mix::{self, Model, Request, Tensor};
use phiquant::formats::gguf::types;
use phiquant::tensor::DType;
use regex_lite::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    layers: usize,
    heads: usize,
    kv_heads: usize,
    experts: usize,
    /// Shapes by name, `{}` for every layer, in the fixture's order.
    tensors: Map<String, Value>,
    /// By mix: the matrices' types, or those without and with an importance matrix.
    mixes: BTreeMap<String, Value>,
    options: Vec<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    mix: String,
    #[serde(default)]
    pure: bool,
    output: Option<String>,
    embedding: Option<String>,
    #[serde(default)]
    overrides: Vec<(String, String)>,
    types: String,
}

/// The shape of a pattern, and its tensors' names.
struct Line {
    shape: Vec<u64>,
    names: Vec<String>,
}

impl Described {
    fn lines(&self) -> Vec<Line> {
        let line = |(pattern, shape): (&String, &Value)| {
            let layers = if pattern.contains("{}") { self.layers } else { 1 };
            let names = (0..layers).map(|layer| pattern.replace("{}", &layer.to_string())).collect();
            Line { shape: serde_json::from_value(shape.clone()).unwrap(), names }
        };
        self.tensors.iter().map(line).collect()
    }
}

fn dtype(name: &str) -> DType {
    types::by_name(name).unwrap_or_else(|| panic!("{name} is no type"))
}

/// `Q6_K*2 Q5_K Q4_K` for `count` tensors: two, one, and all the rest.
fn unfold(runs: &str, count: usize) -> Vec<&str> {
    let (first, last) = runs.rsplit_once(' ').unwrap_or(("", runs));
    let mut types: Vec<&str> = Vec::new();
    for run in first.split_terminator(' ') {
        let (name, n) = run.split_once('*').unwrap_or((run, "1"));
        types.extend(std::iter::repeat_n(name, n.parse().unwrap()));
    }
    assert!(types.len() < count, "{runs}");
    types.resize(count, last);
    types
}

fn check(model: &Described, what: &str, asked: &Asked, importance: bool) {
    let lines = model.lines();
    let tensors: Vec<Tensor> =
        lines.iter().flat_map(|line| line.names.iter().map(|name| Tensor { name, shape: &line.shape })).collect();
    let overrides: Vec<(Regex, DType)> =
        asked.overrides.iter().map(|(pattern, name)| (Regex::new(pattern).unwrap(), dtype(name))).collect();
    let manual = |i: usize| overrides.iter().find(|(r, _)| r.is_match(tensors[i].name)).map(|(_, dtype)| *dtype);
    let request = Request {
        mix: mix::MIXES.iter().find(|mix| mix.name == asked.mix).unwrap(),
        pure: asked.pure,
        importance,
        output: asked.output.as_deref().map(dtype),
        token_embedding: asked.embedding.as_deref().map(dtype),
        manual: &manual,
    };
    let facts = Model { layers: model.layers, gqa: model.heads / model.kv_heads, experts: model.experts };
    let choices = mix::choose(&facts, &tensors, &request);

    let mut at = 0;
    let mut types = asked.types.split('|');
    for line in &lines {
        let ours = &choices[at..at + line.names.len()];
        at += line.names.len();
        if line.shape.len() == 1 {
            assert!(ours.iter().all(Option::is_none), "{what}: a vector gets a type");
            continue;
        }
        for ((name, theirs), ours) in line.names.iter().zip(unfold(types.next().unwrap(), ours.len())).zip(ours) {
            let cols = line.shape[line.shape.len() - 1];
            // Types that are asked for by name are not checked against the shape there, and a broken file is written.
            let theirs = mix::fit(dtype(theirs), cols).name;
            assert_eq!(ours.map_or("F32", |ours| ours.dtype.name), theirs, "{what}: {name} {:?}", line.shape);
        }
    }
    assert_eq!(types.next(), None);
}

#[test]
fn every_tensor_gets_the_type_that_llama_quantize_gives_it() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/mixes.json")).unwrap();
    let models: BTreeMap<String, Described> = serde_json::from_str(&text).unwrap();
    let mut mixes: Vec<&str> = mix::MIXES.iter().map(|mix| mix.name).collect();
    mixes.sort_unstable();
    for (name, model) in &models {
        assert!(model.mixes.keys().map(String::as_str).eq(mixes.iter().copied()), "the fixture has every mix");
        for (mix, types) in &model.mixes {
            for importance in [false, true] {
                let types = types.as_str().unwrap_or_else(|| types[usize::from(importance)].as_str().unwrap());
                let asked = Asked {
                    mix: mix.clone(),
                    pure: false,
                    output: None,
                    embedding: None,
                    overrides: vec![],
                    types: types.into(),
                };
                check(model, &format!("{name}, {mix}, importance {importance}"), &asked, importance);
            }
        }
        for (i, asked) in model.options.iter().enumerate() {
            check(model, &format!("{name}, {}, options {i}", asked.mix), asked, false);
        }
    }
    assert!(models.values().map(|model| model.options.len()).sum::<usize>() > 200);
}
