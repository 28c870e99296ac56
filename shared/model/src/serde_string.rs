//! Types that are written as text.

/// Has a type that parses from text and displays as it read and written so by serde too: the type says
/// `#[serde(try_from = "String", into = "String")]`.
#[macro_export]
macro_rules! serde_as_string {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = <Self as std::str::FromStr>::Err;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}
