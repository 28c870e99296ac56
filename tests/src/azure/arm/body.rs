//! The parts that all bodies share: JSON, tags and locations.

use std::collections::BTreeMap;

use serde_json::Value;

use super::response::ArmAnswer;

/// Parses a body. Source: seen, the messages of Resource Manager for bodies that it cannot parse.
pub(super) fn parse(body: &[u8]) -> Result<Value, ArmAnswer> {
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        let message = format!("The request content was invalid and could not be deserialized: '{error}'.");
        ArmAnswer::bad_request("InvalidRequestContent", message)
    })?;
    if !value.is_object() {
        let message = "The request content is not valid: a JSON object is expected.";
        return Err(ArmAnswer::bad_request("InvalidRequestContent", message));
    }
    Ok(value)
}

/// The error for a body without a location. Source: seen; Resource Manager rejects it itself, before the provider does.
pub(super) fn location_required() -> ArmAnswer {
    let message = "The location property is required for this definition.";
    ArmAnswer::bad_request("LocationRequired", message).target("location")
}

/// The tags of a body whose schema was checked. Source: Azure, limits of tags: 50 per resource, names of up to 512
/// characters without `<>%&\?/`, values of up to 256.
pub(super) fn tags(body: &Value) -> Result<BTreeMap<String, String>, ArmAnswer> {
    let members = body["tags"].as_object().into_iter().flatten();
    let tags = members.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
    let tags = tags.collect::<BTreeMap<_, _>>();
    if tags.len() > 50 {
        return Err(ArmAnswer::bad_request("TooManyTags", "A resource can have at most 50 tags."));
    }
    for (name, value) in &tags {
        if name.is_empty() || name.chars().count() > 512 || name.contains(['<', '>', '%', '&', '\\', '?', '/']) {
            let message = format!("The tag name '{name}' is not valid.");
            return Err(ArmAnswer::bad_request("InvalidTagNameCharacters", message).target("tags"));
        }
        if value.chars().count() > 256 {
            let message = format!("The value of the tag '{name}' is longer than 256 characters.");
            return Err(ArmAnswer::bad_request("InvalidTagValueLength", message).target("tags"));
        }
    }
    Ok(tags)
}
