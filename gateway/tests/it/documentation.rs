//! The documentation and the route table say the same.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::commands::create_admin;
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
            for status in ["400", "500", "503", "504"].iter().chain(body) {
                let answer = &operation["responses"][status];
                assert!(answer["description"].is_string(), "{status} of {id}");
                let problem = &answer["content"]["application/problem+json"];
                assert!(problem.is_object(), "{status} of {id}");
            }
        }
    }
}

#[tokio::test]
async fn every_problem_has_its_body_and_what_the_operation_says_of_it() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let document = rookery.get("/openapi.json", None).await.expect(200);
    let of = |path: &str, method: &str, status: &str| {
        let answers = &document["paths"][path][method]["responses"];
        answers[status]["description"].as_str().unwrap().to_owned()
    };
    let said = of("/api/auth/register", "post", "400");
    for part in ["`malformed_json`", "`validation_failed`", "`user_exists`"] {
        assert!(said.contains(part), "{said}");
    }
    let said = of("/api/posts/{id}", "put", "403");
    assert!(said.contains("`guest_read_only`") && said.contains("`forbidden`"));
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            for (status, answer) in operation["responses"].as_object().unwrap() {
                let id = &operation["operationId"];
                let problem = &answer["content"]["application/problem+json"]["schema"]["$ref"];
                let is_problem = problem == "#/components/schemas/Problem";
                assert_eq!(is_problem, status >= &"400".to_owned(), "{id} {status}");
            }
        }
    }
}

/// The documentation names every query parameter that is read.
#[tokio::test]
async fn a_parameter_that_an_operation_does_not_document_is_refused_by_name() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let (_, token) = rookery.join("ada").await;
    // Providers add parameters of their own.
    let callback = "/api/auth/oidc/{provider}/callback";
    let routes = gateway::roster::routes();
    for (_, method, path, _) in routes.filter(|(_, _, path, _)| *path != callback) {
        let path = path.replace("{id}", "1").replace("{user_id}", "1");
        let path = format!("{path}?no_such_parameter=1");
        let answer = rookery.client.send(method, &path, Some(&token), None).await;
        let problem = answer.expect(400);
        let errors = problem["errors"].as_object().unwrap();
        assert_eq!(
            errors.keys().collect::<Vec<_>>(),
            ["no_such_parameter"],
            "{method} {path}"
        );
    }
    // Parameters that scrapers, probes and browsers add are passed over.
    for path in ["/health", "/ready", "/docs", "/openapi.json"] {
        let answer = rookery
            .get(&format!("{path}?no_such_parameter=1"), None)
            .await;
        assert_eq!(answer.status, 200, "{path}");
    }
}

#[tokio::test]
async fn what_is_sent_is_closed_and_what_is_answered_is_all_there() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let document = rookery.get("/openapi.json", None).await.expect(200);
    for ours in ["x-schema", "x-object-schema"] {
        assert!(!document.to_string().contains(ours), "{ours}");
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let sent = [
        "Register",
        "CloseMe",
        "NewPassword",
        "Forgot",
        "Reset",
        "Verify",
        "NewUser",
        "UserChange",
        "LoginRequest",
        "RefreshRequest",
        "ExchangeRequest",
        "NewPost",
        "ChangedPost",
        "ProfileRequest",
    ];
    for (name, schema) in schemas {
        let closed = schema["additionalProperties"] == false;
        assert_eq!(closed, sent.contains(&&**name), "{name}");
        let Some(properties) = schema["properties"].as_object() else {
            continue;
        };
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let nullable = |property: &Value| {
            let types = property["type"].as_array();
            types.is_some_and(|types| types.contains(&"null".into()))
        };
        for (property, of) in properties {
            let is_required = required.contains(&property.as_str().into());
            if !closed && nullable(of) {
                assert!(is_required, "{name}.{property} is always there");
            }
            let inline = &of["items"]["properties"];
            assert!(inline.is_null(), "{name}.{property} refers to its items");
        }
    }
    let profile = &schemas["ProfileView"]["required"];
    assert_eq!(profile.as_array().unwrap().len(), 15);
    assert_eq!(
        schemas["ProfileRequest"]["properties"]["dob"]["anyOf"][1]["maxLength"],
        0
    );
}

/// Somebody who sends `{"all": true}` to a logout would believe that it ended every session.
#[tokio::test]
async fn an_endpoint_without_a_body_refuses_fields_and_takes_an_empty_object() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    create_admin(&folder, "root", &[]).await.well();
    let token = rookery.login("root").await;
    let document = rookery.get("/openapi.json", None).await.expect(200);
    let mut refused = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let operations = item.as_object().unwrap().iter();
        for (method, _) in operations.filter(|(method, operation)| {
            ["post", "put", "delete", "patch"].contains(&method.as_str())
                && operation["requestBody"].is_null()
        }) {
            let id = if path.contains("/users/") {
                "4711".to_owned()
            } else {
                uuid::Uuid::nil().to_string()
            };
            let path = path.replace("{id}", &id);
            let (method, token) = (method.to_uppercase(), Some(token.as_str()));
            let fields = Some(json!({"all": true}));
            let answer = rookery.client.send(&method, &path, token, fields).await;
            let named = answer.problem(400, "validation_failed");
            assert_eq!(named, ["all"], "{method} {path}");
            refused += 1;
        }
    }
    assert!(refused >= 6, "logging out is one of them: {refused}");
    let answer = rookery.post("/api/auth/logout", Some(&token), json!({}));
    answer.await.expect(200);
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
