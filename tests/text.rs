//! The native tokenizer and chat templates on the corpus that the browser's must equal too (tools/text_corpus.py).
#![cfg(all(feature = "cli", not(target_arch = "wasm32")))]

use phiquant::text::{Detokenizer, Message, Text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn corpus() -> Value {
    serde_json::from_str(&read("tests/fixtures/text/corpus.json")).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn text(folder: &str) -> Text {
    let names = ["tokenizer.json", "tokenizer_config.json"];
    let texts: BTreeMap<String, String> = names.map(|name| (name.into(), read(&format!("{folder}/{name}")))).into();
    Text::new(&texts).unwrap()
}

#[test]
fn ids_and_texts_are_pythons() {
    let corpus = corpus();
    let texts: Vec<&str> = corpus["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    assert!(texts.len() > 400);
    for (name, expected) in corpus["tokenizers"].as_object().unwrap() {
        let text = text(expected["folder"].as_str().unwrap());
        assert_eq!(text.encode("a b", true).unwrap(), ids(&expected["special"]), "{name}");
        for (index, source) in texts.iter().enumerate() {
            let wanted = ids(&expected["ids"][index]);
            assert_eq!(text.encode(source, false).unwrap(), wanted, "{name}: {source:?}");
            let decoded = text.decode(&wanted).unwrap();
            assert_eq!(decoded, expected["decoded"][index].as_str().unwrap_or(source), "{name}: {source:?}");
        }
    }
}

#[test]
fn text_that_comes_in_pieces_is_the_text_at_once() {
    let corpus = corpus();
    for (name, expected) in corpus["tokenizers"].as_object().unwrap() {
        let text = text(expected["folder"].as_str().unwrap());
        for list in expected["ids"].as_array().unwrap() {
            let list = ids(list);
            let mut stream = Detokenizer::new(|ids: &[u32]| text.decode(ids));
            let mut joined: String = list.iter().map(|&id| stream.push(id).unwrap()).collect();
            joined.push_str(&stream.flush().unwrap());
            assert_eq!(joined, text.decode(&list).unwrap(), "{name}: {list:?}");
        }
    }
}

#[test]
fn chats_are_transformers() {
    let corpus = corpus();
    let tokenizer = read("tests/fixtures/text/pieces/tokenizer.json");
    let mut different = Vec::new();
    for chat in corpus["chats"].as_array().unwrap() {
        let name = chat["template"].as_str().unwrap();
        let config = serde_json::json!({
            "chat_template": corpus["templates"][name], "bos_token": "<s>", "eos_token": { "content": "<|endoftext|>" },
        });
        let texts = [("tokenizer.json", tokenizer.clone()), ("tokenizer_config.json", config.to_string())];
        let text = Text::new(&texts.map(|(name, text)| (name.to_owned(), text)).into()).unwrap();
        let messages: Vec<Message> = serde_json::from_value(chat["messages"].clone()).unwrap();
        let rendered = text.render(&messages, chat["generation"].as_bool().unwrap());
        let equal = match (&rendered, chat["text"].as_str()) {
            (Ok(rendered), Some(expected)) => rendered == expected,
            (Err(error), None) => {
                error.kind.code() == "bad-config" && error.message.ends_with(chat["error"].as_str().unwrap())
            }
            _ => false,
        };
        if !equal {
            let template = &corpus["templates"][name];
            different.push(format!("{template}\n  gives {rendered:?}\n  not {} {}", chat["text"], chat["error"]));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn faults_are_named() {
    let tokenizer = read("tests/fixtures/text/bytes/tokenizer.json");
    let make = |texts: &[(&str, &str)]| {
        Text::new(&texts.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect())
    };
    let code = |texts: &[(&str, &str)]| {
        let error = make(texts).err().expect("a fault");
        (error.kind.code(), error.file.unwrap_or_default())
    };
    assert_eq!(code(&[]), ("missing-file", "tokenizer.json".into()));
    assert_eq!(code(&[("tokenizer.json", "{}")]), ("bad-config", "tokenizer.json".into()));
    let broken = [("tokenizer.json", tokenizer.as_str()), ("tokenizer_config.json", "{")];
    assert_eq!(code(&broken), ("bad-config", "tokenizer_config.json".into()));
    let text = make(&[("tokenizer.json", tokenizer.as_str())]).unwrap();
    assert!(!text.has_template());
    assert_eq!(text.render(&[], true).unwrap_err().kind.code(), "unsupported");
    // Templates may also stand in a file of their own, or in a list.
    let with = |name: &str, content: &str| {
        let text = make(&[("tokenizer.json", tokenizer.as_str()), (name, content)]).unwrap();
        text.render(&[], true).unwrap()
    };
    assert_eq!(with("chat_template.jinja", "own"), "own");
    assert_eq!(with("chat_template.json", r#"{ "chat_template": "beside" }"#), "beside");
    let list = r#"{ "chat_template": [{ "name": "tool", "template": "a" }, { "name": "default", "template": "b" }] }"#;
    assert_eq!(with("tokenizer_config.json", list), "b");
}
