//! The documentation and the route table say the same.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::world::Folder;

#[tokio::test]
async fn every_operation_has_a_rule_and_an_id_of_its_own_and_every_rule_an_operation() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let document = rookery.get("/openapi.json", None).await.expect(200);
    let mut operations = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let path = path.strip_suffix('/').unwrap_or(path).to_owned();
            operations.insert((method.to_uppercase(), path));
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} twice");
            assert!(operation["summary"].is_string(), "{id} says what it does");
            assert!(operation["tags"][0].is_string(), "{id} has a tag");
        }
    }
    let rules: BTreeSet<_> = gateway::roster::routes()
        .map(|(_, method, path, _)| (method.to_owned(), path.to_owned()))
        .collect();
    assert_eq!(operations, rules);
}

#[tokio::test]
async fn every_operation_tells_what_is_answered_around_its_handler() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let document = rookery.get("/openapi.json", None).await.expect(200);
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let id = &operation["operationId"];
            let with_body: &[&str] = &["408", "413", "415"];
            let body = operation.get("requestBody").map_or(&[][..], |_| with_body);
            for status in ["503", "504"].iter().chain(body) {
                let answer = &operation["responses"][status];
                assert!(answer["description"].is_string(), "{status} of {id}");
                let problem = &answer["content"]["application/problem+json"];
                assert!(problem.is_object(), "{status} of {id}");
            }
        }
    }
}

/// Elsewhere Traefik would take it for its own (`traefik/dynamic/middlewares.yml`).
#[tokio::test]
async fn only_what_strangers_may_write_answers_429() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let document = rookery.get("/openapi.json", None).await.expect(200);
    let answers_429: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let operations = item.as_object().unwrap().iter();
            let limited = operations.filter(|(_, it)| it["responses"]["429"].is_object());
            limited.map(|(method, _)| (method.to_uppercase(), path.clone()))
        })
        .collect();
    assert!(!answers_429.is_empty(), "logging in does");
    for (method, path) in answers_429 {
        let mode = gateway::roster::routes()
            .find(|(_, of, at, _)| *of == method && *at == path)
            .map(|(.., mode)| mode);
        assert_eq!(mode, Some(blocks::Mode::Strip), "{method} {path}");
        assert_ne!(method, "GET", "{path}");
    }
}

#[tokio::test]
async fn what_the_document_refers_to_is_in_it() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let document = rookery.get("/openapi.json", None).await.expect(200);
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    assert!(document["components"]["securitySchemes"]["bearer"].is_object());
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                references.push(reference.clone());
            }
            fields.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

#[tokio::test]
async fn the_pages_come_with_all_they_load() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    for page in ["/docs", "/redoc"] {
        let html = rookery.get(page, None).await;
        assert_eq!(html.status, 200);
        let html = html.text();
        assert!(
            !html.contains("http://") && !html.contains("https://"),
            "{page}: {html}"
        );
        let files: Vec<&str> = html
            .split(['"', '\''])
            .filter(|part| part.starts_with('/') && part.len() > 1)
            .collect();
        assert!(!files.is_empty());
        for file in files {
            let answer = rookery.get(file, None).await;
            assert_eq!(answer.status, 200, "{page} loads {file}");
            assert!(!answer.body.is_empty());
        }
    }
}
