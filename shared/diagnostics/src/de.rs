//! Reads types from a [`Node`] with serde. Errors contain the key and the location of the value.

use std::collections::{BTreeMap, btree_map};
use std::vec;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::field_error::FieldError;
use super::node::{Node, Value};

/// The key that selects the variant if a table is read as an enum.
pub const TAG: &str = "backend";

impl Node {
    /// Converts an untyped value to the expected number or boolean. Any other value is unchanged.
    fn coerce(self, parse: impl FnOnce(&str) -> Option<Value>) -> Self {
        let parsed = match &self.value {
            Value::Untyped(text) => parse(text.trim()),
            _ => None,
        };
        match parsed {
            Some(value) => Self { value, ..self },
            None => self,
        }
    }
}

fn parse_number(text: &str) -> Option<Value> {
    text.parse().map(Value::Integer).or_else(|_| text.parse().map(Value::Float)).ok()
}

fn parse_bool(text: &str) -> Option<Value> {
    text.to_ascii_lowercase().parse().map(Value::Boolean).ok()
}

macro_rules! deserialize_numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
            self.coerce(parse_number).deserialize_any(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Node {
    type Error = FieldError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.value {
            Value::Text(text) | Value::Untyped(text) => visitor.visit_string(text),
            Value::Integer(number) => visitor.visit_i64(number),
            Value::Float(number) => visitor.visit_f64(number),
            Value::Boolean(truth) => visitor.visit_bool(truth),
            Value::Array(items) => visitor.visit_seq(Items { items: items.into_iter(), next: 0 }),
            Value::Table(entries) => visitor.visit_map(Entries { entries: entries.into_iter(), pending: None }),
            Value::Null => visitor.visit_unit(),
        }
        .map_err(|fault: FieldError| fault.with_origin(self.origin.as_ref()))
    }

    deserialize_numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_f32 deserialize_f64
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.coerce(parse_bool).deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, FieldError> {
        visitor.visit_newtype_struct(self)
    }

    /// A string is a variant without content. A table is the variant that its [`TAG`] names, or the first one if it has
    /// no tag. Serde's own tagged enums would buffer the content and lose its locations.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        let origin = self.origin.clone();
        match self.value {
            Value::Text(word) | Value::Untyped(word) => visitor.visit_enum(word.into_deserializer()),
            Value::Table(mut entries) => {
                let tag = entries.remove(TAG).unwrap_or_else(|| {
                    let first = variants.first().copied().unwrap_or_default();
                    Self { origin: origin.clone(), value: Value::Text(first.to_owned()) }
                });
                visitor.visit_enum(Tagged { tag, content: Self { value: Value::Table(entries), ..self } })
            }
            _ => self.deserialize_any(visitor),
        }
        .map_err(|fault| fault.with_origin(origin.as_ref()))
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}

/// The entries of a table.
struct Entries {
    entries: btree_map::IntoIter<String, Node>,
    pending: Option<(String, Node)>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = FieldError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, FieldError> {
        let Some((key, node)) = self.entries.next() else { return Ok(None) };
        let as_read = seed
            .deserialize(key.clone().into_deserializer())
            .map_err(|fault: FieldError| fault.with_origin(node.origin.as_ref()).with_parent_key(&key))?;
        self.pending = Some((key, node));
        Ok(Some(as_read))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, FieldError> {
        let (key, node) = self.pending.take().ok_or_else(|| FieldError::custom("a value was read before its key"))?;
        let origin = node.origin.clone();
        // The value can also be rejected after it was read, by the validation of its type, so the location is also
        // added here.
        seed.deserialize(node).map_err(|fault| fault.with_origin(origin.as_ref()).with_parent_key(&key))
    }
}

/// The items of an array.
struct Items {
    items: vec::IntoIter<Node>,
    next: usize,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = FieldError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, FieldError> {
        self.next += 1;
        let Some(item) = self.items.next() else { return Ok(None) };
        let origin = item.origin.clone();
        let place = format!("[{}]", self.next);
        seed.deserialize(item).map(Some).map_err(|fault| fault.with_origin(origin.as_ref()).with_parent_key(&place))
    }
}

/// A table that is the variant of an enum, without its tag.
struct Tagged {
    tag: Node,
    content: Node,
}

/// The content of such a table.
struct Content {
    variant: String,
    content: Node,
}

impl<'de> EnumAccess<'de> for Tagged {
    type Error = FieldError;
    type Variant = Content;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content), FieldError> {
        let variant = match &self.tag.value {
            Value::Text(word) | Value::Untyped(word) => word.clone(),
            _ => String::new(),
        };
        let read = seed.deserialize(self.tag).map_err(|fault| fault.with_parent_key(TAG))?;
        Ok((read, Content { variant, content: self.content }))
    }
}

impl<'de> VariantAccess<'de> for Content {
    type Error = FieldError;

    fn unit_variant(self) -> Result<(), FieldError> {
        self.newtype_variant::<BTreeMap<String, serde::de::IgnoredAny>>().map(drop)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, FieldError> {
        seed.deserialize(self.content).map_err(|fault| fault.in_variant(TAG, &self.variant))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, FieldError> {
        self.content.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, FieldError> {
        self.content.deserialize_any(visitor)
    }
}
