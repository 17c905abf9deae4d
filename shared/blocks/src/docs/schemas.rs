//! Rules for the schemas of all services, applied once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use utoipa::openapi::schema::{AdditionalProperties, ArrayItems, Object, SchemaType};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Schema, Type};

use super::document::operations;

/// Keywords of JSON Schema that the derive has no words for, as an object:
/// `#[schema(extensions(("x-schema" = json!({"not": {}}))))]`.
const MORE: &str = "x-schema";
/// The same said at a property, of the object that it is part of: the derive takes it nowhere else.
const MORE_OF_OBJECT: &str = "x-object-schema";
const COMPONENTS: &str = "#/components/schemas/";

type Schemas = BTreeMap<String, RefOr<Schema>>;

/// Completes the schemas of `openapi`.
///
/// | what is sent | has no properties but those named, as every body is read |
/// | what is answered | always has the properties that may be null |
/// | items of lists | are referred to, where their schema has a name |
pub(super) fn complete(openapi: &mut OpenApi) {
    let (sent, answered) = bodies(openapi);
    let Some(components) = &mut openapi.components else {
        return;
    };
    let schemas = &mut components.schemas;
    refer_to_items(schemas);
    let sent = reached(sent, schemas);
    let answered = reached(answered, schemas);
    for (name, schema) in schemas {
        each(schema, &mut |schema| {
            let RefOr::T(Schema::Object(object)) = schema else {
                return;
            };
            if sent.contains(name) {
                close(object);
            } else if answered.contains(name) {
                require(object);
            }
            for property in object.properties.values_mut() {
                if let RefOr::T(Schema::Object(property)) = property
                    && let Some(more) = taken(property, MORE_OF_OBJECT)
                {
                    object.extensions.get_or_insert_default().extend(more);
                }
            }
            if let Some(more) = taken(object, MORE) {
                object.extensions.get_or_insert_default().extend(more);
            }
        });
    }
}

fn taken(object: &mut Object, extension: &str) -> Option<serde_json::Map<String, Value>> {
    match object.extensions.as_mut()?.remove(extension)? {
        Value::Object(more) => Some(more),
        _ => None,
    }
}

/// A list of a generic type has its items' schema written out.
fn refer_to_items(schemas: &mut Schemas) {
    let named = schemas.clone();
    let refer = &mut |schema: &mut RefOr<Schema>| {
        if let RefOr::T(Schema::Array(list)) = schema
            && let ArrayItems::RefOrSchema(item) = &mut list.items
            && let Some((name, _)) = named.iter().find(|(_, named)| **named == **item)
        {
            **item = Ref::from_schema_name(name).into();
        }
    };
    for schema in schemas.values_mut() {
        each(schema, refer);
    }
}

fn close(object: &mut Object) {
    if !object.properties.is_empty() && object.additional_properties.is_none() {
        let nothing = AdditionalProperties::FreeForm(false);
        object.additional_properties = Some(Box::new(nothing));
    }
}

fn require(object: &mut Object) {
    for (name, schema) in &object.properties {
        if may_be_null(schema) && !object.required.contains(name) {
            object.required.push(name.clone());
        }
    }
}

fn may_be_null(schema: &RefOr<Schema>) -> bool {
    match schema {
        RefOr::T(Schema::Object(object)) => match &object.schema_type {
            SchemaType::Type(kind) => *kind == Type::Null,
            SchemaType::Array(kinds) => kinds.contains(&Type::Null),
            SchemaType::AnyValue => true,
        },
        RefOr::T(Schema::OneOf(one)) => one.items.iter().any(may_be_null),
        RefOr::T(Schema::Array(list)) => {
            matches!(&list.schema_type, SchemaType::Array(kinds) if kinds.contains(&Type::Null))
        }
        _ => false,
    }
}

/// Names of the schemas of request bodies, and of answers.
fn bodies(openapi: &mut OpenApi) -> (Vec<String>, Vec<String>) {
    let (mut sent, mut answered) = (Vec::new(), Vec::new());
    for item in openapi.paths.paths.values_mut() {
        for (_, operation) in operations(item) {
            if let Some(RefOr::T(body)) = &mut operation.request_body {
                names(body.content.values_mut(), &mut sent);
            }
            for answer in operation.responses.responses.values_mut() {
                if let RefOr::T(answer) = answer {
                    names(answer.content.values_mut(), &mut answered);
                }
            }
        }
    }
    (sent, answered)
}

fn names<'a>(contents: impl Iterator<Item = &'a mut RefOr<Content>>, into: &mut Vec<String>) {
    for content in contents {
        if let RefOr::T(content) = content
            && let Some(schema) = &mut content.schema
        {
            refers(schema, into);
        }
    }
}

fn refers(schema: &mut RefOr<Schema>, into: &mut Vec<String>) {
    each(schema, &mut |schema| {
        if let RefOr::Ref(to) = schema {
            into.extend(to.ref_location.strip_prefix(COMPONENTS).map(str::to_owned));
        }
    });
}

/// `names`, and the names of the schemas that they refer to.
fn reached(mut names: Vec<String>, schemas: &mut Schemas) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    while let Some(name) = names.pop() {
        if let Some(schema) = schemas.get_mut(&name)
            && reached.insert(name)
        {
            refers(schema, &mut names);
        }
    }
    reached
}

/// Shows `look` a schema and all its parts, the outer ones first.
fn each(schema: &mut RefOr<Schema>, look: &mut impl FnMut(&mut RefOr<Schema>)) {
    look(schema);
    let RefOr::T(schema) = schema else {
        return;
    };
    match schema {
        Schema::Object(object) => object.properties.values_mut().for_each(|it| each(it, look)),
        Schema::Array(list) => {
            if let ArrayItems::RefOrSchema(item) = &mut list.items {
                each(item, look);
            }
        }
        Schema::OneOf(any) => any.items.iter_mut().for_each(|it| each(it, look)),
        Schema::AllOf(all) => all.items.iter_mut().for_each(|it| each(it, look)),
        Schema::AnyOf(any) => any.items.iter_mut().for_each(|it| each(it, look)),
        _ => {}
    }
}
