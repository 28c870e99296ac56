//! Values of properties that the platform spells in its own way.

/// Defines an enum of the values that goldfleet knows. Any other value is kept unchanged, so that a resource that is
/// read and written again does not change.
macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            /// Another value.
            Other(String),
        }

        impl $name {
            /// The value in Resource Manager.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(text) => text,
                }
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                match text.as_str() {
                    $($text => Self::$variant,)*
                    _ => Self::Other(text),
                }
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.as_str().to_owned()
            }
        }
    };
}

pub(super) use open_enum;

/// A type whose values are spelled in another way in Resource Manager.
pub(super) trait AzureText: Sized + Copy + 'static {
    /// All values, and their spelling.
    const VALUES: &'static [(Self, &'static str)];
}

impl AzureText for crate::manifest::OsType {
    const VALUES: &'static [(Self, &'static str)] = &[(Self::Linux, "Linux"), (Self::Windows, "Windows")];
}

impl AzureText for crate::manifest::Generation {
    const VALUES: &'static [(Self, &'static str)] = &[(Self::V1, "V1"), (Self::V2, "V2")];
}

/// The serde module of an optional [`AzureText`].
pub(super) mod optional {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::AzureText;

    pub(crate) fn serialize<T: AzureText + PartialEq, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let spelling = |value: &T| T::VALUES.iter().find(|(known, _)| known == value).map(|(_, text)| *text);
        match value.as_ref().and_then(spelling) {
            Some(text) => serializer.serialize_str(text),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, T: AzureText, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        match T::VALUES.iter().find(|(_, known)| known.eq_ignore_ascii_case(&text)) {
            Some((value, _)) => Ok(Some(*value)),
            None => {
                let expected: Vec<&str> = T::VALUES.iter().map(|(_, text)| *text).collect();
                Err(D::Error::custom(format!("{text:?} is not one of {}", expected.join(", "))))
            }
        }
    }
}
