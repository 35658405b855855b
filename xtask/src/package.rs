//! The npm package: what www/ serves, less the page.

use crate::shell::{root, step};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What a program that imports the module needs, relative to www/.
const PARTS: &[&str] = &["phiquant.js", "engine", "io", "text", "embed", "pkg", "vendor"];

pub fn run() -> Result<()> {
    crate::build(false)?;
    let dist = root().join("dist");
    step("npm package in dist/");
    if dist.exists() {
        fs::remove_dir_all(&dist)?;
    }
    fs::create_dir_all(&dist)?;
    let mut files = Vec::new();
    for part in PARTS {
        let source = root().join("www").join(part);
        if source.exists() {
            copy(&source, &dist.join(part), &mut files)?;
        }
    }
    for name in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        copy(&root().join(name), &dist.join(name), &mut files)?;
    }
    let manifest = dist.join("package.json");
    fs::write(&manifest, serde_json::to_string_pretty(&describe()?)? + "\n")?;
    files.push(manifest);
    print_sizes(&dist, &files)?;
    eprintln!("  `npm pack ./dist` makes the archive");
    Ok(())
}

/// The package's own package.json: name, version and licence are the repository's.
fn describe() -> Result<Value> {
    let ours: Value = serde_json::from_str(&fs::read_to_string(root().join("package.json"))?)?;
    Ok(json!({
        "name": ours["name"],
        "version": ours["version"],
        "description": ours["description"],
        "license": ours["license"],
        "type": "module",
        "exports": {
            ".": { "types": "./engine/index.d.ts", "default": "./phiquant.js" },
            "./embed": "./embed/phi-quant.js",
            "./pkg/*": "./pkg/*",
        },
        "types": "./engine/index.d.ts",
        "sideEffects": ["./embed/phi-quant.js"],
    }))
}

fn copy(source: &Path, target: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if source.is_dir() {
        fs::create_dir_all(target)?;
        let mut entries: Vec<_> = fs::read_dir(source)?.collect::<Result<_, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        // wasm-pack leaves these two beside the module.
        for entry in
            entries.iter().filter(|entry| entry.file_name() != ".gitignore" && entry.file_name() != "package.json")
        {
            copy(&entry.path(), &target.join(entry.file_name()), files)?;
        }
    } else {
        fs::copy(source, target).with_context(|| format!("{} cannot be copied", source.display()))?;
        files.push(target.to_owned());
    }
    Ok(())
}

fn print_sizes(dist: &Path, files: &[PathBuf]) -> Result<()> {
    println!("{:40} {:>9} {:>9} {:>9}", "file", "raw", "gzip", "brotli");
    let mut sum = [0; 3];
    for file in files {
        let bytes = fs::read(file)?;
        let sizes = [bytes.len(), gzip(&bytes)?, brotli(&bytes)?];
        row(&file.strip_prefix(dist)?.to_string_lossy(), sizes);
        // What a browser loads: not the types and the texts.
        let name = file.to_string_lossy();
        if (name.ends_with(".js") || name.ends_with(".wasm")) && !name.contains("embed") {
            sum.iter_mut().zip(sizes).for_each(|(sum, size)| *sum += size);
        }
    }
    row("a program that uses everything loads", sum);
    Ok(())
}

fn row(name: &str, sizes: [usize; 3]) {
    let [raw, gzip, brotli] = sizes.map(|size| format!("{:.1} kB", size as f64 / 1e3));
    println!("{name:40} {raw:>9} {gzip:>9} {brotli:>9}");
}

fn gzip(bytes: &[u8]) -> Result<usize> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.len())
}

fn brotli(bytes: &[u8]) -> Result<usize> {
    let mut out = Vec::new();
    let params = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, ..Default::default() };
    brotli::BrotliCompress(&mut &bytes[..], &mut out, &params)?;
    Ok(out.len())
}
