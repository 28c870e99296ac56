//! Names of managed images.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::{ImageName, ImageVersion, InvalidName, ManagedImageName};
use super::target::Target;

/// The template of managed image names: text with the fields `{image}`, `{version}`, `{region}` and `{subscription}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NameTemplate(String);

impl NameTemplate {
    const FIELDS: [&'static str; 4] = ["{image}", "{version}", "{region}", "{subscription}"];

    /// Returns the name of the managed image for `target`.
    ///
    /// # Errors
    /// [`InvalidName`] if the result is not a valid name in Azure. The usual reason is a length of more than 80
    /// characters.
    pub fn fill(
        &self,
        name: &ImageName,
        version: &ImageVersion,
        target: &Target,
    ) -> Result<ManagedImageName, InvalidName> {
        self.0
            .replace("{image}", name.as_str())
            .replace("{version}", version.as_str())
            .replace("{region}", target.region.as_str())
            .replace("{subscription}", &target.subscription.to_string())
            .parse()
    }
}

impl Default for NameTemplate {
    fn default() -> Self {
        Self("{image}-{version}-{region}".to_owned())
    }
}

impl TryFrom<String> for NameTemplate {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        let mut rest = text.clone();
        for field in Self::FIELDS {
            rest = rest.replace(field, "x");
        }
        // The remaining text must be a valid name. This also detects a misspelt field, because braces are not allowed
        // in names.
        match rest.parse::<ManagedImageName>() {
            Ok(_) if text.contains("{image}") && text.contains("{version}") => Ok(Self(text)),
            _ => Err(InvalidName {
                what: "image name template",
                given: text,
                rule: "use {image} and {version}, and where wanted {region} and {subscription}, with letters, digits, '.', '_' or '-' between them",
            }),
        }
    }
}

impl From<NameTemplate> for String {
    fn from(template: NameTemplate) -> Self {
        template.0
    }
}

impl fmt::Display for NameTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_templates_are_validated() {
        for good in ["{image}-{version}-{region}", "gold_{image}.{version}", "{image}-{version}-{subscription}"] {
            assert!(NameTemplate::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "{image}", "{image}-{verison}", "{image}/{version}", "-{image}-{version}"] {
            assert!(NameTemplate::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
