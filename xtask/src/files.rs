//! Which files the house has, and where its root is.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Files that git tracks or would track, relative to the root.
pub(crate) fn tracked() -> Result<Vec<PathBuf>> {
    let out = Command::new("git")
        .args(["ls-files", "-co", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("git ls-files")?;
    let text = String::from_utf8(out.stdout)?;
    Ok(text.lines().map(PathBuf::from).filter(|p| root().join(p).is_file()).collect())
}

/// A file's text.
pub(crate) fn read(path: &Path) -> Result<String> {
    let full = root().join(path);
    std::fs::read_to_string(&full).with_context(|| format!("read {}", path.display()))
}
