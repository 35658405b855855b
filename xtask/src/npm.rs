//! The npm packages: by lock file, no install scripts; and the two that the page ships.

use crate::shell::{command, output, root, run, step, which};
use anyhow::{Context, Result, bail};
use std::fs;

/// What the page imports from www/vendor/: file name there, file in node_modules. Each is one ES module without imports.
const VENDORED: &[(&str, &str)] = &[
    ("tokenizers.js", "@huggingface/tokenizers/dist/tokenizers.min.mjs"),
    ("tokenizers.LICENSE", "@huggingface/tokenizers/LICENSE"),
    ("jinja.js", "@huggingface/jinja/dist/index.js"),
    ("jinja.LICENSE", "@huggingface/jinja/LICENSE"),
];

const OLDEST_NODE: u32 = 20;

/// `npm ci`, unless node_modules/ was made from this very lock file.
pub fn install() -> Result<()> {
    step("npm packages, by package-lock.json");
    check_node()?;
    let lock = fs::read(root().join("package-lock.json")).context("package-lock.json cannot be read")?;
    let stamp = root().join("node_modules/.phiquant-lock");
    if fs::read(&stamp).is_ok_and(|made_from| made_from == lock) {
        eprintln!("  node_modules/ is up to date");
        return Ok(());
    }
    let npm = which(&["npm", "npm.cmd"]).context("npm was not found: it comes with Node.js (https://nodejs.org)")?;
    run(
        command(npm).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]),
        "Check the network and npm's registry setting (`npm config get registry`), then run this again.",
    )?;
    fs::write(stamp, lock)?;
    Ok(())
}

fn check_node() -> Result<()> {
    let cure = format!("install Node.js {OLDEST_NODE} or newer (https://nodejs.org, or your system's packages)");
    let Ok(version) = output(command("node").arg("--version")) else {
        bail!("Node.js was not found: {cure}, then run this again");
    };
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < OLDEST_NODE) {
        bail!("Node.js {version} is too old: {cure}, then run this again");
    }
    Ok(())
}

/// Copies the text libraries to www/vendor/, where the page imports them.
pub fn vendor() -> Result<()> {
    step("www/vendor");
    let folder = root().join("www/vendor");
    fs::create_dir_all(&folder)?;
    for (name, source) in VENDORED {
        let source = root().join("node_modules").join(source);
        let bytes = fs::read(&source)
            .with_context(|| format!("{} is missing: delete node_modules/ and run this again", source.display()))?;
        let file = folder.join(name);
        // Written only where it differs, so that browsers keep their copies.
        if !fs::read(&file).is_ok_and(|old| old == bytes) {
            fs::write(&file, &bytes)?;
        }
        eprintln!("  {name}: {:.0} kB", bytes.len() as f64 / 1e3);
    }
    Ok(())
}
