//! The types of the harvester's fields: the mapping of a new index, and how a live mapping differs from it.

use serde_json::{Map, Value, json};

use super::Error;
use crate::model::IndexKind;

/// The mapping of an index, with everything that a foreign index template could otherwise decide.
pub(super) fn wanted(kind: IndexKind) -> Result<Value, Error> {
    let text = match kind {
        IndexKind::Meetings => include_str!("mappings/meetings.json"),
        IndexKind::Sessions => include_str!("mappings/sessions.json"),
    };
    let mut mapping: Value = serde_json::from_str(text).map_err(|error| Error::Malformed {
        what: "our own mapping".into(),
        reason: error.to_string(),
    })?;
    mapping["dynamic"] = json!(true);
    mapping["_source"] = json!({"enabled": true});
    mapping["_routing"] = json!({"required": false});
    Ok(mapping)
}

/// The types of the harvester's fields, as far as export files distinguish them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// `keyword`, `ip`.
    Keyword,
    /// `long`.
    Long,
    /// `double`.
    Double,
    /// `boolean`.
    Boolean,
    /// `date`.
    Date,
}

/// The fields of an index in the order of its mapping. Fields of objects have a dot in their name (`host.email`).
pub fn fields(kind: IndexKind) -> Vec<(String, FieldType)> {
    let mut found = Vec::new();
    if let Ok(mapping) = wanted(kind) {
        collect(&mapping, "", &mut found);
    }
    found
}

fn collect(mapping: &Value, path: &str, found: &mut Vec<(String, FieldType)>) {
    for (name, field) in properties(mapping) {
        let path = format!("{path}{name}");
        let of = match type_of(field) {
            "object" => {
                collect(field, &format!("{path}."), found);
                continue;
            }
            "long" => FieldType::Long,
            "double" => FieldType::Double,
            "boolean" => FieldType::Boolean,
            "date" => FieldType::Date,
            _ => FieldType::Keyword,
        };
        found.push((path, of));
    }
}

/// The fields whose live type differs from the harvester's, described in words.
pub(super) fn wrong(wanted: &Value, live: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if live["_source"]["enabled"] == false {
        found.push("_source is off".to_owned());
    }
    if live["_routing"]["required"] == true {
        found.push("_routing is required".to_owned());
    }
    compare(wanted, live, "", &mut found);
    found
}

fn compare(wanted: &Value, live: &Value, path: &str, found: &mut Vec<String>) {
    for (name, field) in properties(wanted) {
        let Some(there) = live["properties"].get(name) else {
            continue;
        };
        let (is, should) = (type_of(there), type_of(field));
        let path = format!("{path}{name}");
        if is == should {
            compare(field, there, &format!("{path}."), found);
        } else {
            found.push(format!("{path} is {is}, not {should}"));
        }
    }
}

/// The fields that a live mapping lacks, in the form in which they are added to it.
pub(super) fn lacking(wanted: &Value, live: &Value) -> Map<String, Value> {
    let mut lacking_here = Map::new();
    for (name, field) in properties(wanted) {
        match live["properties"].get(name) {
            None => {
                lacking_here.insert(name.clone(), field.clone());
            }
            Some(there) => {
                let inner = lacking(field, there);
                if !inner.is_empty() {
                    lacking_here.insert(name.clone(), json!({"properties": inner}));
                }
            }
        }
    }
    lacking_here
}

fn properties(mapping: &Value) -> impl Iterator<Item = (&String, &Value)> {
    mapping["properties"].as_object().into_iter().flatten()
}

/// The type of a field. A field without a type is an object.
fn type_of(field: &Value) -> &str {
    field["type"].as_str().unwrap_or("object")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_between_a_live_mapping_and_ours_are_named() {
        let wanted = json!({"properties": {
            "uuid": {"type": "keyword"},
            "host": {"properties": {"email": {"type": "keyword"}, "name": {"type": "keyword"}}},
            "end_time": {"type": "date"},
        }});
        assert_eq!(wrong(&wanted, &wanted), Vec::<String>::new());
        assert!(lacking(&wanted, &wanted).is_empty());
        let live = json!({"_source": {"enabled": false}, "properties": {
            "uuid": {"type": "text", "fields": {"keyword": {"type": "keyword"}}},
            "host": {"properties": {"email": {"type": "text"}}},
            "theirs": {"type": "long"},
        }});
        assert_eq!(
            wrong(&wanted, &live),
            [
                "_source is off",
                "host.email is text, not keyword",
                "uuid is text, not keyword"
            ]
        );
        assert_eq!(
            Value::from(lacking(&wanted, &live)),
            json!({"end_time": {"type": "date"}, "host": {"properties": {"name": {"type": "keyword"}}}})
        );
        let leaf = json!({"properties": {"host": {"type": "keyword"}, "end_time": {"properties": {}}}});
        assert_eq!(
            wrong(&wanted, &leaf),
            ["end_time is object, not date", "host is keyword, not object"]
        );
    }

    #[test]
    fn our_own_mappings_are_read_without_difference() {
        for kind in IndexKind::ALL {
            let mapping = wanted(kind).unwrap();
            assert!(properties(&mapping).count() > 20);
            assert_eq!(wrong(&mapping, &mapping), Vec::<String>::new());
        }
    }
}
