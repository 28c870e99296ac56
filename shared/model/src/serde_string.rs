//! Types that are serialised as text.

/// Implements the conversions through which serde reads and writes a type with `FromStr` and `Display` as text. The
/// type needs `#[serde(try_from = "String", into = "String")]`.
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
