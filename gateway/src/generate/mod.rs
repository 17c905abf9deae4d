//! `rookery generate`: every list of services outside of Rust, made of the roster.
//!
//! | what | how |
//! |---|---|
//! | compose files, Kubernetes manifests of services | templates in `deploy/templates` |
//! | Traefik's routers, `deploy/services`, `docs/openapi.json`, the services' READMEs | whole files |
//! | lists and tables in other files | the lines between two markers (`between.rs`) |

mod between;
mod openapi;
mod readme;
mod tables;
mod templates;

use std::path::Path;

use anyhow::{Context, bail};

use crate::roster::ROSTER;
use crate::traefik;
use between::Block;
use templates::Templates;

/// Everything in it is made.
const MANIFESTS: &str = "deploy/k8s/base/services";

/// Written whole: a path from the project's folder, and its text.
struct File {
    path: String,
    text: String,
}

/// The text of each made file.
async fn files(root: &Path) -> anyhow::Result<Vec<File>> {
    let templates = Templates::read(root)?;
    let openapi = openapi::document().await?;
    let mut files = vec![
        File {
            path: "traefik/dynamic/routes.yml".to_owned(),
            text: traefik::routers(ROSTER),
        },
        File {
            path: "deploy/services".to_owned(),
            text: tables::services(),
        },
        File {
            path: "docs/openapi.json".to_owned(),
            text: serde_json::to_string_pretty(&openapi)? + "\n",
        },
    ];
    for (path, file) in templates::COMPOSE {
        files.push(File {
            path: path.to_owned(),
            text: templates.compose(file)?,
        });
    }
    for of in ROSTER {
        files.push(File {
            path: format!("{MANIFESTS}/{}.yaml", of.name),
            text: templates.kubernetes(of)?,
        });
        files.push(File {
            path: format!("services/{}/README.md", of.name),
            text: readme::text(of, &openapi),
        });
    }
    for Block { path, name, text } in tables::blocks(&openapi) {
        let known = files.iter_mut().find(|file| file.path == path);
        let before = match &known {
            Some(file) => file.text.clone(),
            None => read(root, path)?,
        };
        let text = between::replaced(&before, name, &text)
            .with_context(|| format!("{path} has no place for {name}"))?;
        match known {
            Some(file) => file.text = text,
            None => files.push(File {
                path: path.to_owned(),
                text,
            }),
        }
    }
    Ok(files)
}

fn read(root: &Path, path: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(root.join(path));
    text.with_context(|| format!("could not read {path}"))
}

/// Writes the files that differ and returns their paths; with `check` it writes nothing.
///
/// # Errors
/// When the folder is not the project's, or with `check` when anything differs.
pub async fn run(root: &Path, check: bool) -> anyhow::Result<Vec<String>> {
    if !root.join(templates::FOLDER).is_dir() {
        bail!(
            "{} is not the project's folder: it has no {}",
            root.display(),
            templates::FOLDER
        );
    }
    let mut differ = Vec::new();
    let files = files(root).await?;
    for manifest in std::fs::read_dir(root.join(MANIFESTS))? {
        let path = format!("{MANIFESTS}/{}", manifest?.file_name().display());
        // Of a service that is in the roster no more.
        if files.iter().all(|file| file.path != path) {
            if !check {
                std::fs::remove_file(root.join(&path))?;
            }
            differ.push(path);
        }
    }
    for File { path, text } in files {
        let file = root.join(&path);
        // A file that is not there yet differs from any.
        if std::fs::read_to_string(&file).is_ok_and(|written| written == text) {
            continue;
        }
        if !check {
            std::fs::write(&file, text).with_context(|| format!("could not write {path}"))?;
        }
        differ.push(path);
    }
    if check && !differ.is_empty() {
        bail!(
            "{} not what the services' definitions say: run `make generate`",
            differ.join(", ")
        );
    }
    Ok(differ)
}
