//! Who may depend on whom.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// The members of the workspace: the folder of each, and what it depends on outside of its tests.
fn members() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root)
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let root = metadata["workspace_root"].as_str().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let manifest = text(&package["manifest_path"]);
            let folder = manifest.strip_prefix(root).unwrap().trim_start_matches('/');
            let folder = folder.split('/').next().unwrap().to_owned();
            let needed = package["dependencies"].as_array().unwrap().iter();
            let needed = needed
                // What a feature adds is for executables: the fleet's, by way of the runtime.
                .filter(|dependency| dependency["kind"].is_null() && dependency["optional"] != true)
                .map(|dependency| text(&dependency["name"]));
            (text(&package["name"]), (folder, needed.collect()))
        })
        .collect()
}

#[test]
fn services_share_event_types_and_building_blocks_and_never_each_other() {
    let members = members();
    let services: BTreeSet<&String> = members
        .iter()
        .filter(|(_, (folder, _))| folder == "services")
        .map(|(name, _)| name)
        .collect();
    assert!(services.len() >= 5, "{services:?}");
    for (name, (folder, needed)) in &members {
        let of_services: Vec<_> = needed
            .iter()
            .filter(|name| services.contains(name))
            .collect();
        match folder.as_str() {
            "gateway" | "bench" => {}
            _ => assert!(of_services.is_empty(), "{name} depends on {of_services:?}"),
        }
        if folder == "services" {
            let ours: BTreeSet<_> = needed
                .iter()
                .filter(|name| members.contains_key(*name))
                .collect();
            for name in ours {
                assert!(
                    ["events", "blocks", "sql"].contains(&name.as_str()),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn what_is_below_does_not_know_what_is_above() {
    let members = members();
    let ours = |name: &str| -> BTreeSet<&str> {
        let needed = members[name].1.iter().map(String::as_str);
        needed.filter(|name| members.contains_key(*name)).collect()
    };
    assert_eq!(ours("events"), [].into());
    assert_eq!(ours("blocks"), ["events"].into());
    assert_eq!(ours("sql"), ["blocks", "events"].into());
    assert_eq!(ours("runtime"), ["blocks", "events", "sql"].into());
    for (name, (_, needed)) in &members {
        let test_only = needed.contains("testkit");
        assert!(
            !test_only || name == "bench",
            "{name} depends on the testkit"
        );
        for above in ["gateway", "bench"] {
            assert!(
                !needed.contains(above) || name == "bench",
                "{name} depends on {above}"
            );
        }
        let runs = needed.contains("runtime");
        assert!(
            !runs || ["gateway", "bench"].contains(&name.as_str()),
            "{name} uses the runtime"
        );
    }
    for types_only in ["tokio", "axum", "sqlx"] {
        assert!(!members["events"].1.contains(types_only), "{types_only}");
    }
    for database in ["sqlx", "rdkafka", "redis", "mongodb"] {
        assert!(!members["blocks"].1.contains(database), "{database}");
    }
}
