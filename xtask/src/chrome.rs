//! A Chromium for the tests: the one of `CHROME`, one that is installed, or one from the system's apt.

use crate::shell::{command, output, run, step, which};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

const NAMES: &[&str] = &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
const MAC: &str = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome";

/// Finds a Chromium, or installs one.
pub fn ensure() -> Result<PathBuf> {
    step("Chromium");
    let chrome = match std::env::var_os("CHROME").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => match find() {
            Some(path) => path,
            None => {
                apt_install(&["chromium"], "set CHROME to the path of a Chromium or Chrome")?;
                find().context("the package chromium brought no program `chromium`: set CHROME to its path")?
            }
        },
    };
    let version = output(command(&chrome).arg("--version"))
        .with_context(|| format!("{} is no working Chromium: set CHROME to the path of one", chrome.display()))?;
    eprintln!("  {}: {version}", chrome.display());
    Ok(chrome)
}

fn find() -> Option<PathBuf> {
    which(NAMES).or_else(|| Some(PathBuf::from(MAC)).filter(|path| path.is_file()))
}

/// Installs system packages where there is apt and the right to use it; `otherwise` is the cure where there is not.
fn apt_install(packages: &[&str], otherwise: &str) -> Result<()> {
    if which(&["apt-get"]).is_none() {
        bail!("{} is not installed and there is no apt-get to install it with: {otherwise}", packages.join(" "));
    }
    let root = output(Command::new("id").arg("-u")).is_ok_and(|id| id == "0");
    let apt = |arguments: &[&str]| {
        let mut apt = if root { command("apt-get") } else { command("sudo") };
        if !root {
            // -n: a test must not wait for a password.
            apt.args(["-n", "apt-get"]);
        }
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(std::process::Stdio::null());
        run(&mut apt, &format!("Install {} yourself, or {otherwise}.", packages.join(" ")))
    };
    apt(&["update"])?;
    apt(&[&["install", "-y", "--no-install-recommends"], packages].concat())
}

/// A Vulkan driver for the native GPU tests that computes on the CPU, so that they run, and run alike, everywhere: the
/// SwiftShader beside Chromium, or Mesa's lavapipe. `None` outside Linux, or where `VK_DRIVER_FILES` has chosen one.
pub fn software_vulkan(chrome: &Path) -> Result<Option<PathBuf>> {
    if !cfg!(target_os = "linux")
        || ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"].iter().any(|name| std::env::var_os(name).is_some())
    {
        return Ok(None);
    }
    let beside = chrome.canonicalize().ok().and_then(|path| Some(path.parent()?.join("vk_swiftshader_icd.json")));
    let places = [
        "/usr/lib/chromium/vk_swiftshader_icd.json",
        "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json",
        "/usr/share/vulkan/icd.d/lvp_icd.aarch64.json",
        "/usr/share/vulkan/icd.d/lvp_icd.json",
    ];
    let mut places = beside.into_iter().chain(places.map(PathBuf::from));
    let Some(driver) = places.find(|path| path.is_file()) else {
        bail!(
            "no software Vulkan driver was found for the GPU tests: install Debian's chromium or mesa-vulkan-drivers, or \
             set VK_DRIVER_FILES to a driver's JSON file"
        );
    };
    let loader = output(command("/sbin/ldconfig").arg("-p")).is_ok_and(|list| list.contains("libvulkan.so.1"));
    if !loader {
        apt_install(&["libvulkan1"], "install the Vulkan loader, libvulkan.so.1")?;
    }
    eprintln!("  Vulkan driver for the native GPU tests: {}", driver.display());
    Ok(Some(driver))
}
