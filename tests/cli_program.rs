//! The program as a user runs it: arguments, streams, files, exit codes.
#![cfg(not(target_arch = "wasm32"))]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/www/models/demo");

fn phiquant(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_phiquant")).args(arguments).output().expect("the program starts")
}

/// The one JSON object on standard output, and the exit code.
fn json(arguments: &[&str]) -> (Value, i32) {
    let output = phiquant(&[arguments, &["--json"]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (value, output.status.code().unwrap())
}

fn ok(arguments: &[&str]) -> Value {
    let (value, code) = json(arguments);
    assert_eq!(code, 0, "{arguments:?}: {value}");
    value
}

/// Code and message of the error, and the exit code.
fn error(arguments: &[&str]) -> (String, String, i32) {
    let (value, code) = json(arguments);
    let error = &value["error"];
    (error["code"].as_str().unwrap().to_owned(), error["message"].as_str().unwrap().to_owned(), code)
}

/// A folder for one test, empty at its start.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn one_thread_and_many_write_the_same_file() {
    let folder = folder("threads");
    let checkpoint = folder.join("tiny");
    ok(&["synthesize", text(&checkpoint), "--size", "tiny"]);
    let (one, many) = (folder.join("one.gguf"), folder.join("many.gguf"));
    let options = ["--scheme", "Q4_0", "--override", "^model\\.embed=F16", "--sha256"];
    let run = |output: &Path, threads: &str| {
        ok(&[&["quantize", text(&checkpoint), "--output", text(output), "--threads", threads][..], &options].concat())
    };
    let (first, second) = (run(&one, "1"), run(&many, "5"));
    assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&many).unwrap());
    assert_eq!(first["files"][0]["sha256"], second["files"][0]["sha256"]);
    assert_eq!(first["report"]["tensors"], second["report"]["tensors"], "sums do not depend on the threads");
    assert_eq!(first["files"][0]["bytes"], std::fs::metadata(&one).unwrap().len());
    let tensors = first["report"]["tensors"].as_array().unwrap();
    let scheme = |name: &str| tensors.iter().find(|it| it["output"] == name).unwrap()["scheme"].clone();
    assert_eq!(scheme("token_embd.weight"), "F16");
    assert_eq!(scheme("output.weight"), "Q6_K", "the mix's exception");
    assert_eq!(scheme("blk.0.ffn_down.weight"), "Q4_0");
    assert!(tensors.iter().all(|it| it["relative"].as_f64().unwrap() < 0.12));

    let pure = folder.join("pure/");
    let report =
        ok(&["quantize", text(&checkpoint), "--scheme", "Q4_0", "--pure", "--output", &format!("{}/", text(&pure))]);
    assert_eq!(names(&pure), ["tiny-Q4_0.gguf"], "a folder gets a file with a name of its own");
    let tensors = report["report"]["tensors"].as_array().unwrap();
    assert!(tensors.iter().any(|it| it["output"] == "output.weight" && it["scheme"] == "Q4_0"));
}

#[test]
fn the_demo_answers_before_and_after_quantizing() {
    let folder = folder("demo");
    let gguf = folder.join("demo.gguf");
    ok(&["quantize", DEMO, "--scheme", "F16", "--output", text(&gguf)]);
    let ask = |model: &str| ok(&["run", model, "--prompt", "What is INT4?", "--max-tokens", "24"]);
    let (before, after) = (ask(DEMO), ask(text(&gguf)));
    assert_eq!(before["text"], after["text"], "F16 holds what BF16 says here");
    assert_eq!(before["promptTokens"], after["promptTokens"], "the tokenizer survives its way through GGUF");
    assert!(before["text"].as_str().unwrap().contains("4-bit"), "{before}");
    assert_eq!(before["usage"]["promptTokens"], before["promptTokens"].as_array().unwrap().len());

    // Without --json the text itself is what standard output holds.
    let plain = phiquant(&["run", DEMO, "--prompt", "What is INT4?", "--max-tokens", "24", "--quiet"]);
    assert_eq!(String::from_utf8(plain.stdout).unwrap(), format!("{}\n", before["text"].as_str().unwrap()));

    let stopped = ok(&["run", DEMO, "--prompt", "What is INT4?", "--stop", "bit"]);
    let whole = before["text"].as_str().unwrap();
    assert_eq!(stopped["text"], whole[..whole.find("bit").unwrap()]);
    assert_eq!(stopped["usage"]["finish"], "stop");
    let short = ok(&["run", DEMO, "--prompt", "What is INT4?", "-n", "2"]);
    assert_eq!((&short["usage"]["tokens"], &short["usage"]["finish"]), (&2.into(), &"length".into()));
    let raw = ok(&["run", DEMO, "--prompt", "What is INT4?", "--raw", "-n", "1"]);
    assert!(raw["promptTokens"].as_array().unwrap().len() < before["promptTokens"].as_array().unwrap().len());
}

#[test]
fn every_family_goes_through_a_gguf() {
    for family in ["phi2", "phi3", "phimoe"] {
        let folder = folder(family);
        let (checkpoint, gguf) = (folder.join("tiny"), folder.join("tiny.gguf"));
        ok(&["synthesize", text(&checkpoint), "--size", "tiny", "--family", family]);
        let say = |model: &Path| ok(&["run", text(model), "--prompt", "t t t", "--raw", "-n", "12"])["tokens"].clone();
        let quantize = |scheme: &str| ok(&["quantize", text(&checkpoint), "--scheme", scheme, "--output", text(&gguf)]);
        quantize("BF16");
        let said = say(&checkpoint);
        assert_eq!(say(&gguf), said, "{family}: BF16 holds every bit");
        assert!(!said.as_array().unwrap().is_empty(), "{family}");
        // Of several types within a layer.
        let report = quantize("Q4_K_M")["report"]["tensors"].clone();
        let schemes = |scheme: &str| report.as_array().unwrap().iter().filter(|it| it["scheme"] == scheme).count();
        assert!(schemes("Q4_K") > 0 && schemes("Q6_K") > 0, "{family}");
        assert!(!say(&gguf).as_array().unwrap().is_empty(), "{family}");
    }
}

#[test]
fn a_fault_leaves_nothing_behind() {
    let folder = folder("faults");
    let checkpoint = folder.join("tiny");
    ok(&["synthesize", text(&checkpoint), "--size", "tiny", "--dtype", "f32"]);
    let weights = checkpoint.join("model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    let output = folder.join("out");
    std::fs::create_dir(&output).unwrap();
    let target = output.join("model.gguf");
    std::fs::write(&target, "an older file").unwrap();
    let quantize = || error(&["quantize", text(&checkpoint), "--scheme", "Q8_0", "--output", text(&target)]);

    let mut damaged = whole.clone();
    let middle = damaged.len() / 2 / 4 * 4;
    damaged[middle..middle + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&weights, &damaged).unwrap();
    let (code, message, status) = quantize();
    assert_eq!((code.as_str(), status), ("not-finite", 1), "{message}");
    std::fs::write(&weights, &whole[..whole.len() - 1]).unwrap();
    let (code, message, status) = quantize();
    assert_eq!((code.as_str(), status), ("truncated", 1), "{message}");
    assert_eq!(names(&output), ["model.gguf"], "no partial file stays");
    assert_eq!(
        std::fs::read_to_string(&target).unwrap(),
        "an older file",
        "the old one is there until the new one is whole"
    );

    std::fs::write(&weights, &whole).unwrap();
    let onto = error(&["quantize", text(&checkpoint), "--scheme", "Q8_0", "--output", text(&weights)]);
    assert_eq!((onto.0.as_str(), onto.2), ("bad-option", 2));
    assert_eq!(std::fs::read(&weights).unwrap(), whole, "a checkpoint does not replace itself");
    std::fs::remove_file(checkpoint.join("config.json")).unwrap();
    assert_eq!(quantize().0, "missing-file");
}

#[test]
fn wrong_options_say_which() {
    let check = |arguments: &[&str], code: &str, status: i32, word: &str| {
        let (found, message, exit) = error(arguments);
        assert_eq!((found.as_str(), exit), (code, status), "{arguments:?}: {message}");
        assert!(message.contains(word), "{arguments:?}: {message} lacks {word:?}");
    };
    let out = folder("options").join("x.gguf");
    let quantize = |extra: &[&'static str]| [&["quantize", DEMO, "--output", text(&out)][..], extra].concat();
    check(&quantize(&["--scheme", "Q9_9"]), "bad-option", 2, "Q4_0");
    check(&quantize(&["--scheme", "Q4_0", "--format", "zip"]), "bad-option", 2, "gguf");
    check(&quantize(&["--scheme", "Q4_0", "--override", "x"]), "bad-option", 2, "REGEX=TYPE");
    check(&quantize(&["--scheme", "Q4_0", "--fit", "2G"]), "bad-option", 2, "--fit");
    check(&quantize(&["--fit", "2 miles"]), "bad-option", 2, "--fit");
    check(&quantize(&["--fit", "10k"]), "target-too-small", 1, "smallest");
    check(&quantize(&["--scheme", "Q2_K_S"]), "needs-importance", 1, "importance matrix");
    check(&quantize(&["--scheme", "Q4_0", "--threads", "0"]), "bad-option", 2, "--threads");
    check(&["run", "/nothing/there", "--prompt", "x"], "missing-file", 1, "");
    check(&["run", DEMO, "--prompt", "x", "--temperature", "-1"], "bad-option", 2, "temperature");
    check(&["run", DEMO, "--prompt", "x", "--context", "0"], "bad-option", 2, "context");
    check(&["run", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "--prompt", "x"], "bad-option", 2, "gguf");
    check(&["run", DEMO], "bad-option", 2, "--prompt");
    assert!(!out.exists());
    // For a person the same goes to standard error, with the code in brackets.
    let output = phiquant(&["run", "/nothing/there", "--prompt", "x"]);
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.starts_with("error: ") && words.trim_end().ends_with("[missing-file]"), "{words}");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
}

#[test]
fn a_matrix_a_limit_and_a_size_make_the_files_of_llama_cpp() {
    let checkpoint = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gguf/tiny-phi3-spm");
    let known: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(format!("{checkpoint}/quantized.json")).unwrap()).unwrap();
    let out = folder("matrix");
    let imatrix = format!("{checkpoint}/imatrix.gguf");
    let quantize = |extra: &[&str]| {
        let words = [&["quantize", checkpoint, "--sha256", "--output", text(&out)][..], extra].concat();
        ok(&words)["files"].as_array().unwrap().clone()
    };
    let files = quantize(&["--scheme", "Q2_K_S", "--imatrix", &imatrix]);
    assert_eq!(files[0]["sha256"], known["quantized"]["--imatrix imatrix.gguf Q2_K_S"]);
    let (limit, parts) = known["split F32"].as_object().unwrap().iter().next().unwrap();
    let files = quantize(&["--scheme", "F32", "--split-max-size", limit]);
    assert!(files.len() > 1 && files.iter().map(|file| &file["sha256"]).eq(parts.as_object().unwrap().values()));
    // Opened by one of its parts.
    let second = files[1]["path"].as_str().unwrap();
    let again = ok(&["quantize", second, "--scheme", "Q4_0", "--sha256", "--output", text(&out.join("again.gguf"))]);
    assert_eq!(again["files"][0]["sha256"], quantize(&["--scheme", "Q4_0"])[0]["sha256"]);
    let fitting = quantize(&["--fit", "150k"]);
    assert!(fitting[0]["bytes"].as_u64().unwrap() <= 150_000 && fitting[0]["name"] != again["files"][0]["name"]);
}

#[test]
fn bench_gives_numbers() {
    let report = ok(&["bench", DEMO, "--scheme", "Q4_0", "--threads", "1", "--prompt-tokens", "8", "-n", "4"]);
    assert!(report["quantize"][0]["weightsPerSecond"].as_f64().unwrap() > 1e5, "{report}");
    assert!(report["models"][0]["decodeTokensPerSecond"].as_f64().unwrap() > 0.1, "{report}");
}
